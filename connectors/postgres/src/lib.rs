#![doc = include_str!("../README.md")]

mod catalog;
mod config;
mod copy;
mod decode;
mod erase;
mod fault;
mod field;
mod identify;
mod moment;
mod order;
mod place;
mod pool;
mod query;
mod sample;
mod server;
mod session;
mod sql;
mod state;
mod stream;
mod table;
mod time;
mod tls;
mod types;
mod write;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use protocol::fault as faults;
use protocol::message::{Evidence, Relation};
use protocol::silo::{Ability, Access, Erase, Silo, Store, StoreId, Write};
use protocol::sql::erase::{Databases, evidence};
use protocol::{Context, Result, async_trait, log};
use tokio::sync::{Mutex, OnceCell, Semaphore};

use catalog::Database;
pub use config::Config;
use config::Settings;
use erase::Erased;
use pool::Pool;
use session::Session;
use table::Rows;

/// What reaches other servers that speak PostgreSQL's protocol, with a catalog and SQL of their own.
pub mod family {
    pub use crate::fault::explain;
    pub use crate::identify::value;
    pub use crate::server::Server;
    pub use crate::session::Session;
}

/// How many catalogs are read side by side.
const CATALOGS: usize = 4;

/// A PostgreSQL server: all its databases, or one.
pub struct Postgres {
    settings: Arc<Settings>,
    /// The connection that was opened first, until the catalog is read through it.
    first: Mutex<Option<Session>>,
    /// The databases, to be erased from.
    erased: Vec<Erased>,
    databases: OnceCell<Vec<Database>>,
    pools: OnceCell<HashMap<String, Pool>>,
    /// How many connections read at once in this run.
    readers: OnceCell<Semaphore>,
}

impl Postgres {
    /// The databases, with their catalogs.
    async fn databases(&self) -> Result<&[Database]> {
        let databases = self.databases.get_or_try_init(|| self.discover()).await?;
        Ok(databases)
    }

    async fn discover(&self) -> Result<Vec<Database>> {
        let reads = self.erased.iter().map(|erased| self.catalog(erased.name()));
        let reads = futures::stream::iter(reads.collect::<Vec<_>>());
        let found: Vec<Option<Database>> = reads.buffered(CATALOGS).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The catalog of a database; where it is one of several that cannot be read, that is said and
    /// the others go on.
    async fn catalog(&self, name: &str) -> Result<Option<Database>> {
        let settings = &*self.settings;
        let read = async {
            let own = match name == settings.server.database() {
                true => self.first.lock().await.take(),
                false => None,
            };
            let session = match own {
                Some(session) => session,
                None => Session::open(&settings.server, name).await?,
            };
            catalog::read(settings, name, &session).await
        };
        match read.await {
            Ok(database) => Ok(Some(database)),
            Err(error) if self.erased.len() == 1 => Err(error),
            Err(error) => {
                log::error(format_args!(
                    "the database {name} is left out: {}",
                    faults::line(&error)
                ));
                Ok(None)
            }
        }
    }

    /// What a table refers to, and what that means for erasure.
    async fn references(&self, database: &Database, id: &StoreId) -> Result<Vec<Relation>> {
        let engine = self.erased.iter().find(|erased| erased.name() == database.name);
        let engine = engine.context("a database with a catalog is one of the silo's")?;
        let policy = || Databases::settings(self).policy();
        database.references.of(engine, &database.catalog, policy, id).await
    }

    /// The connections of a database.
    fn pool(&self, database: &str) -> Result<&Pool> {
        let pools = self.pools.get().and_then(|pools| pools.get(database));
        pools.context("the stores were listed before one is read")
    }
}

/// The names of the databases that are wanted and may be connected to.
async fn databases(settings: &Settings, first: &Session) -> Result<Vec<String>> {
    if !settings.scan_all {
        return Ok(vec![settings.server.database().to_owned()]);
    }
    let names = first
        .client
        .query(
            "SELECT datname::text, has_database_privilege(oid, 'CONNECT') FROM pg_database \
             WHERE datallowconn AND NOT datistemplate ORDER BY datname",
            &[],
        )
        .await
        .map_err(|error| fault::explain(&settings.server, error))
        .context("listing the databases")?;
    let mut wanted = Vec::new();
    for row in names {
        let (name, allowed): (String, bool) = (row.get(0), row.get(1));
        if !settings.wants_database(&name) {
            continue;
        }
        if !allowed {
            log::warn(format_args!(
                "the database {name} is left out: {} may not connect to it (GRANT CONNECT)",
                settings.server.role()
            ));
            continue;
        }
        wanted.push(name);
    }
    Ok(wanted)
}

#[async_trait]
impl Silo for Postgres {
    type Config = Config;
    const NAME: &'static str = "PostgreSQL";
    const ABILITIES: &'static [Ability] =
        &[Ability::Read, Ability::Query, Ability::Delete, Ability::Plan, Ability::Write];

    async fn connect(config: Config, access: Access) -> Result<Postgres> {
        let settings = Settings::of(config)?;
        access.unless(settings.read_only)?;
        let first = Session::open(&settings.server, settings.server.database()).await?;
        let settings = Arc::new(settings);
        let names = databases(&settings, &first).await?;
        let erased = names.into_iter().map(|name| Erased::new(Arc::clone(&settings), name));
        Ok(Postgres {
            erased: erased.collect(),
            settings,
            first: Mutex::new(Some(first)),
            databases: OnceCell::new(),
            pools: OnceCell::new(),
            readers: OnceCell::new(),
        })
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        let databases = self.databases().await?;
        let pools = self.pools.get_or_init(|| async {
            let pool = |database: &Database| {
                (
                    database.name.clone(),
                    Pool::new(Arc::clone(&self.settings), database.name.clone()),
                )
            };
            databases.iter().map(pool).collect()
        });
        pools.await;
        let mut stores: Vec<Box<dyn Store + '_>> = Vec::new();
        for database in databases {
            let mut hidden = Vec::new();
            for (table, relation) in database.catalog.tables.iter().zip(&database.relations) {
                if !relation.chosen {
                    continue;
                }
                let rows = Rows { silo: self, database, table, relation };
                match rows.visible() {
                    true => stores.push(Box::new(rows)),
                    false => hidden.push(table.path.join(".")),
                }
            }
            if !hidden.is_empty() {
                log::warn(format_args!(
                    "{}: {} may not read and are left out (GRANT SELECT, and USAGE on their schemas): {}",
                    database.name,
                    self.settings.server.role(),
                    hidden.join(", ")
                ));
            }
        }
        Ok(stores)
    }

    fn eraser(&self) -> Option<&dyn Erase> {
        Some(self)
    }

    fn evidence(config: &Config, file: &Path) -> Result<Evidence> {
        evidence::check(file, config.evidence_key())
    }

    fn writer(&self) -> Option<&dyn Write> {
        Some(self)
    }
}
