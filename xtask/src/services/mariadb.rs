//! A private MariaDB: a password, TLS on, a row-based binary log, nothing kept.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::Result;

use super::certificate::Certificate;
use super::home::{Home, random};
use super::{Programs, Service, Started, free_port};

pub(super) const SERVICE: Service = Service {
    name: "mariadb",
    variables: &["MARIADB_URL", "MYSQL_URL"],
    schemes: &["mariadb://", "mysql://"],
    programs: &["mariadb-install-db", "mariadbd", "openssl"],
    folders: &["/usr/sbin"],
    // The server without the package that makes a service of it.
    packages: &["mariadb-server-core", "mariadb-client-core", "openssl"],
    url: "MANIFOLD_TEST_MARIADB",
    start,
};

fn start(home: Home, programs: &Programs) -> Result<Started> {
    let password = random()?;
    let data = format!("--datadir={}", home.path("data").display());
    let mut install = home.command(programs.path("mariadb-install-db"));
    install.args([
        "--no-defaults",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-log-bin",
    ]);
    home.run(install.arg(&data))?;
    let accounts = home.write(
        "accounts.sql",
        &format!(
            "SET sql_log_bin = 0;\n\
             DELETE FROM mysql.global_priv WHERE User = 'root';\n\
             FLUSH PRIVILEGES;\n\
             CREATE USER manifold@'%' IDENTIFIED BY '{password}';\n\
             GRANT ALL ON *.* TO manifold@'%' WITH GRANT OPTION;\n"
        ),
    )?;
    let certificate = Certificate::new(&home, programs)?;
    let port = free_port()?;
    let mut server = home.command(programs.path("mariadbd"));
    server.args(["--no-defaults", &data, "--bind-address=127.0.0.1", "--skip-name-resolve"]).args(
        [
            format!("--port={port}"),
            format!("--socket={}", home.path("socket").display()),
            format!("--pid-file={}", home.path("pid").display()),
            format!("--init-file={}", accounts.display()),
            format!("--ssl-ca={}", certificate.authority.display()),
            format!("--ssl-cert={}", certificate.certificate.display()),
            format!("--ssl-key={}", certificate.key.display()),
        ],
    );
    server.args(["--server-id=1", "--log-bin=binlog", "--binlog-format=ROW"]);
    server.args([
        "--innodb-flush-log-at-trx-commit=0",
        // It is taken as it is used, and the table of the benchmark fits.
        "--innodb-buffer-pool-size=512M",
        "--character-set-server=utf8mb4",
    ]);
    let server = home.serve(&server, "TERM", port, |_| greets(port))?;
    let variables = vec![
        (SERVICE.url, format!("mysql://manifold:{password}@127.0.0.1:{port}/mysql")),
        ("MANIFOLD_TEST_MARIADB_CERT", certificate.authority.display().to_string()),
    ];
    Ok(Started { server, variables })
}

/// Whether the server has begun to speak, which it does first and only when it is ready.
fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let limited = stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok();
    limited && stream.read_exact(&mut [0]).is_ok()
}
