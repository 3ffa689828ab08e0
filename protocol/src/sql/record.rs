//! Records on their way into a table: their members, and which types a column can take.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::types::Type;

/// Whether values of the type `from` can be stored in a column of the type `into` unchanged.
pub fn fits(from: &Type, into: &Type) -> bool {
    match (from, into) {
        (from, into) if from == into => true,
        (_, Type::Any | Type::Json) | (Type::Any, _) => true,
        (Type::Integer, Type::Number | Type::Decimal) => true,
        (Type::Boolean, Type::Integer) => true,
        // The database refuses a text that is none of its values.
        (Type::Text | Type::Other, Type::Uuid | Type::Other) => true,
        // Everything else that is spelled as a string, and documents.
        (Type::Boolean | Type::Integer | Type::Number | Type::Bytes, Type::Text) => false,
        (_, Type::Text) => true,
        _ => false,
    }
}

/// A type in a word or two, for a person whose records do not fit.
pub fn word(of: &Type) -> &'static str {
    match of {
        Type::Boolean => "true or false",
        Type::Integer => "whole numbers",
        Type::Number => "numbers",
        Type::Decimal => "exact decimals",
        Type::Bytes => "bytes",
        Type::Json | Type::Array(_) => "documents",
        _ => "text",
    }
}

/// The members of a record, in order, not looked into.
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Takes a record apart; an error where it is no object.
    pub fn of(record: &'a RawValue) -> serde_json::Result<Members<'a>> {
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
        serde_json::Deserializer::from_str(record.get()).deserialize_map(Collect)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }
}

/// A member's name, borrowed where it holds no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
