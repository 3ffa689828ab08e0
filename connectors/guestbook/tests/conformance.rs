//! The promises that every connector keeps, against the API on loopback.

mod vendor;

use protocol::silo::StoreId;
use protocol::testing::{Case, Setup};
use serde_json::json;

use vendor::Vendor;

const GUESTS: usize = 250;

fn setup() -> Option<Setup> {
    let vendor = Vendor::start(GUESTS);
    let guests = vendor.guests();
    let config = |key: &str| json!({ "api_key": key, "base_url": vendor.url() });
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-guestbook"), config(vendor::KEY))
        .broken(config("somebody_elses"), "`api_key`")
        .broken(json!({ "api_key": vendor::KEY, "base_url": "nowhere" }), "`base_url`")
        .case(
            Case::new(StoreId::named("guests"), "email", "guest7@example.com")
                .finds(1, GUESTS)
                .near(["Guest7@example.com", "guest70@example.com"])
                .grows(move || vendor::add(&guests, 3)),
        )
        .case(Case::new(StoreId::named("guests"), "id", "guest-8").finds(1, GUESTS))
        .keep(vendor);
    Some(setup)
}

protocol::conformance!(setup);
