//! Mixpanel's APIs on loopback, as far as the connector asks for them: from their published
//! descriptions. Jobs take several looks, deletions delete when they are done, pages are small.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex};

use protocol::testing::http::{Answer, Call, Server};
use serde_json::{Value, json};
use zip::unstable::write::FileOptionsExt;
use zip::write::SimpleFileOptions;

/// `svc.acme:pw_5ecret`
const BASIC: &str = "Basic c3ZjLmFjbWU6cHdfNWVjcmV0";
pub(crate) const OAUTH: &str = "oauth_5ecret";
pub(crate) const API_SECRET: &str = "api_5ecret";

/// How often a job is looked at before it is done.
const LOOKS: usize = 2;

/// A project.
pub(crate) struct Vendor {
    pub(crate) server: Server,
    pub(crate) state: Arc<Mutex<State>>,
}

/// A job that was asked for.
pub(crate) struct Job {
    task: String,
    deletes: bool,
    pub(crate) ids: Vec<String>,
    looks: usize,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) profiles: Vec<Value>,
    pub(crate) events: Vec<Value>,
    page: usize,
    pub(crate) jobs: Vec<Job>,
    /// What jobs end as, where it is not SUCCESS.
    pub(crate) end: Option<&'static str>,
    /// Whether deletions only say that they delete.
    pub(crate) lies: bool,
    /// Whether archives are locked.
    pub(crate) locked: bool,
    /// What day it is in Mixpanel, where it is not today.
    pub(crate) date: Option<&'static str>,
    /// Answers that come instead of the real ones, by path.
    pub(crate) instead: BTreeMap<String, (u16, &'static str, String)>,
    url: String,
}

pub(crate) fn profile(n: usize) -> Value {
    json!({"$distinct_id": format!("person-{n}"), "$properties": {
        "$email": format!("person{n}@example.com"), "$city": "Bergen", "age": 20 + n % 50, "n": n,
    }})
}

/// An event of the `n`th person, `n` days after 2022-01-01.
pub(crate) fn event(n: usize) -> Value {
    let time = 1_640_995_200 + n as u64 * 86_400;
    json!({"event": "Signed up", "properties": {
        "time": time, "distinct_id": format!("visitor-{n}"), "$insert_id": format!("i{n}"),
        "mp_processing_time_ms": time * 1000 + 5, "price": 1.5,
    }})
}

impl Vendor {
    pub(crate) fn start(people: usize) -> Vendor {
        let state = State {
            profiles: (0..people).map(profile).collect(),
            events: (0..people).map(event).collect(),
            page: 100,
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let answer = move |call: &Call| shared.lock().expect("no test panics in here").answer(call);
        let server = Server::start(answer).expect("loopback is there");
        state.lock().expect("no test panics in here").url = server.url();
        Vendor { server, state }
    }

    pub(crate) fn config(&self) -> Value {
        json!({
            "project_name": "acme", "project_token": "ptok", "project_id": "123",
            "service_account_username": "svc.acme", "service_account_password": "pw_5ecret",
            "oauth_secret": OAUTH, "api_secret": API_SECRET, "base_url": self.server.url(),
            "start_date": "2022-01-01",
        })
    }
}

impl State {
    /// Has a page hold so many profiles.
    pub(crate) fn page(&mut self, size: usize) {
        self.page = size;
    }

    fn answer(&mut self, call: &Call) -> Answer {
        if let Some((status, kind, body)) = self.instead.get(&call.path) {
            return Answer::new(*status, kind, body.as_bytes());
        }
        let path: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        let wanted = match path.as_slice() {
            ["files", ..] => None,
            [_, _, kind, ..] if kind.starts_with("data-") => Some(format!("Bearer {OAUTH}")),
            _ => Some(BASIC.to_owned()),
        };
        if call.header("authorization") != wanted.as_deref() {
            return error(401, "Invalid credentials");
        }
        match (call.method.as_str(), path.as_slice()) {
            ("GET", ["api", "app", "projects", "123", "schemas"]) => {
                let event = json!({"properties": {"price": {"type": "number"}}});
                let user = json!({"properties": {"$email": {"type": "string"}, "plan": {"type": "string"}}});
                let answer = Answer::json(&json!({"status": "ok", "results": [
                    {"entityType": "event", "name": "Signed up", "schemaJson": event},
                    {"entityType": "profile", "name": "$user", "schemaJson": user},
                ]}));
                match self.date {
                    Some(date) => answer.header("date", date),
                    None => answer,
                }
            }
            ("POST", ["api", "query", "engage"]) if call.query("project_id") == Some("123") => {
                self.engage(call)
            }
            ("GET", ["api", "query", "stream", "query"]) => {
                let ids = call.query("distinct_ids").expect("ids");
                let ids: Vec<String> = serde_json::from_str(ids).expect("a list");
                let id = |event: &Value| event["properties"]["distinct_id"].clone();
                let theirs = |event: &&Value| ids.iter().any(|one| id(event) == **one);
                let events: Vec<&Value> = self.events.iter().filter(theirs).collect();
                Answer::json(&json!({"status": "ok", "results": {"events": events}}))
            }
            ("GET", ["api", "2.0", "export"]) => self.export(call),
            ("POST", ["api", "app", kind, "v3.0"]) if call.query("token") == Some("ptok") => {
                let ids = call.json()["distinct_ids"].clone();
                let ids: Vec<String> = serde_json::from_value(ids).expect("a list");
                assert!(ids.len() <= 2_000, "a job takes 2,000 ids");
                let task = format!("task{}", self.jobs.len());
                let deletes = *kind == "data-deletions";
                self.jobs.push(Job { task: task.clone(), deletes, ids, looks: 0 });
                Answer::status(201, &json!({"status": "ok", "results": {"task_id": task}}))
            }
            ("GET", ["api", "app", kind, "v3.0", task]) => {
                self.look(task, *kind == "data-deletions")
            }
            ("GET", ["files", task]) => self.archive(task),
            _ => error(404, "nothing here"),
        }
    }

    fn engage(&self, call: &Call) -> Answer {
        let matches = |profile: &&Value| match (call.form("distinct_ids"), call.form("where")) {
            (Some(ids), _) => {
                let ids: Vec<Value> = serde_json::from_str(&ids).expect("a list");
                ids.contains(&profile["$distinct_id"])
            }
            (None, Some(filter)) => filter.split(" or ").any(|one| {
                let (name, value) = one.split_once("] == ").expect("a comparison");
                let name = name.trim_start_matches("properties[");
                let name: String = serde_json::from_str(name).expect("a name");
                let value: Value = serde_json::from_str(value).expect("a value");
                // Whatever the case.
                let text = |value: &Value| value.as_str().map(str::to_lowercase);
                let known = text(&profile["$properties"][&name]);
                known.is_some() && known == text(&value)
            }),
            (None, None) => true,
        };
        let page: usize = call.form("page").map_or(0, |page| page.parse().expect("a number"));
        if page > 0 && call.form("session_id").as_deref() != Some("a-session") {
            return error(400, "request for page in uncached query");
        }
        let all: Vec<&Value> = self.profiles.iter().filter(matches).collect();
        let start = (page * self.page).min(all.len());
        let results = &all[start..(start + self.page).min(all.len())];
        Answer::json(&json!({
            "status": "ok", "page": page, "page_size": self.page, "session_id": "a-session",
            "total": all.len(), "results": results,
        }))
    }

    fn export(&self, call: &Call) -> Answer {
        let day = |name: &str| seconds(call.query(name).expect("a day"));
        let days = day("from_date")..day("to_date") + 86_400;
        let time = |event: &Value| event["properties"]["time"].as_u64().expect("a time");
        let limit = call.query("limit").map_or(usize::MAX, |n| n.parse().expect("a number"));
        let within = self.events.iter().filter(|event| days.contains(&time(event))).take(limit);
        let lines: Vec<Vec<u8>> = within.map(|event| format!("{event}\n").into_bytes()).collect();
        Answer::pieces("text/plain", lines.into_iter())
    }

    fn look(&mut self, task: &str, deletes: bool) -> Answer {
        let job = self.jobs.iter_mut().find(|job| job.task == task && job.deletes == deletes);
        let Some(job) = job else {
            let results = json!({"status": "NOT_FOUND", "results": "", "distinct_ids": []});
            return Answer::json(&json!({ "status": "ok", "results": results }));
        };
        job.looks += 1;
        let status = match job.looks {
            1 => "PENDING",
            looks if looks <= LOOKS => "STARTED",
            _ => self.end.unwrap_or("SUCCESS"),
        };
        if status == "SUCCESS" && deletes && !self.lies {
            let gone = |id: &Value| job.ids.iter().any(|known| id == known);
            self.profiles.retain(|profile| !gone(&profile["$distinct_id"]));
            self.events.retain(|event| !gone(&event["properties"]["distinct_id"]));
        }
        let done = status == "SUCCESS" && !deletes;
        let link =
            if done { format!("\"{}/files/{task}?signature=s\"", self.url) } else { String::new() };
        let results = json!({"status": status, "results": link, "distinct_ids": job.ids});
        Answer::json(&json!({ "status": "ok", "results": results }))
    }

    fn archive(&self, task: &str) -> Answer {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let mut options = SimpleFileOptions::default();
        if self.locked {
            options =
                options.with_deprecated_encryption(API_SECRET.as_bytes()).expect("a password");
        }
        zip.add_directory("sub", SimpleFileOptions::default()).expect("a folder");
        for (name, text) in
            [("events.json", task), ("sub/people.json", "{}"), ("../../outside", "x")]
        {
            zip.start_file(name, options).expect("an entry");
            zip.write_all(text.as_bytes()).expect("its content");
        }
        let bytes = zip.finish().expect("an archive").into_inner();
        Answer::new(200, "application/zip", bytes)
    }
}

/// The beginning of a day, in seconds since 1970.
fn seconds(day: &str) -> u64 {
    let parts: Vec<u64> = day.split('-').map(|part| part.parse().expect("a number")).collect();
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let years: u64 = (1970..parts[0]).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let february = if leap(parts[0]) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: u64 = lengths[..parts[1] as usize - 1].iter().sum();
    (years + months + parts[2] - 1) * 86_400
}

fn error(status: u16, text: &str) -> Answer {
    Answer::status(status, &json!({"status": "error", "error": text}))
}
