//! Parts: what is above a row and its own, and goes with it unless something else refers to it.

#![expect(missing_docs, reason = "the names of the tests say what they show")]

use serde_json::json;

use super::Database;
use super::stories::{ada, done, planned};

pub fn a_part_goes_unless_a_row_that_stays_refers_to_it<D: Database>() {
    let sql = "
CREATE TABLE address (id INTEGER PRIMARY KEY, street TEXT);
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, email TEXT, home INTEGER, work INTEGER);
ALTER TABLE customer ADD FOREIGN KEY (home) REFERENCES address (id);
ALTER TABLE customer ADD FOREIGN KEY (work) REFERENCES address (id);
CREATE TABLE bell (id INTEGER PRIMARY KEY, address INTEGER NOT NULL);
ALTER TABLE bell ADD FOREIGN KEY (address) REFERENCES address (id);
INSERT INTO address VALUES (1, 'Home Lane'), (2, 'Office Park'), (3, 'Elsewhere');
INSERT INTO customer VALUES (1, 'Ada', 'ada@x.org', 1, 2), (2, 'Grace', 'grace@x.org', 3, 2);
INSERT INTO bell VALUES (1, 1), (2, 2);
";
    let subject = ["customer", "email", "ada@x.org"];
    let part = |column: &str| {
        json!({"schema_name": "customer", "columns": [column], "rule": "part",
               "references": {"schema_name": "address", "columns": ["id"]}})
    };
    done::<D>(
        sql,
        subject,
        &json!({"relations": [part("home"), part("work")]}),
        &["delete address 1", "delete bell 1", "delete customer 1", "keep address 1"],
        &["address - 1|Home Lane", "bell - 1|1", "customer - 1|Ada|ada@x.org|1|2"],
    );
    // Without a rule, an address that nothing refers to any more is left, named, and not green.
    let database = D::new(
        "
CREATE TABLE address (id INTEGER PRIMARY KEY, street TEXT);
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, email TEXT, home INTEGER);
ALTER TABLE customer ADD FOREIGN KEY (home) REFERENCES address (id);
INSERT INTO address VALUES (1, 'Home Lane');
INSERT INTO customer VALUES (1, 'Ada', 'ada@x.org', 1);
",
    );
    let request = ada(&database);
    assert_eq!(planned(&database, &request), ["delete customer 1", "left address 1"]);
    let outcomes = database.erase(&request).unwrap();
    assert!(outcomes.iter().any(|one| one.store.name == "address" && !one.skipped.is_empty()));
}

pub fn a_shared_part_that_is_a_child_as_well_loses_its_reference<D: Database>() {
    // Ada's address has a box, and the box another address, which is Grace's home.
    let sql = "
CREATE TABLE address (id INTEGER PRIMARY KEY, street TEXT, box INTEGER);
CREATE TABLE box (id INTEGER PRIMARY KEY, address INTEGER NOT NULL);
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, email TEXT, home INTEGER);
ALTER TABLE address ADD FOREIGN KEY (box) REFERENCES box (id);
ALTER TABLE box ADD FOREIGN KEY (address) REFERENCES address (id);
ALTER TABLE person ADD FOREIGN KEY (home) REFERENCES address (id);
INSERT INTO address VALUES (1, 'Home Lane', NULL), (2, 'Elsewhere', 1);
INSERT INTO box VALUES (1, 1);
INSERT INTO person VALUES (1, 'Ada', 'ada@x.org', 1), (2, 'Grace', 'grace@x.org', 2);
";
    let relation = |child: &str, column: &str, parent: &str, rule: &str| {
        json!({"schema_name": child, "columns": [column], "rule": rule,
               "references": {"schema_name": parent, "columns": ["id"]}})
    };
    let relations =
        [relation("person", "home", "address", "part"), relation("address", "box", "box", "owns")];
    done::<D>(
        sql,
        ["person", "id", "1"],
        &json!({ "relations": relations }),
        &[
            "delete address 1",
            "delete box 1",
            "delete person 1",
            "keep address 1",
            "null address(box) 1",
        ],
        &[
            "address - 1|Home Lane|-",
            "address - 2|Elsewhere|1",
            "address + 2|Elsewhere|-",
            "box - 1|1",
            "person - 1|Ada|ada@x.org|1",
        ],
    );
}

pub fn what_a_parts_kept_rows_own_is_kept_no_longer_than_the_part_is_taken<D: Database>() {
    // The letter keeps the address, which is then no part that goes, and the letter nobody's of Ada's.
    let sql = "
CREATE TABLE address (id INTEGER PRIMARY KEY, street TEXT);
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, email TEXT, home INTEGER);
CREATE TABLE letter (id INTEGER PRIMARY KEY, receiver INTEGER NOT NULL);
CREATE TABLE parcel (id INTEGER PRIMARY KEY, person INTEGER NOT NULL, letter INTEGER);
ALTER TABLE person ADD FOREIGN KEY (home) REFERENCES address (id);
ALTER TABLE letter ADD FOREIGN KEY (receiver) REFERENCES address (id);
ALTER TABLE parcel ADD FOREIGN KEY (person) REFERENCES person (id);
ALTER TABLE parcel ADD FOREIGN KEY (letter) REFERENCES letter (id);
INSERT INTO address VALUES (1, 'Home Lane');
INSERT INTO person VALUES (1, 'Ada', 'ada@x.org', 1);
INSERT INTO letter VALUES (1, 1);
INSERT INTO parcel VALUES (1, 1, 1);
";
    let part = json!({"schema_name": "person", "columns": ["home"], "rule": "part",
                      "references": {"schema_name": "address", "columns": ["id"]}});
    let retain = json!({"schema_name": "letter", "reason": "law"});
    done::<D>(
        sql,
        ["person", "id", "1"],
        &json!({"relations": [part], "retain": [retain]}),
        &["delete parcel 1", "delete person 1", "keep address 1"],
        &["parcel - 1|1|1", "person - 1|Ada|ada@x.org|1"],
    );
}
