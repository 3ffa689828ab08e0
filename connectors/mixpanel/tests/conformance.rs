//! The promises that every connector keeps, against Mixpanel's APIs on loopback.

#[expect(dead_code, reason = "the other test asks for more of it")]
mod vendor;

use protocol::silo::StoreId;
use protocol::testing::{Case, Setup};
use serde_json::json;

use vendor::Vendor;

const PEOPLE: usize = 250;

fn setup() -> Option<Setup> {
    let vendor = Vendor::start(PEOPLE);
    // Exports go up to Mixpanel's own day; up to today they would be many, three a second.
    let date = Some("Sat, 01 Oct 2022 12:00:00 GMT");
    vendor.state.lock().expect("nobody panicked").date = date;
    let wrong = |name: &str, value: serde_json::Value| {
        let mut config = vendor.config();
        config[name] = value;
        config
    };
    let store = |name: &str| StoreId::new(Some("acme".to_owned()), name);
    let password = wrong("service_account_password", json!("another_5ecret"));
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-mixpanel"), vendor.config())
        .broken(password, "`service_account_password`")
        .broken(wrong("region", json!("mars")), "`region`")
        .broken(wrong("start_date", json!("2024-02-30")), "`start_date`")
        .broken(wrong("base_url", json!("http://mixpanel.com")), "`base_url`")
        .case(
            Case::new(store("User"), "$email", "person8@example.com")
                .finds(1, PEOPLE)
                .near(["Person8@example.com"]),
        )
        .case(Case::new(store("User"), "$distinct_id", "person-12").finds(1, PEOPLE))
        .keep(vendor);
    Some(setup)
}

protocol::conformance!(setup);
