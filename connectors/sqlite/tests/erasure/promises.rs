//! What may go wrong, and may not do harm.

use std::process::{Command, Stdio};
use std::time::Duration;

use protocol::silo::Erasure;
use serde_json::json;

use crate::harness::{Database, deleted, follow, steps};

const SHOP: &str = "
    CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customer);
    CREATE TABLE line (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders);
    CREATE INDEX orders_customer ON orders (customer_id);
    CREATE INDEX line_order ON line (order_id);
    INSERT INTO customer VALUES (1, 'Ada', 'ada@x.org'), (2, 'Grace', 'grace@x.org');
    INSERT INTO orders VALUES (1, 1), (2, 1), (3, 2);
    INSERT INTO line VALUES (1, 1), (2, 1), (3, 2), (4, 3);";

fn ada() -> Erasure {
    follow("customer", "email", "ada@x.org", &json!({}))
}

#[test]
fn a_plan_is_refused_once_a_row_was_added_or_swapped_for_another() {
    for change in [
        "INSERT INTO line VALUES (9, 2)",
        "DELETE FROM line WHERE id = 3; INSERT INTO line VALUES (9, 2)",
        "CREATE INDEX another ON line (id, order_id)",
    ] {
        let database = Database::new(SHOP);
        let hash = database.plan(&ada()).unwrap().hash;
        database.run(change);
        let before = database.dump();
        let refused = database.erase(&Erasure { approved: Some(hash), ..ada() });
        assert!(refused.unwrap_err().to_string().contains("another than the approved"), "{change}");
        assert_eq!(database.dump(), before, "{change}");
    }
    let database = Database::new(SHOP);
    let hash = database.plan(&ada()).unwrap().hash;
    let done = deleted(&database.erase(&Erasure { approved: Some(hash), ..ada() }).unwrap());
    assert_eq!(done["line"], 3);
}

#[test]
fn a_trigger_that_keeps_a_row_undoes_everything() {
    let database = Database::new(SHOP);
    database.run(
        "CREATE TRIGGER keeps BEFORE DELETE ON line WHEN old.id = 3 BEGIN SELECT RAISE(IGNORE); END",
    );
    let before = database.dump();
    let error = database.erase(&ada()).unwrap_err().to_string();
    assert!(error.contains("keeps"), "{error}");
    assert_eq!(database.dump(), before);
    let warnings = database.plan(&ada()).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("keeps")), "{warnings:?}");
}

#[test]
fn identifiers_of_several_rows_of_persons_need_an_approved_plan() {
    let database = Database::new(SHOP);
    database.run("INSERT INTO customer VALUES (3, 'Ada', 'ada@x.org')");
    assert!(database.erase(&ada()).unwrap_err().to_string().contains("several rows"));
    let hash = database.plan(&ada()).unwrap().hash;
    let done = deleted(&database.erase(&Erasure { approved: Some(hash), ..ada() }).unwrap());
    assert_eq!(done["customer"], 2);
}

#[test]
fn rows_that_only_resemble_an_identifier_stay_and_are_told() {
    let database = Database::new(SHOP);
    database.run("INSERT INTO customer VALUES (3, 'Ada', 'ADA@x.org ')");
    assert_eq!(steps(&database.plan(&ada()).unwrap())[0], "near customer(email) 1");
    let outcomes = database.erase(&ada()).unwrap();
    assert_eq!(outcomes[0].skipped.len(), 1);
    assert_eq!(database.count("SELECT count(*) FROM customer WHERE id = 3"), 1);
    assert_eq!(database.verify(&ada()).unwrap().stores[0].near, 1);
}

#[test]
fn a_hold_refuses_the_whole_request() {
    let database = Database::new(SHOP);
    let request = follow("customer", "email", "ada@x.org", &json!({"hold": "case 7"}));
    assert!(database.erase(&request).unwrap_err().to_string().contains("case 7"));
    assert!(database.plan(&request).is_err());
}

#[test]
fn without_follow_a_delete_that_would_go_on_into_another_store_is_refused() {
    for action in ["", "ON DELETE CASCADE", "ON DELETE SET NULL"] {
        let database = Database::new(&format!(
            "CREATE TABLE p (id INTEGER PRIMARY KEY, email TEXT);
             CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p {action});
             INSERT INTO p VALUES (1, 'ada@x.org'); INSERT INTO c VALUES (1, 1);"
        ));
        let before = database.dump();
        let request = Erasure { follow: false, ..follow("p", "id", "1", &json!({})) };
        let outcome = &database.erase(&request).unwrap()[0];
        assert!(outcome.error.as_ref().unwrap().contains("c(p)"), "{outcome:?}");
        assert_eq!(database.dump(), before);
    }
}

#[test]
fn without_follow_children_go_first_whatever_the_order_and_a_failure_is_alone() {
    let database = Database::new(SHOP);
    let mut request = Erasure { follow: false, ..follow("customer", "id", "1", &json!({})) };
    request.subjects.extend(follow("orders", "customer_id", "1", &json!({})).subjects);
    for order in [1, 2] {
        request
            .subjects
            .extend(follow("line", "order_id", &order.to_string(), &json!({})).subjects);
    }
    // Two identifiers of one store are one subject.
    let second = request.subjects.pop().unwrap();
    request.subjects[2].1.identifiers.extend(second.1.identifiers);
    let done = deleted(&database.erase(&request).unwrap());
    assert_eq!((done["customer"], done["orders"], done["line"]), (1, 2, 3));

    let database = Database::new(SHOP);
    let mut request = Erasure { follow: false, ..follow("orders", "id", "1", &json!({})) };
    request.subjects.extend(follow("line", "id", "4", &json!({})).subjects);
    let outcomes = database.erase(&request).unwrap();
    assert!(outcomes[0].error.is_some() && outcomes[1].error.is_none());
    assert_eq!((outcomes[0].deleted, outcomes[1].deleted), (0, 1));
}

#[test]
fn a_key_that_compares_by_another_collation_or_type_is_followed_as_the_database_does() {
    let database = Database::new(
        "CREATE TABLE p (code TEXT PRIMARY KEY COLLATE NOCASE, email TEXT);
         CREATE TABLE c (id INTEGER PRIMARY KEY, p TEXT REFERENCES p (code));
         CREATE TABLE d (id INTEGER PRIMARY KEY, p BLOB REFERENCES p (code));
         INSERT INTO p VALUES ('ada', 'ada@x.org'), ('1', 'one@x.org');
         INSERT INTO c VALUES (1, 'ADA'), (2, 'ada'), (3, '1');
         INSERT INTO d VALUES (1, 'Ada'), (2, 1);",
    );
    let plan = database.plan(&follow("p", "email", "ada@x.org", &json!({}))).unwrap();
    assert_eq!(steps(&plan), ["delete c 2", "delete d 1", "delete p 1"]);
    let done = deleted(&database.erase(&follow("p", "code", "ada", &json!({}))).unwrap());
    assert_eq!((done["c"], done["d"], done["p"]), (2, 1, 1));
}

#[test]
fn a_strategy_that_cannot_hold_fails_the_plan_by_name() {
    let database = Database::new(
        "CREATE TABLE p (id INTEGER PRIMARY KEY, email VARCHAR(40) NOT NULL UNIQUE, age INT,
                         up TEXT GENERATED ALWAYS AS (upper(email)));
         INSERT INTO p (id, email) VALUES (1, 'ada@x.org');",
    );
    for (mask, why) in [
        (json!({"email": null}), "may not be null"),
        (json!({"email": "hash"}), "room for 40"),
        (json!({"email": "hmac"}), "evidence_key"),
        (json!({"age": "surrogate"}), "no surrogate"),
        (json!({"up": {"constant": "x"}}), "computes"),
        (json!({"id": {"constant": 5}}), "primary key"),
        (json!({"no": null}), "`no`"),
    ] {
        let policy = json!({"strategies": [{"schema_name": "p", "columns": mask}]});
        let error = database.plan(&follow("p", "id", "1", &policy)).unwrap_err().to_string();
        assert!(error.contains(why), "{mask}: {error}");
    }
}

/// A database whose erasure takes long enough to be killed in.
fn large() -> Database {
    let database = Database::new(SHOP);
    database.run(
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO orders SELECT i, 1 + (i % 50 = 0) FROM n;
         INSERT INTO line SELECT id, id FROM orders WHERE id >= 100;",
    );
    database
}

#[test]
fn killed_at_any_time_nothing_or_everything_is_done() {
    let pristine = large();
    let config = |database: &Database| {
        let path = database.path.with_extension("json");
        std::fs::write(&path, json!({ "path": database.path }).to_string()).unwrap();
        path
    };
    let query = pristine.path.with_extension("q.json");
    let identifier = json!({"schema_name": "customer", "identifier": "email",
                            "identifier_query": "ada@x.org"});
    std::fs::write(&query, json!({"identifiers": [identifier], "follow": true}).to_string())
        .unwrap();
    let before = pristine.dump();
    let whole = {
        let database = Database::copy_of(&pristine.path);
        database.erase(&ada()).unwrap();
        database.dump()
    };
    let (mut nothing, mut everything) = (0, 0);
    for milliseconds in (0..40).map(|i| i * 8) {
        let database = Database::copy_of(&pristine.path);
        let mut child = Command::new(env!("CARGO_BIN_EXE_connector-sqlite"))
            .args(["delete", "-c"])
            .arg(config(&database))
            .arg("-q")
            .arg(&query)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        let after = database.dump();
        match (after == before, after == whole) {
            (true, _) => nothing += 1,
            (_, true) => everything += 1,
            _ => panic!("killed after {milliseconds} ms, a part was done"),
        }
        // Whatever it was, the next run ends it.
        if milliseconds % 80 == 0 {
            database.erase(&ada()).unwrap();
            assert_eq!(database.dump(), whole);
        }
    }
    assert!(nothing > 0, "no kill came early enough");
    assert!(everything > 0, "no run ended before its kill");
}

#[test]
fn a_writer_that_adds_a_child_meanwhile_is_waited_for_or_its_child_is_erased() {
    let database = large();
    let path = database.path.clone();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(30)).unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        let mut added = 0;
        for i in 100_000.. {
            if stopped.load(std::sync::atomic::Ordering::Relaxed) {
                return added;
            }
            // Refused once the customer is gone.
            if connection.execute("INSERT INTO orders VALUES (?1, 1)", [i]).is_ok() {
                added += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        added
    });
    std::thread::sleep(Duration::from_millis(30));
    let outcomes = database.erase(&ada()).unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(writer.join().unwrap() > 0);
    deleted(&outcomes);
    assert_eq!(database.count("SELECT count(*) FROM orders WHERE customer_id = 1"), 0);
}

#[test]
fn evidence_is_written_before_the_first_write_and_after_the_last_look() {
    let mut database = Database::new(SHOP);
    let path = database.path.with_extension("evidence");
    let request = Erasure { evidence: Some(path.clone()), ..ada() };
    assert!(database.erase(&request).unwrap_err().to_string().contains("evidence_key"));
    assert_eq!(database.count("SELECT count(*) FROM customer"), 2);

    database.key = Some("a key of some length".to_owned());
    database.run("CREATE TRIGGER keeps BEFORE DELETE ON line BEGIN SELECT RAISE(IGNORE); END");
    assert!(database.erase(&request).is_err());
    database.run("DROP TRIGGER keeps");
    deleted(&database.erase(&request).unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let kinds: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].to_string())
        .collect();
    assert_eq!(kinds, ["\"begun\"", "\"failed\"", "\"begun\"", "\"done\""]);
    assert!(!text.contains("ada@") && text.contains("secure_delete"), "{text}");
    let config = database.path.with_extension("json");
    let check = |key: &str| {
        std::fs::write(&config, json!({"path": "x", "evidence_key": key}).to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_connector-sqlite"));
        command.args(["evidence", "-c"]).arg(&config).arg("--evidence").arg(&path);
        command.output().unwrap().status.code()
    };
    assert_eq!(check("a key of some length"), Some(0));
    assert_eq!(check("another"), Some(3));
    let begun = text.lines().next().unwrap();
    std::fs::write(&path, format!("{begun}\n")).unwrap();
    assert_eq!(check("a key of some length"), Some(3), "an undetermined one");
}

#[test]
fn a_policy_can_be_a_yaml_file_and_a_member_it_does_not_know_is_refused() {
    let database = Database::new(SHOP);
    let folder = database.path.parent().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let config = write("c.json", &json!({ "path": database.path }).to_string());
    let query = write(
        "q.json",
        r#"{"identifiers": [{"schema_name": "customer", "identifier": "id", "identifier_query": 1}]}"#,
    );
    let plan = |policy: &str| {
        let policy = write("p.yaml", policy);
        let mut command = Command::new(env!("CARGO_BIN_EXE_connector-sqlite"));
        command.args(["plan", "--follow", "-c"]).arg(&config).arg("-q").arg(&query);
        command.arg("--policy").arg(policy).output().unwrap()
    };
    let kept = plan("retain:\n  - schema_name: line\n    reason: law\n");
    assert_eq!(kept.status.code(), Some(3), "blocked, and not green");
    assert!(String::from_utf8(kept.stdout).unwrap().contains("\"keep\""));
    let misspelt = plan("retian:\n  - schema_name: line\n    reason: law\n");
    assert_eq!(misspelt.status.code(), Some(2));
}

#[test]
fn values_that_no_relation_leads_to_are_found_in_texts_on_request() {
    let database = Database::new(SHOP);
    database.run(
        "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT);
         INSERT INTO note VALUES (1, 'call ADA@x.org back'), (2, '100% _da@x.org'), (3, 'other');",
    );
    let outcomes = database.erase(&Erasure { search_values: true, ..ada() }).unwrap();
    let note = outcomes.iter().find(|outcome| outcome.store.name == "note").unwrap();
    assert!(note.skipped[0].starts_with("1 rows") && note.skipped[0].contains("`body`"));
    assert!(!format!("{outcomes:?}").contains("ada@"));
    let verify = database.verify(&Erasure { search_values: true, ..ada() }).unwrap();
    assert_eq!((verify.residue.len(), verify.residue[0].rows), (1, 1));
}
