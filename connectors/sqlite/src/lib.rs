#![doc = include_str!("../README.md")]

mod catalog;
mod connection;
mod erase;
mod table;
mod values;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::config::Secret;
use protocol::message::{Evidence, Relation};
use protocol::silo::{Ability, Access, Erase, Silo, Store, StoreId, Write};
use protocol::sql::catalog::Catalog;
use protocol::sql::erase::suggest::Relations;
use protocol::sql::erase::{Databases, evidence};
use protocol::{Deserialize, JsonSchema, Result, async_trait};
use rusqlite::Connection;

use table::Rows;

/// What a person fills in.
#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// # Path
    ///
    /// The database file you want to reach.
    path: PathBuf,
    /// # Tables
    ///
    /// The tables and views you want, as patterns: `*` stands for any characters, and a pattern
    /// that begins with `!` excludes. Leave it empty for all.
    #[serde(default)]
    tables: Vec<String>,
    /// # Read Only
    ///
    /// Whether deleting and writing are refused.
    #[serde(default)]
    read_only: bool,
    /// # Busy Timeout
    ///
    /// How many seconds you want to wait for a lock that another program holds.
    #[serde(default = "busy_timeout")]
    busy_timeout: u32,
    /// # Erasure Policy
    ///
    /// What belongs to whom, what is masked and what is kept, as JSON or YAML text with the members
    /// persons, relations, strategies and retain. A request may add to it.
    #[serde(default)]
    policy: Option<String>,
    /// # Evidence Key
    ///
    /// A secret with which plans and evidence are sealed.
    #[serde(default)]
    evidence_key: Option<Secret>,
}

impl Config {
    fn path(&self) -> &Path {
        &self.path
    }

    fn busy(&self) -> Duration {
        Duration::from_secs(self.busy_timeout.into())
    }
}

fn busy_timeout() -> u32 {
    5
}

/// A SQLite database file.
pub struct Sqlite {
    config: Config,
    catalog: Catalog,
    /// The relations of each table, once they were asked for.
    relations: Relations,
    /// One connection for everything that reads: SQLite serves one statement at a time anyway.
    connection: Mutex<Connection>,
}

impl Sqlite {
    /// What a table refers to, and what that means for erasure.
    async fn relations_of(&self, id: &StoreId) -> Result<Vec<Relation>> {
        self.relations.of(self, &self.catalog, || self.settings().policy(), id).await
    }

    /// Runs `read` on the connection.
    fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        read(&connection)
    }
}

#[async_trait]
impl Silo for Sqlite {
    type Config = Config;
    const NAME: &'static str = "SQLite";
    const ABILITIES: &'static [Ability] =
        &[Ability::Read, Ability::Query, Ability::Delete, Ability::Plan, Ability::Write];

    async fn connect(config: Config, access: Access) -> Result<Sqlite> {
        let connection = connection::open(&config, access)?;
        let catalog = catalog::read(&connection, &config.tables)
            .map_err(|error| connection::explain(&config, error))?;
        Ok(Sqlite {
            config,
            catalog,
            relations: Relations::default(),
            connection: Mutex::new(connection),
        })
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        let rows = |table| Box::new(Rows { silo: self, table }) as Box<dyn Store + '_>;
        Ok(self.catalog.tables.iter().map(rows).collect())
    }

    fn eraser(&self) -> Option<&dyn Erase> {
        Some(self)
    }

    fn evidence(config: &Config, file: &Path) -> Result<Evidence> {
        evidence::check(file, config.evidence_key.as_ref())
    }

    fn writer(&self) -> Option<&dyn Write> {
        Some(self)
    }
}
