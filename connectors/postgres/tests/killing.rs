//! A read that is killed at any moment goes on from the last STATE it printed, and loses nothing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use common::{Database, Server, chosen, start};
use protocol::sql::sample::Random;
use serde_json::Value;

const ROWS: u64 = 30_000;

/// Reads until it is killed at a random line, again and again, and returns how often each row came
/// in what the STATE lines cover, and how many runs it took.
fn read_through_kills(
    database: &Database,
    cursor: Option<&str>,
    random: &mut Random,
) -> (BTreeMap<i64, usize>, usize) {
    let schemas = chosen(&database.group(), "t", cursor);
    let words = ["read", "--parallel", "2", "--checkpoint", "500"];
    let mut found = BTreeMap::new();
    let mut state: Option<String> = None;
    for run in 1.. {
        let mut files = vec![("-s", schemas.as_str())];
        files.extend(state.as_deref().map(|state| ("--state", state)));
        let (mut child, _folder) = start(&database.form(), &words, &files);
        let kill_at = random.below(ROWS / 2);
        let mut uncovered = Vec::new();
        let mut next = None;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
        for number in 0.. {
            if number == kill_at {
                // SIGKILL; what the pipe holds was printed before.
                child.kill().unwrap();
            }
            let Some(line) = lines.next() else { break };
            // A line that the kill cut is none.
            let Ok(message) = serde_json::from_slice::<Value>(&line.unwrap()) else { break };
            match message["type"].as_str() {
                Some("RECORD") => uncovered.push(message["record"]["data"]["id"].as_i64().unwrap()),
                Some("STATE") => {
                    for id in uncovered.drain(..) {
                        *found.entry(id).or_default() += 1;
                    }
                    next = Some(format!("{message}\n"));
                }
                _ => {}
            }
        }
        state = next.or(state);
        if child.wait().unwrap().success() {
            return (found, run);
        }
    }
    unreachable!("the loop has no end of its own")
}

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
    let mut random = Random::new(std::process::id().into());
    for cursor in [None, Some("at")] {
        let (found, runs) = read_through_kills(&database, cursor, &mut random);
        assert_eq!(found.len() as u64, ROWS, "{cursor:?}: rows were lost");
        assert!(found.values().all(|times| *times == 1), "{cursor:?}: a row came twice");
        assert!(runs > 1, "{cursor:?}: it was never killed");
    }
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
        let found = read_through_kills(&database, None, &mut random);
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
