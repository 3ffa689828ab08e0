//! What a run printed: lines that are messages of a known type, with records kept byte for byte.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::silo::StoreId;

/// The types a connector may print on stdout.
const TYPES: [&str; 11] = [
    "SPEC",
    "VALIDATE",
    "SCHEMA",
    "RECORD",
    "STATE",
    "PROGRESS",
    "CONFIG",
    "REQUEST_RESULT",
    "REQUEST_STATUS",
    "PLAN",
    "VERIFY",
];

/// A line of stdout.
#[derive(Debug, Clone)]
pub(super) enum Line {
    /// A record.
    Record(Record),
    /// A state, as it stands there.
    State(String),
    /// Any other message.
    Other(Value),
}

/// A record, by the bytes of its data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Record {
    /// Where it is from.
    pub(super) store: StoreId,
    /// The object, as printed.
    pub(super) data: String,
}

impl Record {
    /// The object.
    pub(super) fn value(&self) -> Value {
        serde_json::from_str(&self.data).expect("a record's data was read as JSON before")
    }

    /// A property as an identifier would say it; `None` for null and for what has parts.
    pub(super) fn text(&self, property: &str) -> Option<String> {
        match &self.value()[property] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }
}

/// Records of each store, in the order in which they came.
pub(super) type ByStore = BTreeMap<StoreId, Vec<Record>>;

/// Sorts records into their stores.
pub(super) fn by_store(records: Vec<Record>) -> ByStore {
    let mut stores = ByStore::new();
    for record in records {
        stores.entry(record.store.clone()).or_default().push(record);
    }
    stores
}

/// The records in an order that does not depend on how they came.
pub(super) fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort();
    records
}

/// How two lists of records differ, in words that fit a screen; `None` where they hold the same
/// records the same number of times, in whatever order.
pub(super) fn difference(expected: &[Record], found: &[Record]) -> Option<String> {
    let mut counts: BTreeMap<&Record, i64> = BTreeMap::new();
    for record in expected {
        *counts.entry(record).or_default() += 1;
    }
    for record in found {
        *counts.entry(record).or_default() -= 1;
    }
    let lost: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
    let extra: Vec<_> = counts.iter().filter(|(_, count)| **count < 0).collect();
    if lost.is_empty() && extra.is_empty() {
        return None;
    }
    Some(format!(
        "{} records expected, {} found; missing {} such as {:?}; too many {} such as {:?}",
        expected.len(),
        found.len(),
        lost.len(),
        lost.first().map(|(record, _)| record),
        extra.len(),
        extra.first().map(|(record, _)| record),
    ))
}

/// The messages of what a run printed, each line one; what is wrong with it otherwise.
pub(super) fn parse(stdout: &[u8]) -> Result<Vec<Line>, String> {
    let text = std::str::from_utf8(stdout).map_err(|_| "stdout is not UTF-8".to_owned())?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(format!("the last line is cut: {:?}", text.lines().last()));
    }
    text.split_terminator('\n').map(line).collect()
}

/// The messages among the whole lines of an output that was cut by a kill.
pub(super) fn parse_cut(stdout: &[u8]) -> Result<Vec<Line>, String> {
    let end = stdout.iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
    parse(&stdout[..end])
}

fn line(line: &str) -> Result<Line, String> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        record: Option<Framed<'a>>,
    }
    #[derive(Deserialize)]
    struct Framed<'a> {
        schema_name: String,
        schema_group: Option<String>,
        record_type: String,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        file: Option<String>,
    }
    let shown: String = line.chars().take(300).collect();
    // The type comes first, so that a record need not be read twice to know that it is one.
    if line.starts_with(r#"{"type":"RECORD","#) {
        let message: Message<'_> =
            serde_json::from_str(line).map_err(|error| format!("{error} in {shown}"))?;
        let record = message.record.ok_or(format!("a RECORD without its payload: {shown}"))?;
        let data = match (record.record_type.as_str(), record.data, record.file) {
            ("RECORD", Some(data), None) => data.get(),
            ("FILE", None, Some(_)) => "{}",
            _ => return Err(format!("a RECORD that is neither data nor file: {shown}")),
        };
        let store = StoreId::new(record.schema_group, record.schema_name);
        return Ok(Line::Record(Record { store, data: data.to_owned() }));
    }
    let message: Value =
        serde_json::from_str(line).map_err(|_| format!("a line is not JSON: {shown}"))?;
    match message["type"].as_str() {
        Some("STATE") => Ok(Line::State(line.to_owned())),
        Some(kind) if TYPES.contains(&kind) => {
            no_null(&message).map_or(Ok(()), |place| Err(format!("{place} is null in {shown}")))?;
            Ok(Line::Other(message))
        }
        _ => Err(format!("a line is no message of a known type: {shown}")),
    }
}

/// The members that the protocol defines, down to where free-form data begins, are never null.
fn no_null(message: &Value) -> Option<String> {
    const FREE: [&str; 3] = ["data", "json_schema", "spec"];
    match message {
        Value::Object(members) => members.iter().find_map(|(name, value)| match value {
            Value::Null => Some(format!("`{name}`")),
            // The payload of SPEC has the name of the form within it.
            _ if FREE.contains(&name.as_str()) && value.get("spec").is_none() => None,
            value => no_null(value),
        }),
        Value::Array(items) => items.iter().find_map(no_null),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_message_is_told() {
        for (text, word) in [
            ("hello\n", "not JSON"),
            ("{\"type\":\"LOG\",\"log\":{}}\n", "known type"),
            ("{\"type\":\"VALIDATE\",\"validate_msg\":null}\n", "`validate_msg` is null"),
            ("{\"type\":\"SPEC\",\"spec\":{\"name\":null,\"spec\":{}}}\n", "`name` is null"),
            (
                "{\"type\":\"RECORD\",\"record\":{\"schema_name\":\"t\",\"record_type\":\"RECORD\"}}\n",
                "neither",
            ),
            ("{\"type\":\"VERIFY\",\"verify\":{}}", "cut"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(parse(b"{\"type\":\"SPEC\",\"spec\":{\"spec\":{\"x\":null}}}\n").is_ok());
    }

    #[test]
    fn records_keep_their_bytes_and_are_compared_as_a_bag() {
        let text = "{\"type\":\"RECORD\",\"record\":{\"schema_name\":\"t\",\"record_type\":\"RECORD\",\"data\":{\"n\":1.00}}}\n";
        let lines = parse(text.repeat(2).as_bytes()).unwrap();
        let Line::Record(record) = &lines[0] else { panic!() };
        assert_eq!(record.data, "{\"n\":1.00}");
        let two = vec![record.clone(), record.clone()];
        assert!(difference(&two, &two).is_none());
        assert!(difference(&two, &two[..1]).unwrap().contains("missing 1"));
        assert!(difference(&two[..1], &two).unwrap().contains("too many 1"));
    }
}
