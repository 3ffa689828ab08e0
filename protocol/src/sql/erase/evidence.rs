//! Evidence of erasures: an append-only file of records that hold no personal data, each sealed with
//! an HMAC over itself and the one before.
//!
//! A `begun` record is flushed to the disk before the first write, and an outcome after the commit
//! and the look afterwards. A `begun` that no outcome follows is undetermined: what became of it must
//! be looked at in the database.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::carry::Carried;
use super::mask::{Key, hmac};
use crate::config::Secret;
use crate::fault::Fault;
use crate::message::{Evidence, Step};
use crate::silo::{Outcome, StoreId, Subject};

/// One line of the file. Its seal is over the line without it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    /// Counts up from 1.
    number: u64,
    /// `begun`, `done` or `failed`.
    kind: String,
    /// The number of the `begun` record that an outcome belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<u64>,
    /// Seconds since 1970.
    time: u64,
    /// What wrote it.
    version: String,
    /// What was planned, or what came of it.
    content: Value,
    /// The seal of the record before; empty for the first.
    before: String,
    /// The HMAC of all this.
    #[serde(default)]
    seal: String,
}

/// The file, locked until this is dropped.
pub(super) struct Journal {
    file: File,
    key: Key,
    number: u64,
    last: String,
    /// The number of the `begun` record.
    begun: u64,
}

impl Journal {
    /// Locks the file, makes it if there is none, and checks what is in it.
    pub(super) fn open(path: &Path, key: Option<&Key>) -> Result<Journal> {
        let key = key.cloned().ok_or_else(|| {
            Fault::config("`--evidence` needs `evidence_key` in the configuration")
        })?;
        let context = || format!("opening the evidence file {}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = options.open(path).with_context(context)?;
        file.lock().with_context(context)?;
        let found = read(&file, &key)?;
        if let Some(problem) = found.problems.first() {
            return Err(Fault::config(format!(
                "the evidence file {} is damaged and is not added to: {problem}",
                path.display()
            ))
            .into());
        }
        let (number, last) = (found.records, found.last);
        Ok(Journal { file, key, number, last, begun: 0 })
    }

    /// Says what is about to be done, and waits until the disk has it.
    pub(super) fn begin(
        &mut self,
        plan: &str,
        identifiers: &[(StoreId, Subject)],
        steps: &[Step],
    ) -> Result<()> {
        let sealed: Vec<Value> = identifiers
            .iter()
            .flat_map(|(id, subject)| {
                subject.identifiers.iter().map(|known| {
                    let text = json!([id.to_string(), known.property, known.value]).to_string();
                    json!({
                        "store": id.to_string(),
                        "property": known.property,
                        "value_hmac": hex(&hmac(&self.key, text.as_bytes())),
                    })
                })
            })
            .collect();
        let content = json!({"plan": plan, "identifiers": sealed, "steps": steps});
        self.append("begun", None, content)?;
        self.begun = self.number;
        Ok(())
    }

    /// Says what came of it, database by database.
    pub(super) fn done(&mut self, databases: &[Carried]) -> Result<()> {
        let databases: Vec<Value> = databases
            .iter()
            .map(|one| {
                json!({
                    "database": one.identity,
                    "outcome": one.fate.word(),
                    "stores": one.outcomes.iter().map(store).collect::<Vec<_>>(),
                    "what_remains": one.residue,
                })
            })
            .collect();
        self.append("done", Some(self.begun), json!({ "databases": databases }))
    }

    /// Says that it failed, and that everything was undone.
    pub(super) fn failed(&mut self, why: &str) -> Result<()> {
        self.append("failed", Some(self.begun), json!({"error": why}))
    }

    /// Says that whether it was done is not known.
    pub(super) fn unknown(&mut self, why: &str) -> Result<()> {
        self.append("unknown", Some(self.begun), json!({"error": why}))
    }

    fn append(&mut self, kind: &str, of: Option<u64>, content: Value) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut record = Record {
            number: self.number + 1,
            kind: kind.to_owned(),
            of,
            time: now.as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            content,
            before: self.last.clone(),
            seal: String::new(),
        };
        record.seal = seal(&record, &self.key)?;
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        self.file.write_all(&line).context("writing the evidence")?;
        self.file.sync_all().context("writing the evidence to the disk")?;
        self.number = record.number;
        self.last = record.seal;
        Ok(())
    }
}

fn store(outcome: &Outcome) -> Value {
    let mut store = Map::new();
    store.insert("store".to_owned(), outcome.store.to_string().into());
    store.insert("deleted".to_owned(), outcome.deleted.into());
    store.insert("remaining".to_owned(), outcome.remaining.into());
    store.extend(outcome.more.clone());
    if let Some(why) = &outcome.unverifiable {
        store.insert("unverifiable".to_owned(), why.as_str().into());
    }
    if !outcome.skipped.is_empty() {
        store.insert("skipped".to_owned(), outcome.skipped.clone().into());
    }
    if let Some(why) = &outcome.error {
        store.insert("error".to_owned(), why.as_str().into());
    }
    Value::Object(store)
}

fn seal(record: &Record, key: &Key) -> Result<String> {
    let bare = Record { seal: String::new(), ..record.clone() };
    Ok(hex(&hmac(key, &serde_json::to_vec(&bare)?)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a file holds.
struct Found {
    records: u64,
    last: String,
    problems: Vec<String>,
    undetermined: Vec<u64>,
}

fn read(mut file: &File, key: &Key) -> Result<Found> {
    file.seek(SeekFrom::Start(0)).context("reading the evidence")?;
    let mut found =
        Found { records: 0, last: String::new(), problems: Vec::new(), undetermined: Vec::new() };
    for (i, line) in BufReader::new(file).split(b'\n').enumerate() {
        let line = line.context("reading the evidence")?;
        let place = i + 1;
        let Ok(record) = serde_json::from_slice::<Record>(&line) else {
            found.problems.push(format!("line {place} is no record, or is cut"));
            continue;
        };
        if record.seal != seal(&record, key)? {
            found.problems.push(format!("line {place} was changed, or sealed with another key"));
        }
        if record.before != found.last || record.number != found.records + 1 {
            found.problems.push(format!("before line {place} something is missing"));
        }
        match (record.kind.as_str(), record.of) {
            ("begun", _) => found.undetermined.push(record.number),
            ("done" | "failed", Some(of)) => found.undetermined.retain(|number| *number != of),
            _ => {}
        }
        found.records = record.number;
        found.last = record.seal;
    }
    Ok(found)
}

/// Checks a file without a database: its seals, gaps, and what was begun and has no outcome. The end
/// of the file cannot be checked so: `last` is what to compare with a copy elsewhere.
pub fn check(path: &Path, key: Option<&Secret>) -> Result<Evidence> {
    let key = key
        .map(Secret::reveal)
        .filter(|key| !key.is_empty())
        .ok_or_else(|| Fault::config("the configuration has no `evidence_key` to check with"))?;
    let context = || format!("opening the evidence file {}", path.display());
    let file = File::open(path).with_context(context)?;
    let found = read(&file, &key.as_bytes().to_vec())?;
    Ok(Evidence {
        records: found.records,
        undetermined: found.undetermined,
        problems: found.problems,
        last: found.last,
    })
}

#[cfg(test)]
mod tests {
    use super::super::carry::Settled;
    use super::*;
    use crate::message::Matching;
    use crate::silo::Known;

    fn journal(path: &Path) -> Journal {
        Journal::open(path, Some(&b"key".to_vec())).unwrap()
    }

    fn check(path: &Path, key: &str) -> Result<Evidence> {
        super::check(path, Some(&Secret::from(key.to_owned())))
    }

    fn subjects() -> Vec<(StoreId, Subject)> {
        let known = Known {
            property: "email".into(),
            value: "ada@x.org".into(),
            matching: Matching::Exact,
        };
        vec![(StoreId::named("p"), Subject { identifiers: vec![known], properties: None })]
    }

    #[test]
    fn evidence_is_chained_holds_no_identifier_and_shows_what_was_changed_or_cut_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evidence");
        for _ in 0..2 {
            let mut journal = journal(&path);
            journal.begin("p1.x", &subjects(), &[]).unwrap();
            let outcomes = vec![Outcome::of(StoreId::named("p"))];
            let (identity, fate) = ("here".to_owned(), Settled::Done);
            journal.done(&[Carried { identity, fate, outcomes, residue: Vec::new() }]).unwrap();
        }
        journal(&path).begin("p1.x", &subjects(), &[]).unwrap();
        let good = check(&path, "key").unwrap();
        assert_eq!((good.records, good.undetermined), (5, vec![5]));
        assert!(good.problems.is_empty());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("ada@"));
        assert!(!check(&path, "other").unwrap().problems.is_empty());

        let lines: Vec<&str> = text.lines().collect();
        for (what, changed) in [
            ("a line cut out", [lines[0], lines[2], lines[3]].join("\n")),
            ("a number changed", text.replacen("\"deleted\":0", "\"deleted\":9", 1)),
            ("a cut last line", text[..text.len() - 20].to_owned()),
            ("an order changed", [lines[0], lines[2], lines[1]].join("\n")),
        ] {
            std::fs::write(&path, changed).unwrap();
            assert!(!check(&path, "key").unwrap().problems.is_empty(), "{what}");
            assert!(Journal::open(&path, Some(&b"key".to_vec())).is_err(), "{what}");
        }
    }
}
