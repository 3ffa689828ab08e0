//! The stores of a silo with their schemas, as a catalog lists them.

use anyhow::Result;

use super::names::Names;
use crate::runner::reading;
use crate::silo::{Schema, Silo, Store, StoreId};

/// The stores of a silo that have a schema.
pub(super) struct Streams<'s> {
    pub(super) stores: Vec<Box<dyn Store + 's>>,
    pub(super) names: Names,
    pub(super) found: Vec<Found>,
}

/// One of them.
pub(super) struct Found {
    pub(super) id: StoreId,
    pub(super) schema: Schema,
    reads: bool,
}

impl<'s> Streams<'s> {
    /// All streams; a store without a schema is said and left out.
    pub(super) async fn of<S: Silo>(silo: &'s S) -> Result<Streams<'s>> {
        let stores = silo.stores().await?;
        let ids: Vec<StoreId> = stores.iter().map(|store| store.id()).collect();
        let names = Names::of(&ids);
        let mut found = Vec::new();
        for (store, id) in stores.iter().zip(ids) {
            match store.schema().await {
                Ok(schema) => {
                    let reads = store.capabilities().read.is_some();
                    found.push(Found { id, schema, reads });
                }
                Err(error) => reading::say(&id, error)?,
            }
        }
        Ok(Streams { stores, names, found })
    }

    /// The stream of a name in a namespace; by name alone where the namespace is not said and no
    /// other stream has the name.
    pub(super) fn named(&self, namespace: Option<&str>, name: &str) -> Option<&Found> {
        let mut named = self.found.iter().filter(|found| found.id.name == name);
        if let Some(found) =
            named.clone().find(|found| self.names.namespace(&found.id) == namespace)
        {
            return Some(found);
        }
        named.next().filter(|_| namespace.is_none() && named.next().is_none())
    }
}

impl Found {
    /// Whether it can be read.
    pub(super) fn reads(&self) -> bool {
        self.reads
    }

    /// How the stream can be told where to go on, if it can.
    pub(super) fn resumes(&self) -> bool {
        self.reads && !(self.schema.key.is_empty() && self.schema.cursors.is_empty())
    }
}
