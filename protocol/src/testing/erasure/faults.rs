//! Connections and processes that end at any moment, and others who write meanwhile: what every
//! database behind a port is held to.

#![expect(missing_docs, reason = "the names of the tests say what they show")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::proxy::{Cut, Proxy};
use super::stories::{SHOP, ada};
use super::{Database, Dump, deleted};
use crate::silo::Erasure;

/// A database behind a port.
pub trait Served: Database {
    /// Whether it says on another connection what became of a transaction.
    const SETTLES: bool;

    /// The connector's binary.
    const PROGRAM: &'static str;

    /// The database's form, for a way to it by another port and without encryption.
    fn through(&self, port: u16) -> Value;

    /// How many connections to it are open, this one aside.
    fn clients(&self) -> u64;

    /// What runs statements beside an erasure, all or none of them, and waits for nobody: whoever it
    /// would wait for waits for it.
    fn beside(&self, statements: &'static [&'static str]) -> Box<dyn Fn() + Send + Sync>;
}

/// The kinds of the records of an evidence file.
pub fn kinds(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let kind = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["kind"].as_str().unwrap().to_owned()
    };
    text.lines().map(kind).collect()
}

/// The server's own port.
pub fn port<D: Served>(database: &D) -> u16 {
    u16::try_from(database.form()["port"].as_u64().unwrap()).unwrap()
}

/// A piece that no run comes to. Runs differ in how many they say, for some may come at once.
const NEVER: usize = usize::MAX;

/// What is there after a run that nothing breaks, and how many pieces the client says in it.
fn uncut<D: Served>(database: &D, folder: &Path) -> (Dump, usize) {
    let proxy = Proxy::new(port(database), None, true, || {});
    let request = Erasure { evidence: Some(folder.join("uncut")), ..ada(database) };
    deleted(&database.erase_by(&database.through(proxy.port), &request).unwrap());
    (database.dump(), proxy.passed())
}

/// Tries each of some pieces on the shop, several at a time, for most of it is waiting. A try says how
/// it ended, by a word; returned is how many ended so. The shop is made anew where it says so.
pub fn at_each<D: Served>(
    pieces: impl Iterator<Item = usize> + Send,
    attempt: impl Fn(&D, usize) -> Ended + Sync,
) -> BTreeMap<&'static str, usize> {
    const AT_A_TIME: usize = 6;
    let (pieces, counts) = (Mutex::new(pieces), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                let mut database = D::new(SHOP);
                loop {
                    let Some(piece) = pieces.lock().unwrap().next() else { break };
                    let Ended { how, changed } = attempt(&database, piece);
                    *counts.lock().unwrap().entry(how).or_default() += 1;
                    if changed {
                        database = database.anew(SHOP);
                    }
                }
            });
        }
    });
    counts.into_inner().unwrap()
}

/// How a try ended, and whether it changed the database.
pub struct Ended {
    /// By a word.
    pub how: &'static str,
    /// Whether anything is not as it was.
    pub changed: bool,
}

pub fn a_connection_cut_at_any_statement_leaves_all_or_nothing_and_evidence_that_fits<D: Served>() {
    let pristine = D::new(SHOP);
    let before = pristine.dump();
    let folder = tempfile::tempdir().unwrap();
    let (whole, pieces) = uncut(&pristine, folder.path());
    let ended = at_each((0..pieces).chain([NEVER]), |database: &D, piece| {
        let path = folder.path().join(piece.to_string());
        let proxy = Proxy::new(port(database), Some(Cut::Pieces(piece)), false, || {});
        let request = Erasure { evidence: Some(path.clone()), ..ada(database) };
        let done = database.erase_by(&database.through(proxy.port), &request);
        let (after, said) = (database.dump(), kinds(&path));
        let all = after == whole;
        assert!(all || after == before, "cut before piece {piece}, a part was done");
        match said.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            // Before the first write.
            [] => assert!(!all && done.is_err(), "piece {piece}"),
            ["begun", "failed"] => assert!(!all && done.is_err(), "piece {piece}"),
            ["begun", "unknown"] => assert!(done.is_err(), "piece {piece}"),
            ["begun", "done"] => assert!(all && done.is_ok(), "piece {piece}"),
            other => panic!("piece {piece}: {other:?}"),
        }
        Ended { how: if all { "all" } else { "nothing" }, changed: all }
    });
    assert!(ended["nothing"] > 40 && ended["all"] > 0, "{ended:?}");
}

pub fn a_process_killed_at_any_statement_leaves_all_or_nothing<D: Served>() {
    let pristine = D::new(SHOP);
    let before = pristine.dump();
    let folder = tempfile::tempdir().unwrap();
    let (whole, pieces) = uncut(&pristine, folder.path());
    let ended = at_each((0..pieces).chain([NEVER]), |database: &D, piece| {
        let path = folder.path().join(piece.to_string());
        let child: Arc<Mutex<Option<Child>>> = Arc::default();
        let victim = Arc::clone(&child);
        let kill = move || {
            // It may be quicker than the one who started it.
            while victim.lock().unwrap().is_none() {
                thread::yield_now();
            }
            victim.lock().unwrap().as_mut().unwrap().kill().unwrap();
        };
        let proxy = Proxy::new(port(database), Some(Cut::Pieces(piece)), false, kill);
        let files = tempfile::tempdir().unwrap();
        let started = start(database, proxy.port, files.path(), &path);
        *child.lock().unwrap() = Some(started);
        loop {
            // Not with the lock held: the one who kills needs it.
            if child.lock().unwrap().as_mut().unwrap().try_wait().unwrap().is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let (after, said) = (settled(database), kinds(&path));
        let all = after == whole;
        assert!(all || after == before, "killed before piece {piece}, a part was done");
        let how = match said.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => {
                assert!(!all, "piece {piece}: nothing is written before evidence is");
                "before"
            }
            ["begun"] => "undetermined",
            ["begun", "done"] => {
                assert!(all, "piece {piece}");
                "done"
            }
            other => panic!("piece {piece}: {other:?}"),
        };
        if all {
            // The next run finds nothing to do.
            let again = deleted(&database.erase(&ada(database)).unwrap());
            assert!(again.values().all(|rows| *rows == 0));
        }
        Ended { how, changed: all }
    });
    assert!(ended["before"] > 20 && ended["undetermined"] > 20 && ended["done"] > 0, "{ended:?}");
}

/// The connector's process, at work on Ada.
fn start<D: Served>(database: &D, port: u16, files: &Path, evidence: &Path) -> Child {
    let identifier = json!({"schema_name": "customer", "schema_group": database.group(),
                            "identifier": "email", "identifier_query": "ada@x.org"});
    let query = json!({"identifiers": [identifier], "follow": true});
    let mut command = Command::new(D::PROGRAM);
    command.arg("delete").arg("--evidence").arg(evidence);
    for (flag, content) in [("-c", database.through(port)), ("-q", query)] {
        let file = files.join(flag);
        std::fs::write(&file, content.to_string()).unwrap();
        command.arg(flag).arg(file);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The rows, once the server has noticed that a client is gone.
fn settled<D: Served>(database: &D) -> Dump {
    while database.clients() > 0 {
        thread::sleep(Duration::from_millis(2));
    }
    database.dump()
}

pub fn a_lost_answer_to_the_commit_is_settled_by_looking<D: Served>() {
    let folder = tempfile::tempdir().unwrap();
    let cut = |cut: Cut, name: &str| {
        let database = D::new(SHOP);
        let path = folder.path().join(name);
        let proxy = Proxy::new(port(&database), Some(cut), true, || {});
        let request = Erasure { evidence: Some(path.clone()), ..ada(&database) };
        let done = database.erase_by(&database.through(proxy.port), &request);
        assert!(proxy.broke());
        (done, kinds(&path), database.count("SELECT count(*) FROM line"))
    };
    let (done, evidence, left) = cut(Cut::AfterCommit, "after");
    assert_eq!(deleted(&done.unwrap())["line"], 3);
    assert_eq!((evidence, left), (vec!["begun".to_owned(), "done".to_owned()], 1));
    let (done, evidence, left) = cut(Cut::BeforeCommit, "before");
    if D::SETTLES {
        assert_eq!(deleted(&done.unwrap())["line"], 3);
        assert_eq!(evidence, ["begun", "failed", "begun", "done"]);
        assert_eq!(left, 1);
    } else {
        // What is still there may be about to go.
        let error = done.unwrap_err();
        assert!(format!("{error:#}").contains("unknown"), "{error:#}");
        assert_eq!((evidence, left), (vec!["begun".to_owned(), "unknown".to_owned()], 4));
    }
}

pub fn a_lost_answer_to_the_commit_that_cannot_be_settled_is_unknown<D: Served>() {
    let database = D::new(SHOP);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evidence");
    let proxy = Proxy::new(port(&database), Some(Cut::AfterCommit), false, || {});
    let request = Erasure { evidence: Some(path.clone()), ..ada(&database) };
    let error = database.erase_by(&database.through(proxy.port), &request).unwrap_err();
    assert!(format!("{error:#}").contains("unknown"), "{error:#}");
    assert_eq!(kinds(&path), ["begun", "unknown"]);
}

pub fn a_child_that_is_added_at_any_statement_is_erased_too_or_refused<D: Served>() {
    let pristine = D::new(SHOP);
    let folder = tempfile::tempdir().unwrap();
    let (_, pieces) = uncut(&pristine, folder.path());
    let ended = at_each((0..pieces).step_by(3), |database: &D, piece| {
        let add = database
            .beside(&["INSERT INTO orders VALUES (9, 1)", "INSERT INTO line VALUES (9, 9)"]);
        let proxy = Proxy::new(port(database), Some(Cut::Nowhere(piece)), true, add);
        let outcomes = database.erase_by(&database.through(proxy.port), &ada(database)).unwrap();
        let how = match deleted(&outcomes)["line"] {
            4 => "erased",
            3 => "refused",
            other => panic!("piece {piece}: {other} lines were deleted"),
        };
        assert_eq!(database.count("SELECT count(*) FROM line"), 1, "piece {piece}");
        assert_eq!(database.count("SELECT count(*) FROM orders"), 1, "piece {piece}");
        Ended { how, changed: true }
    });
    assert!(ended["erased"] > 5 && ended["refused"] > 0, "{ended:?}");
}
