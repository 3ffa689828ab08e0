//! Others who write and lock while an erasure is at work: it is undone, and planned and compared again.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use protocol::silo::Erasure;
use protocol::testing::erasure::faults::{Ended, Served as _, at_each, kinds, port};
use protocol::testing::erasure::proxy::{Cut, Proxy};
use protocol::testing::erasure::stories::{SHOP, ada};
use protocol::testing::erasure::{Database as _, deleted};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::harness::Database;

fn database() -> Option<Database> {
    Database::available().then(|| Database::new(SHOP))
}

/// Why an attempt failed, as its evidence says it.
fn why(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let failed = records.filter(|record| record["kind"] == "failed");
    failed.map(|record| record["content"]["error"].as_str().unwrap().to_owned()).collect()
}

/// What another client does on a connection of its own, from before until `work` is done.
fn beside<T>(
    database: &Database,
    other: impl AsyncFnOnce(&Client) + Send,
    work: impl FnOnce() -> T,
) -> T {
    let inner = &*database.0;
    thread::scope(|scope| {
        let (ready, begun) = std::sync::mpsc::channel();
        scope.spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = inner.connect().await;
                client
                    .batch_execute(
                        "SET search_path = public; SET deadlock_timeout = '30s'; BEGIN;
                         UPDATE orders SET customer_id = customer_id WHERE id = 1",
                    )
                    .await
                    .unwrap();
                ready.send(()).unwrap();
                other(&client).await;
            });
        });
        begun.recv().unwrap();
        work()
    })
}

/// Waits until a client of the database waits for a lock.
async fn somebody_waits(client: &Client) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND datname = current_database()";
    let deadline = Instant::now() + Duration::from_secs(60);
    while client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
        // What it saw of the others it would see again.
        client.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
    }
}

fn patient(database: &Database, seconds: u64) -> Value {
    let mut form = database.form();
    form["lock_timeout"] = json!(seconds);
    form
}

/// An approved plan, so that what is done again is compared again.
fn approved(database: &Database, path: &Path) -> Erasure {
    let hash = database.plan(&ada(database)).unwrap().hash;
    Erasure { approved: Some(hash), evidence: Some(path.to_owned()), ..ada(database) }
}

#[test]
fn a_deadlock_undoes_everything_and_it_is_begun_anew() {
    let Some(database) = database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evidence");
    let request = approved(&database, &path);
    let cross = async |client: &Client| {
        somebody_waits(client).await;
        // It waits for what the erasure has deleted; one of the two must give way, and is patient.
        client
            .batch_execute("UPDATE line SET order_id = order_id WHERE id = 1; ROLLBACK")
            .await
            .unwrap();
    };
    let form = patient(&database, 20);
    let done = beside(&database, cross, || database.erase_by(&form, &request).unwrap());
    assert_eq!((deleted(&done)["line"], deleted(&done)["orders"]), (3, 2));
    assert_eq!(kinds(&path), ["begun", "failed", "begun", "done"]);
    assert!(why(&path).contains("deadlock"), "{}", why(&path));
    assert_eq!(database.count("SELECT count(*) FROM line"), 1);
}

#[test]
fn a_lock_that_is_held_for_too_long_undoes_everything_and_it_is_begun_anew() {
    let Some(database) = database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evidence");
    let request = approved(&database, &path);
    let hold = async |client: &Client| {
        somebody_waits(client).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        client.batch_execute("ROLLBACK").await.unwrap();
    };
    let form = patient(&database, 1);
    let done = beside(&database, hold, || database.erase_by(&form, &request).unwrap());
    assert_eq!((deleted(&done)["line"], deleted(&done)["orders"]), (3, 2));
    let kinds = kinds(&path);
    assert_eq!(kinds[..3], ["begun", "failed", "begun"], "{kinds:?}");
    assert_eq!(kinds.last().unwrap(), "done", "{kinds:?}");
    assert!(why(&path).contains("lock_timeout"), "{}", why(&path));
    assert_eq!(database.count("SELECT count(*) FROM line"), 1);
}

#[test]
fn a_row_that_is_changed_meanwhile_undoes_everything_and_it_is_planned_and_compared_again() {
    for (change, still) in [("customer_id = customer_id", true), ("customer_id = 2", false)] {
        let Some(database) = database() else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evidence");
        let request = approved(&database, &path);
        let before = database.dump();
        let commit = async |client: &Client| {
            client
                .batch_execute(&format!("UPDATE orders SET {change} WHERE id = 1"))
                .await
                .unwrap();
            somebody_waits(client).await;
            client.batch_execute("COMMIT").await.unwrap();
        };
        let form = patient(&database, 20);
        let done = beside(&database, commit, || database.erase_by(&form, &request));
        assert!(why(&path).contains("serialize"), "{}", why(&path));
        if still {
            assert_eq!(deleted(&done.unwrap())["line"], 3);
            assert_eq!(kinds(&path), ["begun", "failed", "begun", "done"]);
            continue;
        }
        // The order is another person's now: that is not what was approved.
        let refused = done.unwrap_err().to_string();
        assert!(refused.contains("another than the approved one"), "{refused}");
        assert_eq!(kinds(&path), ["begun", "failed"]);
        let after = database.dump();
        assert_eq!((&after["line"], &after["customer"]), (&before["line"], &before["customer"]));
    }
}

#[test]
fn a_row_that_is_written_at_any_statement_is_never_erased_by_half() {
    let Some(pristine) = database() else { return };
    let proxy = Proxy::new(port(&pristine), None, true, || {});
    deleted(&pristine.erase_by(&pristine.through(proxy.port), &ada(&pristine)).unwrap());
    let pieces = proxy.passed();
    let ended = at_each((0..pieces).step_by(4), |database: &Database, piece| {
        let write = database.beside(&["UPDATE line SET order_id = order_id WHERE id = 1"]);
        let proxy = Proxy::new(port(database), Some(Cut::Nowhere(piece)), true, write);
        let outcomes = database.erase_by(&database.through(proxy.port), &ada(database)).unwrap();
        assert_eq!(deleted(&outcomes)["line"], 3, "piece {piece}");
        assert_eq!(database.count("SELECT count(*) FROM line"), 1, "piece {piece}");
        let again = proxy.passed() > pieces + 10;
        Ended { how: if again { "again" } else { "at once" }, changed: true }
    });
    assert!(ended["again"] > 2, "{ended:?}");
}
