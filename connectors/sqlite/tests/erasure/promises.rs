//! What may go wrong with a file and its program, and may not do harm.

use std::process::Command;
use std::time::Duration;

use protocol::silo::Erasure;
use protocol::testing::erasure::stories::{SHOP, ada};
use protocol::testing::erasure::{Database as _, deleted, steps};
use serde_json::{Value, json};

use crate::harness::Database;

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
    let plan = database.plan(&database.follow("p", "email", "ada@x.org", &json!({}))).unwrap();
    assert_eq!(steps(&plan), ["delete c 2", "delete d 1", "delete p 1"]);
    let done = deleted(&database.erase(&database.follow("p", "code", "ada", &json!({}))).unwrap());
    assert_eq!((done["c"], done["d"], done["p"]), (2, 1, 1));
}

#[test]
fn what_sqlite_refuses_of_a_row_that_refers_to_itself_in_another_case_changes_nothing() {
    // SQLite does not find such a row's parent, itself, when another of its references changes.
    let database = Database::new(
        "CREATE TABLE person (code TEXT COLLATE NOCASE NOT NULL PRIMARY KEY, name TEXT, email TEXT,
             boss TEXT REFERENCES person (code), friend TEXT REFERENCES person (code));
         INSERT INTO person VALUES ('ada', 'Ada', 'ada@x.org', NULL, NULL),
             ('eve', 'Eve', 'eve@x.org', 'EVE', 'ADA'), ('joe', 'Joe', 'joe@x.org', 'JOE', 'joe');",
    );
    let before = database.dump();
    let ada = database.follow("person", "email", "ada@x.org", &json!({}));
    let plan = database.plan(&ada).unwrap();
    assert_eq!(steps(&plan), ["null person(friend) 1", "delete person 1"]);
    let refused = database.erase(&ada).unwrap_err().to_string();
    assert!(refused.contains("the database refuses the change"), "{refused}");
    assert_eq!(database.dump(), before);
    // It can be masked and go itself.
    let mask = json!([{"schema_name": "person",
                       "columns": {"name": null, "email": {"constant": "-"}}}]);
    let eve = database.follow("person", "code", "eve", &json!({ "strategies": mask }));
    deleted(&database.erase(&eve).unwrap());
    assert_eq!(database.rows("SELECT name, boss FROM person WHERE code = 'eve'"), [["-", "EVE"]]);
    for person in ["eve", "joe", "ada"] {
        let request = database.follow("person", "code", person, &json!({}));
        assert_eq!(deleted(&database.erase(&request).unwrap())["person"], 1, "{person}");
    }
}

/// A database whose erasure takes long enough for others to get in between.
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
    let outcomes = database.erase(&ada(&database)).unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(writer.join().unwrap() > 0);
    deleted(&outcomes);
    assert_eq!(database.count("SELECT count(*) FROM orders WHERE customer_id = 1"), 0);
}

#[test]
fn evidence_says_what_remains_in_the_file_and_beside_it() {
    let database = large();
    database.run("PRAGMA journal_mode = WAL");
    let path = database.path.with_extension("evidence");
    deleted(&database.erase(&Erasure { evidence: Some(path.clone()), ..ada(&database) }).unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let remains = &last["content"]["databases"][0]["what_remains"];
    let free = database.rows("PRAGMA freelist_count").concat().concat();
    assert_ne!(free, "0", "what went has left pages");
    let found = |what: &str, found: &str| json!({"what": what, "found": found});
    let expected =
        [found("secure_delete", "0"), found("journal mode", "wal"), found("free pages", &free)];
    assert_eq!(*remains, json!(expected));
}

#[test]
fn evidence_is_checked_by_a_command() {
    let database = Database::new(SHOP);
    let path = database.path.with_extension("evidence");
    let request = Erasure { evidence: Some(path.clone()), ..ada(&database) };
    deleted(&database.erase(&request).unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("secure_delete"), "{text}");
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
fn a_plan_suggests_a_policy_that_is_refused_until_it_is_completed() {
    let database = Database::new(
        "CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
         CREATE TABLE guest (id INTEGER PRIMARY KEY, host INTEGER REFERENCES owner, name TEXT, email TEXT);
         INSERT INTO owner VALUES (1, 'Ada', 'a'); INSERT INTO guest VALUES (1, 1, 'Grace', 'g');",
    );
    let config = database.path.with_extension("json");
    std::fs::write(&config, json!({ "path": database.path }).to_string()).unwrap();
    let policy = database.path.with_extension("policy");
    let plan = |words: &[&str]| {
        let query = database.path.with_extension("q.json");
        let identifier = json!({"schema_name": "owner", "identifier": "id", "identifier_query": 1});
        std::fs::write(&query, json!({"identifiers": [identifier]}).to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_connector-sqlite"));
        command.args(["plan", "--follow", "-c"]).arg(&config).arg("-q").arg(&query);
        command.args(words).output().unwrap()
    };
    let asked = plan(&["--suggest"]);
    assert_eq!(asked.status.code(), Some(3));
    let said: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let mut suggested = said["plan"]["policy"].clone();
    assert_eq!(suggested["relations"][0]["columns"], json!(["host"]));
    let write = |content: &Value| std::fs::write(&policy, content.to_string()).unwrap();
    write(&suggested);
    let with = ["--policy", policy.to_str().unwrap()];
    assert_ne!(plan(&with).status.code(), Some(0), "a rule is still to be chosen");
    suggested["relations"][0]["rule"] = json!("refers");
    write(&suggested);
    assert_eq!(plan(&with).status.code(), Some(0));
    // What would be left is a line to complete as well.
    database.run(
        "CREATE TABLE address (id INTEGER PRIMARY KEY, street TEXT);
         ALTER TABLE owner ADD home INTEGER REFERENCES address;
         INSERT INTO address VALUES (7, 'Main Street'); UPDATE owner SET home = 7;",
    );
    let asked = plan(&["--policy", policy.to_str().unwrap(), "--suggest"]);
    assert_eq!(asked.status.code(), Some(3));
    let said: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let mut suggested = said["plan"]["policy"].clone();
    assert_eq!(suggested["relations"][1]["schema_name"], "owner");
    assert_eq!(suggested["relations"][1]["columns"], json!(["home"]));
    suggested["relations"][1]["rule"] = json!("part");
    write(&suggested);
    assert_eq!(plan(&with).status.code(), Some(0));
}
