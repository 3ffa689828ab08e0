//! Records sliced out of a body as raw JSON, and written with the members that are wanted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use anyhow::{Context, Result};
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::{self, Json};
use crate::output::Output;

/// Why a body could not be sliced.
#[derive(Debug)]
pub enum Unsliced {
    /// It is not JSON.
    Json,
    /// It is JSON, but not as it was said to be, and how.
    Shape(String),
}

impl Unsliced {
    fn of(error: &serde_json::Error, pointer: &str, what: &str) -> Unsliced {
        match error.is_data() {
            true => Unsliced::Shape(format!("`{pointer}` must be {what}")),
            false => Unsliced::Json,
        }
    }
}

/// The elements of the array at a JSON pointer. With an empty pointer the
/// body is an array of records, or one record. Null is an empty list; nothing there is not.
pub(super) fn slice<'b>(body: &'b [u8], pointer: &str) -> Result<Vec<&'b RawValue>, Unsliced> {
    if pointer.is_empty() && body.trim_ascii_start().starts_with(b"{") {
        return Ok(vec![serde_json::from_slice(body).map_err(|_| Unsliced::Json)?]);
    }
    let found = at(body, pointer, List).map_err(|e| Unsliced::of(&e, pointer, "a list"))?;
    found.ok_or_else(|| Unsliced::Shape(format!("`{pointer}` is missing")))
}

/// The scalar at a JSON pointer as text; `None` where there is none, or it is null or empty.
pub fn text_at(body: &[u8], pointer: &str) -> Result<Option<String>, Unsliced> {
    let found =
        at(body, pointer, Scalar).map_err(|e| Unsliced::of(&e, pointer, "a text or number"))?;
    Ok(found.flatten().filter(|text| !text.is_empty()))
}

fn at<'b, L: Leaf<'b>>(
    body: &'b [u8],
    pointer: &str,
    leaf: L,
) -> serde_json::Result<Option<L::Value>> {
    let path: Vec<&str> = pointer.split('/').skip(1).collect();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let found = At { path: &path, leaf }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(found)
}

/// What is taken at the end of a path.
trait Leaf<'de>: Copy {
    type Value;
    fn take<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error>;
}

/// Goes down a path of member names, and takes what is there.
struct At<'p, L> {
    path: &'p [&'p str],
    leaf: L,
}

impl<'de, L: Leaf<'de>> DeserializeSeed<'de> for At<'_, L> {
    type Value = Option<L::Value>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        match self.path {
            [] => self.leaf.take(deserializer).map(Some),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de, L: Leaf<'de>> Visitor<'de> for At<'_, L> {
    type Value = Option<L::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((first, rest)) = self.path.split_first() else { return Ok(None) };
        let mut found = None;
        while let Some(name) = map.next_key_seed(Name)? {
            if name == *first {
                found = map.next_value_seed(At { path: rest, leaf: self.leaf })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let Some((first, rest)) = self.path.split_first() else { return Ok(None) };
        let wanted = first.parse::<usize>().ok();
        let mut found = None;
        for place in 0.. {
            let more = if Some(place) == wanted {
                let value = list.next_element_seed(At { path: rest, leaf: self.leaf })?;
                value.map(|value| found = value)
            } else {
                list.next_element::<IgnoredAny>()?.map(|_| ())
            };
            if more.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

/// A member's name, borrowed unless it holds an escape.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[derive(Clone, Copy)]
struct List;

impl<'de> Leaf<'de> for List {
    type Value = Vec<&'de RawValue>;

    fn take<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut records = Vec::new();
        while let Some(record) = list.next_element()? {
            records.push(record);
        }
        Ok(records)
    }
}

#[derive(Clone, Copy)]
struct Scalar;

impl<'de> Leaf<'de> for Scalar {
    type Value = Option<String>;

    fn take<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Scalar {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or number")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }
}

/// How a property's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As they are.
    Any,
    /// As a string or null; what is neither becomes the text of its JSON.
    Text,
}

/// Which members of a record are written, and how: each declared or wanted one always, as null
/// where the record has none, because hosts that look at a schema expect to find it in the record.
pub struct Projection {
    names: HashMap<String, usize>,
    members: Vec<Member>,
    /// Whether members that were not named are written too.
    others: bool,
}

/// A member that is written, whatever the record has of it.
struct Member {
    name: String,
    /// The name as JSON, with its colon.
    key: Vec<u8>,
    kind: Kind,
}

impl Projection {
    /// The members that `schema` declares and whatever else a record holds; or, where `wanted`
    /// names some, those only.
    pub fn new(schema: &Value, wanted: Option<&[String]>) -> Projection {
        let declared = schema.get("properties").and_then(Value::as_object);
        let kind = |name: &str| match declared.and_then(|d| d.get(name)?.get("type")?.as_str()) {
            Some("string") => Kind::Text,
            _ => Kind::Any,
        };
        let names: Vec<String> = match wanted {
            Some(wanted) => wanted.to_vec(),
            None => declared.map(|d| d.keys().cloned().collect()).unwrap_or_default(),
        };
        let member =
            |name: &String| Member { name: name.clone(), key: json::key(name), kind: kind(name) };
        let members = names.iter().map(member).collect();
        let names = names.into_iter().enumerate().map(|(place, name)| (name, place)).collect();
        Projection { names, members, others: wanted.is_none() }
    }

    /// The members that a record gets out of its own depths, each at a JSON pointer.
    pub fn derived(
        record: &RawValue,
        pointers: &[(&'static str, &'static str)],
    ) -> Vec<(&'static str, String)> {
        let json = record.get().as_bytes();
        // What is no scalar has no text of its own, and stays where it is.
        let texts = pointers.iter().map(|(name, at)| Some((*name, text_at(json, at).ok()??)));
        texts.flatten().collect()
    }

    /// Pushes a record. `more` are members that stand first and count as the record's own.
    pub fn push(&self, record: &RawValue, more: &[(&str, String)], out: &mut Output) -> Result<()> {
        self.push_with(record, more, &[], out)
    }

    /// The same, with further members whose values are JSON already.
    pub fn push_with(
        &self,
        record: &RawValue,
        more: &[(&str, String)],
        raw: &[(&str, &str)],
        out: &mut Output,
    ) -> Result<()> {
        out.row(|json| {
            let mut row =
                Row { of: self, json, seen: vec![false; self.members.len()], any: false, next: 0 };
            row.json.raw(b"{");
            for (name, value) in more {
                row.member(name, |json, _| json.text(value));
            }
            for (name, value) in raw {
                row.member(name, |json, kind| write(json, value, kind));
            }
            let mut deserializer = serde_json::Deserializer::from_str(record.get());
            deserializer.deserialize_map(&mut row).context("a record that is no JSON object")?;
            row.end();
            Ok(())
        })
    }
}

/// A record being written.
struct Row<'a, 'j> {
    of: &'a Projection,
    json: &'a mut Json<'j>,
    seen: Vec<bool>,
    any: bool,
    /// The member that is likely to come next.
    next: usize,
}

impl Row<'_, '_> {
    /// Whether a member is written, and how.
    fn wants(&mut self, name: &str) -> Option<(Option<usize>, Kind)> {
        // Vendors write members in one order, which often is the schema's.
        let next = self.of.members.get(self.next).filter(|member| member.name == name);
        let place = match next {
            Some(_) => Some(self.next),
            None => self.of.names.get(name).copied(),
        };
        self.next = place.map_or(self.next, |place| place + 1);
        match place {
            // A name that comes twice is written once.
            Some(place) if self.seen[place] => None,
            Some(place) => Some((Some(place), self.of.members[place].kind)),
            None if self.of.others => Some((None, Kind::Any)),
            None => None,
        }
    }

    fn member(&mut self, name: &str, write: impl FnOnce(&mut Json<'_>, Kind)) {
        let Some((place, kind)) = self.wants(name) else { return };
        self.begin(name, place);
        write(self.json, kind);
    }

    fn begin(&mut self, name: &str, place: Option<usize>) {
        if std::mem::replace(&mut self.any, true) {
            self.json.raw(b",");
        }
        match place {
            Some(place) => {
                self.seen[place] = true;
                self.json.raw(&self.of.members[place].key);
            }
            None => {
                self.json.text(name);
                self.json.raw(b":");
            }
        }
    }

    fn end(&mut self) {
        for place in 0..self.seen.len() {
            if !self.seen[place] {
                self.begin("", Some(place));
                self.json.null();
            }
        }
        self.json.raw(b"}");
    }
}

impl<'de> Visitor<'de> for &mut Row<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            if let Some((place, kind)) = self.wants(&name) {
                let value: &RawValue = map.next_value()?;
                self.begin(&name, place);
                write(self.json, value.get(), kind);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

fn write(json: &mut Json<'_>, value: &str, kind: Kind) {
    if kind == Kind::Text && !value.starts_with('"') && value != "null" {
        return json.text(value);
    }
    // Between tokens a line break is blank space, and inside a string it cannot stand.
    if !value.as_bytes().contains(&b'\n') && !value.as_bytes().contains(&b'\r') {
        return json.raw(value.as_bytes());
    }
    for (place, part) in value.as_bytes().split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
        if place > 0 {
            json.raw(b" ");
        }
        json.raw(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Spelling;
    use serde_json::json;

    fn sliced(body: &str, pointer: &str) -> Vec<String> {
        let records = slice(body.as_bytes(), pointer).unwrap();
        records.into_iter().map(|record| record.get().to_owned()).collect()
    }

    #[test]
    fn records_are_the_very_bytes_of_the_body() {
        let body = r#"{"a":{"b":[{"x":1.10},  {"y":"\u00e9"}]},"c":null}"#;
        assert_eq!(sliced(body, "/a/b"), [r#"{"x":1.10}"#, r#"{"y":"\u00e9"}"#]);
        assert_eq!(sliced("[{},1]", ""), ["{}", "1"]);
        assert_eq!(sliced(" {\"a\":1}", ""), ["{\"a\":1}"]);
        assert!(sliced(body, "/c").is_empty(), "null is an empty list");
    }

    #[test]
    fn a_body_of_another_shape_is_told_from_one_that_is_no_json() {
        let shape = |body: &str, pointer: &str| match slice(body.as_bytes(), pointer).unwrap_err() {
            Unsliced::Shape(what) => what,
            Unsliced::Json => "no JSON".to_owned(),
        };
        assert_eq!(shape("{}", "/data"), "`/data` is missing");
        assert_eq!(shape(r#"{"data":{}}"#, "/data"), "`/data` must be a list");
        assert_eq!(shape("[]", "/data"), "`/data` is missing");
        assert_eq!(shape(r#"{"data":[{}"#, "/data"), "no JSON");
        assert_eq!(shape(r#"{"data":[]} x"#, "/data"), "no JSON");
        assert_eq!(shape("<html>", "/data"), "no JSON");
    }

    #[test]
    fn tokens_are_texts_or_numbers_and_nothing_is_none() {
        let body = br#"{"a":{"s":"x","n":12345678901234567,"e":"","z":null,"o":{},"l":[{"i":1},{"i":2}]}}"#;
        assert_eq!(text_at(body, "/a/l/1/i").unwrap().unwrap(), "2");
        assert_eq!(text_at(body, "/a/s").unwrap().unwrap(), "x");
        assert_eq!(text_at(body, "/a/n").unwrap().unwrap(), "12345678901234567");
        for nothing in ["/a/e", "/a/z", "/a/q", "/q/r", "/a/z/r", "/a/l/2/i", "/a/l/x"] {
            assert_eq!(text_at(body, nothing).unwrap(), None, "{nothing}");
        }
        assert!(text_at(body, "/a/o").is_err());
    }

    fn projected(wanted: Option<&[&str]>, record: &str) -> String {
        let schema = json!({"properties": {
            "id": {"type": "string"}, "n": {"type": "integer"}, "o": {"type": "object"}
        }});
        let wanted: Option<Vec<String>> =
            wanted.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let projection = Projection::new(&schema, wanted.as_deref());
        let mut bytes = Vec::new();
        let mut json = Json::new(&mut bytes, Spelling::NATIVE);
        let mut row = Row {
            of: &projection,
            json: &mut json,
            seen: vec![false; projection.members.len()],
            any: false,
            next: 0,
        };
        row.json.raw(b"{");
        serde_json::Deserializer::from_str(record).deserialize_map(&mut row).unwrap();
        row.end();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn declared_members_are_always_there_and_no_other_is_dropped() {
        assert_eq!(
            projected(None, "{\"x\":[1,\n2],\"id\":7,\"n\":1.50}"),
            r#"{"x":[1, 2],"id":"7","n":1.50,"o":null}"#
        );
    }

    #[test]
    fn only_what_is_wanted_is_written() {
        assert_eq!(
            projected(Some(&["n", "z"]), r#"{"id":"a","n":"b","n":2}"#),
            r#"{"n":"b","z":null}"#
        );
        assert_eq!(projected(Some(&[]), r#"{"id":"a"}"#), "{}");
    }

    #[test]
    fn strings_stay_as_they_are_and_what_is_declared_a_string_becomes_one() {
        let text = |value: &str| projected(Some(&["id"]), &format!(r#"{{"id":{value}}}"#));
        assert_eq!(text(r#""a\nb""#), r#"{"id":"a\nb"}"#);
        assert_eq!(text("null"), r#"{"id":null}"#);
        assert_eq!(text(r#"{"a":"b"}"#), r#"{"id":"{\"a\":\"b\"}"}"#);
    }
}
