//! The form a person fills in, and connecting by it.

use protocol::config::Secret;
use protocol::silo::Access;
use protocol::sql::server::{ConnectTimeout, StatementTimeout};
use protocol::tls::{Mode, Roots};
use protocol::{Deserialize, JsonSchema, Result, anyhow};

use crate::driver::{self, Client, Login, Place};

/// What a person fills in.
#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// # Hostname
    ///
    /// The server you want to reach: a name or an address.
    pub(crate) hostname: String,
    /// # Port
    ///
    /// The port the server listens on.
    #[schemars(extend("type" = "number", "default" = 3306))]
    port: u16,
    /// # Database
    ///
    /// The database you want.
    pub(crate) database: String,
    /// # Username
    ///
    /// The user you want to connect as.
    username: String,
    /// # Password
    ///
    /// The user's password.
    password: Secret,
    /// # All Databases
    ///
    /// Whether you want all databases of the server that the user may see, and not only the one
    /// above.
    #[serde(default)]
    pub(crate) all_databases: bool,
    /// # Tables
    ///
    /// The tables and views you want, as patterns of a name (`orders`) or of database and name
    /// (`shop.*`): `*` stands for any characters, and a pattern that begins with `!` excludes.
    /// Leave it empty for all.
    #[serde(default)]
    pub(crate) tables: Vec<String>,
    #[serde(default)]
    #[schemars(extend("default" = "prefer"))]
    sslmode: Option<Mode>,
    #[serde(default)]
    sslrootcert: Option<Roots>,
    #[serde(default)]
    connect_timeout: ConnectTimeout,
    #[serde(default)]
    statement_timeout: StatementTimeout,
    /// # Lock Timeout
    ///
    /// How many seconds you want to wait for a lock that somebody else holds.
    #[serde(default = "lock_timeout")]
    lock_timeout: u32,
    /// # Read Only
    ///
    /// Whether deleting and writing are refused.
    #[serde(default)]
    read_only: bool,
    /// # Erasure Policy
    ///
    /// What belongs to whom, what is masked and what is kept, as JSON or YAML text with the members
    /// persons, relations, strategies and retain. A request may add to it.
    #[serde(default)]
    pub(crate) policy: Option<String>,
    /// # Evidence Key
    ///
    /// A secret with which plans and evidence are sealed.
    #[serde(default)]
    pub(crate) evidence_key: Option<Secret>,
}

fn lock_timeout() -> u32 {
    60
}

/// Strict, so that nothing is cut off or rounded; and all that a column can hold may be written,
/// zero dates and 0 in a column that counts up among them.
const SQL_MODE: &str = "STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,\
                        NO_BACKSLASH_ESCAPES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO";

/// Collations in which only the same is equal: MariaDB's, MySQL's, and that of older servers.
const EXACT: [&str; 3] = ["utf8mb4_nopad_bin", "utf8mb4_0900_bin", "utf8mb4_bin"];

impl Config {
    /// A connection of its own, in a session that is the same on every server.
    pub(crate) fn connect(&self, access: Access) -> Result<Client> {
        access.unless(self.read_only)?;
        let connect = || {
            let mut client = self.session()?;
            client.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
            if access == Access::Read {
                // Whatever is read comes from one state of the database.
                client.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")?;
            }
            Ok(client)
        };
        connect().map_err(|error| self.explain(error))
    }

    /// A connection in a transaction whose every statement locks what it reads, so that nobody can
    /// change it before the end.
    ///
    /// A snapshot would not do, not even to look: a statement that fills a table from others reads
    /// what is there now, whatever the snapshot says.
    pub(crate) fn locking(&self) -> Result<Client> {
        let connect = || {
            let mut client = self.session()?;
            client.run("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE")?;
            client.run("START TRANSACTION")?;
            Ok(client)
        };
        connect().map_err(|error| self.explain(error))
    }

    /// A connection with its settings, and no transaction.
    pub(crate) fn plain(&self) -> Result<Client> {
        self.session().map_err(|error| self.explain(error))
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.hostname, self.port)
    }

    fn session(&self) -> Result<Client> {
        let mode = self.sslmode.unwrap_or(Mode::Prefer);
        let login = Login {
            host: &self.hostname,
            user: &self.username,
            password: self.password.reveal(),
            database: Some(self.database.as_str()).filter(|name| !name.is_empty()),
            mode,
            tls: mode.config(self.sslrootcert.as_ref())?,
        };
        let mut client = Client::connect(self.port, &login, self.connect_timeout.duration())?;
        // What constants are compared by among themselves. MariaDB takes two expressions that differ
        // by constants that are equal in it for one, and would leave one of two identifiers out.
        let named = EXACT.iter().find_map(|collation| {
            client.run(&format!("SET NAMES utf8mb4 COLLATE {collation}")).ok()
        });
        if named.is_none() {
            client.run("SET NAMES utf8mb4")?;
        }
        client.run(&format!(
            "SET SESSION sql_mode = '{SQL_MODE}', time_zone = '+00:00', sql_auto_is_null = 0, \
             sql_safe_updates = 0, sql_big_selects = 1, sql_select_limit = DEFAULT, \
             foreign_key_checks = 1, unique_checks = 1, net_write_timeout = 86400, \
             lock_wait_timeout = {0}, innodb_lock_wait_timeout = {0}",
            self.lock_timeout.max(1)
        ))?;
        let seconds = self.statement_timeout.seconds();
        if seconds > 0 {
            // MariaDB's name for it, or MySQL's, which counts in milliseconds.
            let mariadb = client.run(&format!("SET SESSION max_statement_time = {seconds}"));
            if mariadb.is_err() {
                client.run(&format!("SET SESSION max_execution_time = {seconds}000"))?;
            }
        }
        Ok(client)
    }

    /// A failure with its cause and what to do about it.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let place = Place {
            host: &self.hostname,
            port: self.port,
            user: &self.username,
            lock_timeout: self.lock_timeout,
            statement_timeout: self.statement_timeout.seconds(),
        };
        driver::explain(error, &place)
    }
}
