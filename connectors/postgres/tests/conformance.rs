//! The promises that every connector keeps.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::rc::Rc;

use common::Server;
use protocol::silo::StoreId;
use protocol::testing::{Case, Setup};

fn setup() -> Option<Setup> {
    let server = Server::find()?;
    let shop = Rc::new(server.database("shop", include_str!("shop.sql")));
    let copy = server.database("copy", "");
    let group = format!("{}/public", shop.name);
    let copied = format!("{}/public", copy.name);
    let store = |name: &str| StoreId::new(Some(group.clone()), name);
    let logs = Case::new(store("logs"), "text", "line 17").finds(1, 300).number("id", 17);
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-postgres"), shop.form());
    let url = setup.with("url", "mysql://somewhere");
    let open = Rc::clone(&shop);
    let setup = setup
        .server("hostname")
        .broken(url, "`url`")
        .empty(copy.form())
        .regroup(&group, &copied)
        .shop(6, store, move |sql| open.run(sql))
        .case(logs)
        .keep(copy)
        .keep(shop);
    Some(setup)
}

protocol::conformance!(setup);
