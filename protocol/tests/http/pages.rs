//! Lists: each way of paging, faults on every page, and reads that go on from a checkpoint.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::http::{
    Client, Incremental, Next, Pages, Place, Reader, Request, Resource, Retries, Settings,
};
use protocol::output::{Outputs, Shape, Sink};
use protocol::silo::{Cursor, From, StoreId};
use protocol::testing::http::{Answer, Call};
use serde_json::json;

use crate::tools::{
    ALL, LIST, PAGE, Printed, client, failure, page, quick, read, records, serve, troubled,
};

#[tokio::test]
async fn every_way_of_paging_gives_every_record_once() {
    let number =
        |call: &Call, name: &str| call.query(name).map_or(0, |n| n.parse::<u64>().unwrap());
    let until = |first: u64| (first + PAGE).min(ALL);
    let server = serve(move |call| match call.path.as_str() {
        "/token" => page(call),
        "/body" => {
            let first = call.json()["page"]["after"].as_str().map_or(0, |t| t.parse().unwrap());
            let mut body = json!({ "data": records(first, until(first)) });
            if until(first) < ALL {
                body["next"] = until(first).to_string().into();
            }
            Answer::json(&body)
        }
        "/header" => {
            let first = call.header("x-after").map_or(0, |t| t.parse().unwrap());
            let answer = Answer::json(&json!({ "data": records(first, until(first)) }));
            if until(first) < ALL { answer.header("x-next", until(first)) } else { answer }
        }
        "/url" => {
            let first = number(call, "after");
            let next = (until(first) < ALL).then(|| format!("?after={}&x=a%20b", until(first)));
            Answer::json(&json!({ "data": records(first, until(first)), "next": next }))
        }
        "/link" => {
            let first = number(call, "after");
            let answer = Answer::json(&json!({ "data": records(first, until(first)) }));
            let link = format!("</link>; rel=prev, </link?after={}>; rel=\"next\"", until(first));
            if until(first) < ALL { answer.header("link", link) } else { answer }
        }
        "/offset" => {
            // It gives fewer than it could now and then, as vendors do.
            let first = number(call, "offset");
            let last = if first == 14 { first + 1 } else { until(first) };
            Answer::json(&json!({ "data": records(first, last) }))
        }
        "/number" => {
            let first = (call.query("page").map_or(1, |n| n.parse::<u64>().unwrap()) - 1) * PAGE;
            Answer::json(&json!({ "data": records(first.min(ALL), until(first)) }))
        }
        "/scroll" => {
            let turn = number(call, "turn");
            Answer::json(&json!({ "data": [{ "n": turn }], "scroll": "same" }))
        }
        _ => Answer::status(404, &json!({})),
    });
    let client = client(&server);
    let ways: [(fn() -> Request, Pages); 8] = [
        (|| Request::get("token"), LIST.pages),
        (
            || Request::post("body").json(json!({})).safe(),
            Pages::Token { at: "/next", into: Place::Json("/page/after") },
        ),
        (
            || Request::get("header"),
            Pages::HeaderToken { header: "x-next", into: Place::Header("x-after") },
        ),
        (|| Request::get("url"), Pages::Url { at: "/next" }),
        (|| Request::get("link"), Pages::Link),
        (|| Request::get("offset"), Pages::Offset { into: Place::Query("offset") }),
        (|| Request::get("number"), Pages::Number { into: Place::Query("page"), first: 1 }),
        (
            || Request::get("token"),
            Pages::Custom {
                next: |page| {
                    let token = page.reply.text("/next")?;
                    Ok(token.map(|token| Next::Put(vec![token.into()])))
                },
                into: &[Place::Query("after")],
            },
        ),
    ];
    for (request, pages) in ways {
        let resource = Resource { request, pages, ..LIST };
        let (result, printed) = read(&client, resource, None, 10).await;
        let path = server.calls().pop().unwrap().path;
        result.unwrap_or_else(|error| panic!("{path}: {error:#}"));
        assert_eq!(printed.numbers(), (0..ALL).collect::<Vec<_>>(), "{path}");
    }
}

#[tokio::test]
async fn a_scroll_goes_on_under_the_same_name_until_a_page_is_empty() {
    let turn = AtomicUsize::new(0);
    let server = serve(move |call| {
        let turn = turn.fetch_add(1, Ordering::SeqCst) as u64;
        assert_eq!(call.query("scroll"), (turn > 0).then_some("same"));
        Answer::json(
            &json!({ "data": records(turn, turn + u64::from(turn < 9)), "scroll": "same" }),
        )
    });
    let pages = Pages::Scroll { at: "/scroll", into: Place::Query("scroll") };
    let (result, printed) = read(&client(&server), Resource { pages, ..LIST }, None, 1).await;
    result.unwrap();
    assert_eq!(printed.numbers(), (0..9).collect::<Vec<_>>());
    let states = printed.0.iter().filter(|line| line["type"] == "STATE").count();
    assert_eq!(states, 1, "a place that the vendor keeps cannot be kept by us");
}

#[tokio::test]
async fn pages_without_records_do_not_end_a_list() {
    let server = serve(|call| match call.query("after") {
        None => Answer::json(&json!({ "data": [], "next": "a" })),
        Some("a") => Answer::json(&json!({ "data": null, "next": "b" })),
        _ => Answer::json(&json!({ "data": records(0, 1), "next": "" })),
    });
    let (result, printed) = read(&client(&server), LIST, None, 1).await;
    result.unwrap();
    assert_eq!(printed.numbers(), [0]);
}

#[tokio::test]
async fn of_a_page_that_is_broken_in_its_middle_nothing_is_written() {
    let server = serve(|call| match call.query("after") {
        None => Answer::new(200, "application/json", r#"{"data":[{"n":1},{"n":2 3}],"next":"a"}"#),
        _ => Answer::json(&json!({ "data": records(7, 8), "next": null })),
    });
    let (result, printed) = read(&client(&server), LIST, None, 1).await;
    let (_, why) = failure(result);
    assert!(why.contains("something that is not JSON"), "{why}");
    assert!(printed.records().is_empty());
}

/// A reader of the output that takes nothing before it is told to.
struct Waiting(std::sync::mpsc::Receiver<()>);

impl Write for Waiting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let told = self.0.recv_timeout(Duration::from_secs(20));
        told.map_err(io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_next_page_is_asked_for_before_this_one_is_written() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = serve(move |call| match call.query("after") {
        None => Answer::json(&json!({ "data": records(0, 5_000), "next": "a" })),
        _ => {
            // Enough for every write.
            (0..100).for_each(|_| tell.send(()).unwrap_or(()));
            Answer::json(&json!({ "data": records(5_000, 5_001), "next": null }))
        }
    });
    let sink = Arc::new(Sink::new(Box::new(Waiting(told)), false));
    let mut out = Outputs::new(sink, Shape::default()).store(StoreId::named("t"));
    let from = From { cursor: None, properties: None, since: None, parallel: 1 };
    Reader::new(&client(&server), LIST).read(&from, None, &mut out).await.unwrap();
    assert_eq!(out.finish().unwrap(), 5_001);
}

#[tokio::test]
async fn a_list_without_end_is_an_error() {
    let turn = AtomicUsize::new(0);
    let server = serve(move |call| {
        let turn = turn.fetch_add(1, Ordering::SeqCst);
        let next = if call.path == "/list" { turn % 3 } else { turn };
        Answer::json(&json!({ "data": records(0, 1), "next": next.to_string() }))
    });
    let (result, _) = read(&client(&server), LIST, None, 1).await;
    let (_, why) = failure(result);
    assert!(why.contains("the same next page twice"), "{why}");
    let other = Resource { request: || Request::get("other"), ..LIST };
    let client = client(&server);
    let mut walk = protocol::http::Walk::new(&client, (other.request)(), other.pages, 20);
    let endless = async {
        while let Some(reply) = walk.page().await? {
            walk.turn(&reply, 1)?;
        }
        Ok(())
    };
    let (_, why) = failure(endless.await);
    assert!(why.contains("more than 20 pages"), "{why}");
}

#[tokio::test]
async fn every_page_is_read_once_under_faults_and_from_every_checkpoint() {
    let turn = AtomicUsize::new(0);
    let server = serve(move |call| troubled(turn.fetch_add(1, Ordering::SeqCst), page(call)));
    let retries = Retries { attempts: 8, ..quick(&server).retries };
    let client = Client::new(Settings { retries, ..quick(&server) }).unwrap();
    let (result, printed) = read(&client, LIST, None, 1).await;
    result.unwrap();
    assert_eq!(printed.numbers(), (0..ALL).collect::<Vec<_>>());
    // From each checkpoint on comes what was printed after it, and nothing else.
    let states = printed.0.iter().enumerate().filter(|(_, line)| line["type"] == "STATE");
    let states: Vec<_> = states.collect();
    assert!(states.len() > 10);
    for (place, state) in states.iter().take(states.len() - 1) {
        let cursor = Cursor(state["state"]["cursor"].clone());
        let (result, rest) = read(&client, LIST, Some(&cursor), 1).await;
        result.unwrap();
        assert_eq!(rest.numbers(), Printed(printed.0[*place..].to_vec()).numbers());
    }
}

const CHANGING: Resource = Resource {
    request: || Request::get("list"),
    incremental: Some(Incremental {
        property: "t",
        // As coarse as real vendors are: by the day.
        ask: |request, since| request.put(Place::Query("since"), &(since - 86_400).into()),
        lag: Duration::from_secs(60),
    }),
    ..LIST
};

#[tokio::test]
async fn a_read_from_the_last_checkpoint_gives_what_changed_since_by_the_vendors_clock() {
    let changed =
        Arc::new(Mutex::new(BTreeMap::from([(0, 1_000), (1, 783_000_000), (2, 784_111_000)])));
    let current = Arc::clone(&changed);
    let server = serve(move |call| {
        let since: i64 = call.query("since").map_or(0, |since| since.parse().unwrap());
        let all = current.lock().unwrap().clone();
        let data: Vec<_> = all
            .iter()
            .filter(|(_, t)| **t > since)
            .map(|(n, t)| json!({ "n": n, "t": t }))
            .collect();
        // 784111777 by its own clock, whatever this machine thinks.
        Answer::json(&json!({ "data": data })).header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
    });
    let client = client(&server);
    let (result, first) = read(&client, CHANGING, None, 1).await;
    result.unwrap();
    assert_eq!(first.numbers(), [0, 1, 2]);
    let (result, again) = read(&client, CHANGING, Some(&first.cursor()), 1).await;
    result.unwrap();
    assert!(again.numbers().is_empty(), "nothing changed");
    changed.lock().unwrap().insert(3, 784_111_717);
    changed.lock().unwrap().insert(0, 784_111_800);
    let (result, more) = read(&client, CHANGING, Some(&first.cursor()), 1).await;
    result.unwrap();
    assert_eq!(more.numbers(), [0, 3], "what the vendor may not have shown yet is asked for again");
}
