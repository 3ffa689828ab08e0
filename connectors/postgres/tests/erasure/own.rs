//! What only PostgreSQL has: partitions, collations, rights, rules, materialized views, several
//! databases.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use protocol::message::Matching;
use protocol::silo::{Erasure, Known, StoreId, Subject};
use protocol::testing::erasure::{Database as _, deleted, steps, stories};
use serde_json::{Value, json};

use crate::common::{Server, call};
use crate::harness::Database;

/// The database with these statements in it, where there is a server.
fn database(sql: &str) -> Option<Database> {
    Database::available().then(|| Database::new(sql))
}

#[test]
fn a_reference_of_any_partition_holds_for_the_whole_table() {
    let Some(database) = database(
        "CREATE TABLE customer (id int PRIMARY KEY, name text, email text);
         CREATE TABLE payment (id int, customer int NOT NULL, day date NOT NULL, PRIMARY KEY (id, day))
             PARTITION BY RANGE (day);
         CREATE TABLE payment_1 PARTITION OF payment FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
         CREATE TABLE payment_2 PARTITION OF payment FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
         CREATE TABLE payment_3 PARTITION OF payment FOR VALUES FROM ('2024-03-01') TO ('2024-04-01');
         ALTER TABLE payment_1 ADD FOREIGN KEY (customer) REFERENCES customer;
         ALTER TABLE payment_2 ADD FOREIGN KEY (customer) REFERENCES customer;
         INSERT INTO customer VALUES (1, 'Ada', 'ada@x.org'), (2, 'Grace', 'grace@x.org');
         INSERT INTO payment VALUES (1, 1, '2024-01-05'), (2, 1, '2024-02-05'), (3, 1, '2024-03-05'),
             (4, 2, '2024-01-05'), (5, 2, '2024-03-05');",
    ) else {
        return;
    };
    let request = database.follow("customer", "id", "1", &json!({}));
    let plan = database.plan(&request).unwrap();
    assert_eq!(steps(&plan), ["delete payment 3", "delete customer 1"]);
    deleted(&database.erase(&request).unwrap());
    assert_eq!(database.count("SELECT count(*) FROM payment WHERE customer = 1"), 0);
    assert_eq!(database.count("SELECT count(*) FROM payment"), 2);
}

#[test]
fn what_a_database_does_in_one_partition_only_is_done_in_all() {
    let Some(database) = database(
        "CREATE TABLE customer (code text PRIMARY KEY, name text, email text);
         CREATE TABLE visit (id int PRIMARY KEY, customer text, guide text DEFAULT 'nobody')
             PARTITION BY RANGE (id);
         CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM (1) TO (10);
         CREATE TABLE visit_2 PARTITION OF visit FOR VALUES FROM (10) TO (20);
         ALTER TABLE visit_1 ADD FOREIGN KEY (customer) REFERENCES customer ON UPDATE CASCADE;
         ALTER TABLE visit_1 ADD FOREIGN KEY (guide) REFERENCES customer ON DELETE SET DEFAULT;
         INSERT INTO customer VALUES ('ADA', 'Ada', 'ada@x.org'), ('EVE', 'Eve', 'eve@x.org'),
             ('nobody', NULL, NULL);
         INSERT INTO visit VALUES (1, 'ADA', 'EVE'), (11, 'ADA', 'EVE');",
    ) else {
        return;
    };
    let refers = json!([{"schema_name": "visit", "columns": ["customer"], "rule": "refers",
                         "references": {"schema_name": "customer", "columns": ["code"]}}]);
    let mask = json!([{"schema_name": "customer",
                       "columns": {"code": "surrogate", "name": null, "email": "keep"}}]);
    let policy = json!({"relations": refers, "strategies": mask});
    deleted(&database.erase(&database.follow("customer", "code", "ADA", &policy)).unwrap());
    let joined = "SELECT count(*) FROM visit v JOIN customer c ON c.code = v.customer \
                  WHERE c.code LIKE 'erased-%'";
    assert_eq!(database.count(joined), 2);
    let policy = json!({ "relations": refers });
    deleted(&database.erase(&database.follow("customer", "code", "EVE", &policy)).unwrap());
    assert_eq!(database.count("SELECT count(*) FROM visit WHERE guide IS NULL"), 2);
}

#[test]
fn a_partitioned_table_without_a_key_is_erased_through_its_relation() {
    let Some(database) = database(
        "CREATE TABLE customer (id int PRIMARY KEY, name text, email text);
         CREATE TABLE visit (customer int REFERENCES customer, day date) PARTITION BY LIST (customer);
         CREATE TABLE visit_1 PARTITION OF visit FOR VALUES IN (1);
         CREATE TABLE visit_2 PARTITION OF visit DEFAULT;
         INSERT INTO customer VALUES (1, 'Ada', 'ada@x.org'), (2, 'Grace', 'grace@x.org');
         INSERT INTO visit VALUES (1, '2024-01-01'), (1, '2024-01-01'), (2, '2024-01-01');",
    ) else {
        return;
    };
    let done = database.erase(&database.follow("customer", "id", "1", &json!({}))).unwrap();
    assert_eq!(deleted(&done)["visit"], 2);
    assert_eq!(database.count("SELECT count(*) FROM visit"), 1);
}

#[test]
fn a_circle_that_nothing_opens_is_blocked_until_a_store_is_masked() {
    let sql = "CREATE TABLE staff (id int PRIMARY KEY, name text, email text, branch int NOT NULL);
         CREATE TABLE branch (id int PRIMARY KEY, manager int NOT NULL REFERENCES staff);
         ALTER TABLE staff ADD FOREIGN KEY (branch) REFERENCES branch;
         INSERT INTO staff VALUES (1, 'Ada', 'ada@x.org', 1), (2, 'Grace', 'grace@x.org', 2);
         INSERT INTO branch VALUES (1, 1), (2, 2);";
    let Some(database) = database(sql) else { return };
    let relations = json!([{"schema_name": "branch", "columns": ["manager"], "rule": "owns",
                            "references": {"schema_name": "staff", "columns": ["id"]}}]);
    let request = database.follow("staff", "id", "1", &json!({ "relations": relations }));
    let plan = database.plan(&request).unwrap();
    assert!(steps(&plan)[0].starts_with("blocked"), "{:?}", steps(&plan));
    assert!(plan.steps[0].reason.as_ref().unwrap().contains("in a circle"));
    assert!(database.erase(&request).is_err());
    let mask = json!([{"schema_name": "staff", "columns": {"name": null, "email": null}}]);
    let policy = json!({"strategies": mask, "relations": [{"schema_name": "branch",
        "columns": ["manager"], "rule": "refers",
        "references": {"schema_name": "staff", "columns": ["id"]}}]});
    let request = database.follow("staff", "id", "1", &policy);
    assert_eq!(steps(&database.plan(&request).unwrap()), ["mask staff(name,email) 1"]);
    deleted(&database.erase(&request).unwrap());
    assert_eq!(database.count("SELECT count(*) FROM staff WHERE name IS NULL"), 1);
}

#[test]
fn keys_are_followed_by_the_collation_and_type_that_the_database_compares_with() {
    let Some(database) = database(
        "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE p (code text COLLATE loose PRIMARY KEY, name text, email text);
         CREATE TABLE same (id int PRIMARY KEY, p text COLLATE loose REFERENCES p);
         CREATE TABLE other (id int PRIMARY KEY, p text COLLATE \"C\" REFERENCES p);
         CREATE TABLE strict (code text COLLATE \"en-x-icu\" PRIMARY KEY, p text COLLATE loose REFERENCES p);
         CREATE TABLE below (id int PRIMARY KEY, strict text COLLATE \"C\" REFERENCES strict);
         CREATE TABLE padded (code char(8) PRIMARY KEY, p text COLLATE loose REFERENCES p);
         CREATE TABLE pad (id int PRIMARY KEY, padded char(8) REFERENCES padded);
         INSERT INTO p VALUES ('ada', 'Ada', 'ada@x.org'), ('eve', 'Eve', 'eve@x.org');
         INSERT INTO same VALUES (1, 'ADA'), (2, 'eve');
         INSERT INTO other VALUES (1, 'Ada'), (2, 'EVE');
         INSERT INTO strict VALUES ('a', 'ADA'), ('A', 'eve');
         INSERT INTO below VALUES (1, 'a'), (2, 'A');
         INSERT INTO padded VALUES ('a', 'ada'), ('b', 'eve');
         INSERT INTO pad VALUES (1, 'a'), (2, 'b');",
    ) else {
        return;
    };
    // By code points, whatever the collation.
    let none = database.plan(&database.follow("p", "code", "ADA", &json!({}))).unwrap();
    assert_eq!(steps(&none), ["near p(code) 1"]);
    let request = database.follow("p", "code", "ada", &json!({}));
    let mut plan = steps(&database.plan(&request).unwrap());
    plan.sort();
    let all = ["below", "other", "p", "pad", "padded", "same", "strict"];
    assert_eq!(plan, all.map(|name| format!("delete {name} 1")));
    let done = deleted(&database.erase(&request).unwrap());
    assert_eq!(done, all.map(|name| (name.to_owned(), 1)).into_iter().collect::<BTreeMap<_, _>>());
    assert_eq!(database.rows("SELECT code FROM strict"), [["A"]]);
    // Padding is no difference, by the type itself.
    let padded = database.follow("padded", "code", "b", &json!({}));
    assert_eq!(deleted(&database.erase(&padded).unwrap())["padded"], 1);
}

#[test]
fn a_citext_is_equal_as_its_type_says() {
    let Some(server) = Server::find() else { return };
    let there = "SELECT 1 FROM pg_available_extensions WHERE name = 'citext'";
    if server.query("postgres", there).is_empty() {
        return;
    }
    let database = Database::new(
        "CREATE EXTENSION citext;
         CREATE TABLE p (email citext PRIMARY KEY, name text);
         CREATE TABLE c (id int PRIMARY KEY, email citext REFERENCES p);
         INSERT INTO p VALUES ('Ada@x.org', 'Ada'), ('eve@x.org', 'Eve');
         INSERT INTO c VALUES (1, 'ADA@x.org'), (2, 'eve@x.org');",
    );
    let request = database.follow("p", "email", "ada@X.org", &json!({}));
    assert_eq!(steps(&database.plan(&request).unwrap()), ["delete c 1", "delete p 1"]);
    deleted(&database.erase(&request).unwrap());
    assert_eq!(database.rows("SELECT email FROM c"), [["eve@x.org"]]);
}

#[test]
fn rows_that_are_hidden_and_stores_without_a_grant_are_denied_by_name() {
    let Some(server) = Server::find() else { return };
    let name = format!("eraser_{}", std::process::id());
    for (change, denied) in [
        ("ALTER TABLE line ENABLE ROW LEVEL SECURITY", "denied line 0"),
        ("REVOKE ALL ON line FROM ROLE", "denied line 0"),
        ("REVOKE DELETE ON line FROM ROLE", "denied line 3"),
        // Its rows stay, and the relation would change them.
        (
            "ALTER TABLE line ALTER order_id DROP NOT NULL; REVOKE UPDATE ON line FROM ROLE",
            "denied line 3",
        ),
        (
            "ALTER TABLE line ALTER order_id DROP NOT NULL; REVOKE SELECT ON line FROM ROLE",
            "denied line 0",
        ),
    ] {
        let database = Database::new(stories::SHOP);
        let change = change.replace("ROLE", &name);
        server.run("postgres", &format!("DROP ROLE IF EXISTS {name}"));
        database.run(&format!(
            "CREATE ROLE {name} LOGIN PASSWORD 'p';
             GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}; {change}"
        ));
        let before = database.dump();
        let mut form = database.form();
        form["username"] = json!(name);
        form["password"] = json!("p");
        let policy = match change.contains("NOT NULL") {
            true => json!({"relations": [{"schema_name": "line", "columns": ["order_id"],
                "rule": "refers", "references": {"schema_name": "orders", "columns": ["id"]}}]}),
            false => json!({}),
        };
        let request = database.follow("customer", "email", "ada@x.org", &policy);
        let error = database.erase_by(&form, &request).unwrap_err().to_string();
        assert!(error.contains("nothing was erased") && error.contains("line"), "{error}");
        assert_eq!(database.dump(), before);
        for command in ["plan", "verify"] {
            let identifier = json!({"schema_name": "customer", "schema_group": database.0.group(),
                                    "identifier": "email", "identifier_query": "ada@x.org"});
            let mut query = json!({"identifiers": [identifier], "follow": true});
            query.as_object_mut().unwrap().extend(policy.as_object().unwrap().clone());
            let run = call(&form, &[command], &[("-q", &query.to_string())], "");
            assert_eq!(run.status, 3, "{change}: {command}: {run:?}");
            assert!(
                run.lines.contains("denied") && run.lines.contains("this user may not"),
                "{run:?}"
            );
        }
        let plan = steps(&database.plan_by(&form, &request).unwrap());
        assert!(plan.contains(&denied.to_owned()), "{change}: {plan:?}");
        drop(database);
        server.run("postgres", &format!("DROP ROLE {name}"));
    }
}

#[test]
fn rules_and_materialized_views_over_what_is_written_are_named() {
    let Some(database) = database(stories::SHOP) else { return };
    database.run(
        "CREATE RULE keeps_quiet AS ON UPDATE TO orders DO ALSO NOTHING;
         CREATE VIEW ordered AS SELECT c.name, o.id FROM customer c JOIN orders o ON o.customer_id = c.id;
         CREATE MATERIALIZED VIEW names AS SELECT name FROM ordered;
         CREATE MATERIALIZED VIEW unrelated AS SELECT 1 AS one;",
    );
    let warnings = database.plan(&stories::ada(&database)).unwrap().warnings.join("\n");
    assert!(warnings.contains("keeps_quiet"), "{warnings}");
    assert!(warnings.contains("public.names"), "{warnings}");
    assert!(!warnings.contains("unrelated"), "{warnings}");
}

#[test]
fn evidence_says_what_remains_on_the_server_or_that_it_is_unknown() {
    let Some(database) = database(stories::SHOP) else { return };
    // Five dead rows that the server knows of, and values of four columns in its statistics.
    database.run(
        "CREATE MATERIALIZED VIEW names AS SELECT name FROM customer;
         INSERT INTO customer SELECT n, 'n' || n, 'e' || n FROM generate_series(10, 40) n;
         INSERT INTO line SELECT n, 3 FROM generate_series(10, 40) n;
         ANALYZE customer; ANALYZE line",
    );
    database.run("DELETE FROM line WHERE id BETWEEN 10 AND 14");
    database.run("SELECT pg_stat_force_next_flush()");
    let dead = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'line'";
    let deadline = Instant::now() + Duration::from_secs(60);
    while database.count(dead) < 5 {
        assert!(Instant::now() < deadline, "nobody counts the dead rows");
        thread::sleep(Duration::from_millis(10));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evidence");
    let request = Erasure { evidence: Some(path.clone()), ..stories::ada(&database) };
    deleted(&database.erase(&request).unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let remains = last["content"]["databases"][0]["what_remains"].as_array().unwrap();
    let found = |what: &str| {
        let one = remains.iter().find(|one| one["what"] == what).unwrap();
        one["found"].as_str().unwrap().to_owned()
    };
    assert_eq!(found("WAL archiving"), "off");
    assert_eq!(found("replication slots"), "0 that hold the log");
    assert_eq!(found("replicas"), "0 connected");
    assert_eq!(found("materialized views"), "1 in the database");
    let number = |what: &str| found(what).split(' ').next().unwrap().parse::<u64>().unwrap();
    assert!(number("dead rows") >= 5, "{}", found("dead rows"));
    assert!(number("values in statistics") >= 4, "{}", found("values in statistics"));
}

#[test]
fn of_several_databases_each_is_done_wholly_or_not_and_evidence_says_which() {
    let Some(server) = Server::find() else { return };
    let make = |name: &str| Rc::new(server.database(name, stories::SHOP));
    let databases = [make("first"), make("second")];
    let mut form = databases[0].form();
    form["scan_all"] = json!(true);
    form["evidence_key"] = json!("a key of some length");
    let subject = |group: &str| {
        let known = Known {
            property: "email".into(),
            value: "ada@x.org".into(),
            matching: Matching::Exact,
        };
        let id = StoreId::new(Some(group.to_owned()), "customer");
        (id, Subject { identifiers: vec![known], properties: None })
    };
    let request = Erasure {
        subjects: databases.iter().map(|database| subject(&database.group())).collect(),
        follow: true,
        ..Erasure::default()
    };
    let lines = |place: usize| databases[place].query("SELECT id FROM line").len();
    let first = Database::of(&databases[0]);
    // A refusal in the second undoes the first.
    databases[1].run(&Database::keeps("line", 3));
    assert!(first.erase_by(&form, &request).is_err());
    assert_eq!((lines(0), lines(1)), (4, 4));
    databases[1].run("DROP TRIGGER keeps ON line; DROP FUNCTION keep");
    // Also one that waits for the commit.
    databases[1].run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION ''no''; END';
         CREATE CONSTRAINT TRIGGER refuses AFTER DELETE ON line DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION refuse();",
    );
    assert!(first.erase_by(&form, &request).is_err());
    assert_eq!((lines(0), lines(1)), (4, 4));
    databases[1].run("DROP TRIGGER refuses ON line");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evidence");
    let request = Erasure { evidence: Some(path.clone()), ..request };
    deleted(&first.erase_by(&form, &request).unwrap());
    assert_eq!((lines(0), lines(1)), (1, 1));
    let text = std::fs::read_to_string(&path).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let said = last["content"]["databases"].as_array().unwrap();
    assert_eq!(said.len(), 2);
    assert!(said.iter().all(|one| one["outcome"] == "done"), "{last}");
}
