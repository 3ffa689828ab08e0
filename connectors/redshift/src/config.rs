//! The form a person fills in, and the server that comes of it.

use std::time::Duration;

use connector_postgres::family::Server;
use protocol::config::Secret;
use protocol::sql::server::{ConnectTimeout, StatementTimeout};
use protocol::tls::{Mode, Roots};
use protocol::{Deserialize, JsonSchema, select};

use crate::sql;

/// What a person fills in.
#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// # Host
    ///
    /// The endpoint of the cluster or workgroup you want to reach, without its port.
    host: String,
    /// # Database
    ///
    /// The database you want to connect to first. The others are found through it.
    #[schemars(extend("default" = "dev"))]
    database: String,
    /// # Username
    ///
    /// The database user you want to connect as.
    username: String,
    /// # Password
    ///
    /// The user's password.
    password: Secret,
    /// # Port
    ///
    /// The port the endpoint listens on.
    #[serde(default = "port")]
    #[schemars(extend("type" = "number"))]
    port: u16,
    /// # Scan All DBs
    ///
    /// Whether you want all databases, or only the one above.
    #[serde(default = "yes")]
    pub(crate) scan_all: bool,
    /// # Exclude DBs
    ///
    /// Databases you do not want, as patterns: `*` stands for any characters.
    #[serde(default)]
    #[schemars(extend("uniqueItems" = true))]
    exclude_dbs: Vec<String>,
    /// # Schemas
    ///
    /// The schemas you want, as patterns: `*` stands for any characters, and a pattern that begins
    /// with `!` excludes. Leave it empty for all.
    #[serde(default)]
    schemas: Vec<String>,
    /// # Tables
    ///
    /// The tables and views you want, as patterns of a name (`orders`) or of schema and name
    /// (`sales.*`); a pattern that begins with `!` excludes. Leave it empty for all.
    #[serde(default)]
    tables: Vec<String>,
    #[serde(default)]
    #[schemars(extend("default" = "verify-ca"))]
    sslmode: Option<Mode>,
    #[serde(default)]
    sslrootcert: Option<Roots>,
    #[serde(default)]
    connect_timeout: ConnectTimeout,
    #[serde(default)]
    statement_timeout: StatementTimeout,
    /// # Read Only
    ///
    /// Whether deleting is refused.
    #[serde(default)]
    pub(crate) read_only: bool,
}

fn port() -> u16 {
    5439
}

fn yes() -> bool {
    true
}

impl Config {
    /// Where to connect, and how.
    pub(crate) fn server(&self) -> Server {
        let mut target = tokio_postgres::Config::new();
        target.host(self.host.trim());
        target.port(self.port);
        target.dbname(&self.database);
        target.user(&self.username);
        target.password(self.password.reveal());
        target.application_name("manifold");
        let statement_timeout = self.statement_timeout.duration();
        Server {
            kind: "Redshift",
            host_field: "host",
            target,
            tls: self.sslmode.unwrap_or(Mode::VerifyCa),
            roots: self.sslrootcert.clone(),
            connect_timeout: self.connect_timeout.duration(),
            statement_timeout,
            // There is no such limit in Redshift.
            lock_timeout: Duration::ZERO,
            prepare: sql::prepare(statement_timeout),
            hope: sql::KEEP_CASE,
        }
    }

    /// Whether a database is wanted, of several.
    pub(crate) fn wants_database(&self, name: &str) -> bool {
        !self.exclude_dbs.iter().any(|pattern| select::matches(pattern, name))
    }

    /// Whether a table of a schema is wanted.
    pub(crate) fn wants(&self, schema: &str, table: &str) -> bool {
        select::chosen(&self.schemas, &[schema]) && select::table(&self.tables, schema, table)
    }
}
