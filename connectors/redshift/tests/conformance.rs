//! The promises that every connector keeps, on a PostgreSQL that stands in for a Redshift.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::rc::Rc;

use protocol::silo::StoreId;
use protocol::testing::{Case, Setup};
use serde_json::{Value, json};

use common::{Database, Server, form, standin};

fn setup() -> Option<Setup> {
    let server = Server::find()?;
    let shop = Rc::new(standin(&server, "shop", include_str!("shop.sql")));
    let group = shop.group();
    let store = |name: &str| StoreId::new(Some(group.clone()), name);
    let form = form(&shop);
    let with = |name: &str, value: Value| {
        let mut form = form.clone();
        form[name] = value;
        form
    };
    let people = Case::new(store("people"), "email", "ada@example.com")
        .finds(1, 6)
        .near(["ADA@example.com", "ada@example.com ", "ádà@example.com"])
        .number("id", 4);
    let events = Case::new(store("events"), "kind", "kind 1")
        .finds(1334, 4000)
        .number("person", 3)
        .cursor("at")
        .grows(growth(&shop));
    let newsletter = Case::new(store("newsletter"), "email", "ada@example.com").finds(2, 5);
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-redshift"), form.clone())
        .broken(with("password", json!("not-the-password")), "`password`")
        .broken(with("username", json!("nobody_here")), "nobody_here")
        .broken(with("database", json!("no_such_database")), "`database`")
        .broken(with("port", json!(1)), "`port`")
        .broken(with("host", json!("no-such-host.invalid")), "`host`")
        .broken(with("sslmode", json!("sometimes")), "`sslmode`")
        .read_only(with("read_only", json!(true)))
        .case(people)
        .case(events)
        .case(newsletter)
        .keep(shop);
    Some(setup)
}

fn growth(shop: &Rc<Database>) -> impl FnMut() -> usize + 'static {
    let shop = Rc::clone(shop);
    let mut next = 4000;
    move || {
        for _ in 0..3 {
            next += 1;
            shop.run(&format!("INSERT INTO events VALUES ({next}, 1, 'kind 9', '2025-01-01', 1)"));
        }
        3
    }
}

protocol::conformance!(setup);
