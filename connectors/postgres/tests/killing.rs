//! A read that is killed at any moment goes on from the last STATE it printed, and loses nothing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::{Duration, Instant};

use common::{CONNECTOR, Server, chosen, start};
use protocol::silo::StoreId;
use protocol::sql::sample::Random;

const ROWS: u64 = 30_000;

#[test]
fn each_row_comes_once_however_often_the_read_is_killed() {
    let Some(server) = Server::find() else { return };
    // Large enough for two connections, and stored in another order than that of the key.
    let database = server.database(
        "killed",
        &format!(
            "CREATE TABLE t (id int PRIMARY KEY, at timestamptz NOT NULL, note text);
             INSERT INTO t SELECT n, '2024-01-01'::timestamptz + n % 100 * interval '1 hour', repeat('x', 1100)
             FROM generate_series(1, {ROWS}) n ORDER BY hashint4(n)"
        ),
    );
    let store = StoreId::new(Some(database.group()), "t");
    CONNECTOR.survives_kills(&database.form(), &["--parallel", "2"], &store, ROWS);
}

#[test]
fn rows_that_come_and_change_between_kills_are_not_lost() {
    let Some(server) = Server::find() else { return };
    let database = server.database(
        "killed",
        &format!(
            "CREATE TABLE t (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), note text);
             INSERT INTO t SELECT n, now(), repeat('x', 1100) FROM generate_series(1, {ROWS}) n"
        ),
    );
    let stop = std::sync::atomic::AtomicBool::new(false);
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = i64::try_from(ROWS).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                next += 1;
                database.run(&format!(
                    "INSERT INTO t VALUES ({next}, now(), 'new'); \
                     UPDATE t SET note = 'moved' WHERE id = {next} * 7 % {ROWS} + 1"
                ));
                // So that rows are stored where others were.
                database.run("VACUUM t");
            }
        });
        let mut random = Random::new(u64::from(std::process::id()) + 1);
        let (form, schemas) = (database.form(), chosen(&database.group(), "t", None));
        let words = ["--parallel", "2"];
        let found = CONNECTOR.read_through_kills(&form, &words, &schemas, ROWS / 2, &mut random);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        found.0
    });
    for id in 1..=i64::try_from(ROWS).unwrap() {
        assert!(found.contains_key(&id), "{id} is lost");
    }
}

#[test]
fn a_run_that_is_killed_leaves_no_statement_at_work() {
    let Some(server) = Server::find() else { return };
    let database = server.database("left", "CREATE VIEW slow AS SELECT 1 AS id FROM pg_sleep(600)");
    let at_work = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
                   AND state = 'active' AND pid <> pg_backend_pid()";
    let within = |limit: Duration, wanted: usize| {
        let begun = Instant::now();
        while database.query(at_work).len() != wanted {
            assert!(begun.elapsed() < limit, "not {wanted} statements are at work");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let (mut child, _folder) = start(&database.form(), &["read"], &[]);
    within(Duration::from_secs(30), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    within(Duration::from_secs(30), 0);
}
