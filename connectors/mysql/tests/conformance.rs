//! The promises that every connector keeps.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod server;

use protocol::silo::StoreId;
use protocol::testing::{Case, Setup};
use serde_json::json;

use server::Server;

fn setup() -> Option<Setup> {
    let server = Server::find()?;
    let shop = server.database(include_str!("shop.sql"));
    let copy = server.database("");
    let id = |name: &str| StoreId::new(Some(shop.name.clone()), name);

    let people = Case::new(id("people"), "email", "ada@example.com")
        .finds(1, 7)
        .near(["ADA@example.com", "ada@example.com ", "ad\u{e1}@example.com"])
        .number("id", 4);
    let events = Case::new(id("events"), "kind", "kind 1")
        .finds(1334, 4000)
        .number("person", 3)
        .cursor("at")
        .grows({
            let shop = shop.clone();
            let mut next = 4000;
            move || {
                for _ in 0..3 {
                    next += 1;
                    shop.run(&format!(
                        "INSERT INTO events VALUES ({next}, 1, 'kind 9', '2025-01-01')"
                    ));
                }
                3
            }
        });
    let newsletter = Case::new(id("newsletter"), "email", "ada@example.com").finds(2, 5);
    let with = |more| server.config(&shop, more);
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-mysql"), with(json!({})))
        .broken(with(json!({"hostname": "no-such-host.invalid"})), "hostname")
        .broken(with(json!({"port": 1})), "port")
        .broken(with(json!({"password": "not the password"})), "password")
        .broken(with(json!({"database": "no_such_database"})), "database")
        .broken(with(json!({"sslmode": "maybe"})), "sslmode")
        .broken(with(json!({"sslmode": "verify-full"})), "sslmode")
        .read_only(with(json!({"read_only": true})))
        .empty(server.config(&copy, json!({})))
        .regroup(&shop.name, &copy.name)
        .case(people)
        .case(events)
        .case(newsletter)
        .keep((shop.clone(), copy));
    Some(setup)
}

protocol::conformance!(setup);
