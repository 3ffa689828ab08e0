//! Reading on: nothing is lost, whatever happens to the rows meanwhile.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};

use common::{Database, Server, call, chosen, start};
use serde_json::Value;

/// Rows enough for several STATE lines, in several blocks.
const TABLE: &str = "\
    CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT now(), note text);\
    INSERT INTO t SELECT n, '2024-01-01'::timestamptz + n * interval '1 minute', repeat('x', 100) \
    FROM generate_series(1, 3000) n;";

/// How often each id is among the records.
fn ids(records: &[Value]) -> BTreeMap<i64, usize> {
    let mut found = BTreeMap::new();
    for record in records {
        *found.entry(record["id"].as_i64().unwrap()).or_default() += 1;
    }
    found
}

/// What a read from a state gives.
fn read_on(database: &Database, cursor: Option<&str>, state: &str) -> (Vec<Value>, String) {
    let schemas = chosen(&database.group(), "t", cursor);
    let files: &[(&str, &str)] = if state.is_empty() {
        &[("-s", &schemas)]
    } else {
        &[("-s", &schemas), ("--state", state)]
    };
    let run = call(&database.form(), &["read"], files, "").done();
    (run.records("t"), run.states())
}

#[test]
fn rows_that_came_or_changed_are_read_and_no_others() {
    let Some(server) = Server::find() else { return };
    for cursor in [None, Some("id")] {
        let database = server.database("changed", TABLE);
        let (all, state) = read_on(&database, cursor, "");
        assert_eq!(all.len(), 3000);
        assert_eq!(read_on(&database, cursor, &state).0, Vec::<Value>::new());
        database.run(
            "INSERT INTO t VALUES (5000, now(), 'new');\
             UPDATE t SET note = 'changed' WHERE id IN (1, 1500);\
             DELETE FROM t WHERE id = 7;",
        );
        let (new, state) = read_on(&database, cursor, &state);
        assert_eq!(ids(&new), BTreeMap::from([(1, 1), (1500, 1), (5000, 1)]), "{cursor:?}");
        // Moving rows is no change.
        database.run("VACUUM FULL t");
        assert_eq!(read_on(&database, cursor, &state).0.len(), 0, "{cursor:?}");
    }
}

#[test]
fn rows_of_a_transaction_that_was_open_are_read_once_it_has_ended() {
    let Some(server) = Server::find() else { return };
    for cursor in [None, Some("at")] {
        let database = server.database("open", TABLE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let state = runtime.block_on(async {
            let open = database.connect().await;
            open.batch_execute(
                "BEGIN; INSERT INTO t VALUES (-1, '2023-01-01', 'late'); \
                 SAVEPOINT s; INSERT INTO t VALUES (-2, '2023-01-01', 'late, in a part of it')",
            )
            .await
            .unwrap();
            database.run("INSERT INTO t VALUES (4000, '2025-01-01', 'committed before it')");
            let (first, state) = read_on(&database, cursor, "");
            assert_eq!(first.len(), 3001);
            open.batch_execute("COMMIT").await.unwrap();
            state
        });
        let (late, _) = read_on(&database, cursor, &state);
        let found = ids(&late);
        assert!(found.contains_key(&-1) && found.contains_key(&-2), "{cursor:?}: {found:?}");
        if cursor.is_none() {
            assert_eq!(late.len(), 2, "what was seen does not come again");
        }
    }
}

#[test]
fn a_lookback_reads_the_last_rows_again() {
    let Some(server) = Server::find() else { return };
    let database = server.database("lookback", TABLE);
    let mut form = database.form();
    form["lookback"] = 120.into();
    let schemas = chosen(&database.group(), "t", Some("at"));
    let first = call(&form, &["read"], &[("-s", &schemas)], "").done();
    database.run("INSERT INTO t SELECT 9000, max(at) - interval '90 seconds' FROM t");
    let files = [("-s", schemas.as_str()), ("--state", &first.states())];
    let again = call(&form, &["read"], &files, "").done();
    let found = ids(&again.records("t"));
    assert!(found.contains_key(&9000) && found.len() == 4, "{found:?}");
}

#[test]
fn a_read_that_was_broken_off_goes_on_though_rows_moved_meanwhile() {
    let Some(server) = Server::find() else { return };
    let database = server.database("moved", TABLE);
    let schemas = chosen(&database.group(), "t", None);
    let whole = call(&database.form(), &["read", "--checkpoint", "500"], &[("-s", &schemas)], "");
    let mut before = Vec::new();
    let mut state = String::new();
    for message in &whole.messages {
        match message["type"].as_str() {
            Some("RECORD") => before.push(message["record"]["data"].clone()),
            Some("STATE") if before.len() < 1500 => state = format!("{message}\n"),
            Some("STATE") => break,
            _ => {}
        }
    }
    before.truncate(1000);
    // Rows that were not read move to where it was read before, and the other way round.
    database.run("DELETE FROM t WHERE id BETWEEN 1 AND 200");
    database.run("VACUUM t");
    database.run("UPDATE t SET note = 'moved' WHERE id BETWEEN 2900 AND 3000");
    database.run("UPDATE t SET note = 'moved' WHERE id BETWEEN 300 AND 310");
    let (rest, _) = read_on(&database, None, &state);
    let mut found = ids(&before);
    for (id, times) in ids(&rest) {
        *found.entry(id).or_default() += times;
    }
    for id in 201..=3000 {
        assert!(found.contains_key(&id), "{id} is lost");
    }
    let unchanged = found.iter().filter(|(id, _)| (400..2800).contains(*id));
    assert!(unchanged.clone().all(|(_, times)| *times == 1), "what did not change came twice");
    // After a rewrite places mean nothing: everything comes again.
    database.run("VACUUM FULL t");
    assert_eq!(read_on(&database, None, &state).0.len(), 2800);
}

#[test]
fn a_partition_that_was_attached_is_read_whatever_the_age_of_its_rows() {
    let Some(server) = Server::find() else { return };
    let database = server.database(
        "attached",
        "CREATE TABLE t (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);
         CREATE TABLE t2 (id int PRIMARY KEY, note text);
         INSERT INTO t SELECT n, 'old' FROM generate_series(0, 99) n;
         INSERT INTO t2 SELECT n, 'older' FROM generate_series(100, 149) n",
    );
    let (all, state) = read_on(&database, None, "");
    assert_eq!(all.len(), 100);
    database.run("ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (100) TO (200)");
    assert_eq!(read_on(&database, None, &state).0.len(), 50);
    let discovered = call(&database.form(), &["discover"], &[], "").done();
    let names: Vec<Value> =
        discovered.entries().iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!(names, ["t"], "a partition is no store of its own");
}

#[test]
fn every_kind_of_table_and_view_is_read() {
    let Some(server) = Server::find() else { return };
    let database = server.database(
        "kinds",
        "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1);
         CREATE TABLE heir () INHERITS (a); INSERT INTO heir VALUES (2);
         CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY); INSERT INTO unlogged VALUES (3);
         CREATE VIEW v AS SELECT * FROM a; CREATE MATERIALIZED VIEW m AS SELECT * FROM a;
         CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
         CREATE FOREIGN TABLE f (id int) SERVER files OPTIONS (program 'echo 4');",
    );
    let run = call(&database.form(), &["read"], &[], "").done();
    for (name, expected) in [
        ("a", &[1][..]),
        ("heir", &[2]),
        ("unlogged", &[3]),
        ("v", &[1, 2]),
        ("m", &[1, 2]),
        ("f", &[4]),
    ] {
        let found: Vec<i64> = ids(&run.records(name)).into_keys().collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_large_table_is_read_by_two_connections_once_and_from_each_state_to_its_end() {
    let Some(server) = Server::find() else { return };
    let database = server.database(
        "large",
        "CREATE TABLE t (id int PRIMARY KEY, note text);
         INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 40000) n",
    );
    let schemas = chosen(&database.group(), "t", None);
    let run = call(&database.form(), &["read", "--checkpoint", "4000"], &[("-s", &schemas)], "");
    let run = run.done();
    assert!(ids(&run.records("t")).values().all(|times| *times == 1));
    assert_eq!(run.records("t").len(), 40_000);
    let states: Vec<usize> =
        (0..run.messages.len()).filter(|place| run.messages[*place]["type"] == "STATE").collect();
    assert!(states.len() > 4);
    for place in states.iter().step_by(3) {
        let before = run.messages[..*place].iter().filter(|m| m["type"] == "RECORD");
        let mut found = ids(&before.map(|m| m["record"]["data"].clone()).collect::<Vec<_>>());
        let (rest, _) = read_on(&database, None, &format!("{}\n", run.messages[*place]));
        for (id, times) in ids(&rest) {
            *found.entry(id).or_default() += times;
        }
        assert_eq!(found.len(), 40_000);
        assert!(found.values().all(|times| *times == 1), "a row came twice");
    }
}

#[test]
fn all_stores_of_a_run_are_of_one_moment() {
    let Some(server) = Server::find() else { return };
    let database = server.database(
        "moment",
        "CREATE TABLE a (id int PRIMARY KEY, note text);
         CREATE TABLE z (id int PRIMARY KEY);
         INSERT INTO a SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n;
         INSERT INTO z VALUES (1)",
    );
    let (mut child, _folder) = start(&database.form(), &["read", "--parallel", "1"], &[]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.contains("\"schema_name\":\"a\""), "{line}");
    database.run("INSERT INTO z VALUES (2); INSERT INTO a VALUES (-1)");
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    let of_z = rest
        .lines()
        .filter(|line| line.contains("\"schema_name\":\"z\"") && line.contains("RECORD"));
    assert_eq!(of_z.count(), 1);
    assert!(!rest.contains("\"id\":-1"));
}

#[test]
fn a_server_that_goes_away_is_said_and_the_states_are_good() {
    let Some(server) = Server::find() else { return };
    let database = server.database(
        "gone",
        "CREATE TABLE t (id int PRIMARY KEY, note text);
         INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 60000) n",
    );
    let schemas = chosen(&database.group(), "t", None);
    let words = ["read", "--parallel", "1", "--checkpoint", "1000"];
    let (mut child, _folder) = start(&database.form(), &words, &[("-s", &schemas)]);
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.contains("\"STATE\"")) {
        lines.push(out.next().expect("a state comes before the end"));
    }
    database.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    lines.extend(out);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3), "{said}");
    assert!(said.contains("shutting down") || said.contains("broke off"), "{said}");
    let last = lines.iter().rposition(|line| line.contains("\"STATE\"")).unwrap();
    let before = lines[..last].iter().filter(|line| line.contains("\"RECORD\"")).count();
    let (rest, _) = read_on(&database, None, &lines[last]);
    assert_eq!(before + rest.len(), 60_000);
}

#[test]
fn a_table_that_is_gone_or_altered_is_said_and_the_rest_goes_on() {
    let Some(server) = Server::find() else { return };
    // Many, in turn, so that the end of one that failed is seen to leave the next alone.
    let each =
        |text: &str| -> String { (10..40).map(|n| text.replace('#', &n.to_string())).collect() };
    let made = each(
        "CREATE TABLE t#gone (id int PRIMARY KEY); INSERT INTO t#gone VALUES (1);
         CREATE TABLE t#here (id int PRIMARY KEY); INSERT INTO t#here VALUES (1);",
    );
    let database = server.database(
        "dropped",
        &format!(
            "CREATE TABLE a (id int PRIMARY KEY, note text);
             INSERT INTO a SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n;
             CREATE TABLE b (id int PRIMARY KEY, gone text); INSERT INTO b VALUES (1); {made}"
        ),
    );
    let (mut child, _folder) = start(&database.form(), &["read", "--parallel", "1"], &[]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    database
        .run("ALTER TABLE b DROP COLUMN gone; ALTER TABLE b ADD COLUMN more int DEFAULT random()");
    database.run(&each("DROP TABLE t#gone;"));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3), "{said}");
    let records = |name: &str| {
        rest.lines()
            .filter(|l| l.contains("RECORD") && l.contains(&format!("\"schema_name\":\"{name}\"")))
            .count()
    };
    assert_eq!(records("a"), 19_999, "{said}");
    let failed = |name: &str| {
        said.lines()
            .any(|l| l.contains("ERROR") && l.contains(&format!("{}/{name}: ", database.group())))
    };
    assert!(failed("b"), "{said}");
    for n in 10..40 {
        assert!(failed(&format!("t{n}gone")), "{said}");
        assert_eq!(records(&format!("t{n}here")), 1, "{said}");
    }
}
