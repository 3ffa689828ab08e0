//! Clients that do not wait long, and what a read of theirs printed.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::anyhow::{self, Result};
use protocol::fault::{self, Cause, Fault};
use protocol::http::{
    Client, Incremental, Pages, Place, Reader, Request, Resource, Retries, Settings,
};
use protocol::output::{Outputs, Shape, Sink};
use protocol::silo::{Cursor, From, StoreId};
use protocol::testing::http::{Answer, Call, Server};
use serde_json::{Value, json};

pub(crate) fn serve(handler: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Server {
    Server::start(handler).unwrap()
}

/// Settings that do not wait long.
pub(crate) fn quick(server: &Server) -> Settings {
    let retries = Retries {
        attempts: 5,
        within: Duration::from_secs(5),
        first: Duration::from_millis(2),
        longest: Duration::from_millis(20),
    };
    Settings { retries, credential: "`access_token`", ..Settings::to(server.url()) }
}

pub(crate) fn client(server: &Server) -> Client {
    Client::new(quick(server)).unwrap()
}

pub(crate) fn complaint(error: &anyhow::Error) -> String {
    let line = fault::line(error);
    assert!(!line.contains('\n') && !line.ends_with('.'), "{line}");
    line
}

pub(crate) fn failure<T>(result: Result<T>) -> (Cause, String) {
    let error = result.err().expect("it should have failed");
    (Fault::cause_of(&error), complaint(&error))
}

#[derive(Clone, Default)]
pub(crate) struct Shared(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The records and states that a read printed, in order.
pub(crate) struct Printed(pub(crate) Vec<Value>);

impl Printed {
    pub(crate) fn records(&self) -> Vec<Value> {
        let records = self.0.iter().filter(|line| line["type"] == "RECORD");
        records.map(|line| line["record"]["data"].clone()).collect()
    }

    /// The `n` of each record, sorted.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<_> = self.records().iter().map(|r| r["n"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    pub(crate) fn cursor(&self) -> Cursor {
        let last = self.0.iter().rev().find(|line| line["type"] == "STATE").unwrap();
        Cursor(last["state"]["cursor"].clone())
    }
}

pub(crate) async fn read(
    client: &Client,
    resource: Resource,
    since: Option<&Cursor>,
    every: u64,
) -> (Result<()>, Printed) {
    let bytes = Shared::default();
    let sink = Arc::new(Sink::new(Box::new(bytes.clone()), false));
    let outputs = Outputs::new(sink, Shape { checkpoint: Some(every), ..Shape::default() });
    let mut out = outputs.store(StoreId::named("t"));
    let from = From { cursor: None, properties: None, since, parallel: 1 };
    let result = Reader::new(client, resource).read(&from, None, &mut out).await;
    out.finish().unwrap();
    (result, Printed(bytes.lines()))
}

pub(crate) const LIST: Resource = Resource {
    request: || Request::get("list"),
    records: "/data",
    derive: &[],
    pages: Pages::Token { at: "/next", into: Place::Query("after") },
    parent: None,
    // Records without a time count as changed, so that every list of these tests has states.
    incremental: Some(Incremental { property: "t", ask: |_, _| Ok(()), lag: Duration::ZERO }),
};

/// Records `first..last` as a page.
pub(crate) fn records(first: u64, last: u64) -> Value {
    (first..last).map(|n| json!({ "n": n, "pad": "é".repeat(20) })).collect()
}

pub(crate) const PAGE: u64 = 7;
pub(crate) const ALL: u64 = 100;

/// A page of the list of all, from a token on.
pub(crate) fn page(call: &Call) -> Answer {
    let first = call.query("after").map_or(0, |token| token.parse().unwrap());
    let last = (first + PAGE).min(ALL);
    let next = if last < ALL { json!(last.to_string()) } else { Value::Null };
    Answer::json(&json!({ "data": records(first, last), "next": next }))
}

/// Trouble on a schedule, before a page is given at last.
pub(crate) fn troubled(turn: usize, answer: Answer) -> Answer {
    match turn % 5 {
        0 => Answer::status(500, &json!({})),
        1 => Answer::status(429, &json!({})).header("retry-after", "0"),
        2 => Answer::hang_up(),
        3 => answer.cut(50),
        _ => answer,
    }
}
