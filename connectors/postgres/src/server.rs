//! A server that speaks PostgreSQL's protocol: where it is, and how a connection to it begins.

use std::time::Duration;

use protocol::tls::{Mode, Roots};
use tokio_postgres::config::Host;

/// A server, as a configuration says where it is. Its kind may be another than PostgreSQL.
pub struct Server {
    /// What it is called in messages.
    pub kind: &'static str,
    /// The field of the form that names its host.
    pub host_field: &'static str,
    /// Where to connect, and as whom; the database is the default one.
    pub target: tokio_postgres::Config,
    /// How the connection is encrypted.
    pub tls: Mode,
    /// The authorities that are trusted: a file, or PEM text.
    pub roots: Option<Roots>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long a statement may take; zero is no limit.
    pub statement_timeout: Duration,
    /// How long to wait for a lock that somebody else holds; zero is no limit.
    pub lock_timeout: Duration,
    /// The statements that each connection begins with.
    pub prepare: String,
    /// One that follows them, and that an older server may not know.
    pub hope: &'static str,
}

impl Server {
    /// The host, for messages.
    pub fn host(&self) -> String {
        match self.target.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.target.get_ports().first().copied().unwrap_or(5432)
    }

    /// The default database.
    pub fn database(&self) -> &str {
        self.target.get_dbname().or(self.target.get_user()).unwrap_or("postgres")
    }

    /// The role.
    pub fn role(&self) -> &str {
        self.target.get_user().unwrap_or("postgres")
    }
}
