//! Records on their way into a table: their members, not looked into.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::silo::StoreId;

/// The members of a record, in order, not looked into.
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Takes a store's record apart; an error where it is no object.
    pub fn of(store: &StoreId, record: &'a RawValue) -> anyhow::Result<Members<'a>> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Members<'de>, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                let mut seen = HashSet::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    // Of two members of one name the last counts, as everywhere in JSON.
                    if seen.insert(name.clone()) {
                        members.push((name, value));
                    } else if let Some(earlier) = members.iter_mut().find(|(n, _)| *n == name) {
                        earlier.1 = value;
                    }
                }
                Ok(Members(members))
            }
        }
        let collected = serde_json::Deserializer::from_str(record.get()).deserialize_map(Collect);
        collected
            .map_err(|_| Fault::config(format!("{store}: a record is not a JSON object")).into())
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }
}

/// A member's name, borrowed where it holds no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
