#![doc = include_str!("../README.md")]

mod catalog;
mod config;
mod dialect;
mod driver;
mod fitting;
mod geometry;
mod moment;
mod table;
mod values;
mod write;

use std::sync::{Mutex, PoisonError};

use protocol::silo::{Ability, Access, Silo, Store, Write};
use protocol::sql::catalog::Catalog;
use protocol::{Result, async_trait};

use catalog::Databases;
pub use config::Config;
use driver::Client;
use table::Rows;

/// A MySQL or MariaDB server: one of its databases, or all.
pub struct MySql {
    config: Config,
    catalog: Catalog,
    /// One connection for everything that reads, so that all of it is of one snapshot.
    client: Mutex<Client>,
}

impl MySql {
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
    const ABILITIES: &'static [Ability] = &[Ability::Read, Ability::Query, Ability::Write];

    async fn connect(config: Config, access: Access) -> Result<MySql> {
        let mut client = config.connect(access)?;
        let databases = match config.all_databases {
            true => Databases::All,
            false => Databases::One(&config.database),
        };
        let catalog = catalog::read(&mut client, databases, &config.tables)
            .map_err(|error| config.explain(error))?;
        Ok(MySql { config, catalog, client: Mutex::new(client) })
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        let rows = |table| Box::new(Rows { silo: self, table }) as Box<dyn Store + '_>;
        Ok(self.catalog.tables.iter().map(rows).collect())
    }

    fn writer(&self) -> Option<&dyn Write> {
        Some(self)
    }
}
