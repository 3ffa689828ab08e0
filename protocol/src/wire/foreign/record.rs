//! Looks into a record that stays raw JSON: which members it has, and whether it is a subject's.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::{Json, Spelling};
use crate::silo::Subject;

/// Knows the properties that a stream's records should have. Programs leave out those that are null.
pub(super) struct Shape {
    properties: Vec<String>,
    /// The members of the last record, in order: those of the next are mostly the same.
    last: Vec<String>,
    /// What the last record lacked, as `,"a":null`.
    lacking: Vec<u8>,
    /// Members that the schema does not have.
    strange: BTreeSet<String>,
}

impl Shape {
    pub(super) fn new(properties: Vec<String>) -> Shape {
        let mut shape =
            Shape { properties, last: Vec::new(), lacking: Vec::new(), strange: BTreeSet::new() };
        shape.learn(Vec::new());
        shape
    }

    /// Looks at which members a record has.
    pub(super) fn look(&mut self, record: &RawValue) -> Result<()> {
        let mut deserializer = serde_json::Deserializer::from_str(record.get());
        let same = Compare(&self.last).deserialize(&mut deserializer);
        if !same.context("a record is no object")? {
            let Names(names) = serde_json::from_str(record.get())?;
            self.learn(names);
        }
        Ok(())
    }

    /// The members that the record lacks which was looked at last, to be put after its own.
    pub(super) fn lacking(&self) -> &[u8] {
        &self.lacking
    }

    fn learn(&mut self, names: Vec<String>) {
        self.lacking.clear();
        for property in self.properties.iter().filter(|property| !names.contains(property)) {
            let mut json = Json::new(&mut self.lacking, Spelling::NATIVE);
            json.raw(b",");
            json.text(property);
            json.raw(b":null");
        }
        let strange = names.iter().filter(|name| !self.properties.contains(name));
        self.strange.extend(strange.cloned());
        self.last = names;
    }

    /// Members of records that the schema did not have.
    pub(super) fn strange(&self) -> &BTreeSet<String> {
        &self.strange
    }

    /// Takes up properties that the program speaks of only now.
    pub(super) fn extend(&mut self, properties: impl IntoIterator<Item = String>) {
        for property in properties {
            if !self.properties.contains(&property) {
                self.properties.push(property);
            }
        }
        let last = std::mem::take(&mut self.last);
        self.learn(last);
    }
}

/// Whether the members of an object have these names, in this order.
struct Compare<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Compare<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Compare<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let mut names = self.0.iter();
        let mut same = true;
        while let Some(Name(name)) = members.next_key()? {
            members.next_value::<IgnoredAny>()?;
            same &= names.next().is_some_and(|known| *known == *name);
        }
        Ok(same && names.next().is_none())
    }
}

/// The names of an object's members.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Names;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((Name(name), IgnoredAny)) = members.next_entry()? {
                    names.push(name.into_owned());
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// The name of a member, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether a record is one of a subject's: a member is, as text, what is known of them.
pub(super) fn is_of(subject: &Subject, record: &RawValue) -> Result<bool> {
    struct Of<'a>(&'a Subject);
    impl<'de> Visitor<'de> for Of<'_> {
        type Value = bool;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
            let mut found = false;
            while let Some(Name(name)) = members.next_key()? {
                let known = |known: &&crate::silo::Known| known.property == *name;
                if found || !self.0.identifiers.iter().any(|one| known(&one)) {
                    members.next_value::<IgnoredAny>()?;
                } else {
                    let value: &RawValue = members.next_value()?;
                    found = text(value).is_some_and(|text| self.0.has(&name, &text));
                }
            }
            Ok(found)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(record.get());
    deserializer.deserialize_map(Of(subject)).context("a record is no object")
}

/// A string, number or boolean as an identifier says it.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let json = value.get();
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok().map(|Name(text)| text),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(json)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Matching;
    use crate::silo::Known;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_a_record_lacks_is_null_however_its_members_change() {
        let mut shape = Shape::new(["a", "b", "c"].map(str::to_owned).to_vec());
        let mut lacking = |text: &str| {
            shape.look(raw(text)).unwrap();
            String::from_utf8(shape.lacking().to_vec()).unwrap()
        };
        assert_eq!(lacking(r#"{"a":1,"b":2,"c":3}"#), "");
        assert_eq!(lacking(r#"{"a":1,"b":2,"c":3}"#), "");
        assert_eq!(lacking(r#"{"a":1,"c":3}"#), r#","b":null"#);
        assert_eq!(lacking(r#"{"c":1,"a":3}"#), r#","b":null"#);
        assert_eq!(lacking(r#"{"a":1}"#), r#","b":null,"c":null"#);
        assert_eq!(lacking(r#"{"a":1,"b":2}"#), r#","c":null"#, "more of the same");
        assert_eq!(lacking("{}"), r#","a":null,"b":null,"c":null"#);
        assert_eq!(lacking(r#"{"\u0061":1,"b":{"c":1},"d":[1]}"#), r#","c":null"#);
        assert_eq!(shape.strange().iter().collect::<Vec<_>>(), ["d"]);
        assert!(shape.look(raw("[1]")).is_err());
        shape.extend(["d".to_owned()]);
        shape.look(raw(r#"{"a":1,"b":2,"c":3}"#)).unwrap();
        assert_eq!(shape.lacking(), br#","d":null"#);
    }

    #[test]
    fn a_subjects_records_are_told_by_exact_text() {
        let known = |property: &str, value: &str| Known {
            property: property.to_owned(),
            value: value.to_owned(),
            matching: Matching::Exact,
        };
        let subject = Subject {
            identifiers: vec![
                known("email", "ada@example.com"),
                known("id", "7"),
                known("ok", "true"),
            ],
            properties: None,
        };
        for (record, expected) in [
            (r#"{"email":"ada@example.com"}"#, true),
            (r#"{"email":"\u0061da@example.com","id":1}"#, true),
            (r#"{"email":"Ada@example.com","id":8}"#, false),
            (r#"{"email":null,"id":7}"#, true),
            (r#"{"id":"7"}"#, true),
            (r#"{"id":77}"#, false),
            (r#"{"id":[7],"other":7}"#, false),
            (r#"{"ok":true}"#, true),
            ("{}", false),
        ] {
            assert_eq!(is_of(&subject, raw(record)).unwrap(), expected, "{record}");
        }
    }
}
