//! Every type: how its values are spelled, and that they read the same after they were written.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::{Database, Server, call};
use serde_json::{Value, json};

/// A column's type, a value in SQL, and the value in JSON.
type Row = (&'static str, &'static str, Value);

fn table() -> Vec<Row> {
    vec![
        ("boolean", "true", json!(true)),
        ("smallint", "-32768", json!(-32768)),
        ("integer", "2147483647", json!(2_147_483_647)),
        ("bigint", "9007199254740993", json!(9_007_199_254_740_993_i64)),
        ("oid", "4294967295", json!(4_294_967_295_u32)),
        ("xid8", "'9223372036854775807'", json!(i64::MAX)),
        ("real", "0.1", json!(0.1)),
        ("double precision", "1e-300", json!(1e-300)),
        ("double precision", "'NaN'", json!("NaN")),
        ("real", "'-Infinity'", json!("-Infinity")),
        (
            "numeric",
            "12345678901234567890.12345678901234567890",
            json!("12345678901234567890.12345678901234567890"),
        ),
        ("numeric(12,2)", "1.5", json!("1.50")),
        ("numeric", "1e130", json!(format!("1{}", "0".repeat(130)))),
        (
            "numeric",
            "-0.000000000000000000000000000000000001",
            json!("-0.000000000000000000000000000000000001"),
        ),
        ("numeric", "'NaN'", json!("NaN")),
        ("numeric", "'-Infinity'", json!("-Infinity")),
        ("numeric", "10000", json!("10000")),
        ("money", "1234.56", json!("1234.56")),
        (
            "text",
            r#"E'tab\t line\n "quote" \\ \u00e9 \U0001F600'"#,
            json!("tab\t line\n \"quote\" \\ é 😀"),
        ),
        ("text", "''", json!("")),
        ("varchar(5)", "'ab '", json!("ab ")),
        ("char(4)", "'ab'", json!("ab  ")),
        (r#""char""#, "'x'", json!("x")),
        ("name", "'a name'", json!("a name")),
        ("bytea", r"'\x00ff10'", json!("AP8Q")),
        ("date", "'2024-02-29'", json!("2024-02-29")),
        ("date", "'0044-03-15 BC'", json!("0044-03-15 BC")),
        ("date", "'5874897-12-31'", json!("5874897-12-31")),
        ("date", "'infinity'", json!("infinity")),
        ("time", "'13:05:00.25'", json!("13:05:00.25")),
        ("time", "'24:00'", json!("24:00:00")),
        ("timetz", "'13:05:00.25+02:30'", json!("13:05:00.25+02:30")),
        ("timetz", "'00:00:00-01:00:01'", json!("00:00:00-01:00:01")),
        ("timestamp", "'2024-02-29 13:05:00.000001'", json!("2024-02-29T13:05:00.000001")),
        ("timestamp", "'4713-01-01 00:00 BC'", json!("4713-01-01T00:00:00 BC")),
        ("timestamp", "'-infinity'", json!("-infinity")),
        ("timestamptz", "'2024-02-29 13:05:00.25+02'", json!("2024-02-29T11:05:00.25Z")),
        ("timestamptz", "'294276-12-31 23:59:59.999999Z'", json!("294276-12-31T23:59:59.999999Z")),
        ("timestamptz", "'0001-01-01 00:00Z BC'", json!("0001-01-01T00:00:00Z BC")),
        ("interval", "'1 year 2 mons 3 days 04:05:06.7'", json!("P1Y2M3DT4H5M6.7S")),
        ("interval", "'-1 mons +2 days -00:00:00.5'", json!("P-1M2DT-0.5S")),
        ("interval", "'0'", json!("PT0S")),
        (
            "uuid",
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ),
        ("json", "'{\"a\": 1.00, \"a\": [true]}'", json!({"a": [true]})),
        (
            "jsonb",
            r#"'{"b": 9007199254740993, "a": "\\ \n"}'"#,
            json!({"b": 9_007_199_254_740_993_i64, "a": "\\ \n"}),
        ),
        ("inet", "'10.0.0.1'", json!("10.0.0.1")),
        ("inet", "'10.0.0.1/8'", json!("10.0.0.1/8")),
        ("inet", "'2001:db8::1'", json!("2001:db8::1")),
        ("cidr", "'10.0.0.0/8'", json!("10.0.0.0/8")),
        ("cidr", "'10.0.0.1/32'", json!("10.0.0.1/32")),
        ("macaddr", "'08:00:2b:01:02:03'", json!("08:00:2b:01:02:03")),
        ("macaddr8", "'08:00:2b:ff:fe:01:02:03'", json!("08:00:2b:ff:fe:01:02:03")),
        ("bit(3)", "B'101'", json!("101")),
        ("varbit", "B'1010000011'", json!("1010000011")),
        ("varbit", "B''", json!("")),
        ("point", "'(1,2.5)'", json!("(1,2.5)")),
        ("box", "'(2,2),(0,0)'", json!("(2,2),(0,0)")),
        ("tsvector", "'a fat cat'", json!("'a' 'cat' 'fat'")),
        ("xml", "'<a>b</a>'", json!("<a>b</a>")),
        ("int4range", "'[1,5)'", json!("[1,5)")),
        ("int4multirange", "'{[1,3), [5,7)}'", json!("{[1,3),[5,7)}")),
        ("tstzrange", "'[2024-01-01Z,)'", json!("[\"2024-01-01 00:00:00+00\",)")),
        ("pg_lsn", "'16/B374D848'", json!("16/B374D848")),
        ("mood", "'so so'", json!("so so")),
        ("positive", "7", json!(7)),
        ("pair", r#"ROW(1, E'a "b",\nc')"#, json!("(1,\"a \"\"b\"\",\nc\")")),
        ("pair", "ROW(NULL, NULL)", json!("(,)")),
        ("int[]", "'{1,NULL,3}'", json!([1, null, 3])),
        ("int[]", "'{}'", json!([])),
        ("int[][]", "'{{1,2},{3,4}}'", json!([[1, 2], [3, 4]])),
        (
            "text[]",
            r#"'{a,"b \"c\" \\",NULL,"NULL",""}'"#,
            json!(["a", "b \"c\" \\", null, "NULL", ""]),
        ),
        ("numeric[]", "'{1.50,NaN}'", json!(["1.50", "NaN"])),
        ("timestamptz[]", "'{infinity,2024-01-01Z}'", json!(["infinity", "2024-01-01T00:00:00Z"])),
        ("bytea[]", r#"'{"\\x00ff"}'"#, json!(["AP8="])),
        ("bool[]", "'{t,f}'", json!([true, false])),
        ("mood[]", "'{so so,happy}'", json!(["so so", "happy"])),
        ("jsonb[]", r#"ARRAY['{"a": [1]}', '"x"', '[2]']::jsonb[]"#, json!([{"a": [1]}, "x", [2]])),
        ("inet[]", "'{10.0.0.1,::1/64}'", json!(["10.0.0.1", "::1/64"])),
        ("pair[]", r#"ARRAY[ROW(1, 'a,b'), ROW(2, NULL)]::pair[]"#, json!(["(1,\"a,b\")", "(2,)"])),
        ("int4range[]", "ARRAY['[1,2)', NULL]::int4range[]", json!(["[1,2)", null])),
        ("box[]", "'{(1,1),(0,0);(2,2),(0,0)}'", json!(["(1,1),(0,0)", "(2,2),(0,0)"])),
        ("money[]", "ARRAY[1.5]::money[]", json!(["1.50"])),
        ("positive[]", "'{1,2}'", json!([1, 2])),
        ("int2vector", "'1 2'", json!([1, 2])),
    ]
}

const PRELUDE: &str = "\
    CREATE TYPE mood AS ENUM ('happy', 'so so');\
    CREATE DOMAIN positive AS integer CHECK (VALUE > 0);\
    CREATE TYPE pair AS (a integer, b text);";

fn database(server: &Server) -> Database {
    let columns: Vec<String> =
        table().iter().enumerate().map(|(n, (of, ..))| format!("c{n} {of}")).collect();
    let values: Vec<&str> = table().iter().map(|(_, value, _)| *value).collect();
    let nulls = vec!["NULL"; values.len()];
    server.database(
        "types",
        &format!(
            "{PRELUDE} CREATE TABLE every (id int PRIMARY KEY, {}); \
             INSERT INTO every VALUES (1, {}), (2, {})",
            columns.join(", "),
            values.join(", "),
            nulls.join(", "),
        ),
    )
}

#[test]
fn every_type_is_spelled_as_documented() {
    let Some(server) = Server::find() else { return };
    // Whatever the server's owner likes.
    let database = database(&server);
    database.run(&format!(
        "ALTER DATABASE {0} SET datestyle = 'SQL, DMY'; ALTER DATABASE {0} SET intervalstyle = 'sql_standard';
         ALTER DATABASE {0} SET bytea_output = 'escape'; ALTER DATABASE {0} SET timezone = 'Asia/Kolkata';
         ALTER DATABASE {0} SET extra_float_digits = 0; ALTER DATABASE {0} SET search_path = 'public'",
        database.name
    ));
    let run = call(&database.form(), &["read"], &[], "").done();
    let records = run.records("every");
    let find = |id: i64| records.iter().find(|record| record["id"] == id).unwrap();
    for (n, (of, value, expected)) in table().into_iter().enumerate() {
        assert_eq!(find(1)[format!("c{n}")], expected, "{of} {value}");
        assert_eq!(find(2)[format!("c{n}")], Value::Null, "{of} NULL");
    }
}

#[test]
fn every_type_reads_the_same_after_it_was_written_into_its_own_table() {
    let Some(server) = Server::find() else { return };
    let original = database(&server);
    let copy = database(&server);
    copy.run("DELETE FROM every");
    for mode in ["append", "upsert", "replace"] {
        write_and_compare(&original, &copy, mode);
        if mode == "append" {
            assert_eq!(rows(&original), rows(&copy), "what the server itself says of them");
        }
    }
}

#[test]
fn every_type_reads_the_same_after_it_was_written_into_a_new_table() {
    let Some(server) = Server::find() else { return };
    let original = database(&server);
    let copy = server.database("types", "");
    write_and_compare(&original, &copy, "append");
}

/// The rows as the server's own text has them.
fn rows(database: &Database) -> Vec<Option<String>> {
    database.query("SELECT every::text FROM every ORDER BY id")
}

fn write_and_compare(original: &Database, copy: &Database, mode: &str) {
    let discovered = call(&original.form(), &["discover"], &[], "").done();
    let read = call(&original.form(), &["read"], &[], "").done();
    // As they came: to parse a document would change it.
    let lines = format!("{}{}", discovered.lines, read.lines);
    let lines = lines.replace(&original.group(), &copy.group());
    call(&copy.form(), &["write", "--mode", mode], &[], &lines).done();
    let again = call(&copy.form(), &["read"], &[], "").done();
    let sorted = |mut records: Vec<Value>| {
        records.sort_by_key(|record| record["id"].as_i64());
        records
    };
    assert_eq!(sorted(again.records("every")), sorted(read.records("every")), "{mode}");
}

#[test]
fn types_of_extensions_are_read_as_text() {
    let Some(server) = Server::find() else { return };
    let database = server.database(
        "extensions",
        "CREATE EXTENSION IF NOT EXISTS citext; CREATE EXTENSION IF NOT EXISTS hstore; CREATE EXTENSION IF NOT EXISTS ltree;
         CREATE TABLE t (id int PRIMARY KEY, c citext, h hstore, l ltree, a ltree[]);
         INSERT INTO t VALUES (1, 'MiXed', 'a=>1', 'x.y', '{x.y,NULL}')",
    );
    let run = call(&database.form(), &["read"], &[], "").done();
    let expected =
        json!({"id": 1, "c": "MiXed", "h": "\"a\"=>\"1\"", "l": "x.y", "a": ["x.y", null]});
    assert_eq!(run.records("t"), [expected]);
    assert!(run.said.contains("read as text") && run.said.contains("h, l, a"), "{}", run.said);
}

#[test]
fn what_a_column_could_only_hold_by_bending_it_is_refused_by_name() {
    let Some(server) = Server::find() else { return };
    let database = server.database(
        "bent",
        "CREATE DOMAIN price AS numeric(6,2);
         CREATE TABLE t (v varchar(3), n numeric(4,1), t time, s timestamp, d date, b boolean, i int,
             g int GENERATED ALWAYS AS (i) STORED, p price, m money, r real, f float8, s0 timestamp(0),
             ns numeric(4,1)[], vs varchar(3)[], ss timestamp[], ps price[])",
    );
    for (column, value) in [
        ("v", json!("four")),
        ("v", json!("abc ")),
        ("n", json!("1.25")),
        ("n", json!(1.25)),
        ("t", json!("10:00:00+02:00")),
        ("s", json!("2024-01-01T00:00:00Z")),
        ("d", json!("2024-01-01T10:00:00")),
        ("d", json!("today")),
        ("b", json!(1)),
        ("i", json!(99_999_999_999_i64)),
        ("i", json!([1])),
        ("g", json!(1)),
        ("v", json!("a\u{0}")),
        ("p", json!("1.255")),
        ("m", json!("1.255")),
        ("r", json!(0.123_456_789)),
        ("f", json!(9_007_199_254_740_993_i64)),
        ("s0", json!("2024-01-01T00:00:00.5")),
        ("ns", json!([["1.25"]])),
        ("vs", json!(["abc "])),
        ("ss", json!(["2024-01-01T00:00:00Z"])),
        ("ps", json!(["1.255"])),
    ] {
        let record = json!({"type": "RECORD", "record": {
            "schema_name": "t", "schema_group": database.group(), "data": {column: value}}});
        let run = call(&database.form(), &["write"], &[], &format!("{record}\n"));
        assert_eq!(run.status, 1, "{column}: {value}: {}", run.said);
        let named = [format!("`{column}`"), format!("column {column}")];
        assert!(named.iter().any(|name| run.said.contains(name)), "{column}: {}", run.said);
    }
    assert_eq!(database.query("SELECT count(*) FROM t"), [Some("0".to_owned())]);
}
