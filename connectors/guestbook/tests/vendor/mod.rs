//! The vendor's API on loopback, as far as the connector asks for it: from its published description.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::testing::http::{Answer, Call, Server};
use serde_json::{Value, json};

/// What the key must be.
pub(crate) const KEY: &str = "key_5ecret_of_acme";

/// How many records a page holds, whatever is asked for.
const PAGE: usize = 40;

type Guests = Arc<Mutex<Vec<Value>>>;

/// An account.
pub(crate) struct Vendor {
    server: Server,
    guests: Guests,
}

impl Vendor {
    /// An account with so many guests.
    pub(crate) fn start(guests: usize) -> Vendor {
        let guest = |n| guest(n, 1_600_000_000 + n as u64);
        let guests: Guests = Arc::new(Mutex::new((0..guests).map(guest).collect()));
        let shared = Arc::clone(&guests);
        let server = Server::start(move |call| {
            answer(call, &mut shared.lock().expect("no test panics in here"))
        });
        Vendor { server: server.expect("loopback is there"), guests }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn guests(&self) -> Guests {
        Arc::clone(&self.guests)
    }
}

/// Adds guests who came just now.
pub(crate) fn add(guests: &Guests, number: usize) -> usize {
    let mut guests = guests.lock().expect("no test panics in here");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    for _ in 0..number {
        let new = guest(guests.len(), now);
        guests.push(new);
    }
    number
}

fn guest(n: usize, updated_at: u64) -> Value {
    json!({
        "id": format!("guest-{n}"),
        "name": format!("Guest \"{n}\""),
        "email": format!("guest{n}@example.com"),
        "updated_at": updated_at,
    })
}

fn answer(call: &Call, guests: &mut Vec<Value>) -> Answer {
    if call.header("authorization") != Some(&format!("Bearer {KEY}")) {
        return Answer::status(401, &json!({"error": "unauthorized"}));
    }
    match call.line() {
        ("GET", "/v1/account") => Answer::json(&json!({"name": "Acme"})),
        ("GET", "/v1/guests") => list(call, guests),
        ("GET", path) if path.ends_with("/visits") => {
            // Some have none, among them those whom the tests delete: all else has to stay.
            let guest = path.split('/').nth(3).unwrap_or_default();
            let digit = guest.bytes().last().map_or(0, |digit| usize::from(digit - b'0'));
            let many = if digit < 6 { digit } else { 0 };
            let visit = |n: usize| json!({"id": format!("{guest}-{n}"), "at": 1_600_000_000 + n});
            Answer::json(&json!({"visits": (0..many).map(visit).collect::<Vec<_>>()}))
        }
        (method, path) => {
            let id = path.strip_prefix("/v1/guests/").unwrap_or_default();
            let place = guests.iter().position(|guest| guest["id"] == id);
            match (method, place) {
                ("GET", Some(place)) => Answer::json(&guests[place]),
                ("DELETE", Some(place)) => Answer::json(&guests.remove(place)),
                _ => Answer::status(404, &json!({"error": "not found"})),
            }
        }
    }
}

fn list(call: &Call, guests: &[Value]) -> Answer {
    let since = call.query("updated_since").and_then(|since| since.parse().ok()).unwrap_or(0);
    let is_asked_for = |guest: &&Value| {
        // Like many a vendor, it takes no heed of case.
        let same = |email: &str| {
            guest["email"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(email))
        };
        guest["updated_at"].as_u64() >= Some(since) && call.query("email").is_none_or(same)
    };
    let before = call.query("after").and_then(|after| after.parse().ok()).unwrap_or(0);
    let found: Vec<&Value> = guests.iter().filter(is_asked_for).collect();
    let page: Vec<&&Value> = found.iter().skip(before).take(PAGE).collect();
    let next = before + page.len();
    let next = (next < found.len()).then(|| next.to_string());
    Answer::json(&json!({"guests": page, "next": next}))
}
