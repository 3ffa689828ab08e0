//! A private PostgreSQL: passwords by SCRAM, TLS on, nothing kept.

use std::fs;

use anyhow::Result;

use super::certificate::Certificate;
use super::home::{Home, random};
use super::{Programs, Service, Started, free_port};

pub(super) const SERVICE: Service = Service {
    name: "postgres",
    variables: &["DATABASE_URL"],
    schemes: &["postgres://", "postgresql://"],
    programs: &["initdb", "postgres", "openssl"],
    folders: &["/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"],
    packages: &["postgresql", "openssl"],
    url: "MANIFOLD_TEST_POSTGRES",
    start,
};

fn start(home: Home, programs: &Programs) -> Result<Started> {
    let password = random()?;
    let password_file = home.write("password", &password)?;
    let data = home.path("data");
    let mut initdb = home.command(programs.path("initdb"));
    initdb.arg("--pgdata").arg(&data).arg("--pwfile").arg(password_file).args([
        "--username=postgres",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    home.run(&mut initdb)?;
    let certificate = Certificate::new(&home, programs)?;
    let port = free_port()?;
    let mut server = home.command(programs.path("postgres"));
    server.arg("-D").arg(&data).arg("-p").arg(port.to_string());
    for setting in [
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        "shared_buffers=32MB".to_owned(),
        "fsync=off".to_owned(),
        "full_page_writes=off".to_owned(),
        "synchronous_commit=off".to_owned(),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", certificate.certificate.display()),
        format!("ssl_key_file={}", certificate.key.display()),
    ] {
        server.arg("-c").arg(setting);
    }
    // SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
    let server = home.serve(&server, "INT", port, |home| {
        let status = fs::read_to_string(home.path("data/postmaster.pid")).unwrap_or_default();
        status.lines().last().is_some_and(|line| line.trim() == "ready")
    })?;
    let variables = vec![
        (SERVICE.url, format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres")),
        ("MANIFOLD_TEST_POSTGRES_CERT", certificate.authority.display().to_string()),
    ];
    Ok(Started { server, variables })
}
