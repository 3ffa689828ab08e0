//! The promises that every connector keeps.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod server;

use protocol::silo::StoreId;
use protocol::testing::Setup;
use serde_json::json;

use server::Server;

fn setup() -> Option<Setup> {
    let server = Server::find()?;
    let shop = server.database(include_str!("shop.sql"));
    let copy = server.database("");
    let id = |name: &str| StoreId::new(Some(shop.name.clone()), name);
    let open = shop.clone();
    let config = server.config(&shop, json!({}));
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-mysql"), config).server("hostname");
    // Nobody has signed the server's certificate.
    let verified = setup.with("sslmode", "verify-full");
    let setup = setup
        .broken(verified, "`sslmode`")
        .empty(server.config(&copy, json!({})))
        .regroup(&shop.name, &copy.name)
        .shop(7, id, move |sql| drop(open.run(sql)))
        .keep((shop.clone(), copy));
    Some(setup)
}

protocol::conformance!(setup);
