//! Others at work on the same rows, and a server that cannot go on: what is done again, what is said.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::{Duration, Instant};

use common::{Database, Run, Server, call};
use serde_json::{Value, json};
use tokio_postgres::Client;

const TABLES: &str = "\
    CREATE TABLE people (id int PRIMARY KEY, email text);\
    CREATE TABLE orders (id int PRIMARY KEY, email text, person int REFERENCES people);\
    INSERT INTO people VALUES (1, 'ada@example.com'), (2, 'grace@example.com');\
    INSERT INTO orders VALUES (10, 'ada@example.com', 1), (20, 'grace@example.com', 2);";

fn query(database: &Database, stores: &[&str]) -> String {
    let identifiers = stores.iter().map(|store| {
        json!({"schema_name": store, "schema_group": database.group(),
               "identifier": "email", "identifier_query": "ada@example.com"})
    });
    json!({"identifiers": identifiers.collect::<Vec<_>>()}).to_string()
}

fn delete(form: &Value, query: &str) -> Run {
    call(form, &["delete"], &[("-q", query)], "")
}

/// What became of a store.
fn status(run: &Run, store: &str) -> String {
    let result = run.messages.iter().find(|m| m["request"]["handle"]["schema_name"] == store);
    result.unwrap()["request"]["status"]["request_status"].as_str().unwrap().to_owned()
}

fn ids(database: &Database, table: &str) -> Vec<String> {
    let rows = database.query(&format!("SELECT id::text FROM {table} ORDER BY id"));
    rows.into_iter().flatten().collect()
}

/// Waits until another connection to the database waits for a lock.
async fn somebody_waits(client: &Client) {
    let begun = Instant::now();
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a delete while another transaction holds what `hold` locks, and does `then` once the delete
/// waits for it.
fn delete_against(database: &Database, stores: &[&str], hold: &str, then: &str) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (other, watcher) = (database.connect().await, database.connect().await);
        other.batch_execute(&format!("BEGIN; {hold}")).await.unwrap();
        let (form, query) = (database.form(), query(database, stores));
        let run = tokio::task::spawn_blocking(move || delete(&form, &query));
        somebody_waits(&watcher).await;
        other.batch_execute(then).await.unwrap();
        run.await.unwrap()
    })
}

#[test]
fn a_row_that_another_transaction_changed_meanwhile_is_deleted_all_the_same() {
    let Some(server) = Server::find() else { return };
    let database = server.database("changed", TABLES);
    let run = delete_against(
        &database,
        &["orders"],
        "UPDATE orders SET person = NULL WHERE id = 10",
        "COMMIT",
    );
    assert_eq!(status(&run, "orders"), "COMPLETE", "{}", run.said);
    assert!(run.said.contains("begun anew"), "{}", run.said);
    assert_eq!(ids(&database, "orders"), ["20"]);
}

#[test]
fn a_delete_that_loses_a_deadlock_begins_anew() {
    let Some(server) = Server::find() else { return };
    let database = server.database("deadlock", TABLES);
    // The delete has the order when it waits for the person. The other one would wait for ever.
    let run = delete_against(
        &database,
        &["people", "orders"],
        "SET deadlock_timeout = '1h'; UPDATE people SET id = 1 WHERE id = 1",
        "UPDATE orders SET id = 10 WHERE id = 10; COMMIT",
    );
    assert_eq!(status(&run, "people"), "COMPLETE", "{}", run.said);
    assert_eq!(status(&run, "orders"), "COMPLETE", "{}", run.said);
    assert!(run.said.contains("begun anew"), "{}", run.said);
    assert_eq!(
        (ids(&database, "people"), ids(&database, "orders")),
        (vec!["2".into()], vec!["20".into()])
    );
}

#[test]
fn a_store_whose_rows_stay_locked_fails_alone_and_soon() {
    let Some(server) = Server::find() else { return };
    let database = server.database("locked", TABLES);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let other = database.connect().await;
        other.batch_execute("BEGIN; SELECT FROM people WHERE id = 1 FOR KEY SHARE").await.unwrap();
        let mut form = database.form();
        form["lock_timeout"] = json!(1);
        let run = delete(&form, &query(&database, &["people", "orders"]));
        assert_eq!(status(&run, "people"), "FAILED", "{}", run.said);
        assert_eq!(status(&run, "orders"), "COMPLETE", "{}", run.said);
        assert!(run.said.contains("`lock_timeout`"), "{}", run.said);
        assert_eq!(ids(&database, "orders"), ["20"]);
    });
}

#[test]
fn a_trigger_that_keeps_a_row_makes_its_store_fail() {
    let Some(server) = Server::find() else { return };
    let database = server.database("kept", TABLES);
    database.run(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER keep BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    let run = delete(&database.form(), &query(&database, &["orders"]));
    assert_eq!(status(&run, "orders"), "FAILED", "{}", run.said);
    assert_eq!(ids(&database, "orders"), ["10", "20"]);
}

#[test]
fn a_disk_that_is_full_ends_a_write_and_the_states_printed_so_far_are_good() {
    let Some(server) = Server::find() else { return };
    // The server's own words and number for it, at the row at which it would come.
    let database = server.database(
        "full",
        "CREATE TABLE t (id int PRIMARY KEY);
         CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.id = 700 THEN
                 RAISE EXCEPTION 'could not extend file \"base/1/2\": No space left on device'
                     USING ERRCODE = 'disk_full';
             END IF;
             RETURN NEW; END $$;
         CREATE TRIGGER full_disk BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION full_disk()",
    );
    let mut lines = String::new();
    for id in 1..=1000 {
        let record = json!({"type": "RECORD", "record": {
            "schema_name": "t", "schema_group": database.group(), "data": {"id": id}}});
        lines.push_str(&format!("{record}\n"));
        if id % 100 == 0 {
            let state = json!({"type": "STATE", "state": {
                "schema_name": "t", "schema_group": database.group(), "cursor": id}});
            lines.push_str(&format!("{state}\n"));
        }
    }
    let run = call(&database.form(), &["write"], &[], &lines);
    assert_eq!(run.status, 1, "{}", run.said);
    assert!(run.said.contains("the server's disk is full"), "{}", run.said);
    let last = run.messages.iter().rev().find(|message| message["type"] == "STATE");
    let good = last.map_or(0, |message| message["state"]["cursor"].as_u64().unwrap());
    assert!(good > 0, "no state was good");
    // Records after the last state may be there; none that a state covers is missing.
    let kept = database.query(&format!("SELECT count(*) FROM t WHERE id <= {good}"));
    assert_eq!(kept, [Some(good.to_string())]);
    let beyond = database.query("SELECT count(*) FROM t WHERE id >= 700");
    assert_eq!(beyond, [Some("0".to_owned())]);
}

#[test]
fn a_server_without_encryption_is_not_talked_to_in_plain_text_where_it_is_required() {
    // It answers the question for encryption with no, and hears nothing more.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut client, _) = listener.accept().unwrap();
        let mut request = [0; 8];
        client.read_exact(&mut request).unwrap();
        client.write_all(b"N").unwrap();
        let mut more = Vec::new();
        client.read_to_end(&mut more).unwrap();
        more
    });
    let form = json!({"hostname": "127.0.0.1", "port": port, "database": "d", "username": "u",
        "password": "not said", "ssl": true});
    let run = call(&form, &["validate"], &[], "");
    let message = run.messages[0]["validate_msg"]["message"].as_str().unwrap();
    assert!(message.contains("offers no encryption"), "{message}");
    assert_eq!(heard.join().unwrap(), b"");
}
