#![doc = include_str!("../README.md")]

mod catalog;
mod config;
mod connection;
mod sql;
mod table;
mod values;

use std::sync::Arc;

use connector_postgres::family::Server;
use protocol::fault;
use protocol::message::Relation;
use protocol::silo::{Ability, Access, Silo, Store};
use protocol::sql::catalog::Catalog;
use protocol::{Result, async_trait, log};
use tokio::sync::OnceCell;

pub use config::Config;
use connection::{Connection, Reader};
use table::Rows;

/// A Redshift cluster or workgroup: all its databases, or one.
pub struct Redshift {
    config: Config,
    server: Arc<Server>,
    /// The names of the databases.
    names: Vec<String>,
    databases: OnceCell<Vec<Database>>,
}

/// A database, as its catalog says it is.
pub(crate) struct Database {
    name: String,
    catalog: Catalog,
    /// The relations of each table.
    relations: Vec<Vec<Relation>>,
    reader: Reader,
}

impl Redshift {
    /// The databases; where one of several cannot be read, that is said and the others go on.
    async fn discover(&self) -> Result<Vec<Database>> {
        let mut databases = Vec::new();
        for name in &self.names {
            match self.database(name).await {
                Ok(database) => databases.push(database),
                Err(error) if self.names.len() == 1 => return Err(error),
                Err(error) => log::error(format_args!(
                    "the database {name} is left out: {}",
                    fault::line(&error)
                )),
            }
        }
        Ok(databases)
    }

    async fn database(&self, name: &str) -> Result<Database> {
        let connection = Connection::open(&self.server, name).await?;
        let found = catalog::read(&self.config, name, &connection).await?;
        Ok(Database {
            name: name.to_owned(),
            catalog: found.catalog,
            relations: found.relations,
            reader: Reader::new(&self.server, name),
        })
    }
}

#[async_trait]
impl Silo for Redshift {
    type Config = Config;
    const NAME: &'static str = "Amazon Redshift";
    const ABILITIES: &'static [Ability] = &[Ability::Read, Ability::Query, Ability::Delete];

    async fn connect(config: Config, access: Access) -> Result<Redshift> {
        access.unless(config.read_only)?;
        let server = Arc::new(config.server());
        let first = Connection::open(&server, server.database()).await?;
        let names = match config.scan_all {
            true => catalog::databases(&config, &first).await?,
            false => vec![server.database().to_owned()],
        };
        Ok(Redshift { config, server, names, databases: OnceCell::new() })
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        let databases = self.databases.get_or_try_init(|| self.discover()).await?;
        let mut stores: Vec<Box<dyn Store + '_>> = Vec::new();
        for database in databases {
            for (table, relations) in database.catalog.tables.iter().zip(&database.relations) {
                stores.push(Box::new(Rows { silo: self, database, table, relations }));
            }
        }
        Ok(stores)
    }
}
