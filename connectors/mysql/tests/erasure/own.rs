//! What only InnoDB has: locks, tables beside it, references between databases, backslashes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use protocol::message::Action;
use protocol::silo::Erasure;
use protocol::testing::erasure::stories::{SHOP, ada};
use protocol::testing::erasure::{Database as _, deleted, tell};
use serde_json::{Value, json};

use crate::harness::Database;

/// Held by whoever turns the server's general log on, or looks whether it is.
static GENERAL_LOG: Mutex<()> = Mutex::new(());

fn general_log() -> MutexGuard<'static, ()> {
    GENERAL_LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

fn told(story: fn()) {
    tell::<Database>(story, env!("CARGO_PKG_NAME"));
}

/// A request for exactly the rows that one identifier names.
fn named(database: &Database, store: &str, column: &str, value: &str) -> Erasure {
    Erasure { follow: false, ..database.follow(store, column, value, &json!({})) }
}

#[test]
fn a_table_that_could_not_be_put_back_is_refused_by_name() {
    told(|| {
        let database = Database::new(
            "CREATE TABLE old (id INTEGER PRIMARY KEY, email TEXT) ENGINE = MyISAM;
             INSERT INTO old VALUES (1, 'ada@x.org');",
        );
        let before = database.dump();
        let follow = database.follow("old", "id", "1", &json!({}));
        let plan = database.plan(&follow).unwrap_err().to_string();
        let erase = database.erase(&follow).unwrap_err().to_string();
        let plain = database.erase(&named(&database, "old", "id", "1")).unwrap();
        for why in [plan, erase, plain[0].error.clone().unwrap()] {
            assert!(why.contains("/old") && why.contains("not InnoDB"), "{why}");
        }
        assert_eq!(database.dump(), before);
    });
}

#[test]
fn a_circle_that_no_reference_opens_stops_and_changes_nothing() {
    told(|| {
        let owns = json!({"schema_name": "p", "columns": ["c"], "rule": "owns",
                          "references": {"schema_name": "c", "columns": ["id"]}});
        for (sql, policy) in [
            (
                "CREATE TABLE p (id INTEGER PRIMARY KEY, email TEXT, c INTEGER NOT NULL);
                 CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER NOT NULL);
                 ALTER TABLE p ADD FOREIGN KEY (c) REFERENCES c (id);
                 ALTER TABLE c ADD FOREIGN KEY (p) REFERENCES p (id);
                 INSERT INTO p VALUES (1, 'ada@x.org', 1); INSERT INTO c VALUES (1, 1);",
                json!({ "relations": [owns] }),
            ),
            // InnoDB does not even let a row go that refers to itself.
            (
                "CREATE TABLE p (id INTEGER PRIMARY KEY, email TEXT, p INTEGER NOT NULL);
                 ALTER TABLE p ADD FOREIGN KEY (p) REFERENCES p (id);
                 INSERT INTO p VALUES (1, 'ada@x.org', 1);",
                json!({}),
            ),
        ] {
            let database = Database::new(sql);
            let before = database.dump();
            let request = database.follow("p", "id", "1", &policy);
            let refused = database.erase(&request).unwrap_err().to_string();
            assert!(refused.contains("in a circle"), "{refused}");
            assert_eq!(database.dump(), before);
        }
    });
}

#[test]
fn references_from_a_database_that_is_not_read_stop_everything() {
    told(|| {
        let (shop, other) = (Database::new(SHOP), Database::new(""));
        other.run(&format!(
            "CREATE TABLE note (id INTEGER PRIMARY KEY, customer INTEGER, FOREIGN KEY (customer) \
             REFERENCES {}.customer (id) ON DELETE CASCADE)",
            shop.database.name
        ));
        let before = shop.dump();
        let refused = format!("{:#}", shop.erase(&ada(&shop)).unwrap_err());
        assert!(refused.contains("all_databases"), "{refused}");
        assert_eq!(shop.dump(), before);
        other.run("DROP TABLE note");
        shop.erase(&ada(&shop)).unwrap();
    });
}

#[test]
fn a_row_that_somebody_else_holds_is_waited_for_and_then_said() {
    told(|| {
        let database = Database::new(SHOP);
        let before = database.dump();
        let hold = "BEGIN; UPDATE line SET order_id = order_id WHERE id = 1; SELECT SLEEP(14)";
        let (server, name) = (database.server.clone(), database.database.name.clone());
        let holder = thread::spawn(move || server.run(&name, hold));
        thread::sleep(Duration::from_secs(1));
        let refused = format!("{:#}", database.erase(&ada(&database)).unwrap_err());
        assert!(refused.contains("locked by somebody else"), "{refused}");
        assert_eq!(database.dump(), before);
        holder.join().unwrap();
        database.erase(&ada(&database)).unwrap();
        assert_eq!(database.count("SELECT count(*) FROM line"), 1);
    });
}

#[test]
fn a_deadlock_that_undoes_the_erasure_is_begun_anew() {
    told(|| {
        let database =
            Database::new(&format!("{SHOP} CREATE TABLE heavy (id INTEGER PRIMARY KEY);"));
        let deadlocks = || {
            let status = database.rows("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'");
            status[0][1].parse::<u64>().unwrap()
        };
        let before = deadlocks();
        // It holds a line that the erasure waits for, and then wants the customer that the erasure
        // holds. Of the two InnoDB undoes the one that has changed less.
        let hold = "BEGIN; INSERT INTO heavy SELECT seq FROM seq_1_to_20000; \
                    UPDATE line SET order_id = order_id WHERE id = 1; SELECT SLEEP(2); \
                    UPDATE customer SET name = 'Lovelace' WHERE id = 1; COMMIT";
        let (server, name) = (database.server.clone(), database.database.name.clone());
        let holder = thread::spawn(move || server.run(&name, hold));
        thread::sleep(Duration::from_secs(1));
        let outcomes = database.erase(&ada(&database)).unwrap();
        holder.join().unwrap();
        assert!(deadlocks() > before, "nobody was in the way");
        let deleted: u64 = outcomes.iter().map(|outcome| outcome.deleted).sum();
        assert_eq!(deleted, 6);
        assert_eq!(database.rows("SELECT name FROM customer"), [["Grace"]]);
    });
}

/// The first temporary table that a statement names more than once, as MySQL, unlike MariaDB, does
/// not allow.
fn named_twice(statement: &str) -> Option<&str> {
    let mut seen = Vec::new();
    for (place, _) in statement.match_indices("manifold_") {
        let rest = &statement[place..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
        // Before a point it names a column.
        if !rest.starts_with('.') {
            if seen.contains(&name) {
                return Some(name);
            }
            seen.push(name);
        }
    }
    None
}

#[test]
fn no_statement_names_a_temporary_table_twice() {
    told(|| {
        let database = Database::new(
            "CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT, boss INTEGER, heir INTEGER);
             ALTER TABLE person ADD FOREIGN KEY (boss) REFERENCES person (id);
             ALTER TABLE person ADD FOREIGN KEY (heir) REFERENCES person (id);
             CREATE TABLE note (id INTEGER PRIMARY KEY, person INTEGER NOT NULL, above INTEGER NOT NULL);
             ALTER TABLE note ADD FOREIGN KEY (person) REFERENCES person (id);
             ALTER TABLE note ADD FOREIGN KEY (above) REFERENCES note (id);
             INSERT INTO person VALUES (1, 'ada@x.org', NULL, 2), (2, 'grace@x.org', 1, 1), (3, NULL, 1, 3);
             INSERT INTO note VALUES (1, 2, 1), (2, 1, 1), (3, 1, 2), (4, 1, 3);",
        );
        // Statements of other tests are in it too, which is as good.
        let _alone = general_log();
        database.run("SET GLOBAL log_output = 'TABLE', GLOBAL general_log = ON");
        let owns = json!({"schema_name": "note", "columns": ["above"], "rule": "owns",
                          "references": {"schema_name": "note", "columns": ["id"]}});
        for policy in [json!({}), json!({ "relations": [owns] })] {
            let request = database.follow("person", "email", "ada@x.org", &policy);
            database.plan(&request).unwrap();
            let done = database.erase(&Erasure { dry_run: true, ..request.clone() });
            assert!(done.is_ok(), "{:#}", done.unwrap_err());
            database.verify(&request).unwrap();
        }
        database.run("SET GLOBAL general_log = OFF, GLOBAL log_output = 'FILE'");
        let log = database.rows(
            "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log \
             WHERE argument LIKE '%manifold\\_%' AND argument NOT LIKE '%general_log%'",
        );
        assert!(log.len() > 20, "{}", log.len());
        for statement in log.iter().flatten() {
            assert_eq!(named_twice(statement), None, "{statement}");
        }
        assert_eq!(
            named_twice("UPDATE manifold_k1 SET a = (SELECT 1 FROM manifold_k1)"),
            Some("manifold_k1")
        );
    });
}

#[test]
fn a_subjects_value_deletes_its_own_rows_and_never_more() {
    told(|| {
        let database = Database::new(
            "SET sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES');
             CREATE TABLE \"we`ird\" (id INTEGER PRIMARY KEY, \"e`mail\" VARCHAR(60)
                 CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci);
             INSERT INTO \"we`ird\" VALUES (0, 'ada@example.com'), (1, 'ADA@example.com'),
                 (2, 'ad\u{e1}@example.com'), (3, 'ada@example.com '), (4, 'back\\slash@x.com'),
                 (5, 'ends\\'), (12, '12abc');",
        );
        let gone = |column: &str, value: &str| {
            let outcomes = database.erase(&named(&database, "we`ird", column, value)).unwrap();
            assert_eq!((&outcomes[0].error, outcomes[0].remaining), (&None, 0), "{value}");
            outcomes[0].deleted
        };
        for value in ["ada@example.com", "12abc", "0 OR 1=1", "\\' OR 1=1 -- "] {
            assert_eq!(gone("id", value), 0, "{value}");
        }
        for value in ["\\' OR 1=1 -- ", "' OR '1'='1", "ends", "back%"] {
            assert_eq!(gone("e`mail", value), 0, "{value}");
        }
        for value in ["ada@example.com", "back\\slash@x.com", "ends\\"] {
            assert_eq!(gone("e`mail", value), 1, "{value}");
        }
        let left = database.rows("SELECT id FROM \"we`ird\" ORDER BY id");
        assert_eq!(left, [["1"], ["2"], ["3"], ["12"]]);
    });
}

#[test]
fn what_a_commit_leaves_behind_is_in_the_evidence() {
    told(|| {
        let _alone = general_log();
        let database = Database::new(&format!(
            "{SHOP} CREATE TABLE kept (id INTEGER PRIMARY KEY) WITH SYSTEM VERSIONING;"
        ));
        let folder = tempfile::tempdir().unwrap();
        let remains = |form: &Value| {
            let path = folder.path().join("evidence.jsonl");
            let request = Erasure { evidence: Some(path.clone()), ..ada(&database) };
            database.erase_by(form, &request).unwrap();
            let text = std::fs::read_to_string(path).unwrap();
            let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            let all = last["content"]["databases"][0]["what_remains"].as_array().unwrap().clone();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let one = |one: &Value| (text(&one["what"]), text(&one["found"]));
            all.iter().map(one).collect::<BTreeMap<_, _>>()
        };
        let kept = database.rows("SELECT @@binlog_expire_logs_seconds").concat().concat();
        let expected = |replicas: &str| {
            BTreeMap::from(
                [
                    ("binary log", "on, ROW"),
                    ("binary log kept for", &format!("{kept} seconds; 0 is for ever")),
                    ("replicas", replicas),
                    ("general log", "off"),
                    ("slow query log", "off"),
                    ("histories", "1 system-versioned tables keep deleted rows"),
                ]
                .map(|(what, found)| (what.to_owned(), found.to_owned())),
            )
        };
        assert_eq!(remains(&database.form()), expected("0 connected"));
        // Who may not see other sessions does not see that there are none.
        let user = format!("eraser_{}", std::process::id());
        database.run(&format!(
            "CREATE USER {user}@'%' IDENTIFIED BY 'p'; GRANT SELECT, DELETE, CREATE TEMPORARY TABLES \
             ON {}.* TO {user}@'%'",
            database.database.name
        ));
        let mut form = database.form();
        (form["username"], form["password"]) = (json!(user), json!("p"));
        let found = remains(&form);
        database.run(&format!("DROP USER {user}@'%'"));
        assert_eq!(found, expected("unknown"));
    });
}

#[test]
fn what_a_user_cannot_see_of_the_referring_tables_is_denied_or_said_to_be_unknown() {
    told(|| {
        let shop =
            SHOP.replace("REFERENCES orders (id)", "REFERENCES orders (id) ON DELETE CASCADE");
        let all = "SELECT, DELETE, UPDATE";
        for (grants, stopped, unknown) in [
            // Lines would go unseen.
            (
                vec![("all", "customer"), ("all", "orders")],
                Some("tables that this user may not see"),
                0,
            ),
            (
                vec![("all", "customer"), ("all", "orders"), ("PROCESS", "")],
                Some("/orders refers to it"),
                0,
            ),
            (
                vec![
                    ("SELECT, INSERT", "*"),
                    ("DELETE", "customer"),
                    ("DELETE", "orders"),
                    ("PROCESS", ""),
                ],
                Some("may not delete rows of it"),
                0,
            ),
            // Only of other databases it cannot know.
            (vec![("all", "*")], None, 3),
            (vec![("all", "*"), ("PROCESS", "")], None, 0),
        ] {
            let database = Database::new(&shop);
            let (name, user) = (&database.database.name, database.name());
            let mut sql = format!(
                "CREATE USER {user}@'%' IDENTIFIED BY 'p';
                 GRANT CREATE TEMPORARY TABLES ON {name}.* TO {user}@'%';"
            );
            for (right, on) in &grants {
                let right = if *right == "all" { all } else { right };
                let on = if on.is_empty() { "*.*".to_owned() } else { format!("{name}.{on}") };
                sql.push_str(&format!("GRANT {right} ON {on} TO {user}@'%';"));
            }
            database.run(&sql);
            let mut form = database.form();
            (form["username"], form["password"]) = (json!(user), json!("p"));
            let before = database.dump();
            let plan = database.plan_by(&form, &ada(&database));
            let done = database.erase_by(&form, &ada(&database));
            let exact = named(&database, "orders", "id", "1");
            let exact = database.erase_by(&form, &Erasure { dry_run: true, ..exact });
            database.run(&format!("DROP USER {user}@'%'"));
            let plan = plan.unwrap();
            let of = |action: Action| {
                let steps = plan.steps.iter().filter(|step| step.action == action);
                steps.filter_map(|step| step.reason.clone()).collect::<Vec<_>>()
            };
            assert_eq!(of(Action::Unknown).len(), unknown, "{grants:?}: {plan:?}");
            let Some(why) = stopped else {
                assert!(of(Action::Denied).is_empty(), "{plan:?}");
                let outcomes = done.unwrap();
                assert_eq!(deleted(&outcomes)["line"], 3);
                let told = outcomes.iter().filter(|outcome| !outcome.skipped.is_empty());
                assert_eq!(told.count(), unknown);
                continue;
            };
            assert!(
                of(Action::Denied).iter().any(|text| text.contains(why)),
                "{grants:?}: {plan:?}"
            );
            assert!(done.unwrap_err().to_string().contains(why), "{grants:?}");
            assert_eq!(database.dump(), before);
            // Nor would one store alone go, and take others along.
            assert!(exact.unwrap()[0].error.is_some(), "{grants:?}");
        }
    });
}
