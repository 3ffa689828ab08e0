//! Schemas of the project's own, one for each rule of erasure: what a plan says of them, and what
//! is there afterwards.

#![expect(missing_docs, reason = "the names of the tests say what they show")]

use serde_json::{Value, json};

use super::{Database, Dump, deleted, steps};
use crate::silo::Erasure;

/// Ada, who orders, and Grace, whose rows stay.
pub const SHOP: &str = "
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL);
ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customer (id);
CREATE TABLE line (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL);
ALTER TABLE line ADD FOREIGN KEY (order_id) REFERENCES orders (id);
CREATE INDEX orders_customer ON orders (customer_id);
CREATE INDEX line_order ON line (order_id);
INSERT INTO customer VALUES (1, 'Ada', 'ada@x.org'), (2, 'Grace', 'grace@x.org');
INSERT INTO orders VALUES (1, 1), (2, 1), (3, 2);
INSERT INTO line VALUES (1, 1), (2, 1), (3, 2), (4, 3);
";

/// Ada, of the shop.
pub fn ada<D: Database>(shop: &D) -> Erasure {
    shop.follow("customer", "email", "ada@x.org", &json!({}))
}

/// What one request does to a schema: its plan, step by step, and the rows that are gone or changed,
/// `store - row` and `store + row`. Twice is once, and a dry run changes nothing.
#[track_caller]
pub(super) fn done<D: Database>(
    sql: &str,
    subject: [&str; 3],
    policy: &Value,
    plan: &[&str],
    changes: &[&str],
) {
    let database = D::new(sql);
    let request = database.follow(subject[0], subject[1], subject[2], policy);
    assert_eq!(planned(&database, &request), plan);
    let before = database.dump();
    deleted(&database.erase(&Erasure { dry_run: true, ..request.clone() }).unwrap());
    assert_eq!(database.dump(), before, "after a dry run");
    deleted(&database.erase(&request).unwrap());
    let after = database.dump();
    assert_eq!(differences(&before, &after), changes);
    let verify = database.verify(&request).unwrap();
    assert_eq!(verify.remaining, 0, "{verify:?}");
    let again = deleted(&database.erase(&request).unwrap());
    assert!(again.values().all(|rows| *rows == 0), "{again:?}");
    assert_eq!(database.dump(), after, "after a second run");
}

/// A plan that stops: nothing is written.
#[track_caller]
pub(super) fn stops<D: Database>(
    sql: &str,
    subject: [&str; 3],
    policy: &Value,
    plan: &[&str],
) -> D {
    let database = D::new(sql);
    let request = database.follow(subject[0], subject[1], subject[2], policy);
    assert_eq!(planned(&database, &request), plan);
    let before = database.dump();
    let refused = database.erase(&request).unwrap_err().to_string();
    assert!(refused.starts_with("nothing was erased"), "{refused}");
    assert_eq!(database.dump(), before);
    database
}

/// A plan's steps, by their words.
pub(super) fn planned<D: Database>(database: &D, request: &Erasure) -> Vec<String> {
    let mut steps = steps(&database.plan(request).unwrap());
    steps.sort();
    steps
}

/// The rows that are in one of two dumps only.
fn differences(before: &Dump, after: &Dump) -> Vec<String> {
    let mut found = Vec::new();
    for (store, rows) in before {
        let (mut old, mut new) = (rows.clone(), after[store].clone());
        // A table may hold a row twice.
        old.retain(|row| match new.iter().position(|other| other == row) {
            Some(place) => {
                new.remove(place);
                false
            }
            None => true,
        });
        found.extend(old.into_iter().map(|row| format!("{store} - {row}")));
        found.extend(new.into_iter().map(|row| format!("{store} + {row}")));
    }
    found
}

pub fn two_references_to_persons_in_one_row_are_undecided_until_the_policy_says_whose_it_is<
    D: Database,
>() {
    let sql = "
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
CREATE TABLE message (id INTEGER PRIMARY KEY, sender INTEGER, recipient INTEGER, body TEXT);
ALTER TABLE message ADD FOREIGN KEY (sender) REFERENCES person (id);
ALTER TABLE message ADD FOREIGN KEY (recipient) REFERENCES person (id);
INSERT INTO person VALUES (1, 'Ada', 'ada@x.org'), (2, 'Grace', 'grace@x.org');
INSERT INTO message VALUES (1, 1, 2, 'a'), (2, 1, 1, 'b'), (3, 2, 1, 'c'), (4, 2, 2, 'd'), (5, 1, NULL, 'e');
";
    let ada = ["person", "id", "1"];
    let database = stops::<D>(
        sql,
        ada,
        &json!({}),
        &[
            "delete message 2",
            "delete person 1",
            "undecided message(recipient) 1",
            "undecided message(sender) 1",
        ],
    );
    // A person reviews what is undecided, and never sees Grace's own row.
    let shown = database.reach(&database.follow("person", "id", "1", &json!({})));
    assert_eq!(shown, ["person", "message"]);
    let policy = json!({"relations": [{"schema_name": "message", "columns": ["sender"],
        "references": {"schema_name": "person", "columns": ["id"]}, "rule": "owns"}]});
    done::<D>(
        sql,
        ada,
        &policy,
        &["delete message 3", "delete person 1", "null message(recipient) 1"],
        &[
            "message - 1|1|2|a",
            "message - 2|1|1|b",
            "message - 3|2|1|c",
            "message - 5|1|-|e",
            "message + 3|2|-|c",
            "person - 1|Ada|ada@x.org",
        ],
    );
}

pub fn a_profile_that_is_the_same_person_goes_and_a_friend_stays<D: Database>() {
    let sql = "
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, email TEXT, best_friend INTEGER);
ALTER TABLE person ADD FOREIGN KEY (best_friend) REFERENCES person (id);
CREATE TABLE profile (person INTEGER PRIMARY KEY, name TEXT, phone TEXT);
ALTER TABLE profile ADD FOREIGN KEY (person) REFERENCES person (id);
CREATE TABLE account (id INTEGER PRIMARY KEY, person INTEGER NOT NULL UNIQUE, name TEXT, email TEXT);
ALTER TABLE account ADD FOREIGN KEY (person) REFERENCES person (id);
CREATE TABLE contact (id INTEGER PRIMARY KEY, person INTEGER UNIQUE, name TEXT, email TEXT);
ALTER TABLE contact ADD FOREIGN KEY (person) REFERENCES person (id);
INSERT INTO person VALUES (1, 'Ada', 'ada@x.org', 2), (2, 'Grace', 'grace@x.org', 1);
INSERT INTO profile VALUES (1, 'Ada', '1'), (2, 'Grace', '2');
INSERT INTO account VALUES (7, 1, 'ada', 'a'), (8, 2, 'grace', 'g');
INSERT INTO contact VALUES (1, 1, 'Ada', 'a'), (2, NULL, 'Eve', 'e');
";
    done::<D>(
        sql,
        ["person", "id", "1"],
        &json!({"persons": ["person", "profile", "account", "contact"]}),
        // A unique reference that may be null is no proof of being the same person.
        &[
            "delete account 1",
            "delete person 1",
            "delete profile 1",
            "null contact(person) 1",
            "null person(best_friend) 1",
        ],
        &[
            "account - 7|1|ada|a",
            "contact - 1|1|Ada|a",
            "contact + 1|-|Ada|a",
            "person - 1|Ada|ada@x.org|2",
            "person - 2|Grace|grace@x.org|1",
            "person + 2|Grace|grace@x.org|-",
            "profile - 1|Ada|1",
        ],
    );
}

pub fn another_persons_row_below_the_subjects_makes_it_undecided<D: Database>() {
    let sql = "
CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
CREATE TABLE shop (id INTEGER PRIMARY KEY, owner INTEGER, title TEXT);
ALTER TABLE shop ADD FOREIGN KEY (owner) REFERENCES owner (id);
CREATE TABLE shelf (id INTEGER PRIMARY KEY, shop INTEGER NOT NULL);
ALTER TABLE shelf ADD FOREIGN KEY (shop) REFERENCES shop (id);
CREATE TABLE guest (id INTEGER PRIMARY KEY, shop INTEGER, name TEXT, email TEXT);
ALTER TABLE guest ADD FOREIGN KEY (shop) REFERENCES shop (id);
INSERT INTO owner VALUES (1, 'Ada', 'ada@x.org');
INSERT INTO shop VALUES (1, 1, 'one'), (2, 1, 'two');
INSERT INTO shelf VALUES (1, 1), (2, 2);
INSERT INTO guest VALUES (1, 1, 'Grace', 'g');
";
    let ada = ["owner", "email", "ada@x.org"];
    let database = stops::<D>(
        sql,
        ada,
        &json!({}),
        &["delete owner 1", "delete shelf 1", "delete shop 1", "undecided shop(owner) 1"],
    );
    let mut shown = database.reach(&database.follow(ada[0], ada[1], ada[2], &json!({})));
    shown.sort();
    assert_eq!(shown, ["owner", "shelf", "shop"]);
    // What the policy owns goes with everything below; persons among it only lose their reference.
    let owns = json!({"schema_name": "shop", "columns": ["owner"], "rule": "owns",
                      "references": {"schema_name": "owner", "columns": ["id"]}});
    done::<D>(
        sql,
        ada,
        &json!({"relations": [owns], "persons": ["guest", "owner"]}),
        &["delete owner 1", "delete shelf 2", "delete shop 2", "null guest(shop) 1"],
        &[
            "guest - 1|1|Grace|g",
            "guest + 1|-|Grace|g",
            "owner - 1|Ada|ada@x.org",
            "shelf - 1|1",
            "shelf - 2|2",
            "shop - 1|1|one",
            "shop - 2|1|two",
        ],
    );
}

pub fn every_action_on_delete_is_foreseen_and_counted<D: Database>() {
    let sql = "
CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
CREATE TABLE cascades (id INTEGER PRIMARY KEY, p INTEGER NOT NULL);
ALTER TABLE cascades ADD FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE;
CREATE TABLE below (id INTEGER PRIMARY KEY, c INTEGER NOT NULL);
ALTER TABLE below ADD FOREIGN KEY (c) REFERENCES cascades (id) ON DELETE CASCADE;
CREATE TABLE nulled (id INTEGER PRIMARY KEY, p INTEGER);
ALTER TABLE nulled ADD FOREIGN KEY (p) REFERENCES p (id) ON DELETE SET NULL;
CREATE TABLE defaults (id INTEGER PRIMARY KEY, p INTEGER NOT NULL DEFAULT 2);
ALTER TABLE defaults ADD FOREIGN KEY (p) REFERENCES p (id) ON DELETE SET DEFAULT;
CREATE TABLE restricts (id INTEGER PRIMARY KEY, p INTEGER NOT NULL);
ALTER TABLE restricts ADD FOREIGN KEY (p) REFERENCES p (id) ON DELETE RESTRICT;
CREATE TABLE refuses (id INTEGER PRIMARY KEY, p INTEGER);
ALTER TABLE refuses ADD FOREIGN KEY (p) REFERENCES p (id);
INSERT INTO p VALUES (1, 'Ada', 'ada@x.org'), (2, 'Grace', 'grace@x.org');
INSERT INTO cascades VALUES (1, 1), (2, 2);
INSERT INTO below VALUES (1, 1), (2, 1), (3, 2);
INSERT INTO nulled VALUES (1, 1), (2, 2);
INSERT INTO defaults VALUES (1, 1), (2, 2);
INSERT INTO restricts VALUES (1, 1), (2, 2);
INSERT INTO refuses VALUES (1, 1), (2, NULL);
";
    let told = |line: &&str| D::can().set_default || !line.contains("defaults");
    let only = |lines: &[&'static str]| lines.iter().copied().filter(told).collect::<Vec<_>>();
    done::<D>(
        &sql.lines().filter(told).collect::<Vec<_>>().join("\n"),
        ["p", "id", "1"],
        &json!({}),
        &only(&[
            "delete below 2",
            "delete cascades 1",
            "delete p 1",
            "delete refuses 1",
            "delete restricts 1",
            "null defaults(p) 1",
            "null nulled(p) 1",
        ]),
        &only(&[
            "below - 1|1",
            "below - 2|1",
            "cascades - 1|1",
            "defaults - 1|1",
            "defaults + 1|2",
            "nulled - 1|1",
            "nulled + 1|-",
            "p - 1|Ada|ada@x.org",
            "refuses - 1|1",
            "restricts - 1|1",
        ]),
    );
}

pub fn circles_are_opened_by_nulling_or_wait_for_the_commit<D: Database>() {
    // Sakila's: a store is managed by one of its staff.
    let sql = |null: &str, defer: &str| {
        format!(
            "
CREATE TABLE staff (id INTEGER PRIMARY KEY, name TEXT, email TEXT, branch INTEGER NOT NULL);
CREATE TABLE branch (id INTEGER PRIMARY KEY, manager INTEGER{null});
ALTER TABLE staff ADD FOREIGN KEY (branch) REFERENCES branch (id){defer};
ALTER TABLE branch ADD FOREIGN KEY (manager) REFERENCES staff (id){defer};
INSERT INTO staff VALUES (1, 'Ada', 'ada@x.org', 1), (2, 'Grace', 'grace@x.org', 2);
INSERT INTO branch VALUES (1, 1), (2, 2);
"
        )
    };
    let owns = json!({"schema_name": "branch", "columns": ["manager"], "rule": "owns",
                      "references": {"schema_name": "staff", "columns": ["id"]}});
    let policy = json!({ "relations": [owns] });
    let circles = [("", ""), (" NOT NULL", " DEFERRABLE INITIALLY IMMEDIATE")];
    for (null, defer) in circles.into_iter().take(1 + usize::from(D::can().defer)) {
        done::<D>(
            &sql(null, defer),
            ["staff", "id", "1"],
            &policy,
            &["delete branch 1", "delete staff 1"],
            &["branch - 1|1", "staff - 1|Ada|ada@x.org|1"],
        );
    }
    // A circle of three, and a row that refers to itself.
    done::<D>(
        "
CREATE TABLE a (id INTEGER PRIMARY KEY, name TEXT, email TEXT, c INTEGER);
CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER NOT NULL, self INTEGER);
CREATE TABLE c (id INTEGER PRIMARY KEY, b INTEGER NOT NULL);
ALTER TABLE a ADD FOREIGN KEY (c) REFERENCES c (id);
ALTER TABLE b ADD FOREIGN KEY (a) REFERENCES a (id);
ALTER TABLE b ADD FOREIGN KEY (self) REFERENCES b (id);
ALTER TABLE c ADD FOREIGN KEY (b) REFERENCES b (id);
INSERT INTO a VALUES (1, 'Ada', 'ada@x.org', 1);
INSERT INTO b VALUES (1, 1, 1), (2, 1, 1);
INSERT INTO c VALUES (1, 1), (2, 2);
",
        ["a", "id", "1"],
        &json!({}),
        &["delete a 1", "delete b 2", "delete c 2"],
        &["a - 1|Ada|ada@x.org|1", "b - 1|1|1", "b - 2|1|1", "c - 1|1", "c - 2|2"],
    );
}

pub fn of_a_composite_reference_only_what_may_be_null_is_nulled<D: Database>() {
    let sql = "
CREATE TABLE customer (tenant INTEGER NOT NULL, id INTEGER NOT NULL, name TEXT, email TEXT, PRIMARY KEY (tenant, id));
CREATE TABLE ticket (tenant INTEGER NOT NULL, id INTEGER NOT NULL, customer INTEGER, PRIMARY KEY (tenant, id));
ALTER TABLE ticket ADD FOREIGN KEY (tenant, customer) REFERENCES customer (tenant, id);
CREATE TABLE basket (tenant INTEGER NOT NULL, id INTEGER NOT NULL, customer INTEGER NOT NULL, PRIMARY KEY (tenant, id));
ALTER TABLE basket ADD FOREIGN KEY (tenant, customer) REFERENCES customer (tenant, id);
INSERT INTO customer VALUES (1, 1, 'Ada', 'ada@x.org'), (2, 1, 'Grace', 'grace@x.org');
INSERT INTO ticket VALUES (1, 1, 1), (2, 1, 1), (2, 2, NULL);
INSERT INTO basket VALUES (1, 1, 1), (2, 1, 1);
";
    let refers = |child: &str| {
        json!({"schema_name": child, "columns": ["tenant", "customer"], "rule": "refers",
               "references": {"schema_name": "customer", "columns": ["tenant", "id"]}})
    };
    done::<D>(
        sql,
        ["customer", "email", "ada@x.org"],
        &json!({"relations": [refers("ticket")]}),
        &["delete basket 1", "delete customer 1", "null ticket(customer) 1"],
        &["basket - 1|1|1", "customer - 1|1|Ada|ada@x.org", "ticket - 1|1|1", "ticket + 1|1|-"],
    );
    let blocked = json!({"relations": [refers("ticket"), refers("basket")]});
    stops::<D>(
        sql,
        ["customer", "email", "ada@x.org"],
        &blocked,
        &["blocked basket(tenant,customer) 1", "delete customer 1", "null ticket(customer) 1"],
    );
}

pub fn a_relation_that_only_the_policy_knows_is_followed<D: Database>() {
    let sql = "
CREATE TABLE customer (code VARCHAR(5) NOT NULL PRIMARY KEY, name TEXT, email TEXT);
CREATE TABLE \"Order Details\" (\"order\" INTEGER, \"select\" VARCHAR(5), \"a \"\"b\"\"\" TEXT);
INSERT INTO customer VALUES ('ALFKI', 'Ada', 'ada@x.org'), ('alfki', 'Grace', 'grace@x.org');
INSERT INTO \"Order Details\" VALUES (1, 'ALFKI', 'x'), (1, 'ALFKI', 'x'), (2, 'alfki', 'y'), (3, NULL, 'z');
";
    let relation = json!({"schema_name": "Order Details", "columns": ["select"], "rule": "owns",
                          "references": {"schema_name": "customer", "columns": ["code"]}});
    let policy = json!({ "relations": [relation] });
    if !D::can().find_keyless {
        let database = D::new(sql);
        let request = database.follow("customer", "email", "ada@x.org", &policy);
        let refused = database.plan(&request).unwrap_err().to_string();
        assert!(refused.contains("Order Details: nothing tells its rows apart"), "{refused}");
        return;
    }
    done::<D>(
        sql,
        ["customer", "email", "ada@x.org"],
        &policy,
        // No primary key, quoted names, a natural key, and a row that is there twice.
        &["delete Order Details 2", "delete customer 1"],
        &[
            "Order Details - 1|ALFKI|x",
            "Order Details - 1|ALFKI|x",
            "customer - ALFKI|Ada|ada@x.org",
        ],
    );
}

pub fn masks_hold_and_a_second_run_leaves_them<D: Database>() {
    let sql = "
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, phone TEXT,
                       city VARCHAR(60), note TEXT, age INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL);
ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customer (id);
INSERT INTO customer VALUES (1, 'Ada', 'ada@x.org', '1', 'London', 'n', 36), (2, 'Grace', 'grace@x.org', '2', 'Paris', 'm', 85);
INSERT INTO orders VALUES (1, 1), (2, 2);
";
    let columns = json!({"name": {"constant": "erased"}, "email": "surrogate", "phone": null,
                         "city": "hash", "note": "hmac", "age": {"constant": 0}});
    let policy = json!({"strategies": [{"schema_name": "customer", "columns": columns}]});
    let database = D::new(sql);
    let request = database.follow("customer", "id", "1", &policy);
    let plan = ["delete orders 1", "mask customer(name,email,phone,city,note,age) 1"];
    assert_eq!(planned(&database, &request), plan);
    deleted(&database.erase(&request).unwrap());
    let rows = database.rows("SELECT * FROM customer ORDER BY id");
    assert_eq!(rows[1].join("|"), "2|Grace|grace@x.org|2|Paris|m|85");
    let begins = ["1", "erased", "erased-", "-", "sha256:", "hmac:", "0"];
    assert!(rows[0].iter().zip(begins).all(|(value, begin)| value.starts_with(begin)), "{rows:?}");
    assert_eq!(database.count("SELECT count(*) FROM orders"), 1);
    let again = deleted(&database.erase(&request).unwrap());
    assert!(again.values().all(|rows| *rows == 0));
    assert_eq!(database.rows("SELECT * FROM customer ORDER BY id"), rows);
    assert_eq!(database.verify(&request).unwrap().remaining, 0);
    // A masked value that is there again is found.
    database.run("UPDATE customer SET phone = '1' WHERE id = 1");
    assert_eq!(database.verify(&request).unwrap().remaining, 1);
}

pub fn a_strategy_that_cannot_hold_fails_the_plan_by_name<D: Database>() {
    let database = D::new(
        "CREATE TABLE p (id INTEGER PRIMARY KEY, email VARCHAR(40) NOT NULL UNIQUE, age INTEGER,
                         up INTEGER GENERATED ALWAYS AS (age + 1) STORED);
         INSERT INTO p (id, email) VALUES (1, 'ada@x.org'), (2, 'ada@y.org');",
    );
    for (mask, why) in [
        (json!({"email": null}), "may not be null"),
        (json!({"email": "hash"}), "room for 40"),
        (json!({"email": {"constant": "ada@y.org"}}), "another row has the constant"),
        (json!({"age": "surrogate"}), "no surrogate"),
        (json!({"age": {"constant": "old"}}), "no value"),
        (json!({"up": {"constant": 1}}), "computes"),
        (json!({"no": null}), "`no`"),
    ] {
        let policy = json!({"strategies": [{"schema_name": "p", "columns": mask}]});
        let request = database.follow("p", "id", "1", &policy);
        let error = database.plan(&request).unwrap_err().to_string();
        assert!(error.contains(why), "{mask}: {error}");
    }
}

pub fn kept_rows_keep_what_they_own_and_what_is_above_them_must_be_masked<D: Database>() {
    let sql = "
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
CREATE TABLE invoice (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, made DATE);
ALTER TABLE invoice ADD FOREIGN KEY (customer) REFERENCES customer (id);
CREATE TABLE line (id INTEGER PRIMARY KEY, invoice INTEGER NOT NULL);
ALTER TABLE line ADD FOREIGN KEY (invoice) REFERENCES invoice (id);
INSERT INTO customer VALUES (1, 'Ada', 'ada@x.org'), (2, 'Grace', 'grace@x.org');
INSERT INTO invoice VALUES (1, 1, '2019-12-31'), (2, 1, '2020-01-01'), (3, 1, NULL), (4, 2, NULL);
INSERT INTO line VALUES (1, 1), (2, 2), (3, 3), (4, 4);
";
    let retain = json!([{"schema_name": "invoice", "reason": "law", "date": "made",
                         "since": "2020-01-01"}]);
    let ada = ["customer", "id", "1"];
    stops::<D>(
        sql,
        ada,
        &json!({ "retain": retain }),
        &[
            "blocked customer(customer) 2",
            "delete customer 1",
            "delete invoice 1",
            "delete line 1",
            "keep invoice 2",
            "keep line 2",
        ],
    );
    let mask = json!([{"schema_name": "customer", "columns": {"name": null, "email": null}}]);
    done::<D>(
        sql,
        ada,
        &json!({"retain": retain, "strategies": mask}),
        // A null date keeps.
        &[
            "delete invoice 1",
            "delete line 1",
            "keep invoice 2",
            "keep line 2",
            "mask customer(name,email) 1",
        ],
        &[
            "customer - 1|Ada|ada@x.org",
            "customer + 1|-|-",
            "invoice - 1|1|2019-12-31",
            "line - 1|1",
        ],
    );
    let hold = D::new(sql);
    let held = hold.follow("customer", "id", "1", &json!({"hold": "case 7"}));
    assert!(hold.erase(&held).unwrap_err().to_string().contains("case 7"));
    assert!(hold.plan(&held).is_err());
}

pub fn a_kept_column_keeps_its_row_and_the_rest_of_it_is_masked<D: Database>() {
    let sql = "
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, email TEXT, vat TEXT);
INSERT INTO customer VALUES (1, 'Ada', 'ada@x.org', 'GB1');
";
    let retain = json!([{"schema_name": "customer", "column": "vat", "reason": "tax"}]);
    let ada = ["customer", "id", "1"];
    stops::<D>(sql, ada, &json!({ "retain": retain }), &["blocked customer() 1"]);
    let mask = json!([{"schema_name": "customer", "columns": {"name": null, "email": null}}]);
    done::<D>(
        sql,
        ada,
        &json!({"retain": retain, "strategies": mask}),
        &["mask customer(name,email) 1"],
        &["customer - 1|Ada|ada@x.org|GB1", "customer + 1|-|-|GB1"],
    );
}

pub fn a_reference_that_cannot_be_null_can_be_set_to_a_constant<D: Database>() {
    let sql = "
CREATE TABLE employee (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
CREATE TABLE machine (id INTEGER PRIMARY KEY, employee INTEGER NOT NULL);
ALTER TABLE machine ADD FOREIGN KEY (employee) REFERENCES employee (id);
INSERT INTO employee VALUES (0, 'nobody', NULL), (1, 'Ada', 'ada@x.org');
INSERT INTO machine VALUES (1, 1), (2, 0);
";
    let refers = json!([{"schema_name": "machine", "columns": ["employee"], "rule": "refers",
                         "references": {"schema_name": "employee", "columns": ["id"]}}]);
    let ada = ["employee", "id", "1"];
    stops::<D>(
        sql,
        ada,
        &json!({ "relations": refers }),
        &["blocked machine(employee) 1", "delete employee 1"],
    );
    let constant = json!([{"schema_name": "machine", "action": "delete",
                           "columns": {"employee": {"constant": 0}}}]);
    done::<D>(
        sql,
        ada,
        &json!({"relations": refers, "strategies": constant}),
        &["delete employee 1", "null machine(employee) 1"],
        &["employee - 1|Ada|ada@x.org", "machine - 1|1", "machine + 1|0"],
    );
}

pub fn a_default_or_constant_that_would_go_itself_blocks_the_plan<D: Database>() {
    let sql = |default: &str, action: &str| {
        format!(
            "
CREATE TABLE employee (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
CREATE TABLE machine (id INTEGER PRIMARY KEY, employee INTEGER NOT NULL{default});
ALTER TABLE machine ADD FOREIGN KEY (employee) REFERENCES employee (id){action};
INSERT INTO employee VALUES (1, 'Ada', 'ada@x.org'), (2, 'Grace', 'grace@x.org');
INSERT INTO machine VALUES (1, 1), (2, 2);
"
        )
    };
    let blocked = ["blocked machine(employee) 1", "delete employee 1"];
    let ada = ["employee", "id", "1"];
    if D::can().set_default {
        let action = " ON DELETE SET DEFAULT";
        // Ada herself, nobody, and what a column that is never null cannot be.
        for default in [" DEFAULT 1", " DEFAULT 7", ""] {
            stops::<D>(&sql(default, action), ada, &json!({}), &blocked);
        }
        done::<D>(
            &sql(" DEFAULT (1 + 1)", action),
            ada,
            &json!({}),
            &["delete employee 1", "null machine(employee) 1"],
            &["employee - 1|Ada|ada@x.org", "machine - 1|1", "machine + 1|2"],
        );
    }
    let refers = json!([{"schema_name": "machine", "columns": ["employee"], "rule": "refers",
                         "references": {"schema_name": "employee", "columns": ["id"]}}]);
    for constant in [1, 7] {
        let strategies = json!([{"schema_name": "machine", "action": "delete",
                                 "columns": {"employee": {"constant": constant}}}]);
        let policy = json!({"relations": refers, "strategies": strategies});
        stops::<D>(&sql("", ""), ada, &policy, &blocked);
    }
}
