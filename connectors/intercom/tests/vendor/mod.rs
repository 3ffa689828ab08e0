//! Intercom's API on loopback, as far as the connector asks for it: from its published description.
//!
//! It keeps state: records live, deletions take a while, searches lag behind, tokens are checked,
//! pages are small, and trouble comes on a schedule.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::testing::http::{Answer, Call, Server};
use serde_json::{Value, json};

/// What the token must be.
pub(crate) const TOKEN: &str = "tok_5ecret_of_acme";

/// How long a record that was deleted is still shown.
const GOES_IN: Duration = Duration::from_millis(300);

/// How long a search goes on finding what is gone.
const SEARCH_LAGS: Duration = Duration::from_millis(600);

/// A workspace.
pub(crate) struct Vendor {
    pub(crate) server: Server,
    pub(crate) state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<&'static str, Vec<Value>>,
    deleted: BTreeMap<(&'static str, String), Instant>,
    /// How many records a page holds at most, whatever is asked for.
    pub(crate) page: usize,
    /// Every so many requests one fails in one way or another; 0 for never.
    pub(crate) trouble: usize,
    pub(crate) calls: usize,
    /// Whether with a contact go its conversations, as Intercom's do.
    pub(crate) cascades: bool,
    /// Answers that come instead of the real ones, by path.
    pub(crate) instead: BTreeMap<String, (u16, &'static str, String)>,
    scrolls: usize,
}

impl Vendor {
    /// A workspace with `people` contacts: some of them with an event, the others with a
    /// conversation and a ticket.
    pub(crate) fn start(people: usize) -> Vendor {
        let mut state = State { page: 50, ..State::default() };
        for n in 0..people {
            state.add("contacts", contact(n));
            if n % 4 != 0 || n == 16 {
                state.add("events", event(n, 0));
            }
            if n % 4 == 0 {
                state.add("conversations", conversation(n, &[n]));
                state.add("tickets", ticket(n));
            }
            if n % 7 == 0 {
                let company = json!({"type": "company", "id": format!("co{n}"), "name": format!("Company {n}"), "created_at": 1_600_000_000 + n});
                state.add("companies", company);
            }
        }
        state.add("tags", json!({"type": "tag", "id": "t1", "name": "VIP"}));
        state.add("data_attributes", json!({"type": "data_attribute", "model": "contact", "name": "plan", "data_type": "string", "custom": true}));
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let server =
            Server::start(move |call| shared.lock().expect("no test panics in here").answer(call));
        let server = server.expect("loopback is there");
        Vendor { server, state }
    }

    pub(crate) fn config(&self) -> Value {
        json!({"workspace": "acme", "access_token": TOKEN, "base_url": self.server.url()})
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no test panics in here"));
    }
}

pub(crate) fn contact_id(n: usize) -> String {
    format!("63a07ddf05a32042dff{n:05}")
}

pub(crate) fn contact(n: usize) -> Value {
    json!({
        "type": "contact", "id": contact_id(n), "workspace_id": "acme", "external_id": format!("ext-{n}"),
        "role": "user", "email": format!("person{n}@example.com"), "phone": format!("+4930{n:07}"),
        "name": format!("Person {n}"), "avatar": {"type": "avatar", "image_url": null},
        "owner_id": null, "created_at": 1_500_000_000 + n, "updated_at": 1_600_000_000 + n,
        "custom_attributes": {"plan": "gold"}, "tags": {"type": "list", "data": [], "has_more": false},
    })
}

pub(crate) fn event(n: usize, which: usize) -> Value {
    json!({
        "type": "event", "id": format!("ev-{n}-{which}"), "event_name": "ordered-item",
        "created_at": 1_600_000_000 + n, "user_id": format!("ext-{n}"),
        "intercom_user_id": contact_id(n), "email": format!("person{n}@example.com"),
        "metadata": {"price": 1.10},
    })
}

pub(crate) fn conversation(n: usize, people: &[usize]) -> Value {
    let contacts: Vec<Value> = people
        .iter()
        .map(
            |&n| json!({"type": "contact", "id": contact_id(n), "external_id": format!("ext-{n}")}),
        )
        .collect();
    json!({
        "type": "conversation", "id": format!("{}", 1000 + n), "title": "Help", "state": "open", "open": true,
        "created_at": 1_600_000_000 + n, "updated_at": 1_600_000_100 + n,
        "source": {"body": "<p>Hi</p>", "author": {"type": "user", "id": contact_id(people[0])}},
        "contacts": {"type": "contact.list", "contacts": contacts},
        "conversation_parts": {"type": "conversation_part.list", "total_count": 1,
            "conversation_parts": [{"type": "conversation_part", "body": format!("part of {n}")}]},
    })
}

fn ticket(n: usize) -> Value {
    json!({
        "type": "ticket", "id": format!("{}", 9000 + n), "ticket_id": format!("{n}"), "category": "Customer",
        "ticket_state": "submitted", "created_at": 1_600_000_000 + n, "updated_at": 1_600_000_000 + n,
        "ticket_attributes": {"_default_title_": "Broken"}, "open": true,
        "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": contact_id(n)}]},
    })
}

impl State {
    pub(crate) fn add(&mut self, kind: &'static str, object: Value) {
        self.objects.entry(kind).or_default().push(object);
    }

    fn answer(&mut self, call: &Call) -> Answer {
        self.calls += 1;
        if let Some((status, kind, body)) = self.instead.get(&call.path) {
            return Answer::new(*status, kind, body.as_bytes());
        }
        if call.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return errors(401, "token_unauthorized");
        }
        if call.header("intercom-version") != Some("2.14") {
            return errors(400, "intercom_version_invalid");
        }
        let trouble = match self.trouble {
            0 => None,
            every => self.calls.is_multiple_of(every).then(|| self.calls / every % 4),
        };
        if trouble == Some(0) {
            return errors(429, "rate_limit_exceeded").header("retry-after", "0");
        }
        // Of other trouble nobody knows whether the request was served: here it was.
        let answer = self.served(call).header("x-ratelimit-remaining", 9_000);
        match trouble {
            None => answer,
            Some(1) => errors(503, "server_error"),
            Some(2) => Answer::hang_up(),
            Some(_) => answer.cut(20),
        }
    }

    fn served(&mut self, call: &Call) -> Answer {
        let path: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        match (call.method.as_str(), path.as_slice()) {
            ("GET", ["me"]) => Answer::json(&json!({"type": "admin", "app": {"id_code": "acme"}})),
            ("GET", ["contacts"]) => self.listed(call, "contacts", "data"),
            ("GET", ["conversations"]) => self.listed(call, "conversations", "conversations"),
            ("GET", ["companies"]) => self.listed(call, "companies", "data"),
            ("GET", ["companies", "scroll"]) => self.scrolled(call),
            ("GET", ["tags"]) => self.listed(call, "tags", "data"),
            ("GET", ["data_attributes"]) => self.listed(call, "data_attributes", "data"),
            ("GET", ["events"]) => self.events(call),
            ("POST", ["contacts", "search"]) => self.searched(call, "contacts", "data"),
            ("POST", ["conversations", "search"]) => {
                self.searched(call, "conversations", "conversations")
            }
            ("POST", ["tickets", "search"]) => self.searched(call, "tickets", "tickets"),
            ("GET", [kind, id]) => match self.shown(kind, id, GOES_IN) {
                Some(object) => Answer::json(&object),
                None => errors(404, "not_found"),
            },
            ("DELETE", [kind @ ("contacts" | "conversations" | "tickets"), id]) => {
                let Some(object) = self.shown(kind, id, Duration::ZERO) else {
                    return errors(404, "not_found");
                };
                let kind = if *kind == "contacts" {
                    "contacts"
                } else if *kind == "tickets" {
                    "tickets"
                } else {
                    "conversations"
                };
                self.deleted.insert((kind, (*id).to_owned()), Instant::now());
                if kind == "contacts" && self.cascades {
                    self.delete_with(id);
                }
                Answer::json(&json!({"id": object["id"], "object": kind, "deleted": true}))
            }
            _ => errors(404, "not_found"),
        }
    }

    /// With a contact go its conversations and events.
    fn delete_with(&mut self, contact: &str) {
        let theirs = |object: &&Value| {
            object["contacts"]["contacts"]
                .as_array()
                .is_some_and(|all| all.iter().all(|c| c["id"] == contact))
        };
        let conversations = self.objects.get("conversations").into_iter().flatten().filter(theirs);
        let ids: Vec<_> = conversations.map(id).collect();
        for id in ids {
            self.deleted.insert(("conversations", id), Instant::now());
        }
        if let Some(events) = self.objects.get_mut("events") {
            events.retain(|event| event["intercom_user_id"] != contact);
        }
    }

    /// What is there of a kind; what was deleted is there for a while.
    fn there(&self, kind: &str, lag: Duration) -> Vec<Value> {
        let is_there = |object: &&Value| {
            let gone =
                self.deleted.iter().find(|((of, gone), _)| *of == kind && *gone == id(object));
            gone.is_none_or(|(_, when)| when.elapsed() < lag)
        };
        let all = self.objects.iter().find(|(of, _)| **of == kind);
        all.into_iter().flat_map(|(_, all)| all).filter(is_there).cloned().collect()
    }

    fn shown(&self, kind: &str, wanted: &str, lag: Duration) -> Option<Value> {
        self.there(kind, lag).into_iter().find(|object| id(object) == wanted)
    }

    fn listed(&self, call: &Call, kind: &str, name: &str) -> Answer {
        let asked = call.query("per_page").map_or(50, |n| n.parse().expect("a number"));
        let after =
            call.query("starting_after").map_or(0, |token| token.parse().expect("a token of ours"));
        self.page(&self.all(kind), &self.there(kind, GOES_IN), name, asked, after)
    }

    fn searched(&self, call: &Call, kind: &str, name: &str) -> Answer {
        let body = call.json();
        let (field, value) =
            (body["query"]["field"].as_str().expect("a field"), &body["query"]["value"]);
        let matches = |object: &Value| match body["query"]["operator"].as_str() {
            // Whole days, and not the day that is named.
            Some(">") => {
                object[field].as_i64()
                    >= Some((value.as_i64().expect("a time") / 86_400 + 1) * 86_400)
            }
            _ if field == "contact_ids" => {
                let all = object["contacts"]["contacts"].as_array();
                all.is_some_and(|all| all.iter().any(|contact| contact["id"] == *value))
            }
            // Whatever the case.
            _ => {
                object[field].as_str().map(str::to_lowercase)
                    == value.as_str().map(str::to_lowercase)
            }
        };
        let mut every = self.all(kind);
        every.sort_by_key(|object| object["updated_at"].as_i64());
        let mut there = self.there(kind, SEARCH_LAGS);
        there.retain(matches);
        let asked = body["pagination"]["per_page"].as_u64().unwrap_or(20) as usize;
        let after = body["pagination"]["starting_after"]
            .as_str()
            .map_or(0, |t| t.parse().expect("a token of ours"));
        self.page(&every, &there, name, asked, after)
    }

    fn all(&self, kind: &str) -> Vec<Value> {
        self.objects
            .iter()
            .find(|(of, _)| **of == kind)
            .map(|(_, all)| all.clone())
            .unwrap_or_default()
    }

    /// A page of what is there. The token is a place among all that ever was, so that it stays good
    /// when something goes.
    fn page(
        &self,
        all: &[Value],
        there: &[Value],
        name: &str,
        asked: usize,
        after: usize,
    ) -> Answer {
        let is_there = |object: &Value| there.iter().any(|one| id(one) == id(object));
        let places = (after..all.len()).filter(|&place| is_there(&all[place]));
        let places: Vec<usize> = places.take(asked.min(self.page) + 1).collect();
        let (page, more) = places.split_at(places.len().min(asked.min(self.page)));
        let next = more
            .first()
            .map(|place| json!({"per_page": asked, "starting_after": place.to_string()}));
        let mut records: Vec<Value> = page.iter().map(|&place| all[place].clone()).collect();
        if name == "conversations" {
            records
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|one| drop(one.remove("conversation_parts")));
        }
        Answer::json(&json!({
            "type": "list", name: records, "total_count": there.len(),
            "pages": {"type": "pages", "next": next, "per_page": asked},
        }))
    }

    fn events(&self, call: &Call) -> Answer {
        if call.query("type") != Some("user") {
            return errors(400, "parameter_invalid");
        }
        let person = call.query("intercom_user_id").expect("whose events");
        if self.shown("contacts", person, GOES_IN).is_none() {
            return errors(404, "not_found");
        }
        let mut all = self.there("events", GOES_IN);
        all.retain(|event| event["intercom_user_id"] == person);
        let before =
            call.query("before").map_or(0, |token| token.parse().expect("a token of ours"));
        let end = (before + 2).min(all.len());
        let next = (end < all.len()).then(|| {
            format!(
                "https://api.intercom.io/events?type=user&intercom_user_id={person}&before={end}"
            )
        });
        Answer::json(
            &json!({"type": "event.list", "events": all[before..end], "pages": {"next": next}}),
        )
    }

    fn scrolled(&mut self, call: &Call) -> Answer {
        self.scrolls = if call.query("scroll_param").is_some() { self.scrolls + 1 } else { 0 };
        let all = self.there("companies", GOES_IN);
        let start = (self.scrolls * self.page).min(all.len());
        let end = (start + self.page).min(all.len());
        Answer::json(&json!({"type": "list", "data": all[start..end], "scroll_param": "the-same"}))
    }
}

fn id(object: &Value) -> String {
    object["id"].as_str().unwrap_or_default().to_owned()
}

fn errors(status: u16, code: &str) -> Answer {
    Answer::status(
        status,
        &json!({"type": "error.list", "errors": [{"code": code, "message": "person1@example.com"}]}),
    )
}
