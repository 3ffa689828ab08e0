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

/// A table of nine mixed columns, filled by numbers that look random and are the same every time.
const USERS: &str = "
    CREATE DATABASE IF NOT EXISTS bench;
    DROP TABLE IF EXISTS bench.users;
    CREATE TABLE bench.users (
        id INT PRIMARY KEY,
        uuid CHAR(36) NOT NULL,
        name VARCHAR(60) NOT NULL,
        email VARCHAR(120) NOT NULL,
        created_at DATETIME NOT NULL,
        balance DECIMAL(12,2) NOT NULL,
        is_active TINYINT NOT NULL,
        attributes JSON NOT NULL,
        note TEXT
    ) DEFAULT CHARSET utf8mb4;
    INSERT INTO bench.users
    WITH r AS (SELECT seq AS i, seq * 2654435761 % 4294967296 AS x FROM bench.seq_1_to_ROWS)
    SELECT i,
        CONCAT(LPAD(HEX(x), 8, '0'), '-', LPAD(HEX(i & 65535), 4, '0'), '-4', LPAD(HEX(x & 4095), 3, '0'),
            '-8', LPAD(HEX(i & 4095), 3, '0'), '-', LPAD(HEX(x * 40503), 12, '0')),
        CONCAT('User ', i, ' ', SUBSTR('abcdefghijklmnopqrstuvwxyz', 1 + x % 20, 6)),
        CONCAT('user', i, '@example.com'),
        '2020-09-13' + INTERVAL (x % 100000000) SECOND,
        (x % 10000000) / 100.0,
        x & 1,
        CONCAT('{\"plan\": \"', IF(x & 2, 'free', 'paid'), '\", \"visits\": ', x % 1000, '}'),
        IF(x & 4, NULL, CONCAT('said \"', HEX(x), '\" on a day'))
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
