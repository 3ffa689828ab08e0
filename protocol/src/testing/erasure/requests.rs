//! Requests of every kind, to one shop: what is approved, refused, resembled, left to a person, and put
//! down in evidence.

#![expect(missing_docs, reason = "the names of the tests say what they show")]

use std::fs::File;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::stories::{SHOP, ada, planned};
use super::{Database, deleted};
use crate::silo::{Erasure, Silo};

pub fn a_plan_is_refused_once_a_row_was_added_or_swapped_for_another<D: Database>() {
    for change in [
        "INSERT INTO line VALUES (9, 2);",
        "DELETE FROM line WHERE id = 3; INSERT INTO line VALUES (9, 2);",
        "CREATE INDEX another ON line (id, order_id);",
    ] {
        let database = D::new(SHOP);
        let hash = database.plan(&ada(&database)).unwrap().hash;
        database.run(change);
        let before = database.dump();
        let approved = Erasure { approved: Some(hash), ..ada(&database) };
        let refused = database.erase(&approved).unwrap_err().to_string();
        assert!(refused.contains("another than the approved"), "{change}: {refused}");
        assert_eq!(database.dump(), before, "{change}");
    }
    let database = D::new(SHOP);
    let hash = database.plan(&ada(&database)).unwrap().hash;
    let approved = Erasure { approved: Some(hash), ..ada(&database) };
    assert_eq!(deleted(&database.erase(&approved).unwrap())["line"], 3);
}

pub fn a_trigger_that_keeps_a_row_undoes_everything_and_one_that_copies_is_named<D: Database>() {
    let database = D::new(SHOP);
    database.run(&D::keeps("line", 3));
    let before = database.dump();
    let error = database.erase(&ada(&database)).unwrap_err().to_string();
    assert!(error.contains("keeps"), "{error}");
    assert_eq!(database.dump(), before);
    let database = D::new(&format!("{SHOP} CREATE TABLE graveyard (id INTEGER);"));
    database.run(&D::copies("line", "graveyard"));
    let warnings = database.plan(&ada(&database)).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("copies")), "{warnings:?}");
    deleted(&database.erase(&ada(&database)).unwrap());
    assert_eq!(database.count("SELECT count(*) FROM graveyard"), 3);
}

pub fn a_plan_names_each_child_that_has_no_index_for_its_reference<D: Database>() {
    let database = D::new(SHOP);
    assert!(database.plan(&ada(&database)).unwrap().warnings.is_empty());
    if !D::can().leave_unindexed {
        return;
    }
    database.run("DROP INDEX orders_customer");
    let warnings = database.plan(&ada(&database)).unwrap().warnings;
    let named = |warning: &String| warning.contains("orders(customer_id) has no index");
    assert!(warnings.len() == 1 && warnings.iter().any(named), "{warnings:?}");
}

pub fn identifiers_of_several_rows_of_persons_need_an_approved_plan<D: Database>() {
    let database = D::new(SHOP);
    database.run("INSERT INTO customer VALUES (3, 'Ada', 'ada@x.org')");
    let refused = database.erase(&ada(&database)).unwrap_err().to_string();
    assert!(refused.contains("several rows"), "{refused}");
    let hash = database.plan(&ada(&database)).unwrap().hash;
    let approved = Erasure { approved: Some(hash), ..ada(&database) };
    assert_eq!(deleted(&database.erase(&approved).unwrap())["customer"], 2);
}

pub fn rows_that_only_resemble_an_identifier_stay_and_are_told<D: Database>() {
    let database = D::new(SHOP);
    database.run("INSERT INTO customer VALUES (3, 'Ada', 'ADA@x.org ')");
    assert!(planned(&database, &ada(&database)).contains(&"near customer(email) 1".to_owned()));
    let outcomes = database.erase(&ada(&database)).unwrap();
    assert_eq!(outcomes[0].skipped.len(), 1);
    assert_eq!(database.count("SELECT count(*) FROM customer WHERE id = 3"), 1);
    assert_eq!(database.verify(&ada(&database)).unwrap().stores[0].near, 1);
}

pub fn without_follow_a_delete_that_would_go_on_into_another_store_is_refused<D: Database>() {
    for action in ["", " ON DELETE CASCADE", " ON DELETE SET NULL"] {
        let database = D::new(&format!(
            "CREATE TABLE p (id INTEGER PRIMARY KEY, email TEXT);
             CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER);
ALTER TABLE c ADD FOREIGN KEY (p) REFERENCES p (id){action};
             INSERT INTO p VALUES (1, 'ada@x.org'); INSERT INTO c VALUES (1, 1);"
        ));
        let before = database.dump();
        let request = Erasure { follow: false, ..database.follow("p", "id", "1", &json!({})) };
        let outcome = &database.erase(&request).unwrap()[0];
        assert!(outcome.error.as_ref().unwrap().contains("c(p)"), "{outcome:?}");
        assert_eq!(database.dump(), before);
    }
}

pub fn without_follow_children_go_first_whatever_the_order_and_a_failure_is_alone<D: Database>() {
    let database = D::new(SHOP);
    let named = |store: &str, column: &str, value: &str| Erasure {
        follow: false,
        ..database.follow(store, column, value, &json!({}))
    };
    let mut request = named("customer", "id", "1");
    request.subjects.extend(named("orders", "customer_id", "1").subjects);
    request.subjects.extend(named("line", "order_id", "1").subjects);
    // Two identifiers of one store are one subject.
    let second = named("line", "order_id", "2").subjects.remove(0);
    request.subjects[2].1.identifiers.extend(second.1.identifiers);
    let gone = deleted(&database.erase(&request).unwrap());
    assert_eq!((gone["customer"], gone["orders"], gone["line"]), (1, 2, 3));

    let database = D::new(SHOP);
    let mut request = Erasure { follow: false, ..database.follow("orders", "id", "1", &json!({})) };
    request.subjects.extend(database.follow("line", "id", "4", &json!({})).subjects);
    let outcomes = database.erase(&request).unwrap();
    assert!(outcomes[0].error.is_some() && outcomes[1].error.is_none());
    assert_eq!((outcomes[0].deleted, outcomes[1].deleted), (0, 1));
}

pub fn values_that_no_relation_leads_to_are_found_in_texts_on_request<D: Database>() {
    let database = D::new(SHOP);
    database.run(
        "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT);
         INSERT INTO note VALUES (1, 'call ADA@x.org back'), (2, '100% _da@x.org'), (3, 'other');",
    );
    let request = Erasure { search_values: true, ..ada(&database) };
    let outcomes = database.erase(&request).unwrap();
    let note = outcomes.iter().find(|outcome| outcome.store.name == "note").unwrap();
    assert!(note.skipped[0].starts_with("1 rows") && note.skipped[0].contains("`body`"));
    assert!(!format!("{outcomes:?}").contains("ada@"));
    let verify = database.verify(&request).unwrap();
    assert_eq!((verify.residue.len(), verify.residue[0].rows), (1, 1));
}

pub fn the_subjects_own_residue_is_told_from_rows_of_other_persons<D: Database>() {
    let database = D::new(
        "
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, email TEXT, remark TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, note TEXT);
ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customer (id);
CREATE TABLE memo (id INTEGER PRIMARY KEY, body TEXT);
INSERT INTO customer VALUES (1, 'Ada', 'ada@x.org', 'write to ADA@x.org'), (2, 'Grace', 'g', 'knows ada@x.org'), (3, 'Eve', 'e', '');
INSERT INTO orders VALUES (1, 1, 'for ada@x.org'), (2, 2, 'gift for ada@x.org'), (3, 3, 'ada@x.org'), (4, NULL, 'ada@x.org');
INSERT INTO memo VALUES (1, 'ada@x.org called');
",
    );
    let columns = json!({"name": null, "email": null, "remark": "keep"});
    let policy = json!({"strategies": [{"schema_name": "customer", "columns": columns}]});
    let request = Erasure {
        search_values: true,
        ..database.follow("customer", "email", "ada@x.org", &policy)
    };
    let outcomes = database.erase(&request).unwrap();
    let told = |store: &str| {
        let outcome = outcomes.iter().find(|outcome| outcome.store.name == store).unwrap();
        outcome.skipped.join("; ")
    };
    let (own, others) = ("1 rows hold a value of the subject in", "and are another person's");
    // Her own row, which was masked, and Grace's.
    assert_eq!(told("customer"), format!("{own} `remark`; {own} `remark`, {others}"));
    let two = own.replace('1', "2");
    assert_eq!(told("orders"), format!("{own} `note`; {two} `note`, {others}"));
    assert_eq!(told("memo"), format!("{own} `body`"));
    let residue = |request: &Erasure| {
        let found = database.verify(request).unwrap().residue.into_iter();
        found.map(|one| (one.column, one.rows, one.others)).collect::<Vec<_>>()
    };
    let mut by_both = request.clone();
    let by_id = database.follow("customer", "id", "1", &policy).subjects.remove(0);
    by_both.subjects[0].1.identifiers.extend(by_id.1.identifiers);
    let found = |column: &str, rows: u64, others: bool| (column.to_owned(), rows, others);
    let mut expected = [
        found("remark", 1, false),
        found("remark", 1, true),
        found("body", 1, false),
        found("note", 1, false),
        found("note", 2, true),
    ];
    assert_eq!(residue(&by_both), expected);
    // Who is found no more is nobody that the database knows.
    expected[0] = found("remark", 2, true);
    assert_eq!(residue(&request), [&expected[..1], &expected[2..]].concat());
}

pub fn evidence_is_written_before_the_first_write_and_after_the_last_look<D: Database>() {
    let database = D::new(SHOP);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evidence");
    let request = Erasure { evidence: Some(path.clone()), ..ada(&database) };
    database.run(&D::keeps("line", 3));
    assert!(database.erase(&request).is_err());
    database.run(&D::keeps_no_more("line"));
    deleted(&database.erase(&request).unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let kinds: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].to_string())
        .collect();
    assert_eq!(kinds, ["\"begun\"", "\"failed\"", "\"begun\"", "\"done\""]);
    assert!(!text.contains("ada@"), "{text}");
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(
        last["content"]["databases"][0]["what_remains"].as_array().is_some_and(|all| all.len() > 2),
        "{last}"
    );
    let config = || serde_json::from_value(database.form()).unwrap();
    let good = <D::Silo as Silo>::evidence(&config(), &path).unwrap();
    assert_eq!((good.records, good.undetermined.len(), good.problems.len()), (4, 0, 0));
    let begun = text.lines().next().unwrap();
    std::fs::write(&path, format!("{begun}\n")).unwrap();
    let open = <D::Silo as Silo>::evidence(&config(), &path).unwrap();
    assert_eq!(open.undetermined, [1]);
}

pub fn deletes_at_the_same_time_write_their_evidence_one_after_the_other<D: Database>() {
    const DELETES: usize = 3;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evidence");
    let held = File::create(&path).unwrap();
    held.lock().unwrap();
    let ready = Barrier::new(DELETES + 1);
    thread::scope(|scope| {
        for _ in 0..DELETES {
            scope.spawn(|| {
                let database = D::new(SHOP);
                let request = Erasure { evidence: Some(path.clone()), ..ada(&database) };
                ready.wait();
                assert_eq!(deleted(&database.erase(&request).unwrap())["line"], 3);
            });
        }
        ready.wait();
        thread::sleep(Duration::from_millis(500));
        assert_eq!(held.metadata().unwrap().len(), 0, "somebody did not wait for the lock");
        held.unlock().unwrap();
    });
    let text = std::fs::read_to_string(&path).unwrap();
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2 * DELETES);
    for pair in records.chunks(2) {
        assert_eq!((&pair[0]["kind"], &pair[1]["kind"]), (&json!("begun"), &json!("done")));
        assert_eq!(pair[1]["of"], pair[0]["number"]);
    }
    let config = serde_json::from_value(D::new(SHOP).form()).unwrap();
    let checked = <D::Silo as Silo>::evidence(&config, &path).unwrap();
    assert_eq!((checked.undetermined.len(), checked.problems.len()), (0, 0));
}

pub fn a_row_that_comes_back_is_found<D: Database>() {
    let database = D::new(SHOP);
    let before = database.rows("SELECT * FROM customer");
    deleted(&database.erase(&ada(&database)).unwrap());
    assert_eq!(database.verify(&ada(&database)).unwrap().remaining, 0);
    database.run("INSERT INTO customer VALUES (1, 'Ada', 'ada@x.org')");
    assert_eq!(database.rows("SELECT * FROM customer ORDER BY id"), before);
    assert_eq!(database.verify(&ada(&database)).unwrap().remaining, 1);
}

pub fn what_looks_like_a_relation_is_suggested_where_its_values_are_there<D: Database>() {
    let database = D::new(
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
         CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER);
         CREATE TABLE visits (id INTEGER PRIMARY KEY, customer_id INTEGER);
         INSERT INTO customers VALUES (1, 'Ada', 'a'), (2, 'Grace', 'g');
         INSERT INTO orders VALUES (1, 1), (2, 2), (3, 2), (4, NULL);
         INSERT INTO visits VALUES (1, 700), (2, 800);",
    );
    let relations = database.relations("orders");
    assert_eq!((relations.len(), relations[0].score), (1, Some(0.95)), "{relations:?}");
    assert!(relations[0].reason.as_ref().unwrap().contains("3 values"), "{relations:?}");
    assert!(database.relations("visits").is_empty());
    let declared = D::new(SHOP).relations("orders");
    assert_eq!(declared[0].rule.as_deref(), Some("owns"));
    assert!(declared[0].reason.is_some() && declared[0].score.is_none());
}
