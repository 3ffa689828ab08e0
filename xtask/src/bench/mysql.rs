//! MariaDB, beside its own client printing the same table row by row.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::server::Server;
use super::{Bench, Contest, Suite};
use crate::workspace;

pub(super) const SUITE: Suite = Suite {
    name: "mysql",
    connector: "mysql",
    programs: &["mariadb"],
    services: &["mariadb"],
    contests,
};

/// The table of nine mixed columns that PostgreSQL's benchmark has, of the same values.
const USERS: &str = "
    CREATE DATABASE IF NOT EXISTS bench;
    DROP TABLE IF EXISTS bench.users;
    CREATE TABLE bench.users (
        id BIGINT PRIMARY KEY,
        uid CHAR(36) NOT NULL,
        name VARCHAR(60) NOT NULL,
        email VARCHAR(120) NOT NULL,
        created_at DATETIME(6) NOT NULL,
        balance DECIMAL(14,2) NOT NULL,
        active BOOLEAN NOT NULL,
        attributes JSON NOT NULL,
        notes TEXT
    ) DEFAULT CHARSET utf8mb4;
    INSERT INTO bench.users
    WITH r AS (SELECT seq AS i, seq * 2654435761 % 2147483647 AS x FROM bench.seq_1_to_ROWS)
    SELECT i,
        INSERT(INSERT(INSERT(INSERT(MD5(i), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-'),
        CONCAT('Üser ', i, ' ', SUBSTR('abcdefghijklmnopqrstuvwxyz', 1 + x % 20, 6)),
        CONCAT('user', i, '@example.com'),
        '2020-09-13' + INTERVAL x * 12345.678 MICROSECOND,
        x / 100.0 - 10000000,
        x % 5 > 0,
        JSON_OBJECT(
            'plan', ELT(1 + x % 3, 'free', 'team', 'enterprise'), 'visits', x % 1000, 'score', x % 777 / 10.0,
            'tags', JSON_EXTRACT('[\"north\", \"south\", \"east\", \"west\"]', CONCAT('$[0 to ', x % 4, ']')),
            'address', JSON_OBJECT('city', 'Zürich', 'zip', x % 100000), 'verified', x % 2 = 0, 'via', NULL),
        IF(x % 3 > 0, CONCAT(REPEAT(CONCAT('a word ', x % 1000, ' '), 1 + x % 8), '\n\"said\"'), NULL)
    FROM r;
";

fn contests(bench: &Bench<'_>) -> Result<Vec<Contest>> {
    let mut spec = Command::new(bench.binary);
    spec.arg("spec");
    Ok(vec![
        Contest { name: "spec", ours: spec, peer: None, rounds: 51, toll: None },
        read(bench, "read 1,000,000 rows", 1_000_000, 7)?,
    ])
}

/// Reading the whole table.
fn read(bench: &Bench<'_>, name: &'static str, rows: u32, rounds: usize) -> Result<Contest> {
    let server = Server::of(bench, "MANIFOLD_TEST_MARIADB")?;
    let fill = USERS.replace("ROWS", &rows.to_string());
    workspace::run(client(&server).args(["-e", &fill]).stdout(Stdio::null()))?;
    let config = bench.folder.join("config.json");
    // The client speaks without encryption as well.
    let content = json!({
        "hostname": server.host, "port": server.port, "database": "bench", "sslmode": "disable",
        "username": server.user, "password": server.password,
    });
    fs::write(&config, content.to_string())
        .with_context(|| format!("writing {}", config.display()))?;
    let mut ours = Command::new(bench.binary);
    ours.arg("read").arg("-c").arg(config);
    let mut client = client(&server);
    client.args(["--quick", "--batch", "-e", "SELECT * FROM bench.users"]);
    Ok(Contest { name, ours, peer: Some(("mariadb --quick --batch", client)), rounds, toll: None })
}

fn client(server: &Server) -> Command {
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--skip-ssl", "--default-character-set=utf8mb4"]);
    client.args(["-h", &server.host, "-P", &server.port.to_string(), "-u", &server.user]);
    client.env("MYSQL_PWD", &server.password);
    client
}
