//! The Chinook database, where it is at hand: `MANIFOLD_SAMPLE_DBS` names the folder.
//!
//! Names are written as in `InvoiceLine`, and said as the database at hand spells them.

#![expect(missing_docs, reason = "the names of the tests say what they show")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Database, deleted, steps};
use crate::silo::Erasure;

fn chinook<D: Database>() -> Option<D> {
    let folder = PathBuf::from(std::env::var_os("MANIFOLD_SAMPLE_DBS")?);
    Some(D::chinook(&folder.join("chinook")))
}

/// `text` with its names as the database spells them: words such as `InvoiceLine` and `Email`.
fn spell<D: Database>(text: &str) -> String {
    let names = |word: &str| {
        word.starts_with(char::is_uppercase) && word.contains(|c: char| c.is_ascii_lowercase())
    };
    let words = text.split_inclusive(|c: char| !c.is_alphanumeric());
    let spelled = words.map(|word| {
        let name = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        match names(name) {
            true => D::spelled(name) + &word[name.len()..],
            false => word.to_owned(),
        }
    });
    spelled.collect()
}

fn follow<D: Database>(
    database: &D,
    store: &str,
    column: &str,
    value: &str,
    policy: &Value,
) -> Erasure {
    let policy = serde_json::from_str(&spell::<D>(&policy.to_string())).unwrap();
    database.follow(&D::spelled(store), &D::spelled(column), value, &policy)
}

fn planned<D: Database>(database: &D, request: &Erasure) -> Vec<String> {
    steps(&database.plan(request).unwrap())
}

fn spelled<D: Database>(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| spell::<D>(step)).collect()
}

fn counts<D: Database>(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(store, rows)| (D::spelled(store), *rows)).collect()
}

pub fn a_customer_goes_with_invoices_and_lines_and_every_other_byte_stays<D: Database>() {
    let Some(database) = chinook::<D>() else { return };
    let request = follow(&database, "Customer", "Email", "luisg@embraer.com.br", &json!({}));
    assert_eq!(
        planned(&database, &request),
        spelled::<D>(&["delete InvoiceLine 38", "delete Invoice 7", "delete Customer 1"])
    );
    assert!(!database.reach(&request).contains(&D::spelled("Employee")));
    let before = database.dump();
    let done = deleted(&database.erase(&request).unwrap());
    assert_eq!(done, counts::<D>(&[("Customer", 1), ("Invoice", 7), ("InvoiceLine", 38)]));
    let after = database.dump();
    for (store, rows) in &before {
        let gone = done.get(store).copied().unwrap_or(0);
        assert_eq!((rows.len() - after[store].len()) as u64, gone, "{store}");
        assert!(after[store].iter().all(|row| rows.binary_search(row).is_ok()), "{store} changed");
    }
}

pub fn an_employees_customers_are_undecided_until_the_policy_says_who_is_a_person<D: Database>() {
    let Some(database) = chinook::<D>() else { return };
    let request = follow(&database, "Employee", "EmployeeId", "3", &json!({}));
    assert_eq!(
        planned(&database, &request),
        spelled::<D>(&["undecided Customer(SupportRepId) 21", "delete Employee 1"])
    );
    let before = database.dump();
    assert!(database.erase(&request).is_err());
    assert_eq!(database.dump(), before);
    assert_eq!(database.reach(&request), [D::spelled("Employee")]);

    let policy = json!({"persons": ["Customer", "Employee"]});
    let request = follow(&database, "Employee", "EmployeeId", "3", &policy);
    assert_eq!(
        planned(&database, &request),
        spelled::<D>(&["null Customer(SupportRepId) 21", "delete Employee 1"])
    );
    database.erase(&request).unwrap();
    let count = |text: &str| database.count(&spell::<D>(text));
    assert_eq!(count("SELECT count(*) FROM Customer"), 59);
    assert_eq!(count("SELECT count(*) FROM Customer WHERE SupportRepId IS NULL"), 21);
    assert_eq!(count("SELECT count(*) FROM Employee"), 7);
}

pub fn a_manager_goes_and_who_reports_to_them_stays<D: Database>() {
    let Some(database) = chinook::<D>() else { return };
    let request = follow(&database, "Employee", "EmployeeId", "1", &json!({}));
    assert_eq!(
        planned(&database, &request),
        spelled::<D>(&["null Employee(ReportsTo) 2", "delete Employee 1"])
    );
    database.erase(&request).unwrap();
    let nulled = spell::<D>("SELECT count(*) FROM Employee WHERE ReportsTo IS NULL");
    assert_eq!(database.count(&nulled), 2);
}

pub fn kept_invoices_keep_their_lines_and_the_customer_above_them_is_masked<D: Database>() {
    let Some(database) = chinook::<D>() else { return };
    let columns = json!({
        "FirstName": "surrogate", "LastName": {"constant": "erased"}, "Email": "surrogate",
        "Phone": null, "Fax": null, "Address": null, "PostalCode": null,
    });
    let retain = json!([{"schema_name": "Invoice", "reason": "tax law", "date": "InvoiceDate",
                         "since": "2024-01-01"}]);
    let policy = json!({
        "strategies": [{"schema_name": "Customer", "columns": columns}],
        "retain": retain,
    });
    let request = follow(&database, "Customer", "CustomerId", "1", &policy);
    let count = |text: &str| database.count(&spell::<D>(text));
    let lines = "SELECT count(*) FROM InvoiceLine";
    let before = count(lines);
    let done = deleted(&database.erase(&request).unwrap());
    assert_eq!(done, counts::<D>(&[("Customer", 0), ("Invoice", 4), ("InvoiceLine", 13)]));
    assert_eq!(before - count(lines), 13);
    assert_eq!(count("SELECT count(*) FROM Invoice WHERE CustomerId = 1"), 3);
    let kept = planned(&database, &request);
    for step in spelled::<D>(&["keep Invoice 3", "keep InvoiceLine 25"]) {
        assert!(kept.contains(&step), "{kept:?}");
    }
    let masked = "SELECT count(*) FROM Customer WHERE LastName = 'erased' AND Phone IS NULL";
    assert_eq!(count(masked), 1);

    let unmasked = follow(&database, "Customer", "CustomerId", "2", &json!({ "retain": retain }));
    assert!(planned(&database, &unmasked)[0].starts_with(&spell::<D>("blocked Customer")));
}

pub fn the_closures_of_all_customers_are_disjoint_and_are_all_invoices_and_lines<D: Database>() {
    let Some(database) = chinook::<D>() else { return };
    let (mut invoices, mut lines) = (0, 0);
    for customer in 1..=59 {
        let request =
            follow(&database, "Customer", "CustomerId", &customer.to_string(), &json!({}));
        let done = deleted(&database.erase(&request).unwrap());
        invoices += done[&D::spelled("Invoice")];
        lines += done[&D::spelled("InvoiceLine")];
    }
    // Each row went once.
    assert_eq!((invoices, lines), (412, 2240));
    assert_eq!(database.count(&spell::<D>("SELECT count(*) FROM Invoice")), 0);
}
