#![doc = include_str!("../README.md")]

mod catalog;
mod config;
mod dialect;
mod driver;
mod erase;
mod fitting;
mod geometry;
mod moment;
mod residue;
mod rights;
mod table;
mod values;
mod write;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::message::{Evidence, Relation};
use protocol::silo::{Ability, Access, Erase, Silo, Store, StoreId, Write};
use protocol::sql::catalog::Catalog;
use protocol::sql::erase::suggest::Relations;
use protocol::sql::erase::{Databases as _, evidence};
use protocol::{Result, async_trait};

use catalog::Databases;
pub use config::Config;
use driver::Client;
use table::Rows;

/// A MySQL or MariaDB server: one of its databases, or all.
pub struct MySql {
    config: Arc<Config>,
    catalog: Catalog,
    /// The relations of each table, once they were asked for.
    relations: Relations,
    /// The tables whose changes cannot be undone, as the last erasure found them.
    lasting: Arc<Mutex<BTreeSet<StoreId>>>,
    /// One connection for everything that reads, so that all of it is of one snapshot.
    client: Mutex<Client>,
}

impl MySql {
    /// What a table refers to, and what that means for erasure.
    async fn relations_of(&self, id: &StoreId) -> Result<Vec<Relation>> {
        self.relations.of(self, &self.catalog, || self.settings().policy(), id).await
    }

    /// Runs `read` on the connection.
    fn with<T>(&self, read: impl FnOnce(&mut Client) -> Result<T>) -> Result<T> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        read(&mut client).map_err(|error| self.config.explain(error))
    }
}

#[async_trait]
impl Silo for MySql {
    type Config = Config;
    const NAME: &'static str = "MySQL";
    const ABILITIES: &'static [Ability] =
        &[Ability::Read, Ability::Query, Ability::Delete, Ability::Plan, Ability::Write];

    async fn connect(config: Config, access: Access) -> Result<MySql> {
        let mut client = config.connect(access)?;
        let databases = Databases::of(&config);
        let catalog = catalog::read(&mut client, databases, &config.tables)
            .map_err(|error| config.explain(error))?;
        Ok(MySql {
            config: Arc::new(config),
            catalog,
            relations: Relations::default(),
            lasting: Arc::default(),
            client: Mutex::new(client),
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
