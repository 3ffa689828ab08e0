//! The Chinook database, where it is at hand: `MANIFOLD_SAMPLE_DBS` names the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::json;

use crate::harness::{Database, deleted, follow, steps};

fn chinook() -> Option<Database> {
    let folder = PathBuf::from(std::env::var_os("MANIFOLD_SAMPLE_DBS")?);
    Some(Database::copy_of(&folder.join("chinook/Chinook_Sqlite.sqlite")))
}

fn counts<const N: usize>(expected: [(&str, u64); N]) -> BTreeMap<String, u64> {
    expected.into_iter().map(|(store, rows)| (store.to_owned(), rows)).collect()
}

#[test]
fn a_customer_goes_with_invoices_and_lines_and_every_other_byte_stays() {
    let Some(database) = chinook() else { return };
    let request = follow("Customer", "Email", "luisg@embraer.com.br", &json!({}));
    let plan = database.plan(&request).unwrap();
    assert_eq!(steps(&plan), ["delete InvoiceLine 38", "delete Invoice 7", "delete Customer 1"]);
    assert!(!database.reach(&request).contains(&"Employee".to_owned()));
    let before = database.dump();
    let done = deleted(&database.erase(&request).unwrap());
    assert_eq!(done, counts([("Customer", 1), ("Invoice", 7), ("InvoiceLine", 38)]));
    let after = database.dump();
    for (store, rows) in &before {
        let gone = rows.len() - after[store].len();
        assert_eq!(gone as u64, done.get(store).copied().unwrap_or(0), "{store}");
        let left: BTreeSet<&String> = after[store].iter().collect();
        assert!(left.iter().all(|row| rows.contains(row)), "{store} changed");
    }
}

#[test]
fn an_employees_customers_are_undecided_until_the_policy_says_who_is_a_person() {
    let Some(database) = chinook() else { return };
    let request = follow("Employee", "EmployeeId", "3", &json!({}));
    let plan = database.plan(&request).unwrap();
    assert_eq!(steps(&plan), ["undecided Customer(SupportRepId) 21", "delete Employee 1"]);
    assert!(database.erase(&request).is_err());
    assert_eq!(database.reach(&request), ["Employee"]);

    let policy = json!({"persons": ["Customer", "Employee"]});
    let request = follow("Employee", "EmployeeId", "3", &policy);
    database.erase(&request).unwrap();
    assert_eq!(database.count("SELECT count(*) FROM Customer"), 59);
    assert_eq!(database.count("SELECT count(*) FROM Customer WHERE SupportRepId IS NULL"), 21);
    assert_eq!(database.count("SELECT count(*) FROM Employee"), 7);
}

#[test]
fn a_manager_goes_and_who_reports_to_them_stays() {
    let Some(database) = chinook() else { return };
    let request = follow("Employee", "EmployeeId", "1", &json!({}));
    let plan = database.plan(&request).unwrap();
    assert_eq!(steps(&plan), ["null Employee(ReportsTo) 2", "delete Employee 1"]);
    database.erase(&request).unwrap();
    assert_eq!(database.count("SELECT count(*) FROM Employee WHERE ReportsTo IS NULL"), 2);
}

#[test]
fn kept_invoices_keep_their_lines_and_the_customer_above_them_is_masked() {
    let Some(database) = chinook() else { return };
    let columns = json!({
        "FirstName": "surrogate", "LastName": {"constant": "erased"}, "Email": "surrogate",
        "Phone": null, "Fax": null, "Address": null, "PostalCode": null,
    });
    let policy = json!({
        "strategies": [{"schema_name": "Customer", "columns": columns}],
        "retain": [{"schema_name": "Invoice", "reason": "tax law", "date": "InvoiceDate",
                    "since": "2024-01-01"}],
    });
    let request = follow("Customer", "CustomerId", "1", &policy);
    let kept = |database: &Database| {
        database.dump()["InvoiceLine"].len() + database.dump()["Invoice"].len()
    };
    let before = kept(&database);
    let done = deleted(&database.erase(&request).unwrap());
    assert_eq!(done, counts([("Customer", 0), ("Invoice", 4), ("InvoiceLine", 13)]));
    assert_eq!(before - kept(&database), 17);
    assert_eq!(database.count("SELECT count(*) FROM Invoice WHERE CustomerId = 1"), 3);
    let blocked = json!({"retain": policy["retain"]});
    let blocked = follow("Customer", "CustomerId", "2", &blocked);
    assert!(steps(&database.plan(&blocked).unwrap())[0].starts_with("blocked Customer"));
}

#[test]
fn the_closures_of_all_customers_are_disjoint_and_are_all_invoices_and_lines() {
    let Some(database) = chinook() else { return };
    let (mut invoices, mut lines) = (0, 0);
    for customer in 1..=59 {
        let request = follow("Customer", "CustomerId", &customer.to_string(), &json!({}));
        let done = deleted(&database.erase(&request).unwrap());
        invoices += done["Invoice"];
        lines += done["InvoiceLine"];
    }
    // Each row went once.
    assert_eq!((invoices, lines), (412, 2240));
    assert_eq!(database.count("SELECT count(*) FROM Invoice"), 0);
}
