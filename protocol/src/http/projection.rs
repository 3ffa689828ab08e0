//! Writes the members of a record that are wanted, as the vendor wrote them.

use std::ops::Range;

use anyhow::{Context, Result};
use serde_json::Value;
use serde_json::value::RawValue;

use super::pointer::text_at;
use super::slices::{Member, Name, Names, Slices};
use crate::json::{self, Json};
use crate::output::Output;

/// How a property's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As they are.
    Any,
    /// As a string or null; what is neither becomes the text of its JSON.
    Text,
}

/// Which members of a record are written, and how: each declared or wanted one always, as null
/// where the record has none, because hosts that look at a schema expect to find it in the record.
///
/// It learns in which order a list's records have their members, so that each is faster than the
/// first.
pub struct Projection {
    wanted: Vec<Wanted>,
    /// Whether members that were not named are written too.
    others: bool,
    pub(super) names: Names,
    /// How many records were written.
    rows: u64,
}

/// A member that is written, whatever the record has of it.
struct Wanted {
    /// The name as JSON, with its colon.
    key: Vec<u8>,
    kind: Kind,
    /// The last record that had it.
    row: u64,
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
        let mut chosen: Vec<&str> = Vec::new();
        match wanted {
            // A name that comes twice is written once.
            Some(wanted) => wanted.iter().for_each(|name| {
                if !chosen.contains(&name.as_str()) {
                    chosen.push(name);
                }
            }),
            None => chosen.extend(declared.into_iter().flat_map(|d| d.keys().map(String::as_str))),
        }
        let names = Names::new(chosen.iter().copied());
        let member = |&name: &&str| Wanted { key: json::key(name), kind: kind(name), row: 0 };
        Projection {
            wanted: chosen.iter().map(member).collect(),
            others: wanted.is_none(),
            names,
            rows: 0,
        }
    }

    /// The members that a record gets out of its own depths, each at a JSON pointer.
    pub fn derived(
        record: &RawValue,
        pointers: &[(&'static str, &'static str)],
    ) -> Vec<(&'static str, String)> {
        derived(record.get().as_bytes(), pointers)
    }

    /// Pushes a record. `more` are members that stand first and count as the record's own.
    pub fn push(
        &mut self,
        record: &RawValue,
        more: &[(&str, String)],
        out: &mut Output,
    ) -> Result<()> {
        self.push_with(record, more, &[], out)
    }

    /// The same, with further members whose values are JSON already.
    pub fn push_with(
        &mut self,
        record: &RawValue,
        more: &[(&str, String)],
        raw: &[(&str, &str)],
        out: &mut Output,
    ) -> Result<()> {
        let record = record.get().as_bytes();
        out.row(|json| self.write(record, more, raw, json))
    }

    /// Pushes the record of a page that is `nth` of them.
    pub(super) fn push_slice(
        &mut self,
        body: &[u8],
        slices: &Slices,
        nth: usize,
        more: &[(&str, String)],
        out: &mut Output,
    ) -> Result<()> {
        let record = &body[slices.range(nth)];
        anyhow::ensure!(record.starts_with(b"{"), "a record that is no JSON object");
        out.row(|json| {
            self.row(body, slices, nth, more, &[], json);
            Ok(())
        })
    }

    fn write(
        &mut self,
        record: &[u8],
        more: &[(&str, String)],
        raw: &[(&str, &str)],
        json: &mut Json<'_>,
    ) -> Result<()> {
        let slices =
            record.starts_with(b"{").then(|| Slices::of(record, "", Some(&mut self.names)));
        let slices = slices.and_then(Result::ok).context("a record that is no JSON object")?;
        self.row(record, &slices, 0, more, raw, json);
        Ok(())
    }

    fn row(
        &mut self,
        body: &[u8],
        slices: &Slices,
        nth: usize,
        more: &[(&str, String)],
        raw: &[(&str, &str)],
        json: &mut Json<'_>,
    ) {
        self.rows += 1;
        json.raw(b"{");
        let (one_line, missing) = (slices.one_line, self.wanted.len());
        let mut row = Row { of: self, json, body, one_line, run: 0..0, any: false, missing };
        for (name, value) in more {
            row.member(name, |json, _| json.text(value));
        }
        for (name, value) in raw {
            row.member(name, |json, kind| write(json, value.as_bytes(), kind, false));
        }
        for member in slices.members(nth) {
            row.own(member);
        }
        row.end();
    }
}

/// What [`Projection::derived`] gives, of a text that is JSON.
pub(super) fn derived(
    record: &[u8],
    pointers: &[(&'static str, &'static str)],
) -> Vec<(&'static str, String)> {
    // What is no scalar has no text of its own, and stays where it is.
    pointers.iter().filter_map(|(name, at)| Some((*name, text_at(record, at).ok()??))).collect()
}

/// A record being written.
struct Row<'a, 'j> {
    of: &'a mut Projection,
    json: &'a mut Json<'j>,
    body: &'a [u8],
    one_line: bool,
    /// The members that can be written as they stand, side by side, and are not yet.
    run: Range<usize>,
    any: bool,
    /// How many of those that are wanted have not come.
    missing: usize,
}

impl Row<'_, '_> {
    /// Whether a member is written, and how.
    #[inline]
    fn wants(&mut self, name: Name) -> Option<Kind> {
        let Some(wanted) = self.of.names.declared(name).map(|place| &mut self.of.wanted[place])
        else {
            return self.of.others.then_some(Kind::Any);
        };
        // A name that comes twice is written once.
        if wanted.row == self.of.rows {
            return None;
        }
        wanted.row = self.of.rows;
        self.missing -= 1;
        Some(wanted.kind)
    }

    /// A member that the record itself does not have.
    fn member(&mut self, name: &str, write: impl FnOnce(&mut Json<'_>, Kind)) {
        let Some(kind) = self.wants(self.of.names.of(name)) else { return };
        self.comma();
        self.json.raw(&json::key(name));
        write(self.json, kind);
    }

    /// A member of the record.
    #[inline]
    fn own(&mut self, member: &Member) {
        let Some(kind) = self.wants(member.name) else { return };
        let Member { begin, value, end, .. } = *member;
        let [begin, value, end] = [begin, value, end].map(|place| place as usize);
        if kind == Kind::Text && !matches!(self.body[value], b'"' | b'n') {
            self.flush();
            self.comma();
            write(self.json, &self.body[begin..value], Kind::Any, self.one_line);
            write(self.json, &self.body[value..end], kind, self.one_line);
        } else if self.run.end + 1 == begin && !self.run.is_empty() {
            self.run.end = end;
        } else {
            self.flush();
            self.run = begin..end;
        }
    }

    fn comma(&mut self) {
        if std::mem::replace(&mut self.any, true) {
            self.json.raw(b",");
        }
    }

    /// Writes the run. Between its members are commas and nothing else.
    #[inline]
    fn flush(&mut self) {
        let run = std::mem::take(&mut self.run);
        if !run.is_empty() {
            self.comma();
            write(self.json, &self.body[run], Kind::Any, self.one_line);
        }
    }

    fn end(&mut self) {
        self.flush();
        if self.missing > 0 {
            for place in 0..self.of.wanted.len() {
                if self.of.wanted[place].row != self.of.rows {
                    self.comma();
                    self.json.raw(&self.of.wanted[place].key);
                    self.json.null();
                }
            }
        }
        self.json.raw(b"}");
    }
}

/// Writes what is JSON. With `one_line` it has no line breaks.
#[inline]
fn write(json: &mut Json<'_>, value: &[u8], kind: Kind, one_line: bool) {
    if kind == Kind::Text && !value.starts_with(b"\"") && value != b"null" {
        return json.text(&String::from_utf8_lossy(value));
    }
    // Between tokens a line break is blank space, and inside a string it cannot stand.
    if one_line || memchr::memchr2(b'\n', b'\r', value).is_none() {
        return json.raw(value);
    }
    for (place, part) in value.split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
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

    fn projected(wanted: Option<&[&str]>, record: &str) -> String {
        let schema = json!({"properties": {
            "id": {"type": "string"}, "n": {"type": "integer"}, "o": {"type": "object"}
        }});
        let wanted: Option<Vec<String>> =
            wanted.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let mut projection = Projection::new(&schema, wanted.as_deref());
        let mut bytes = Vec::new();
        let mut json = Json::new(&mut bytes, Spelling::NATIVE);
        projection.write(record.as_bytes(), &[], &[], &mut json).unwrap();
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
    fn members_in_the_schemas_order_are_copied_and_none_comes_twice() {
        for (record, written) in [
            (
                "{\"id\":\"a\",\"n\":1.0,\"o\":{\"b\":\n2},\"x\":3}",
                r#"{"id":"a","n":1.0,"o":{"b": 2},"x":3}"#,
            ),
            (r#"{"id":"a" , "n": 1, "id":"b"}"#, r#"{"id":"a","n": 1,"o":null}"#),
            (r#"{"id":7,"n":1,"o":null}"#, r#"{"id":"7","n":1,"o":null}"#),
            (r#"{"\u0069d":"a","o":[],"n":1}"#, r#"{"id":"a","o":[],"n":1}"#),
        ] {
            let json: Value = serde_json::from_str(written).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&projected(None, record)).unwrap(), json);
            assert!(!projected(None, record).contains('\n'));
        }
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
