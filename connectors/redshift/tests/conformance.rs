//! The promises that every connector keeps, on a PostgreSQL that stands in for a Redshift.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::rc::Rc;

use protocol::silo::StoreId;
use protocol::testing::Setup;

use common::{Server, form, standin};

fn setup() -> Option<Setup> {
    let server = Server::find()?;
    let shop = Rc::new(standin(&server, "shop", include_str!("shop.sql")));
    let group = shop.group();
    let store = |name: &str| StoreId::new(Some(group.clone()), name);
    let open = Rc::clone(&shop);
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-redshift"), form(&shop))
        .server("host")
        .shop(6, store, move |sql| open.run(sql))
        .keep(shop);
    Some(setup)
}

protocol::conformance!(setup);
