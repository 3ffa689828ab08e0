//! The promises that every connector keeps, against Intercom's API on loopback.

mod vendor;

use std::time::{SystemTime, UNIX_EPOCH};

use protocol::silo::StoreId;
use protocol::testing::{Case, Setup};
use serde_json::json;

use vendor::{Vendor, contact, contact_id};

const PEOPLE: usize = 160;

fn store(name: &str) -> StoreId {
    StoreId::new(Some("acme".to_owned()), name)
}

fn setup() -> Option<Setup> {
    let vendor = Vendor::start(PEOPLE);
    vendor.change(|state| state.page = 9);
    let state = vendor.state.clone();
    let mut added = 0;
    let grow = move || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let mut state = state.lock().expect("no test panics in here");
        for _ in 0..3 {
            added += 1;
            let mut contact = contact(PEOPLE + added);
            contact["updated_at"] = json!(now.as_secs());
            state.add("contacts", contact);
        }
        3
    };
    let wrong = |name: &str, value: serde_json::Value| {
        let mut config = vendor.config();
        config[name] = value;
        config
    };
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-intercom"), vendor.config())
        .broken(wrong("access_token", json!("tok_0f_somebody_else")), "`access_token`")
        .broken(wrong("region", json!("mars")), "`region`")
        .broken(wrong("base_url", json!("http://api.intercom.io")), "`base_url`")
        .case(
            Case::new(store("Contact"), "email", "person8@example.com")
                .finds(1, PEOPLE)
                .near(["Person8@example.com", "person80@example.com"])
                .grows(grow),
        )
        .case(Case::new(store("Contact"), "external_id", "ext-100").finds(1, PEOPLE))
        .case(Case::new(store("Contact"), "phone", "+49300000012").finds(1, PEOPLE))
        .case(Case::new(store("Conversation"), "contact_id", &contact_id(8)).finds(1, PEOPLE / 4))
        .case(Case::new(store("Ticket"), "contact_id", &contact_id(12)).finds(1, PEOPLE / 4))
        .case(
            Case::new(store("Event"), "email", "person16@example.com")
                .finds(1, PEOPLE - PEOPLE / 4 + 1)
                .refuses_delete(),
        )
        .keep(vendor);
    Some(setup)
}

protocol::conformance!(setup);
