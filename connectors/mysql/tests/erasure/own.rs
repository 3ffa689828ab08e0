//! What only InnoDB has: locks, tables beside it, references between databases, backslashes.

use std::thread;
use std::time::Duration;

use protocol::silo::Erasure;
use protocol::testing::erasure::stories::{SHOP, ada};
use protocol::testing::erasure::{Database as _, tell};
use serde_json::json;

use crate::harness::Database;

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
        let database = Database::new(&format!(
            "{SHOP} CREATE TABLE kept (id INTEGER PRIMARY KEY) WITH SYSTEM VERSIONING;"
        ));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evidence.jsonl");
        database.erase(&Erasure { evidence: Some(path.clone()), ..ada(&database) }).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let last = text.lines().last().unwrap();
        for word in ["binary log", "ROW", "general log", "1 system-versioned tables"] {
            assert!(last.contains(word), "{word} is not in {last}");
        }
    });
}
