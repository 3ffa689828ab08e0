//! The Flow capture and materialization, driven by the client beside this file. Flow's own programs
//! are not run.

use serde_json::{Value, json};

use crate::flow_client::{Captured, Exit, Runtime, capture, conforms};
use crate::program::{Bench, golden};

const SHOP: &str = "
    CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL, note TEXT, raw BLOB, paid BOOLEAN,
        updated_at DATETIME NOT NULL);
    INSERT INTO orders VALUES
        (1, 0.5, 'a\nb', x'00ff', 1, '2026-01-02'), (2, 9e999, NULL, NULL, 0, '2026-01-01'),
        (3, -2.0, 'ü', NULL, NULL, '2026-01-02');
    CREATE TABLE visits (page TEXT, \"a/b~c\" TEXT);
    INSERT INTO visits VALUES ('/', 'x'), ('/about', NULL);
    CREATE TABLE zero (id INTEGER PRIMARY KEY);
";

fn bench() -> Bench {
    Bench::new("capture-sqlite", SHOP)
}

fn config(bench: &Bench) -> Value {
    json!({"path": bench.path("data.db")})
}

fn discovered(bench: &Bench) -> Vec<Value> {
    let mut runtime = Runtime::start(bench);
    let request = json!({"discover": {"connectorType": "LOCAL", "config": config(bench)}});
    let response = runtime.ask(&request, "discovered");
    assert_eq!(runtime.end().status, Some(0));
    response["bindings"].as_array().unwrap().clone()
}

/// The open request for all discovered bindings, as a runtime writes it: without members that have
/// their default.
fn open(bench: &Bench, resource: &Value) -> Value {
    let bindings = discovered(bench).into_iter().map(|binding| {
        let mut config = binding["resourceConfig"].clone();
        for (name, value) in resource.as_object().unwrap() {
            config[name] = value.clone();
        }
        let path = [config["stream"].clone()];
        json!({
            "resourceConfig": config,
            "resourcePath": path,
            "collection": {
                "name": format!("acmeCo/{}", binding["recommendedName"].as_str().unwrap()),
                "writeSchema": binding["documentSchema"],
                "key": binding["key"],
            },
            "stateKey": path[0],
        })
    });
    json!({"open": {
        "capture": {
            "name": "acmeCo/source", "connectorType": "LOCAL", "config": config(bench),
            "bindings": bindings.collect::<Vec<_>>(), "intervalSeconds": 300,
        },
        "version": "1", "range": {"keyEnd": u32::MAX, "rClockEnd": u32::MAX}, "unheard": {"of": 1},
    }})
}

/// The ids of the documents of the orders.
fn ids(captured: &Captured) -> Vec<i64> {
    let orders = captured.documents.iter().filter(|(binding, _)| *binding == 0);
    orders.map(|(_, document)| document["id"].as_i64().unwrap()).collect()
}

/// The numbers of the documents of the visits.
fn rows(captured: &Captured) -> Vec<u64> {
    let visits = captured.documents.iter().filter(|(binding, _)| *binding == 1);
    visits.map(|(_, document)| document["_meta"]["row_id"].as_u64().unwrap()).collect()
}

fn last(captured: &Captured) -> &Value {
    &captured.states.last().unwrap().1
}

#[test]
fn what_a_capture_answers_is_the_golden_one() {
    let bench = bench();
    let mut runtime = Runtime::start(&bench);
    let config = config(&bench);
    // What a process is asked for is answered in order, and unknown members and nulls are ignored.
    let request = json!({"discover": {"config": config, "name": "x", "secrets": {}}, "spec": null});
    let discovered = runtime.ask(&request, "discovered");
    let bindings = discovered["bindings"].as_array().unwrap();
    let wanted: Vec<Value> = bindings
        .iter()
        .map(|binding| json!({"resourceConfig": binding["resourceConfig"], "backfill": 2}))
        .collect();
    let request = json!({"validate": {"name": "x", "config": config, "bindings": wanted}});
    let validated = runtime.ask(&request, "validated");
    assert_eq!(
        validated["bindings"],
        json!([{"resourcePath": ["orders"]}, {"resourcePath": ["visits"]}, {"resourcePath": ["zero"]}])
    );
    let request = json!({"apply": {"capture": {"config": config}, "version": "1", "dryRun": true}});
    assert_eq!(runtime.ask(&request, "applied"), json!({}));
    assert_eq!(runtime.end().status, Some(0));

    let (captured, exit) = capture(&bench, &open(&bench, &json!({})), &json!({}));
    assert_eq!(exit.status, Some(0));
    for (binding, document) in &captured.documents {
        conforms(&bindings[*binding as usize]["documentSchema"], document);
    }
    let mut text = format!("{:#}\n", discovered);
    for (binding, document) in &captured.documents {
        text.push_str(&format!("{binding} {document}\n"));
    }
    text.push_str(&format!("{}\n", last(&captured)));
    golden("flow.capture.txt", &text);
}

#[test]
fn a_capture_goes_on_from_every_checkpoint_and_a_raised_backfill_reads_that_binding_anew() {
    let bench = bench();
    bench.sql(
        "INSERT INTO orders WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
         SELECT 9 + i, 1, 'x', NULL, 1, printf('2026-02-%02d', i % 7) FROM n",
    );
    let mut open = open(&bench, &json!({}));
    let (first, _) = capture(&bench, &open, &json!({}));
    let all = ids(&first);
    assert_eq!((all.len(), first.documents.len()), (25_003, 25_005));
    assert!(first.states.len() > 3);
    for (covered, state) in &first.states {
        let (again, _) = capture(&bench, &open, state);
        assert_eq!(ids(&again), all[(*covered).min(all.len())..], "the rest and nothing else");
    }
    bench.sql("UPDATE orders SET updated_at = '2027-01-01' WHERE id = 2");
    let (second, _) = capture(&bench, &open, last(&first));
    assert_eq!(ids(&second), [2]);
    // What has no key is numbered by its place in each read.
    assert_eq!((rows(&first), rows(&second)), (vec![1, 2], vec![1, 2]));

    open["open"]["capture"]["bindings"][0]["stateKey"] = "orders.v1".into();
    let (third, _) = capture(&bench, &open, last(&second));
    assert_eq!(ids(&third).len(), 25_003);
    assert!(last(&third)["bindingStateV1"]["orders"].is_object(), "the other version's stays");
}

#[test]
fn a_full_refresh_reads_everything_every_time_and_takes_up_one_that_was_cut() {
    let bench = bench();
    bench.sql(
        "INSERT INTO orders WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
         SELECT 9 + i, 1, 'x', NULL, 1, '2026-02-01' FROM n",
    );
    let open = open(&bench, &json!({"mode": "full_refresh"}));
    let (first, _) = capture(&bench, &open, &json!({}));
    let (second, _) = capture(&bench, &open, last(&first));
    assert_eq!(ids(&first), ids(&second));
    let (covered, cut) = &first.states[0];
    let (rest, _) = capture(&bench, &open, cut);
    assert_eq!(ids(&rest), ids(&first)[*covered..]);
}

/// What a capture says of a request that it cannot serve.
fn refusal(bench: &Bench, request: &Value) -> String {
    let mut runtime = Runtime::start(bench);
    runtime.send(request);
    runtime.end().error().to_owned()
}

#[test]
fn everything_that_is_wrong_with_the_bindings_is_said_at_once() {
    let bench = bench();
    bench.sql("CREATE TABLE odd (id INTEGER PRIMARY KEY, _meta TEXT)");
    let names: Vec<Value> =
        discovered(&bench).iter().map(|binding| binding["recommendedName"].clone()).collect();
    assert_eq!(names, ["orders", "visits", "zero"]);
    let resources = [
        json!({"stream": "orders"}),
        json!({"stream": "nobody"}),
        json!({"stream": "odd"}),
        json!({"stream": "visits", "cursor": "colour"}),
        json!({"stream": "orders"}),
    ];
    let bindings = resources.map(|resource| json!({"resourceConfig": resource}));
    let request = json!({"validate": {"config": config(&bench), "bindings": bindings}});
    let error = refusal(&bench, &request);
    for expected in [
        "nobody: there is no such store",
        "odd: it has a property `_meta`",
        "visits: there is no `colour`",
        "orders: two bindings capture it",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    let keyed = json!({"resourceConfig": {"stream": "orders"}, "collectionIndex": 1});
    let linked = json!([{"name": "a"}, {"name": "b", "key": ["/colour"]}]);
    let request = json!({"validate": {"config": config(&bench), "bindings": [keyed],
        "linkedCollections": linked}});
    assert!(refusal(&bench, &request).contains("its collection b has the key /colour"));
}

#[test]
fn requests_that_cannot_be_served_are_one_line_and_status_1() {
    let bench = bench();
    let good = open(&bench, &json!({}));
    let with = |path: &str, value: Value| {
        let mut request = good.clone();
        *request.pointer_mut(path).unwrap() = value;
        request
    };
    for (request, expected) in [
        (
            json!({"spice": {}}),
            "line 2: a capture answers spec, discover, validate, apply and open",
        ),
        (json!({"discover": {}}), "the request: `config` is missing"),
        (json!({"discover": {"config": {"host": "x"}}}), "`path` is missing"),
        (json!({"discover": {"config": {"path": "/no/such"}}}), "`path`"),
        (with("/open/range/keyEnd", 7.into()), "cannot be split"),
    ] {
        let error = refusal(&bench, &request);
        assert!(error.contains(expected), "{error}");
    }
    for state in [json!({"orders": {"lsn": 7}}), json!({"orders": {"cursor": [{"lsn": 7}]}})] {
        let (captured, exit) = capture(&bench, &good, &json!({"bindingStateV1": state}));
        assert!(ids(&captured).is_empty());
        assert!(exit.log.iter().any(|line| {
            line["message"]
                .as_str()
                .unwrap()
                .contains("was not written by this connector or version")
        }));
        exit.error();
    }
    for (line, expected) in [("nonsense", "line 2: it is not a JSON message"), ("[1]", "line 2: ")]
    {
        let mut runtime = Runtime::start(&bench);
        runtime.send_text(line);
        let exit = runtime.end();
        assert!(exit.error().contains(expected), "{}", exit.error());
    }
    let mut runtime = Runtime::bare(&bench);
    runtime.send_text("{\0\0\0\u{8}\u{1}\u{8}\u{7}");
    assert!(runtime.end().error().contains("choose the JSON codec"));
    assert_eq!(Runtime::bare(&bench).end().status, Some(0), "nothing was asked for");
}

#[test]
fn sigterm_ends_a_capture_with_whole_lines_and_status_0() {
    let bench = bench();
    bench.sql(
        "INSERT INTO orders WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
         SELECT 9 + i, 1, 'x', NULL, 1, printf('2026-02-%02d', i % 7) FROM n",
    );
    let mut runtime = Runtime::start(&bench);
    runtime.send(&open(&bench, &json!({})));
    // Acknowledgements are not asked for, and taken all the same.
    runtime.send(&json!({"acknowledge": {"checkpoints": 1}}));
    while runtime.next().unwrap().0 != "checkpoint" {}
    let id = runtime.id().to_string();
    assert!(std::process::Command::new("kill").arg(id).status().unwrap().success());
    while runtime.next().is_some() {}
    assert_eq!(runtime.stop().status, Some(0));
}

const COLLECTION: &str = r#"{"name": "acmeCo/orders", "key": ["/region", "/id"], "projections": [
    {"ptr": "/region", "field": "region", "isPrimaryKey": true, "inference": {"types": ["string"]}},
    {"ptr": "/id", "field": "id", "isPrimaryKey": true, "inference": {"types": ["integer"]}},
    {"ptr": "/note", "field": "note", "inference": {"types": ["string", "null"]}},
    {"ptr": "/tags", "field": "tags", "inference": {"types": ["array"]}},
    {"ptr": "/never", "field": "never", "inference": {"types": ["null"]}},
    {"ptr": "", "field": "flow_document", "inference": {"types": ["object"]}}]}"#;

fn materialization(bench: &Bench, delta: bool, backfill: u32) -> Value {
    let collection: Value = serde_json::from_str(COLLECTION).unwrap();
    let mut resource = json!({"table": "orders"});
    let mut document = "flow_document";
    if delta {
        resource["delta_updates"] = true.into();
        document = "";
    }
    json!({"name": "acmeCo/target", "config": config(bench), "bindings": [{
        "resourceConfig": resource, "resourcePath": ["orders"], "collection": collection,
        "fieldSelection": {"keys": ["region", "id"], "values": ["note"], "document": document},
        "deltaUpdates": delta, "backfill": backfill, "stateKey": "orders",
    }]})
}

fn applied(bench: &Bench, materialization: &Value, last: &Value) -> String {
    let mut runtime = Runtime::start(bench);
    let request = json!({"apply": {"materialization": materialization, "version": "1",
        "lastMaterialization": last}});
    let done = runtime.ask(&request, "applied");
    assert_eq!(runtime.end().status, Some(0));
    done["actionDescription"].as_str().unwrap().to_owned()
}

/// Opens a materialization, and takes the checkpoint that it hands back.
fn opened(bench: &Bench, materialization: &Value) -> (Runtime, Value) {
    let mut runtime = Runtime::start(bench);
    let request = json!({"open": {"materialization": materialization, "version": "1",
        "range": {"keyEnd": u32::MAX, "rClockEnd": u32::MAX}, "state": {}}});
    let opened = runtime.ask(&request, "opened");
    assert_eq!(runtime.ask(&json!({"acknowledge": {}}), "acknowledged"), json!({}));
    (runtime, opened["runtimeCheckpoint"].clone())
}

/// One transaction: loads, stores, and the commit. Returns the documents that were there.
fn transaction(runtime: &mut Runtime, keys: &[Value], stores: &[Value], place: u32) -> Vec<Value> {
    for key in keys {
        runtime.send(&json!({"load": key}));
    }
    runtime.send(&json!({"flush": {}}));
    let mut loaded = Vec::new();
    loop {
        match runtime.next().unwrap() {
            (name, payload) if name == "loaded" => loaded.push(payload["doc"].clone()),
            (name, _) if name == "flushed" => break,
            (name, _) => panic!("{name} has no place here"),
        }
    }
    for store in stores {
        runtime.send(&json!({"store": store}));
    }
    let commit = json!({"startCommit": {"runtimeCheckpoint": {"sources": {"j": {"readThrough": place.to_string()}}}}});
    runtime.ask(&commit, "startedCommit");
    runtime.ask(&json!({"acknowledge": {}}), "acknowledged");
    loaded
}

fn place(n: u32) -> Value {
    json!({"sources": {"j": {"readThrough": n.to_string()}}})
}

fn store(region: &str, id: i64, note: &str) -> Value {
    let doc = json!({"region": region, "id": id, "note": note, "tags": ["a", {"b": 1.25}]});
    json!({"key": [region, id], "values": [note], "doc": doc})
}

fn table(bench: &Bench) -> Vec<(String, i64, String)> {
    let connection = bench.open();
    let mut rows = connection.prepare("SELECT region, id, note FROM orders ORDER BY 1, 2").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_materialization_says_which_fields_it_wants() {
    let bench = Bench::new("materialize-sqlite", "");
    let collection: Value = serde_json::from_str(COLLECTION).unwrap();
    let types = |resource: Value| {
        let mut runtime = Runtime::start(&bench);
        let binding = json!({"resourceConfig": resource, "collection": collection});
        let request =
            json!({"validate": {"name": "x", "config": config(&bench), "bindings": [binding]}});
        let validated = runtime.ask(&request, "validated")["bindings"][0].clone();
        assert_eq!(runtime.end().status, Some(0));
        let of = |(name, constraint): (&String, &Value)| {
            format!("{name} {}", constraint["type"].as_str().unwrap())
        };
        let constraints = validated["constraints"].as_object().unwrap();
        (validated.clone(), constraints.iter().map(of).collect::<Vec<_>>().join(", "))
    };
    let (validated, words) = types(json!({"table": "orders", "schema": "shop"}));
    assert_eq!(validated["resourcePath"], json!(["shop", "orders"]));
    assert_eq!(
        words,
        "region LOCATION_REQUIRED, id LOCATION_REQUIRED, note LOCATION_RECOMMENDED, tags \
         FIELD_OPTIONAL, never FIELD_FORBIDDEN, flow_document LOCATION_REQUIRED"
    );
    let (validated, words) = types(json!({"table": "orders", "delta_updates": true}));
    assert_eq!(validated["deltaUpdates"], true);
    assert!(
        words.starts_with("region LOCATION_RECOMMENDED")
            && words.ends_with("flow_document FIELD_OPTIONAL")
    );

    let mut runtime = Runtime::start(&bench);
    let binding = json!({"resourceConfig": {"table": "orders"}, "collection": collection});
    runtime.send(&json!({"validate": {"config": config(&bench), "bindings": [binding, binding]}}));
    assert!(runtime.end().error().contains("orders: two bindings go into it"));
}

#[test]
fn what_is_stored_is_loaded_and_a_checkpoint_is_committed_with_its_rows() {
    let bench = Bench::new("materialize-sqlite", "");
    let wanted = materialization(&bench, false, 0);
    assert!(applied(&bench, &wanted, &Value::Null).contains("orders"));
    assert!(
        applied(&bench, &wanted, &wanted).starts_with("made or checked"),
        "once more is no harm"
    );
    let (mut runtime, checkpoint) = opened(&bench, &wanted);
    assert_eq!(checkpoint, Value::Null, "a first run");
    let key = |region: &str, id: i64| json!({"key": [region, id]});
    let first = [store("eu", 1, "a"), store("us", 1, "b"), store("eu", 2, "c")];
    assert!(transaction(&mut runtime, &[key("eu", 1)], &first, 1).is_empty());
    // Both keys begin alike, and only one of them is asked for; keys may also come packed.
    let packed = json!({"keyPacked": "AnVzABUB"});
    let loaded =
        transaction(&mut runtime, &[key("eu", 2), packed, key("eu", 9)], &[store("eu", 2, "d")], 2);
    let mut loaded: Vec<String> = loaded.iter().map(Value::to_string).collect();
    loaded.sort();
    assert_eq!(
        loaded,
        [store("eu", 2, "c")["doc"].to_string(), store("us", 1, "b")["doc"].to_string()]
    );
    // A transaction that is not committed leaves nothing.
    runtime.send(&json!({"store": store("eu", 3, "never")}));
    assert_eq!(runtime.end().status, Some(0));
    let of = |region: &str, id, note: &str| (region.to_owned(), id, note.to_owned());
    assert_eq!(table(&bench), [of("eu", 1, "a"), of("eu", 2, "d"), of("us", 1, "b")]);

    let (mut runtime, checkpoint) = opened(&bench, &wanted);
    assert_eq!(checkpoint, place(2), "that of the last commit");
    let packed = json!({"keyPacked": "AmV1ABUB", "valuesPacked": "AnoA",
        "doc": {"region": "eu", "id": 1, "note": "z"}, "exists": true});
    assert_eq!(transaction(&mut runtime, &[key("eu", 1)], &[packed], 3).len(), 1);
    assert_eq!(runtime.end().status, Some(0));
    assert_eq!(table(&bench)[0], of("eu", 1, "z"));

    let raised = materialization(&bench, false, 1);
    assert!(applied(&bench, &raised, &wanted).contains("emptied orders"));
    assert!(table(&bench).is_empty());
}

#[test]
fn with_delta_updates_every_document_is_a_row() {
    let bench = Bench::new("materialize-sqlite", "");
    let wanted = materialization(&bench, true, 0);
    applied(&bench, &wanted, &Value::Null);
    let (mut runtime, _) = opened(&bench, &wanted);
    transaction(&mut runtime, &[], &[store("eu", 1, "a"), store("eu", 1, "b")], 1);
    assert_eq!(runtime.end().status, Some(0));
    assert_eq!(table(&bench).len(), 2);
}

#[test]
fn what_a_materialization_cannot_take_is_said_and_nothing_of_it_is_committed() {
    let bench = Bench::new("materialize-sqlite", "");
    let wanted = materialization(&bench, false, 0);
    applied(&bench, &wanted, &Value::Null);
    let failed = |line: Value| -> Exit {
        let (mut runtime, _) = opened(&bench, &wanted);
        runtime.send(&json!({"store": store("eu", 1, "a")}));
        runtime.send(&line);
        runtime.end()
    };
    for (line, expected) in [
        (json!({"store": {"binding": 7}}), "line 5: there is no binding 7"),
        (
            json!({"store": {"key": ["eu"], "values": ["a"], "doc": {}}}),
            "line 5: a document has other fields",
        ),
        (json!({"store": {"keyPacked": "zz", "values": ["a"], "doc": {}}}), "line 5: a packed key"),
        (json!({"load": {"binding": 7}}), "line 5: there is no binding 7"),
        (json!({"discover": {}}), "line 5: only load, flush, store"),
    ] {
        let exit = failed(line);
        assert!(exit.error().contains(expected), "{}", exit.error());
    }
    assert!(table(&bench).is_empty());
    let mut left_out = wanted.clone();
    left_out["config"]["tables"] = json!(["visits"]);
    let mut runtime = Runtime::start(&bench);
    runtime.send(&json!({"open": {"materialization": left_out, "version": "1"}}));
    assert!(runtime.end().error().contains("choice of tables leaves it out"));
}
