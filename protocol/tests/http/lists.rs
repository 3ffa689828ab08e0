//! Lists that hang on the records of other lists.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::http::{
    Client, Limits, Pages, Parent, Place, Projection, Reader, Request, Resource, Retries, Settings,
};
use protocol::output::{Outputs, Shape, Sink};
use protocol::silo::{Cursor, Sample, StoreId};
use protocol::testing::http::{Answer, Call};
use serde_json::json;

use crate::tools::{ALL, LIST, Printed, Shared, client, page, quick, read, serve, troubled};

const PARENTS: Resource = Resource { request: || Request::get("parents"), ..LIST };

const CHILDREN: Resource = Resource {
    request: || Request::get("parents/{id}/children"),
    parent: Some(Parent {
        resource: &PARENTS,
        key: "/n",
        into: Place::Part("id"),
        carry: &[("parent", "/n")],
    }),
    ..LIST
};

/// Each of the parents has three children on two pages, but for those whose number ends in 9:
/// they are gone when they are asked for.
fn family(call: &Call) -> Answer {
    let Some(parent) = call.path.strip_prefix("/parents/") else { return page(call) };
    let parent: u64 = parent.strip_suffix("/children").unwrap().parse().unwrap();
    if parent % 10 == 9 {
        return Answer::status(404, &json!({}));
    }
    let child = |n: u64| json!({ "n": parent * 10 + n });
    match call.query("after") {
        None => Answer::json(&json!({ "data": [child(0), child(1)], "next": "b" })),
        Some(_) => Answer::json(&json!({ "data": [child(2)] })),
    }
}

fn grandchildren() -> Vec<u64> {
    let parents = (0..ALL).filter(|parent| parent % 10 != 9);
    parents.flat_map(|parent| (0..3).map(move |n| parent * 10 + n)).collect()
}

#[tokio::test]
async fn lists_of_many_parents_are_read_once_under_faults_and_from_every_checkpoint() {
    // Each request meets each trouble once.
    let turns: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let server = serve(move |call| {
        let mut turns = turns.lock().unwrap();
        let turn = turns.entry(call.target.clone()).or_default();
        *turn += 1;
        troubled(*turn - 1, family(call))
    });
    let steady = serve(family);
    // One more attempt for a connection that was closed while it was idle.
    let retries = Retries { attempts: 8, ..quick(&server).retries };
    let patient = Client::new(Settings { retries, ..quick(&server) }).unwrap();
    let (result, printed) = read(&patient, CHILDREN, None, 1).await;
    result.unwrap();
    assert_eq!(printed.numbers(), grandchildren());
    let states = printed.0.iter().enumerate().filter(|(_, line)| line["type"] == "STATE");
    let client = client(&steady);
    let states: Vec<_> = states.collect();
    for (place, state) in states.iter().step_by(9) {
        if state["state"]["cursor"]["done"] == true {
            continue;
        }
        let cursor = Cursor(state["state"]["cursor"].clone());
        let (result, rest) = read(&client, CHILDREN, Some(&cursor), 1).await;
        result.unwrap();
        assert_eq!(rest.numbers(), Printed(printed.0[*place..].to_vec()).numbers(), "{cursor:?}");
    }
}

#[tokio::test]
async fn children_carry_what_they_get_from_their_parents() {
    let server = serve(family);
    let bytes = Shared::default();
    let outputs =
        Outputs::new(Arc::new(Sink::new(Box::new(bytes.clone()), false)), Shape::default());
    let mut out = outputs.store(StoreId::named("t"));
    let schema = json!({ "properties": { "n": { "type": "string" }, "parent": {}, "z": {} } });
    let sample = Sample { limit: 5, seed: 0, properties: None };
    let mut projection = Projection::new(&schema, None);
    Reader::new(&client(&server), CHILDREN)
        .sample(&sample, &mut projection, &mut out)
        .await
        .unwrap();
    out.finish().unwrap();
    let records = Printed(bytes.lines()).records();
    assert_eq!(records.len(), 5);
    assert_eq!(records[3], json!({ "parent": "1", "n": "10", "z": null }));
    assert!(server.calls().len() <= 6, "a sample asks for no more than it needs");
}

#[tokio::test]
async fn a_slow_list_holds_up_nobody_else() {
    let server = serve(|call| match call.path.as_str() {
        "/parents/3/children" => family(call).after(Duration::from_millis(700)),
        path if path.ends_with("children") => family(call).after(Duration::from_millis(2)),
        _ => family(call),
    });
    let limits = Limits { concurrency: 8, ..Limits::default() };
    let client = Client::new(Settings { limits, ..quick(&server) }).unwrap();
    let began = Instant::now();
    let (result, printed) = read(&client, CHILDREN, None, 1).await;
    result.unwrap();
    assert_eq!(printed.numbers(), grandchildren());
    // Its two pages take 1.4 s; everything else fits into that.
    assert!(began.elapsed() < Duration::from_millis(2100), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_chain_of_three_is_read_to_its_end() {
    const LEAVES: Resource = Resource {
        request: || Request::get("leaves/{id}"),
        parent: Some(Parent {
            resource: &CHILDREN,
            key: "/n",
            into: Place::Part("id"),
            carry: &[],
        }),
        records: "",
        derive: &[],
        pages: Pages::One,
        incremental: None,
    };
    let server = serve(|call| match call.path.strip_prefix("/leaves/") {
        Some(n) => Answer::json(&json!({ "n": n.parse::<u64>().unwrap() })),
        None => family(call),
    });
    let (result, printed) = read(&client(&server), LEAVES, None, 1).await;
    result.unwrap();
    assert_eq!(printed.numbers(), grandchildren());
}
