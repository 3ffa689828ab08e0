//! One table or view as a store.

use protocol::fault::Fault;
use protocol::output::Output;
use protocol::silo::{
    Capabilities, From, Kind, Query, Read, Sample, Schema, Store, StoreId, Subject,
};
use protocol::sql::catalog::{Column, Table};
use protocol::sql::statement;
use protocol::{Result, async_trait, log};
use tokio::sync::Semaphore;

use crate::catalog::{ColumnWay, Database, Relation};
use crate::pool::Pool;
use crate::{Postgres, order, place, query, sample};

/// A table or view of a database.
pub(crate) struct Rows<'s> {
    pub(crate) silo: &'s Postgres,
    pub(crate) database: &'s Database,
    pub(crate) table: &'s Table,
    pub(crate) relation: &'s Relation,
}

impl<'s> Rows<'s> {
    /// Whether the role may read anything of it.
    pub(crate) fn visible(&self) -> bool {
        self.relation.readable || self.relation.columns.iter().any(|way| way.readable)
    }

    /// The columns that were asked for and may be read, each with how.
    pub(crate) fn columns(
        &self,
        properties: Option<&[String]>,
    ) -> Result<Vec<(&'s Column, &'s ColumnWay)>> {
        let wanted = statement::columns(self.table, properties)?;
        let found: Vec<_> = wanted
            .into_iter()
            .filter_map(|column| self.way(&column.name).map(|way| (column, way)))
            .filter(|(_, way)| way.readable)
            .collect();
        Ok(found)
    }

    /// How a column is read.
    pub(crate) fn way(&self, name: &str) -> Option<&'s ColumnWay> {
        let place = self.table.columns.iter().position(|column| column.name == name)?;
        self.relation.columns.get(place)
    }

    pub(crate) fn pool(&self) -> Result<&'s Pool> {
        self.silo.pool(&self.database.name)
    }

    pub(crate) async fn readers(&self, parallel: usize) -> &'s Semaphore {
        self.silo.readers.get_or_init(|| async { Semaphore::new(parallel.max(1)) }).await
    }

    /// Whether rows carry the transactions they are of.
    pub(crate) fn has_transactions(&self) -> bool {
        let Relation { parts, readable, .. } = self.relation;
        *readable && !parts.is_empty() && parts.iter().all(|part| part.plain)
    }

    /// Whether rows may be read by where they are stored.
    fn has_places(&self) -> bool {
        let Relation { parts, readable, row_security, only, .. } = self.relation;
        let all = |part: &crate::catalog::Part| part.plain && part.select;
        // The rules of a partitioned table are not those of its partitions.
        *readable && !parts.is_empty() && parts.iter().all(all) && (!*row_security || *only)
    }
}

#[async_trait]
impl Store for Rows<'_> {
    fn id(&self) -> StoreId {
        self.table.id.clone()
    }

    async fn schema(&self) -> Result<Schema> {
        let hidden = |name: &str| self.way(name).is_none_or(|way| !way.readable);
        let mut schema = self.table.schema();
        schema.relations = self.silo.references(self.database, &self.table.id).await?;
        let properties =
            schema.json_schema.get_mut("properties").and_then(|members| members.as_object_mut());
        let mut left_out = Vec::new();
        for column in self.table.columns.iter().filter(|column| hidden(&column.name)) {
            left_out.push(column.name.as_str());
        }
        if let Some(properties) = properties {
            properties.retain(|name, _| !hidden(name));
        }
        if !left_out.is_empty() {
            log::warn(format_args!(
                "{}: the role may not read these columns, and they are left out: {}",
                self.table.id,
                left_out.join(", ")
            ));
        }
        if schema.key.iter().any(|name| hidden(name)) {
            schema.key.clear();
        }
        schema.cursors.retain(|name| !hidden(name));
        schema.relations.retain(|relation| !relation.columns.iter().any(|name| hidden(name)));
        Ok(schema)
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        sample::scan(self, sample, out).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        let capabilities = Capabilities::default().read(self).query(self);
        match self.table.kind {
            Kind::Table | Kind::PartitionedTable => capabilities.erase(self.silo),
            _ => capabilities,
        }
    }
}

#[async_trait]
impl Read for Rows<'_> {
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()> {
        let _permit = self.readers(from.parallel).await.acquire().await;
        let foreign: Vec<&str> = self
            .columns(from.properties)?
            .iter()
            .filter(|(_, way)| way.resolved.foreign)
            .map(|(column, _)| column.name.as_str())
            .collect();
        if !foreign.is_empty() {
            log::info(format_args!(
                "{}: read as text, being of types that are not known: {}",
                self.table.id,
                foreign.join(", ")
            ));
        }
        if self.relation.row_security {
            log::warn(format_args!(
                "{}: row-level security may hide rows from this role",
                self.table.id
            ));
        }
        match from.cursor {
            None if self.has_places() => place::read(self, from, out).await,
            Some(name) if self.way(name).is_some_and(|way| !way.readable) => {
                Err(Fault::config(format!("the role may not read the cursor `{name}`")).into())
            }
            _ => order::read(self, from, out).await,
        }
    }
}

#[async_trait]
impl Query for Rows<'_> {
    async fn query(&self, subject: &Subject, out: &mut Output) -> Result<()> {
        query::query(self, subject, out).await
    }
}
