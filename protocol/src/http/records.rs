//! Records sliced out of a body as raw JSON, and written with the members that are wanted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Result};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::scan::{self, NotJson, blank, value};
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

impl From<NotJson> for Unsliced {
    fn from(_: NotJson) -> Unsliced {
        Unsliced::Json
    }
}

/// The elements of the array at a JSON pointer, and where that array stands. With an empty pointer
/// the body is an array of records, or one record. Null is an empty list; nothing there is not.
pub(super) fn slice<'b>(
    body: &'b [u8],
    pointer: &str,
) -> Result<(Vec<&'b str>, Range<usize>), Unsliced> {
    let text = text(body)?;
    let whole = blank(body, 0);
    if pointer.is_empty() && body.get(whole) == Some(&b'{') {
        let end = value(body, whole)?;
        ended(body, end)?;
        return Ok((vec![&text[whole..end]], whole..end));
    }
    let mut found = None;
    at(body, pointer, None, "a list", &mut |begin| {
        let mut records = Vec::new();
        let end = match body.get(begin) {
            Some(b'[') => elements(body, begin, |begin| {
                let end = value(body, begin)?;
                records.push(&text[begin..end]);
                Ok(end)
            })?,
            Some(b'n') => value(body, begin)?,
            _ => return Err(misfit(body, begin, pointer, "a list")),
        };
        found = Some((records, begin..end));
        Ok(end)
    })?;
    found.ok_or_else(|| Unsliced::Shape(format!("`{pointer}` is missing")))
}

/// The scalar at a JSON pointer as text; `None` where there is none, or it is null or empty.
pub fn text_at(body: &[u8], pointer: &str) -> Result<Option<String>, Unsliced> {
    text_beside(body, pointer, None)
}

/// The same of a body of which a part is known to be one value that nothing is looked for in.
pub(super) fn text_beside(
    body: &[u8],
    pointer: &str,
    known: Option<&Range<usize>>,
) -> Result<Option<String>, Unsliced> {
    let text = text(body)?;
    let mut found = None;
    at(body, pointer, known, "a text or number", &mut |begin| {
        if let Some(b'{' | b'[') = body.get(begin) {
            return Err(misfit(body, begin, pointer, "a text or number"));
        }
        let end = value(body, begin)?;
        found = scalar(&text[begin..end]);
        Ok(end)
    })?;
    Ok(found.filter(|text| !text.is_empty()))
}

fn text(body: &[u8]) -> Result<&str, Unsliced> {
    std::str::from_utf8(body).map_err(|_| Unsliced::Json)
}

/// A scalar's text; `None` for null.
fn scalar(json: &str) -> Option<String> {
    match json.as_bytes() {
        b"null" => None,
        [b'"', ..] => serde_json::from_str(json).ok(),
        number if number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) => {
            let number = json.parse::<f64>().ok();
            Some(number.map_or_else(|| json.to_owned(), |number| number.to_string()))
        }
        _ => Some(json.to_owned()),
    }
}

/// Calls `found` with the place where each value at a JSON pointer begins; it returns where that
/// one ends. All of the body is looked at, but for the part that is `known`.
fn at(
    body: &[u8],
    pointer: &str,
    known: Option<&Range<usize>>,
    what: &str,
    found: &mut dyn FnMut(usize) -> Result<usize, Unsliced>,
) -> Result<(), Unsliced> {
    let path: Vec<&str> = pointer.split('/').skip(1).collect();
    let way = Way { body, known, pointer, what };
    let end = way.down(blank(body, 0), &path, found)?;
    ended(body, end)
}

/// A search for what stands at a JSON pointer.
struct Way<'w> {
    body: &'w [u8],
    known: Option<&'w Range<usize>>,
    pointer: &'w str,
    what: &'w str,
}

impl Way<'_> {
    /// Goes on from the value that begins at `begin`, and says where it ends.
    fn down(
        &self,
        begin: usize,
        path: &[&str],
        found: &mut dyn FnMut(usize) -> Result<usize, Unsliced>,
    ) -> Result<usize, Unsliced> {
        let Some((first, rest)) = path.split_first() else { return found(begin) };
        match self.body.get(begin) {
            Some(b'{') => members(self.body, begin, |name, begin| match named(name, first) {
                true => self.down(begin, rest, found),
                false => self.over(begin),
            }),
            Some(b'[') => {
                let wanted = first.parse::<usize>().ok();
                let mut place = 0;
                elements(self.body, begin, |begin| {
                    place += 1;
                    match wanted == Some(place - 1) {
                        true => self.down(begin, rest, found),
                        false => self.over(begin),
                    }
                })
            }
            Some(b'n') => Ok(value(self.body, begin)?),
            _ => Err(misfit(self.body, begin, self.pointer, self.what)),
        }
    }

    /// The end of a value that is not on the way.
    fn over(&self, begin: usize) -> Result<usize, Unsliced> {
        match self.known {
            Some(known) if known.start == begin => Ok(known.end),
            _ => Ok(value(self.body, begin)?),
        }
    }
}

/// What to say of a value that begins at `begin` and is not what was to be there.
fn misfit(body: &[u8], begin: usize, pointer: &str, what: &str) -> Unsliced {
    match value(body, begin) {
        Ok(_) => Unsliced::Shape(format!("`{pointer}` must be {what}")),
        Err(NotJson) => Unsliced::Json,
    }
}

/// Nothing but blank space may stand behind a body.
fn ended(body: &[u8], end: usize) -> Result<(), Unsliced> {
    match blank(body, end) == body.len() {
        true => Ok(()),
        false => Err(Unsliced::Json),
    }
}

/// Whether a member's name, with its quotes, is this one.
fn named(json: &[u8], name: &str) -> bool {
    match json.contains(&b'\\') {
        false => json.get(1..json.len() - 1) == Some(name.as_bytes()),
        true => serde_json::from_slice::<String>(json).is_ok_and(|json| json == name),
    }
}

/// Goes through the members of the object at `begin`, each by its name with its quotes and the
/// place of its value, of which `visit` returns the end; and returns the object's end.
fn members(
    text: &[u8],
    begin: usize,
    mut visit: impl FnMut(&[u8], usize) -> Result<usize, Unsliced>,
) -> Result<usize, Unsliced> {
    let mut place = blank(text, begin + 1);
    if text.get(place) == Some(&b'}') {
        return Ok(place + 1);
    }
    loop {
        let end = scan::string(text, place)?;
        let begin = scan::member(text, place)?;
        place = blank(text, visit(&text[place..end], begin)?);
        match text.get(place) {
            Some(b',') => place = blank(text, place + 1),
            Some(b'}') => return Ok(place + 1),
            _ => return Err(Unsliced::Json),
        }
    }
}

/// The same with the elements of the array at `begin`.
fn elements(
    text: &[u8],
    begin: usize,
    mut visit: impl FnMut(usize) -> Result<usize, Unsliced>,
) -> Result<usize, Unsliced> {
    let mut place = blank(text, begin + 1);
    if text.get(place) == Some(&b']') {
        return Ok(place + 1);
    }
    loop {
        place = blank(text, visit(place)?);
        match text.get(place) {
            Some(b',') => place = blank(text, place + 1),
            Some(b']') => return Ok(place + 1),
            _ => return Err(Unsliced::Json),
        }
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
        derived(record.get(), pointers)
    }

    /// Pushes a record. `more` are members that stand first and count as the record's own.
    pub fn push(&self, record: &RawValue, more: &[(&str, String)], out: &mut Output) -> Result<()> {
        self.push_json(record.get(), more, &[], out)
    }

    /// The same, with further members whose values are JSON already.
    pub fn push_with(
        &self,
        record: &RawValue,
        more: &[(&str, String)],
        raw: &[(&str, &str)],
        out: &mut Output,
    ) -> Result<()> {
        self.push_json(record.get(), more, raw, out)
    }

    /// The same of a text that is JSON.
    pub(super) fn push_json(
        &self,
        record: &str,
        more: &[(&str, String)],
        raw: &[(&str, &str)],
        out: &mut Output,
    ) -> Result<()> {
        out.row(|json| self.write(record, more, raw, json))
    }

    fn write(
        &self,
        record: &str,
        more: &[(&str, String)],
        raw: &[(&str, &str)],
        json: &mut Json<'_>,
    ) -> Result<()> {
        let seen = vec![false; self.members.len()];
        let mut row = Row { of: self, json, record, run: 0..0, seen, any: false, next: 0 };
        row.json.raw(b"{");
        for (name, value) in more {
            row.member(name, |json, _| json.text(value));
        }
        for (name, value) in raw {
            row.member(name, |json, kind| write(json, value, kind));
        }
        row.record().ok().context("a record that is no JSON object")?;
        row.end();
        Ok(())
    }
}

/// What [`Projection::derived`] gives, of a text that is JSON.
pub(super) fn derived(
    record: &str,
    pointers: &[(&'static str, &'static str)],
) -> Vec<(&'static str, String)> {
    // What is no scalar has no text of its own, and stays where it is.
    let texts =
        pointers.iter().map(|(name, at)| Some((*name, text_at(record.as_bytes(), at).ok()??)));
    texts.flatten().collect()
}

/// A record being written.
struct Row<'a, 'j> {
    of: &'a Projection,
    json: &'a mut Json<'j>,
    record: &'a str,
    /// The members of the record that can be written as they stand, side by side, and are not yet.
    run: Range<usize>,
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
        self.flush();
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

    /// Writes the record's own members.
    fn record(&mut self) -> Result<(), Unsliced> {
        let text = self.record.as_bytes();
        let mut place = blank(text, 0);
        if text.get(place) != Some(&b'{') {
            return Err(Unsliced::Json);
        }
        place = blank(text, place + 1);
        if text.get(place) == Some(&b'}') {
            return ended(text, place + 1);
        }
        loop {
            let end = self.own(place)?;
            place = blank(text, end);
            match text.get(place) {
                Some(b',') => place = blank(text, place + 1),
                Some(b'}') => return ended(text, place + 1),
                _ => return Err(Unsliced::Json),
            }
        }
    }

    /// Writes the member whose name begins at `begin`, if it is wanted, and says where it ends.
    fn own(&mut self, begin: usize) -> Result<usize, Unsliced> {
        let text = self.record.as_bytes();
        let expected = self.of.members.get(self.next).filter(|_| !self.seen[self.next]);
        if let Some(member) = expected
            && text[begin..].starts_with(&member.key)
        {
            let from = blank(text, begin + member.key.len());
            let end = value(text, from)?;
            let as_it_is = match member.kind {
                Kind::Any => true,
                Kind::Text => matches!(text[from], b'"' | b'n'),
            };
            if as_it_is {
                self.seen[self.next] = true;
                self.next += 1;
                if self.run.is_empty() {
                    self.run = begin..end;
                } else if self.run.end + 1 == begin {
                    self.run.end = end;
                } else {
                    self.flush();
                    self.run = begin..end;
                }
                return Ok(end);
            }
        }
        let name = begin..scan::string(text, begin)?;
        let from = scan::member(text, begin)?;
        let end = value(text, from)?;
        let name = &self.record[name];
        let name = match name.contains('\\') {
            false => Cow::Borrowed(&name[1..name.len() - 1]),
            true => Cow::Owned(serde_json::from_str(name).map_err(|_| Unsliced::Json)?),
        };
        let value = &self.record[from..end];
        self.member(&name, |json, kind| write(json, value, kind));
        Ok(end)
    }

    /// Writes the run. Between its members are commas and nothing else.
    fn flush(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run.is_empty() {
            return;
        }
        if std::mem::replace(&mut self.any, true) {
            self.json.raw(b",");
        }
        write(self.json, &self.record[run], Kind::Any);
    }

    fn end(&mut self) {
        self.flush();
        for place in 0..self.seen.len() {
            if !self.seen[place] {
                self.begin("", Some(place));
                self.json.null();
            }
        }
        self.json.raw(b"}");
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
        let (records, _) = slice(body.as_bytes(), pointer).unwrap();
        records.into_iter().map(str::to_owned).collect()
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
        projection.write(record, &[], &[], &mut json).unwrap();
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
