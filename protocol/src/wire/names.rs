//! How stores are called by protocols that know a name and perhaps a namespace.

use std::collections::{HashMap, HashSet};

use crate::silo::StoreId;

/// What is known of all names of a silo, to give each store its own.
pub(super) struct Names {
    /// Whether the stores are of several databases.
    several: bool,
    /// How many stores have each name.
    counts: HashMap<String, usize>,
}

impl Names {
    /// The names of a silo's stores.
    pub(super) fn of<'a>(stores: impl IntoIterator<Item = &'a StoreId>) -> Names {
        let mut databases = HashSet::new();
        let mut counts = HashMap::new();
        for id in stores {
            if let Some(group) = &id.group {
                databases.insert(group.rsplit_once('/').map(|(database, _)| database));
            }
            *counts.entry(id.name.clone()).or_default() += 1;
        }
        Names { several: databases.len() > 1, counts }
    }

    /// The schema a store is in, with its database where there are several.
    pub(super) fn namespace<'a>(&self, id: &'a StoreId) -> Option<&'a str> {
        let group = id.group.as_deref()?;
        match group.rsplit_once('/') {
            Some((_, schema)) if !self.several => Some(schema),
            _ => Some(group),
        }
    }

    /// A name of one word: that of the store, after its namespace, parted by `mark`.
    pub(super) fn joined(&self, id: &StoreId, mark: &str) -> String {
        match self.namespace(id) {
            Some(namespace) => format!("{}{mark}{}", namespace.replace('/', mark), id.name),
            None => id.name.clone(),
        }
    }

    /// The store of a name in a namespace: one of `ids`, or a new one.
    pub(super) fn target(&self, ids: &[StoreId], namespace: Option<&str>, name: &str) -> StoreId {
        let known = ids.iter().find(|id| id.name == name && self.namespace(id) == namespace);
        let new = || StoreId::new(namespace.map(str::to_owned), name);
        known.cloned().unwrap_or_else(new)
    }

    /// The store's own name, or the joined one where another store has the same.
    pub(super) fn apart(&self, id: &StoreId) -> String {
        match self.counts.get(&id.name) {
            Some(2..) => self.joined(id, "."),
            _ => id.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_named_only_where_there_are_several() {
        let id = |group: &str, name: &str| StoreId::new(Some(group.to_owned()), name);
        let one = [id("shop/public", "orders"), id("shop/hr", "people")];
        let names = Names::of(&one);
        assert_eq!(names.namespace(&one[1]), Some("hr"));
        assert_eq!(names.joined(&one[1], "-"), "hr-people");
        assert_eq!(names.apart(&one[1]), "people");

        let two = [id("shop/public", "orders"), id("old/public", "orders")];
        let names = Names::of(&two);
        assert_eq!(names.namespace(&two[1]), Some("old/public"));
        assert_eq!(names.joined(&two[1], "-"), "old-public-orders");
        assert_eq!(names.apart(&two[1]), "old.public.orders");

        let bare = [StoreId::named("orders")];
        assert_eq!(Names::of(&bare).joined(&bare[0], "-"), "orders");
    }
}
