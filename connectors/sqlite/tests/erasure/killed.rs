//! A process that is killed at any write to any of its files: journal, database, log, evidence.
//!
//! What a transaction does between two of them nobody sees. The system kills whoever makes a file larger
//! than a limit, or writes beyond it; the limit goes up block by block, and a page is one block.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use protocol::silo::Erasure;
use protocol::testing::erasure::faults::kinds;
use protocol::testing::erasure::stories::{SHOP, ada};
use protocol::testing::erasure::{Database as _, deleted};
use serde_json::json;

use crate::harness::Database;

/// In bytes: what `ulimit -f` counts, and the smallest page.
const BLOCK: u64 = 512;

/// A shop on many small pages, of which an erasure changes those at the end of each table.
fn shop(journal: &str) -> Database {
    let database = Database::new(&format!("PRAGMA page_size = {BLOCK};\n{SHOP}"));
    database.run(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 1800)
         INSERT INTO orders SELECT i, 1 + (i < 1100) FROM n;
         INSERT INTO line SELECT id, id FROM orders WHERE id >= 100;
         PRAGMA journal_mode = {journal}"
    ));
    database
}

/// Erases Ada, in a process that may write no file beyond so many blocks.
fn erase_within(blocks: u64, database: &Database, evidence: &Path) {
    let write = |extension: &str, content: serde_json::Value| {
        let path = database.path.with_extension(extension);
        std::fs::write(&path, content.to_string()).unwrap();
        path
    };
    let identifier = json!({"schema_name": "customer", "identifier": "email",
                            "identifier_query": "ada@x.org"});
    let config = write("json", database.form());
    let query = write("q.json", json!({"identifiers": [identifier], "follow": true}));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c 0; ulimit -f $0; exec \"$@\"", &blocks.to_string()]);
    command.arg(env!("CARGO_BIN_EXE_connector-sqlite")).args(["delete", "-c"]).arg(config);
    command.arg("-q").arg(query).arg("--evidence").arg(evidence);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
}

/// How often it ended how.
#[derive(Debug, Default)]
struct Ended {
    /// By whether all was done, and the kinds of the records of the evidence.
    times: BTreeMap<(bool, Vec<String>), u64>,
    /// How often the database's file had been written to, and nothing was done all the same.
    undone: u64,
}

impl Ended {
    fn times<const N: usize>(&self, all: bool, kinds: [&str; N]) -> u64 {
        let kinds = kinds.map(str::to_owned).to_vec();
        self.times.get(&(all, kinds)).copied().unwrap_or(0)
    }
}

/// Tries every limit among some, and counts how it ended: what was done, and what the evidence says.
fn kill(journal: &str, limits: impl Fn(u64) -> (u64, u64), before_it: &Path) -> Ended {
    let pristine = shop(journal);
    let before = pristine.dump();
    let known = std::fs::read(before_it).unwrap_or_default();
    let folder = tempfile::tempdir().unwrap();
    let uncut = Database::copy_of(&pristine.path);
    let request = Erasure { evidence: Some(folder.path().join("uncut")), ..ada(&uncut) };
    deleted(&uncut.erase(&request).unwrap());
    let whole = uncut.dump();
    let mut ended = Ended::default();
    let content = std::fs::read(&pristine.path).unwrap();
    let size = std::fs::metadata(&pristine.path).unwrap().len() / BLOCK;
    let (first, last) = limits(size);
    for blocks in first..=last {
        let database = Database::copy_of(&pristine.path);
        let evidence = folder.path().join(blocks.to_string());
        std::fs::write(&evidence, &known).unwrap();
        erase_within(blocks, &database, &evidence);
        // A record that was cut is none.
        let text = std::fs::read_to_string(&evidence).unwrap();
        let new = &text[known.len()..];
        let lines = new.rfind('\n').map_or("", |end| &new[..=end]);
        std::fs::write(&evidence, lines).unwrap();
        let changed = std::fs::read(&database.path).unwrap() != content;
        let after = database.dump();
        let all = after == whole;
        assert!(all || after == before, "killed at {blocks} of {size} blocks, a part was done");
        *ended.times.entry((all, kinds(&evidence))).or_default() += 1;
        ended.undone += u64::from(changed && !all);
        if blocks % 10 == 0 {
            // Whatever it was, the next run ends it.
            database.erase(&ada(&database)).unwrap();
            assert_eq!(database.dump(), whole);
        }
    }
    ended
}

#[test]
fn killed_at_any_write_of_its_files_nothing_or_everything_is_done() {
    // The index of a log is a file of 64 blocks.
    for (journal, first, least) in [("DELETE", 0, 20), ("WAL", 63, 5)] {
        let ended = kill(journal, |size| (first, size + 20), Path::new(""));
        assert!(ended.times(false, []) > 0, "{journal}: {ended:?}");
        assert!(ended.times(false, ["begun"]) > least, "{journal}: {ended:?}");
        assert!(ended.times(true, ["begun", "done"]) > 0, "{journal}: {ended:?}");
        assert!(ended.undone > 20 || journal == "WAL", "{ended:?}");
        let fits = |(all, kinds): &(bool, Vec<String>)| match kinds.as_slice() {
            // Nothing is written before evidence is.
            [] => !all,
            [begun] => begun == "begun",
            [begun, done] => begun == "begun" && *all == (done == "done"),
            _ => false,
        };
        assert!(ended.times.keys().all(fits), "{journal}: {ended:?}");
    }
}

#[test]
fn killed_before_the_outcome_is_written_the_evidence_is_undetermined() {
    // It has outgrown the database: only it is cut.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evidence");
    let database = shop("DELETE");
    let nobody = database.follow("customer", "email", "nobody@x.org", &json!({}));
    let nobody = Erasure { evidence: Some(path.clone()), ..nobody };
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    while length(&path) <= length(&database.path) + 20 * BLOCK {
        deleted(&database.erase(&nobody).unwrap());
    }
    let blocks = length(&path) / BLOCK;
    let ended = kill("DELETE", |_| (blocks - 2, blocks + 8), &path);
    assert!(ended.times(false, []) > 1, "{ended:?}");
    assert!(ended.times(true, ["begun"]) > 0, "{ended:?}");
    assert!(ended.times(true, ["begun", "done"]) > 0, "{ended:?}");
    assert_eq!(ended.times.len(), 3, "{ended:?}");
}
