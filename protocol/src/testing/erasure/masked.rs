//! Masks that concern more than their own column: of what others refer to, and under constraints.

#![expect(missing_docs, reason = "the names of the tests say what they show")]

use serde_json::{Value, json};

use super::stories::planned;
use super::{Database, deleted};
use crate::silo::Erasure;

fn refers(child: &str, columns: &[&str], references: (&str, &[&str])) -> Value {
    json!({"schema_name": child, "columns": columns, "rule": "refers",
           "references": {"schema_name": references.0, "columns": references.1}})
}

pub fn a_masked_key_takes_the_references_to_it_along<D: Database>() {
    let can = D::can();
    for (null, action, possible) in [
        (" NOT NULL", " ON UPDATE CASCADE", true),
        (" NOT NULL", "", can.change_together || can.defer),
        (" NOT NULL", " ON UPDATE RESTRICT", can.change_together),
        ("", "", true),
        ("", " ON UPDATE RESTRICT", true),
        ("", " ON UPDATE SET NULL", true),
    ] {
        let database = D::new(&format!(
            "
CREATE TABLE customer (tenant INTEGER NOT NULL, code VARCHAR(40) NOT NULL, name TEXT, email TEXT, PRIMARY KEY (tenant, code));
CREATE TABLE message (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, sender VARCHAR(40){null}, recipient VARCHAR(40){null});
ALTER TABLE message ADD FOREIGN KEY (tenant, sender) REFERENCES customer (tenant, code){action};
ALTER TABLE message ADD FOREIGN KEY (tenant, recipient) REFERENCES customer (tenant, code){action};
INSERT INTO customer VALUES (1, 'ADA', 'Ada', 'ada@x.org'), (1, 'EVE', 'Eve', 'eve@x.org'), (2, 'ADA', 'Ada', 'ada@y.org');
INSERT INTO message VALUES (1, 1, 'ADA', 'EVE'), (2, 1, 'ADA', 'ADA'), (3, 1, 'EVE', 'EVE'), (4, 2, 'ADA', 'ADA');
"
        )
        .replace("message (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL", match action {
            // All of what it nulls may be null.
            " ON UPDATE SET NULL" => "message (id INTEGER PRIMARY KEY, tenant INTEGER",
            _ => "message (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL",
        }));
        let target = ("customer", ["tenant", "code"].as_slice());
        let policy = json!({
            "relations": [refers("message", &["tenant", "sender"], target),
                          refers("message", &["tenant", "recipient"], target)],
            "strategies": [{"schema_name": "customer",
                            "columns": {"code": "surrogate", "name": null, "email": "keep"}}],
        });
        let request = database.follow("customer", "email", "ada@x.org", &policy);
        let before = database.dump();
        if !possible {
            let refused = database.plan(&request).unwrap_err().to_string();
            assert!(
                refused.contains("message(tenant, sender) refers to it"),
                "{action}: {refused}"
            );
            assert!(database.erase(&request).is_err());
            assert_eq!(database.dump(), before);
            continue;
        }
        assert_eq!(
            planned(&database, &request),
            [
                "mask customer(code,name) 1",
                "mask message(tenant,recipient) 1",
                "mask message(tenant,sender) 2"
            ],
            "{null}{action}"
        );
        let hash = database.plan(&request).unwrap().hash;
        deleted(&database.erase(&Erasure { dry_run: true, ..request.clone() }).unwrap());
        assert_eq!(database.dump(), before, "after a dry run");
        let approved = Erasure { approved: Some(hash), ..request.clone() };
        deleted(&database.erase(&approved).unwrap());
        let new =
            database.rows("SELECT code FROM customer WHERE email = 'ada@x.org'")[0][0].clone();
        assert!(new.starts_with("erased-"), "{new}");
        let messages =
            database.rows("SELECT id, tenant, sender, recipient FROM message ORDER BY id");
        let new = new.as_str();
        assert_eq!(
            messages,
            [
                ["1", "1", new, "EVE"],
                ["2", "1", new, new],
                ["3", "1", "EVE", "EVE"],
                ["4", "2", "ADA", "ADA"]
            ],
            "{null}{action}"
        );
        let after = database.dump();
        assert_eq!(after["customer"].len(), 3);
        assert_eq!(database.verify(&request).unwrap().remaining, 0);
        assert!(deleted(&database.erase(&request).unwrap()).values().all(|rows| *rows == 0));
        assert_eq!(planned(&database, &request), ["keep customer 1"]);
        assert_eq!(database.dump(), after, "after a second run");
    }
}

pub fn a_masked_key_that_cannot_be_followed_fails_the_plan_by_name<D: Database>() {
    let database = D::new(
        "
CREATE TABLE customer (code VARCHAR(40) NOT NULL PRIMARY KEY, name TEXT, email TEXT);
CREATE TABLE orders (customer VARCHAR(40) NOT NULL, id INTEGER NOT NULL, made DATE, PRIMARY KEY (customer, id));
ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customer (code) ON UPDATE CASCADE;
CREATE TABLE line (id INTEGER PRIMARY KEY, customer VARCHAR(40) NOT NULL, orders INTEGER NOT NULL);
ALTER TABLE line ADD FOREIGN KEY (customer, orders) REFERENCES orders (customer, id) ON UPDATE CASCADE;
INSERT INTO customer VALUES ('ADA', 'Ada', 'ada@x.org');
INSERT INTO orders VALUES ('ADA', 1, '2024-01-01');
INSERT INTO line VALUES (1, 'ADA', 1);
",
    );
    let mask = |code: Value| json!([{"schema_name": "customer", "columns": {"code": code, "name": null, "email": null}}]);
    let stays = json!([refers("orders", &["customer"], ("customer", &["code"]))]);
    let goes = |policy: &Value| database.plan(&database.follow("customer", "code", "ADA", policy));
    let retain = json!([{"schema_name": "orders", "reason": "law"}]);
    for (policy, why) in [
        (
            json!({"strategies": mask(json!("surrogate")), "relations": stays}),
            "line(customer, orders) refers to",
        ),
        (json!({"strategies": mask(Value::Null)}), "refers to it"),
    ] {
        let refused = goes(&policy).unwrap_err().to_string();
        assert!(refused.contains("`code`") && refused.contains(why), "{why}: {refused}");
    }
    database.run("DROP TABLE line");
    let kept = goes(&json!({"strategies": mask(json!("surrogate")), "retain": retain}));
    let kept = kept.unwrap_err().to_string();
    assert!(kept.contains("kept as they are"), "{kept}");
    // What goes with the masked row is gone before its key changes.
    let policy = json!({"strategies": mask(json!("surrogate"))});
    let request = database.follow("customer", "code", "ADA", &policy);
    assert_eq!(
        planned(&database, &request),
        ["delete orders 1", "mask customer(code,name,email) 1"]
    );
    deleted(&database.erase(&request).unwrap());
    assert_eq!(database.count("SELECT count(*) FROM customer WHERE code = 'ADA'"), 0);
    assert_eq!(database.count("SELECT count(*) FROM customer"), 1);
}

pub fn of_a_composite_key_only_the_masked_column_is_followed<D: Database>() {
    let database = D::new(
        "
CREATE TABLE customer (tenant INTEGER NOT NULL, code VARCHAR(40) NOT NULL, name TEXT, email TEXT, PRIMARY KEY (tenant, code));
CREATE TABLE orders (tenant INTEGER NOT NULL, id INTEGER NOT NULL, customer VARCHAR(40), PRIMARY KEY (tenant, id));
ALTER TABLE orders ADD FOREIGN KEY (tenant, customer) REFERENCES customer (tenant, code) ON UPDATE CASCADE;
CREATE TABLE line (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, orders INTEGER NOT NULL);
ALTER TABLE line ADD FOREIGN KEY (tenant, orders) REFERENCES orders (tenant, id);
INSERT INTO customer VALUES (1, 'ADA', 'Ada', 'ada@x.org'), (2, 'ADA', 'Ada', 'ada@y.org');
INSERT INTO orders VALUES (1, 1, 'ADA'), (2, 1, 'ADA');
INSERT INTO line VALUES (1, 1, 1), (2, 2, 1);
",
    );
    // What lines refer to by is the tenant, and that stays.
    let policy = json!({
        "relations": [refers("orders", &["tenant", "customer"], ("customer", &["tenant", "code"]))],
        "strategies": [{"schema_name": "customer",
                        "columns": {"code": "surrogate", "name": null, "email": "keep"}}],
    });
    let request = database.follow("customer", "email", "ada@x.org", &policy);
    assert_eq!(
        planned(&database, &request),
        ["mask customer(code,name) 1", "mask orders(tenant,customer) 1"]
    );
    deleted(&database.erase(&request).unwrap());
    let codes = |table: &str, column: &str| {
        database.rows(&format!("SELECT {column} FROM {table} ORDER BY tenant")).concat()
    };
    let codes = [codes("customer", "code"), codes("orders", "customer")];
    assert!(codes[0][0].starts_with("erased-") && codes[0][1] == "ADA", "{codes:?}");
    assert_eq!(codes[0], codes[1]);
    assert_eq!(database.count("SELECT count(*) FROM line"), 2);
}

pub fn a_row_that_is_masked_under_a_new_key_may_lose_a_reference_too<D: Database>() {
    let database = D::new(
        "
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
CREATE TABLE card (code VARCHAR(40) NOT NULL PRIMARY KEY, person INTEGER, label TEXT);
ALTER TABLE card ADD FOREIGN KEY (person) REFERENCES person (id);
INSERT INTO person VALUES (1, 'Ada', 'ada@x.org'), (2, 'Grace', 'grace@x.org');
INSERT INTO card VALUES ('A-1', 1, 'Ada'), ('G-1', 2, 'Grace');
",
    );
    let mask = json!([{"schema_name": "card", "columns": {"code": "surrogate", "label": null}}]);
    let request = database.follow("person", "id", "1", &json!({ "strategies": mask }));
    assert_eq!(
        planned(&database, &request),
        ["delete person 1", "mask card(code,label) 1", "null card(person) 1"]
    );
    deleted(&database.erase(&request).unwrap());
    let cards = database.rows("SELECT person, label, code FROM card ORDER BY label");
    let masked = cards.iter().find(|card| card[2].starts_with("erased-")).unwrap();
    assert_eq!(masked[..2], ["-", "-"]);
    assert!(cards.iter().any(|card| *card == ["2", "Grace", "G-1"]), "{cards:?}");
}

pub fn a_masked_key_that_its_own_row_refers_to_is_followed<D: Database>() {
    for action in ["", " ON UPDATE CASCADE"] {
        let database = D::new(&format!(
            "
CREATE TABLE person (code VARCHAR(40) NOT NULL PRIMARY KEY, name TEXT, email TEXT, boss VARCHAR(40));
ALTER TABLE person ADD FOREIGN KEY (boss) REFERENCES person (code){action};
INSERT INTO person VALUES ('ADA', 'Ada', 'ada@x.org', 'ADA'), ('EVE', 'Eve', 'eve@x.org', 'ADA');
"
        ));
        let columns = json!({"code": "surrogate", "name": null, "email": "keep"});
        let policy = json!({"strategies": [{"schema_name": "person", "columns": columns}]});
        let request = database.follow("person", "email", "ada@x.org", &policy);
        assert_eq!(
            planned(&database, &request),
            ["mask person(boss) 2", "mask person(code,name) 1"]
        );
        deleted(&database.erase(&request).unwrap());
        let rows = database.rows("SELECT email, code, boss FROM person ORDER BY email");
        let new = rows[0][1].as_str();
        assert!(new.starts_with("erased-"), "{rows:?}");
        assert_eq!(rows, [["ada@x.org", new, new], ["eve@x.org", "EVE", new]], "{action}");
    }
}

pub fn masks_that_would_make_rows_the_same_fail_the_plan_by_name<D: Database>() {
    let database = D::new(
        "
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
CREATE TABLE contact (id INTEGER PRIMARY KEY, person INTEGER NOT NULL, kind VARCHAR(60), place VARCHAR(40), made DATE,
                      UNIQUE (kind, place));
ALTER TABLE contact ADD FOREIGN KEY (person) REFERENCES person (id);
INSERT INTO person VALUES (1, 'Ada', 'ada@x.org'), (2, 'Grace', 'grace@x.org');
INSERT INTO contact VALUES (1, 1, 'phone', '555', '2019-01-01'), (2, 1, 'phone', '556', '2019-01-01'),
    (3, 1, 'fax', '557', '2019-01-01'), (4, 2, 'fax', 'moved', '2019-01-01'),
    (5, 1, NULL, '558', '2019-01-01'), (6, 1, NULL, '559', '2019-01-01');
",
    );
    let mask = |columns: Value| {
        let retain = json!([{"schema_name": "contact", "reason": "law", "date": "made",
                             "since": "2020-01-01"}]);
        let strategies = json!([
            {"schema_name": "contact", "columns": columns},
            {"schema_name": "person", "columns": {"name": null, "email": null}},
        ]);
        let policy = json!({"retain": retain, "strategies": strategies});
        database.follow("person", "id", "1", &policy)
    };
    let fails = |columns: Value, named: &str, why: &str| {
        let (before, request) = (database.dump(), mask(columns));
        let error = database.plan(&request).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains(why), "{error}");
        assert!(database.erase(&request).is_err());
        assert_eq!(database.dump(), before);
    };
    let gone = || json!({"constant": "gone"});
    // Two phones; as hashes they are one kind still.
    fails(json!({"place": gone()}), "`place`", "unique with `kind`");
    fails(json!({"place": gone(), "kind": "hash"}), "`place`", "unique with `kind`");
    fails(json!({"place": gone(), "kind": gone()}), "`kind`, `place`", "there are 5 rows");
    database.run("DELETE FROM contact WHERE id = 2");
    // Grace's.
    fails(json!({"place": {"constant": "moved"}}), "`place`", "another row has both");
    // The subject's own, that is kept.
    database.run("INSERT INTO contact VALUES (7, 1, 'fax', 'gone', '2024-01-01')");
    fails(json!({"place": gone()}), "`place`", "another row has both");
    database.run("DELETE FROM contact WHERE id = 7");
    deleted(&database.erase(&mask(json!({"place": gone()}))).unwrap());
    assert_eq!(database.count("SELECT count(*) FROM contact WHERE place = 'gone'"), 4);
    // What is masked already is in nobody's way.
    assert!(deleted(&database.erase(&mask(json!({"place": gone()}))).unwrap())["contact"] == 0);
}

pub fn a_mask_that_a_check_refuses_fails_the_plan_before_any_write<D: Database>() {
    let database = D::new(
        "
CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT, email VARCHAR(60), age INTEGER CHECK (age > 0), kind VARCHAR(9),
                days INTEGER GENERATED ALWAYS AS (age * 365) STORED,
                CHECK (kind <> 'adult ()' OR age > 17), CHECK (email LIKE '%@%'), CHECK (days < 36500));
INSERT INTO p (id, name, email, age, kind) VALUES (1, 'Ada', 'ada@x.org', 36, 'adult ()'), (2, 'Eve', 'eve@x.org', 7, 'child');
",
    );
    let before = database.dump();
    let mask = |id: &str, age: i64, email: Value| {
        let columns = json!({"name": null, "email": email, "age": {"constant": age}});
        let policy = json!({"strategies": [{"schema_name": "p", "columns": columns}]});
        database.follow("p", "id", id, &policy)
    };
    for request in [
        mask("1", 0, json!("surrogate")),
        mask("1", 3, json!("surrogate")),
        mask("1", 18, json!({"constant": "none"})),
        // By what the database computes of it.
        mask("1", 100, json!("surrogate")),
    ] {
        let refused = database.plan(&request).unwrap_err().to_string();
        assert!(
            refused.contains("the strategy for") && refused.contains("cannot hold"),
            "{refused}"
        );
        assert!(!refused.contains("ada@"), "{refused}");
        assert!(database.erase(&request).is_err());
        assert_eq!(database.dump(), before);
    }
    // By the row itself, not by the column alone.
    for request in [mask("1", 18, json!("surrogate")), mask("2", 3, json!("surrogate"))] {
        assert!(database.plan(&request).unwrap().warnings.is_empty());
        assert_eq!(database.dump(), before.clone());
        let dry = Erasure { dry_run: true, ..request };
        deleted(&database.erase(&dry).unwrap());
    }
}
