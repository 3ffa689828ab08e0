//! Finds what a table holds under keys, through the store's own query.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::json::Spelling;
use crate::message::{Matching, Progress};
use crate::output::{Form, Frame, Outputs, Shape, Sink};
use crate::silo::{Cursor, Known, Querying, Store, StoreId, Subject};

/// What the rows with these keys hold in a column of JSON.
pub(super) async fn find(
    stores: &[Box<dyn Store + '_>],
    id: &StoreId,
    names: &[String],
    column: &str,
    keys: &[Vec<String>],
) -> Result<Vec<Box<RawValue>>> {
    let missing = || {
        Fault::config(format!(
            "{id}: there is no such table, or the configuration's choice of tables leaves it out"
        ))
    };
    let store = stores.iter().find(|store| store.id() == *id).ok_or_else(missing)?;
    let Some(Querying::Now(query)) = store.capabilities().query else {
        return Err(Fault::config(format!("{id}: what it holds cannot be found by a key")).into());
    };
    let Some(first) = names.first() else { return Ok(Vec::new()) };
    // Several identifiers are a union: of a key of several parts the first finds enough.
    let values: HashSet<String> = keys.iter().filter_map(|key| key.first()).cloned().collect();
    let known = |value: &String| Known {
        property: first.clone(),
        value: serde_json::from_str(value).unwrap_or_else(|_| value.clone()),
        matching: Matching::Exact,
    };
    let subject = Subject {
        identifiers: values.iter().map(known).collect(),
        properties: Some(names.iter().cloned().chain([column.to_owned()]).collect()),
    };
    let held = Held::default();
    let sink = Arc::new(Sink::new(Box::new(held.clone()), false));
    let mut out = Outputs::formed(sink, Shape::default(), Arc::new(Bare)).store(id.clone());
    out.choose(subject.properties.as_deref());
    query.query(&subject, &mut out).await?;
    out.finish()?;
    let wanted: HashSet<&Vec<String>> = keys.iter().collect();
    let mut found = Vec::new();
    for line in held.take().split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let row: HashMap<String, &RawValue> =
            serde_json::from_slice(line).context("reading a stored row")?;
        let key = names.iter().filter_map(|name| row.get(name));
        let key: Vec<String> = key.map(|value| value.get().to_owned()).collect();
        if let (true, Some(value)) = (wanted.contains(&key), row.get(column)) {
            found.push(document(value)?);
        }
    }
    Ok(found)
}

/// A stored document: as it is, or as the text that a database without a type for it holds.
fn document(stored: &RawValue) -> Result<Box<RawValue>> {
    match stored.get().starts_with('"') {
        true => {
            let text: String = serde_json::from_str(stored.get())?;
            RawValue::from_string(text).context("a stored document is not JSON")
        }
        false => Ok(stored.to_owned()),
    }
}

/// Rows that were found, one a line.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Vec<u8>>>);

impl Held {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Records without a frame.
struct Bare;

impl Form for Bare {
    fn frame(&self, _: &StoreId) -> Frame {
        Frame { before: Vec::new(), after: b"\n".to_vec(), numbered: None }
    }

    fn spelling(&self) -> Spelling {
        Spelling::NATIVE
    }

    fn state(&self, _: &StoreId, _: &Cursor, _: u64) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn progress(&self, _: &Progress) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}
