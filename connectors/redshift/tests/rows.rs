//! What tables hold and how they are read and erased from, on a PostgreSQL that stands in for a
//! Redshift: every type it has, keys that nobody enforces, and what the user may not read.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use protocol::silo::StoreId;
use protocol::testing::runs::{Binary, Run, asked, chosen};
use serde_json::{Value, json};

use common::{Database, Server, form, standin};

const CONNECTOR: Binary = Binary(env!("CARGO_BIN_EXE_connector-redshift"));

/// A database of the test's own; `None` where there is no server, which is said.
fn database(statements: &str) -> Option<Database> {
    let Some(server) = Server::find() else {
        protocol::testing::skip(env!("CARGO_PKG_NAME"));
        return None;
    };
    Some(standin(&server, "rows", statements))
}

fn call(database: &Database, words: &[&str], inputs: &[(&str, Value)]) -> Run {
    CONNECTOR.run(&form(database), words, inputs)
}

fn store(database: &Database, name: &str) -> StoreId {
    StoreId::new(Some(database.group()), name)
}

#[test]
fn every_value_comes_as_its_type_spells_it_and_is_found_by_that() {
    let all = [
        ("smallint", "-32768", json!(-32768)),
        ("bigint", "9223372036854775807", json!(9_223_372_036_854_775_807_i64)),
        (
            "numeric(38,10)",
            "1234567890123456789012345678.0000000010",
            json!("1234567890123456789012345678.0000000010"),
        ),
        ("real", "0.1", json!(0.1)),
        ("double precision", "1e-300", json!(1e-300)),
        ("boolean", "false", json!(false)),
        ("char(5)", "'ab'", json!("ab   ")),
        ("varchar(60)", "'it''s \\ \"é\"'", json!("it's \\ \"é\"")),
        ("date", "'0044-03-15 BC'", json!("0044-03-15 BC")),
        ("time", "'13:05:00.25'", json!("13:05:00.25")),
        ("timetz", "'13:05:00.25+02'", json!("13:05:00.25+02:00")),
        ("timestamp", "'2024-02-29 13:05:00.25'", json!("2024-02-29T13:05:00.25")),
        ("timestamptz", "'2024-02-29 13:05:00.25+02'", json!("2024-02-29T11:05:00.25Z")),
        ("varbyte", "'\\x00ff10'", json!("AP8Q")),
        ("super", "'{\"a\":\n [1, 2.50]}'", json!({"a": [1, 2.50]})),
        ("point", "'(1,2)'", json!("(1,2)")),
    ];
    let declared: Vec<String> =
        all.iter().enumerate().map(|(n, (of, ..))| format!("c{n} {of}")).collect();
    let values: Vec<&str> = all.iter().map(|(_, value, _)| *value).collect();
    let nulls = vec!["NULL"; all.len()];
    let made = format!(
        "CREATE TABLE t ({}); INSERT INTO t VALUES ({}), ({})",
        declared.join(", "),
        values.join(", "),
        nulls.join(", ")
    );
    let Some(database) = database(&made) else { return };
    let run = call(&database, &["read"], &[("-s", chosen(&store(&database, "t"), None))]).done();
    let records = run.data();
    let discovered = call(&database, &["discover"], &[]).done();
    assert!(discovered.said.contains("c15 (point)"), "{}", discovered.said);
    for (n, (of, _, json)) in all.iter().enumerate() {
        let name = format!("c{n}");
        assert_eq!((&records[0][&name], &records[1][&name]), (json, &Value::Null), "{of}");
        let text = json.as_str().map_or_else(|| json.to_string(), str::to_owned);
        let query =
            call(&database, &["query"], &[("-q", asked(&store(&database, "t"), &name, &text))]);
        let handle = query.messages[0]["request"]["handle"].clone();
        let handles = json!({ "handles": [handle] });
        let results = call(&database, &["request-results"], &[("-r", handles)]);
        if ["super", "point"].contains(of) {
            let why = format!("rows are not found by `{name}`");
            assert!(results.said.contains(&why) && results.data().is_empty(), "{}", results.said);
        } else {
            assert_eq!(results.done().data().len(), 1, "{of} {text}");
        }
    }
}

/// A table whose key several rows share, as nothing keeps them from in Redshift.
const SHARED: &str = "
    CREATE TABLE t (id integer PRIMARY KEY, at integer, email varchar(60), n integer);
    SET allow_system_table_mods = on;
    UPDATE pg_index SET indisunique = false WHERE indexrelid = 't_pkey'::regclass;
    INSERT INTO t SELECT n / 7, n / 30, 'person ' || n % 5, n FROM generate_series(0, 999) n;";

#[test]
fn rows_that_share_a_key_are_all_read_from_whichever_state() {
    let Some(database) = database(SHARED) else { return };
    for cursor in [None, Some("at")] {
        let schemas = chosen(&store(&database, "t"), cursor);
        let words = ["read", "--checkpoint", "10"];
        let whole = call(&database, &words, &[("-s", schemas.clone())]).done();
        assert_eq!(whole.data().len(), 1000);
        let states = whole.messages.iter().enumerate().filter(|(_, m)| m["type"] == "STATE");
        let states: Vec<(usize, Value)> = states.map(|(n, state)| (n, state.clone())).collect();
        assert!(states.len() > 20, "{}", states.len());
        for (place, state) in states.into_iter().step_by(9) {
            let inputs = [("-s", schemas.clone()), ("--state", state)];
            let rest = call(&database, &words, &inputs).done();
            let before = &whole.messages[..place];
            let before = before.iter().filter(|message| message["type"] == "RECORD");
            let mut seen: Vec<i64> = before
                .map(|message| message["record"]["data"]["n"].clone())
                .chain(rest.data().into_iter().map(|record| record["n"].clone()))
                .map(|n| n.as_i64().unwrap())
                .collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..1000), "{cursor:?} at {place}");
        }
    }
}

#[test]
fn a_delete_spares_the_rows_that_only_share_a_key() {
    let Some(database) = database(SHARED) else { return };
    let request = asked(&store(&database, "t"), "email", "person 3");
    let run = call(&database, &["delete"], &[("-q", request.clone())]).done();
    let result = &run.messages[0]["request"];
    assert_eq!(result["status"]["request_status"], "COMPLETE", "{result}");
    assert_eq!(database.query("SELECT count(*) FROM t"), [Some("800".to_owned())]);
    let left = database.query("SELECT count(*) FROM t WHERE email = 'person 3'");
    assert_eq!(left, [Some("0".to_owned())]);
    call(&database, &["verify"], &[("-q", request)]).done();
}

#[test]
fn declared_relations_and_likely_ones_are_discovered() {
    let made = "
        CREATE TABLE customer (customer_id integer PRIMARY KEY, email varchar(60));
        CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customer);
        CREATE TABLE visit (id integer PRIMARY KEY, customer_id integer);
        COMMENT ON TABLE visit IS 'of the shop';";
    let Some(database) = database(made) else { return };
    let run = call(&database, &["discover"], &[]).done();
    let entry = |name: &str| run.entry(name);
    assert_eq!(entry("customer")["key"], json!(["customer_id"]));
    assert_eq!(entry("visit")["json_schema"]["description"], "of the shop");
    let declared = &entry("orders")["relations"][0];
    assert_eq!(declared["references"]["schema_name"], "customer");
    assert!(declared["score"].is_null(), "{declared}");
    let likely = &entry("visit")["relations"][0];
    assert_eq!(likely["references"]["columns"], json!(["customer_id"]));
    assert!(likely["score"].is_number(), "{likely}");
}

#[test]
fn what_the_user_may_not_read_is_named_and_left_out() {
    let made = "
        CREATE TABLE open (id integer); CREATE TABLE closed (id integer);
        CREATE SCHEMA hidden; CREATE TABLE hidden.t (id integer);
        DROP ROLE IF EXISTS redshift_reader;
        CREATE ROLE redshift_reader LOGIN PASSWORD 'only reads';
        GRANT USAGE ON SCHEMA public TO redshift_reader; GRANT SELECT ON open TO redshift_reader;
        DROP VIEW pg_catalog.svv_tables; CREATE VIEW pg_catalog.svv_tables AS SELECT * FROM (VALUES
            (current_database()::text, 'public'::text, 'open'::text, 'BASE TABLE'::text, NULL::text),
            (current_database()::text, 'public', 'closed', 'BASE TABLE', NULL),
            (current_database()::text, 'hidden', 't', 'BASE TABLE', NULL)
        ) v (table_catalog, table_schema, table_name, table_type, remarks);
        GRANT SELECT ON pg_catalog.svv_tables TO PUBLIC";
    let made = format!("SET allow_system_table_mods = on; {made}");
    let Some(database) = database(&made) else { return };
    let mut form = form(&database);
    form["username"] = json!("redshift_reader");
    form["password"] = json!("only reads");
    let run = CONNECTOR.run(&form, &["discover"], &[]).done();
    let entries = run.entries();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["name"], "open");
    assert!(run.said.contains("hidden.t, public.closed"), "{}", run.said);
    database.run("DROP OWNED BY redshift_reader; DROP ROLE redshift_reader");
}
