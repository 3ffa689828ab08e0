//! Connections and processes that end at any moment, and others who write meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use protocol::silo::Erasure;
use protocol::testing::erasure::stories::{SHOP, ada};
use protocol::testing::erasure::{Database as _, Dump, deleted};
use serde_json::{Value, json};

use crate::common::start;
use crate::harness::Database;
use crate::proxy::{Cut, Proxy};

fn database() -> Option<Database> {
    Database::available().then(|| Database::new(SHOP))
}

/// The kinds of the records of an evidence file.
pub(crate) fn kinds(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let kind = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["kind"].as_str().unwrap().to_owned()
    };
    text.lines().map(kind).collect()
}

pub(crate) fn through(database: &Database, proxy: &Proxy) -> Value {
    let mut form = database.form();
    form["port"] = json!(proxy.port);
    form
}

pub(crate) fn port(database: &Database) -> u16 {
    u16::try_from(database.form()["port"].as_u64().unwrap()).unwrap()
}

/// What is there after a run that nothing breaks, and how many pieces the client says in it.
fn uncut(database: &Database, folder: &Path) -> (Dump, usize) {
    let proxy = Proxy::new(port(database), None, true, || {});
    let request = Erasure { evidence: Some(folder.join("uncut")), ..ada(database) };
    deleted(&database.erase_by(&through(database, &proxy), &request).unwrap());
    (database.dump(), proxy.passed())
}

/// Tries each of some pieces on the shop, several at a time, for most of it is waiting. A try says how
/// it ended, by a word; returned is how many ended so. The shop is made anew where it says so.
pub(crate) fn at_each(
    pieces: impl Iterator<Item = usize> + Send,
    attempt: impl Fn(&Database, usize) -> Ended + Sync,
) -> BTreeMap<&'static str, usize> {
    const AT_A_TIME: usize = 6;
    let (pieces, counts) = (Mutex::new(pieces), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                let mut database = Database::new(SHOP);
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
pub(crate) struct Ended {
    pub(crate) how: &'static str,
    pub(crate) changed: bool,
}

#[test]
fn a_connection_cut_at_any_statement_leaves_all_or_nothing_and_evidence_that_fits() {
    let Some(pristine) = database() else { return };
    let before = pristine.dump();
    let folder = tempfile::tempdir().unwrap();
    let (whole, pieces) = uncut(&pristine, folder.path());
    let ended = at_each(0..pieces, |database, piece| {
        let path = folder.path().join(piece.to_string());
        let proxy = Proxy::new(port(database), Some(Cut::Pieces(piece)), false, || {});
        let request = Erasure { evidence: Some(path.clone()), ..ada(database) };
        let done = database.erase_by(&through(database, &proxy), &request);
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
    assert!(ended["nothing"] > 40 && ended["all"] > 3, "{ended:?}");
}

#[test]
fn a_process_killed_at_any_statement_leaves_all_or_nothing() {
    let Some(pristine) = database() else { return };
    let before = pristine.dump();
    let folder = tempfile::tempdir().unwrap();
    let (whole, pieces) = uncut(&pristine, folder.path());
    let ended = at_each(0..pieces + 2, |database, piece| {
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
        let identifier = json!({"schema_name": "customer", "schema_group": database.0.group(),
                                "identifier": "email", "identifier_query": "ada@x.org"});
        let query = json!({"identifiers": [identifier], "follow": true}).to_string();
        let words = ["delete", "--evidence", path.to_str().unwrap()];
        let (started, _files) = start(&through(database, &proxy), &words, &[("-q", &query)]);
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

/// The rows, once the server has noticed that a client is gone.
fn settled(database: &Database) -> Dump {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                  AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    while database.count(others) > 0 {
        thread::sleep(Duration::from_millis(2));
    }
    database.dump()
}

#[test]
fn a_lost_answer_to_the_commit_is_settled_by_looking() {
    for (cut, evidence) in [
        (Cut::AfterCommit, vec!["begun", "done"]),
        (Cut::BeforeCommit, vec!["begun", "failed", "begun", "done"]),
    ] {
        let Some(database) = database() else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evidence");
        let proxy = Proxy::new(port(&database), Some(cut), true, || {});
        let request = Erasure { evidence: Some(path.clone()), ..ada(&database) };
        let outcomes = database.erase_by(&through(&database, &proxy), &request).unwrap();
        assert!(proxy.broke());
        assert_eq!(deleted(&outcomes)["line"], 3);
        assert_eq!(database.count("SELECT count(*) FROM line"), 1);
        assert_eq!(kinds(&path), evidence);
    }
}

#[test]
fn a_lost_answer_to_the_commit_that_cannot_be_settled_is_unknown() {
    let Some(database) = database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evidence");
    let proxy = Proxy::new(port(&database), Some(Cut::AfterCommit), false, || {});
    let request = Erasure { evidence: Some(path.clone()), ..ada(&database) };
    let error = database.erase_by(&through(&database, &proxy), &request).unwrap_err();
    assert!(format!("{error:#}").contains("unknown"), "{error:#}");
    assert_eq!(kinds(&path), ["begun", "unknown"]);
}

#[test]
fn a_backend_that_is_terminated_is_begun_anew() {
    let Some(database) = database() else { return };
    database.run(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN
                  IF nextval(''public.tries'') = 1 THEN
                      PERFORM pg_terminate_backend(pg_backend_pid());
                  END IF;
                  RETURN old;
              END';
         CREATE TRIGGER ends BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION ends();",
    );
    let done = deleted(&database.erase(&ada(&database)).unwrap());
    assert_eq!((done["line"], done["orders"], done["customer"]), (3, 2, 1));
}

#[test]
fn a_child_that_is_added_at_any_statement_is_erased_too_or_refused() {
    let Some(pristine) = database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_, pieces) = uncut(&pristine, folder.path());
    let ended = at_each((0..pieces).step_by(3), |database, piece| {
        let name = database.0.name.clone();
        let add = move || {
            // It waits for nobody: whoever it would wait for waits for it.
            crate::common::Server::find().unwrap().run(
                &name,
                "DO 'BEGIN
                     SET LOCAL lock_timeout = 50;
                     INSERT INTO orders VALUES (9, 1);
                     INSERT INTO line VALUES (9, 9);
                 EXCEPTION WHEN OTHERS THEN NULL; END'",
            );
        };
        let proxy = Proxy::new(port(database), Some(Cut::Nowhere(piece)), true, add);
        let outcomes = database.erase_by(&through(database, &proxy), &ada(database)).unwrap();
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
