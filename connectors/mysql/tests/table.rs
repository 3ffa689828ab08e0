//! What a server's tables hold and how they are found: every type, injections, coercions, odd names.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod server;

use std::io::{BufRead as _, BufReader};
use std::rc::Rc;

use protocol::silo::StoreId;
use protocol::testing::runs::{Binary, Run, asked, chosen, handle, spread};
use serde_json::{Value, json};
use server::{Database, Server};

const CONNECTOR: Binary = Binary(env!("CARGO_BIN_EXE_connector-mysql"));

/// A database of its own, and the connector on it.
struct Shop {
    server: Server,
    database: Rc<Database>,
}

impl Shop {
    /// `None` where there is no server, which is said, and fails where it must.
    fn of(script: &str) -> Option<Shop> {
        let Some(server) = Server::find() else {
            protocol::testing::skip(env!("CARGO_PKG_NAME"));
            return None;
        };
        let database = server.database(script);
        Some(Shop { server, database })
    }

    fn config(&self) -> Value {
        self.server.config(&self.database, json!({}))
    }

    fn store(&self, table: &str) -> StoreId {
        StoreId::new(Some(self.database.name.clone()), table)
    }

    fn run(&self, command: &str, more: &[(&str, Value)]) -> Run {
        CONNECTOR.run(&self.config(), &[command], more)
    }

    fn run_with(&self, more: Value, command: &str, inputs: &[(&str, Value)]) -> Run {
        CONNECTOR.run(&self.server.config(&self.database, more), &[command], inputs)
    }

    /// Writes messages into a database.
    fn write(&self, into: &Database, mode: &str, messages: &[Value]) -> Run {
        let lines: String = messages.iter().map(|message| format!("{message}\n")).collect();
        let config = self.server.config(into, json!({}));
        CONNECTOR.call(&config, &["write", "--mode", mode], &[], &lines)
    }

    fn entry(&self, table: &str) -> Value {
        self.run("discover", &[]).done().entry(table)
    }

    fn records(&self, table: &str) -> Vec<Value> {
        self.run("read", &[("-s", chosen(&self.store(table), None))]).done().data()
    }

    /// The records that a query finds by a value.
    fn find(&self, table: &str, column: &str, value: &str) -> Vec<Value> {
        CONNECTOR.find(&self.config(), &self.store(table), column, value)
    }
}

/// A column's type, a value as SQL, the type in the schema, and the value's spelling.
fn types() -> Vec<(&'static str, &'static str, Value, Value)> {
    let integer = json!({"type": "integer"});
    let unsigned = json!({"type": "integer", "minimum": 0});
    let number = json!({"type": "number", "nonFinite": ["NaN", "Infinity", "-Infinity"]});
    let decimal = json!({"type": "string", "format": "decimal"});
    let text = json!({"type": "string"});
    let bytes = json!({"type": "string", "contentEncoding": "base64"});
    let format = |name: &str| json!({"type": "string", "format": name});
    vec![
        ("TINYINT", "-128", integer.clone(), json!(-128)),
        ("TINYINT UNSIGNED", "255", unsigned.clone(), json!(255)),
        ("TINYINT(1)", "2", integer.clone(), json!(2)),
        ("SMALLINT", "-32768", integer.clone(), json!(-32768)),
        ("SMALLINT UNSIGNED", "65535", unsigned.clone(), json!(65535)),
        ("MEDIUMINT", "-8388608", integer.clone(), json!(-8388608)),
        ("MEDIUMINT UNSIGNED", "16777215", unsigned.clone(), json!(16777215)),
        ("INT", "-2147483648", integer.clone(), json!(-2147483648i64)),
        ("INT UNSIGNED ZEROFILL", "7", unsigned.clone(), json!(7)),
        ("BIGINT", "-9223372036854775808", integer.clone(), json!(i64::MIN)),
        ("BIGINT UNSIGNED", "18446744073709551615", unsigned.clone(), json!(u64::MAX)),
        ("YEAR", "2155", integer.clone(), json!(2155)),
        ("YEAR", "0", integer, json!(0)),
        ("BIT(1)", "b'1'", json!({"type": "boolean"}), json!(true)),
        ("BIT(12)", "b'100000000001'", unsigned.clone(), json!(2049)),
        ("BIT(64)", "18446744073709551615", unsigned.clone(), json!(u64::MAX)),
        ("FLOAT", "0.1", number.clone(), json!(0.1)),
        ("FLOAT", "16777217", number.clone(), json!(16777216.0)),
        ("DOUBLE", "-1.7976931348623157e308", number.clone(), json!(-1.7976931348623157e308)),
        ("DOUBLE", "0.30000000000000004", number, json!(0.30000000000000004)),
        (
            "DECIMAL(65,30)",
            "-12345678901234567890123456789012345.123456789012345678901234567890",
            decimal.clone(),
            json!("-12345678901234567890123456789012345.123456789012345678901234567890"),
        ),
        ("DECIMAL(5,2) ZEROFILL", "1.5", decimal.clone(), json!("1.50")),
        ("DECIMAL(5,2)", "-0.5", decimal, json!("-0.50")),
        ("CHAR(5)", "'a '", text.clone(), json!("a")),
        ("VARCHAR(20)", "'a \\\\'", text.clone(), json!("a \\")),
        ("VARCHAR(20) CHARACTER SET latin1", "'Jürgen €'", text.clone(), json!("Jürgen €")),
        ("VARCHAR(20) CHARACTER SET cp1251", "'Ада'", text.clone(), json!("Ада")),
        ("VARCHAR(20) CHARACTER SET sjis", "'表示'", text.clone(), json!("表示")),
        ("VARCHAR(20) CHARACTER SET utf16", "'😀'", text.clone(), json!("😀")),
        ("TINYTEXT CHARACTER SET utf8mb3", "'é'", text.clone(), json!("é")),
        (
            "LONGTEXT CHARACTER SET utf8mb4",
            "CONCAT('\"', CHAR(0), CHAR(10), '😀')",
            text.clone(),
            json!("\"\u{0}\n😀"),
        ),
        ("ENUM('a','it''s')", "'it''s'", text.clone(), json!("it's")),
        ("SET('a','b','c')", "'c,a'", text.clone(), json!("a,c")),
        ("BINARY(4)", "'a'", bytes.clone(), json!("YQAAAA==")),
        ("VARBINARY(4)", "x'00ff'", bytes.clone(), json!("AP8=")),
        ("LONGBLOB", "x''", bytes, json!("")),
        ("DATE", "'2024-02-29'", format("date"), json!("2024-02-29")),
        ("DATE", "'0000-00-00'", format("date"), json!("0000-00-00")),
        ("DATE", "'2024-00-31'", format("date"), json!("2024-00-31")),
        ("DATETIME", "'9999-12-31 23:59:59'", format("timestamp"), json!("9999-12-31T23:59:59")),
        (
            "DATETIME(6)",
            "'2024-01-01 00:00:00.000001'",
            format("timestamp"),
            json!("2024-01-01T00:00:00.000001"),
        ),
        (
            "DATETIME(2)",
            "'2024-01-01 00:00:00.5'",
            format("timestamp"),
            json!("2024-01-01T00:00:00.5"),
        ),
        (
            "TIMESTAMP NULL",
            "'2038-01-19 03:14:07'",
            format("date-time"),
            json!("2038-01-19T03:14:07Z"),
        ),
        (
            "TIMESTAMP(3) NULL",
            "'2024-06-30 12:00:00.125'",
            format("date-time"),
            json!("2024-06-30T12:00:00.125Z"),
        ),
        (
            "TIMESTAMP NULL",
            "'0000-00-00 00:00:00'",
            format("date-time"),
            json!("0000-00-00T00:00:00Z"),
        ),
        ("TIME", "'-838:59:59'", format("time"), json!("-838:59:59")),
        ("TIME(6)", "'25:00:00.000001'", format("time"), json!("25:00:00.000001")),
        ("TIME", "0", format("time"), json!("00:00:00")),
        ("JSON", "'{\"a\": [1.50, null,\n \"é\"]}'", json!({}), json!({"a": [1.50, null, "é"]})),
        (
            "UUID",
            "'123E4567-e89b-12d3-a456-426655440000'",
            format("uuid"),
            json!("123e4567-e89b-12d3-a456-426655440000"),
        ),
        ("INET6", "'2001:db8::ff'", text.clone(), json!("2001:db8::ff")),
        ("POINT", "ST_GeomFromText('POINT(0.1 -2)')", text.clone(), json!("POINT(0.1 -2)")),
        (
            "GEOMETRY",
            "ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))', 4326)",
            text,
            json!("SRID=4326;POLYGON((0 0,1 0,1 1,0 0))"),
        ),
    ]
}

/// A table with a column of each type: a row of values, and one of nulls.
fn every_type() -> String {
    let types = types();
    let column = |(n, (of, ..)): (usize, &(&str, &str, Value, Value))| format!("c{n} {of}");
    let columns: Vec<String> = types.iter().enumerate().map(column).collect();
    let values: Vec<&str> = types.iter().map(|(_, value, ..)| *value).collect();
    format!(
        "SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00';
         CREATE TABLE every (id INT PRIMARY KEY, {}) ENGINE = InnoDB DEFAULT CHARSET utf8mb4;
         INSERT INTO every VALUES (1, {});
         INSERT INTO every (id) VALUES (2)",
        columns.join(", "),
        values.join(", ")
    )
}

#[test]
fn every_type_is_read_with_all_its_digits_and_characters() {
    let Some(shop) = Shop::of(&every_type()) else { return };
    let entry = shop.entry("every");
    let records = shop.records("every");
    for (n, (of, value, schema, spelled)) in types().into_iter().enumerate() {
        let name = format!("c{n}");
        assert_eq!(entry["json_schema"]["properties"][&name], schema, "{of}");
        assert_eq!(records[0][&name], spelled, "{of} {value}");
        assert_eq!(records[1][&name], Value::Null, "{of}");
    }
}

#[test]
fn a_value_of_every_type_is_found_by_its_spelling() {
    let Some(shop) = Shop::of(&every_type()) else { return };
    for (n, (of, value, _, spelled)) in types().into_iter().enumerate() {
        if of == "GEOMETRY" || of == "JSON" {
            // Found by the server's own text, which is without the SRID and with its blanks.
            continue;
        }
        let text = spelled.as_str().map_or_else(|| spelled.to_string(), str::to_owned);
        let found = shop.find("every", &format!("c{n}"), &text);
        assert_eq!(found.len(), 1, "{of} {value} is {text}");
    }
}

#[test]
fn a_subjects_value_is_never_read_as_sql() {
    let Some(shop) = Shop::of(
        r"SET sql_mode = 'NO_BACKSLASH_ESCAPES';
          CREATE TABLE people (id INT PRIMARY KEY, email VARCHAR(60)) DEFAULT CHARSET utf8mb4;
          INSERT INTO people VALUES (0, 'ada@example.com'), (1, 'back\slash@x.com'),
              (2, 'ends in \'), (12, 'o''neil'), (13, '\'' OR 1=1 -- ')",
    ) else {
        return;
    };
    let ids = |column, value| -> Vec<Value> {
        shop.find("people", column, value).into_iter().map(|row| row["id"].clone()).collect()
    };
    assert_eq!(ids("email", r"\' OR 1=1 -- "), [13]);
    assert_eq!(ids("email", r"\'' OR 1=1 -- "), Vec::<Value>::new());
    assert_eq!(ids("email", r"back\slash@x.com"), [1]);
    assert_eq!(ids("email", r"ends in \"), [2]);
    assert_eq!(ids("email", "o'neil"), [12]);
    // What is no number is not 0, and what begins with one is not that.
    assert_eq!(ids("id", "ada@example.com"), Vec::<Value>::new());
    assert_eq!(ids("id", "12abc"), Vec::<Value>::new());
    assert_eq!(ids("id", "12"), [12]);
    assert_eq!(ids("id", "0"), [0]);
}

#[test]
fn a_collation_does_not_pull_in_a_stranger_unless_it_is_asked() {
    let Some(shop) = Shop::of(
        "CREATE TABLE people (id INT PRIMARY KEY,
             a VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci,
             b CHAR(60) CHARACTER SET latin1 COLLATE latin1_german2_ci,
             c VARCHAR(60) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci,
             KEY (a), KEY (b), KEY (c));
         INSERT INTO people VALUES (1, 'ada@x', 'ada@x', 'ada@x'), (2, 'ADA@x', 'ADA@x', 'ADA@x'),
             (3, 'adä@x', 'adä@x', 'adä@x'), (4, 'ada@x  ', 'ada@x  ', 'ada@x  '), (5, '😀', '?', '?')",
    ) else {
        return;
    };
    for column in ["a", "b", "c"] {
        let ids = |value: &str| -> Vec<i64> {
            let found = shop.find("people", column, value);
            found.iter().map(|row| row["id"].as_i64().unwrap()).collect()
        };
        // A CHAR has no blanks at its end.
        assert_eq!(ids("ada@x"), if column == "b" { vec![1, 4] } else { vec![1] }, "{column}");
        assert_eq!(ids("ADA@x"), [2], "{column}");
        assert_eq!(ids("adä@x"), [3], "{column}");
        // A character that the column's set has not is no question mark.
        assert_eq!(ids("😀"), if column == "a" { vec![5] } else { vec![] }, "{column}");
    }
    let mut handle = handle(&shop.store("people"), "a", "ada@X");
    handle["data"]["query"]["match"] = json!("collation");
    let run = shop.run("request-results", &[("-r", json!({"handles": [handle]}))]);
    assert_eq!(run.data().len(), 4, "{}", run.said);
}

#[test]
fn names_of_any_kind_are_tables_and_columns() {
    let Some(shop) = Shop::of(
        "CREATE TABLE `order` (`key` INT PRIMARY KEY, `a b` TEXT, `c``d` TEXT, `1=1 OR x` TEXT, `q?1` TEXT);
         INSERT INTO `order` VALUES (1, 'x', 'y', 'z', 'w'), (2, 'X', 'Y', 'Z', 'W');
         CREATE TABLE `a``; DROP TABLE ``order``; --x` (`x``` INT PRIMARY KEY);
         INSERT INTO `a``; DROP TABLE ``order``; --x` VALUES (7)",
    ) else {
        return;
    };
    for (column, value) in
        [("a b", "x"), ("c`d", "y"), ("1=1 OR x", "z"), ("q?1", "w"), ("key", "1")]
    {
        assert_eq!(shop.find("order", column, value).len(), 1, "{column}");
    }
    let table = "a`; DROP TABLE `order`; --x";
    assert_eq!(shop.records(table), [json!({"x`": 7})]);
    assert_eq!(shop.find(table, "x`", "7").len(), 1);
}

#[test]
fn keys_references_views_comments_and_generated_columns_are_discovered() {
    let Some(shop) = Shop::of(
        "CREATE TABLE parents (a INT, b INT, PRIMARY KEY (b, a)) COMMENT 'the parents';
         CREATE TABLE children (
             id INT AUTO_INCREMENT PRIMARY KEY, x INT, y INT COMMENT 'why',
             updated_at DATETIME, doubled INT AS (x * 2) STORED, hidden INT INVISIBLE,
             CONSTRAINT up FOREIGN KEY (x, y) REFERENCES parents (b, a) ON DELETE CASCADE);
         CREATE VIEW seen AS SELECT x FROM children;
         CREATE TABLE old (id INT PRIMARY KEY) WITH SYSTEM VERSIONING;
         INSERT INTO parents VALUES (1, 2);
         INSERT INTO children (x, y, hidden) VALUES (2, 1, 7)",
    ) else {
        return;
    };
    assert_eq!(shop.entry("parents")["key"], json!(["b", "a"]));
    assert_eq!(shop.entry("parents")["json_schema"]["description"], "the parents");
    let children = shop.entry("children");
    assert_eq!(children["cursors"], json!(["updated_at", "id"]));
    assert_eq!(children["json_schema"]["properties"]["y"]["description"], "why");
    assert_eq!(
        children["relations"],
        json!([{"columns": ["x", "y"], "references": {
            "schema_name": "parents", "schema_group": shop.database.name, "columns": ["b", "a"],
        }, "rule": "owns", "reason": "a row goes with the one it refers to"}])
    );
    assert_eq!(shop.entry("seen")["kind"], "view");
    let old = shop.entry("old");
    assert!(old["json_schema"]["description"].as_str().unwrap().contains("system-versioned"));
    let record = &shop.records("children")[0];
    assert_eq!((&record["doubled"], &record["hidden"]), (&json!(4), &json!(7)));
}

#[test]
fn tables_are_chosen_by_patterns_and_all_databases_are_read_if_asked() {
    let Some(shop) = Shop::of("CREATE TABLE a (id INT PRIMARY KEY); CREATE TABLE tmp_a (id INT)")
    else {
        return;
    };
    let other = shop.server.database("CREATE TABLE elsewhere (id INT)");
    let names = |config| -> Vec<String> {
        let run = shop.run_with(config, "discover", &[]);
        let schemas = run.messages[0]["schema_msg"]["schemas"].as_array().unwrap().clone();
        schemas.iter().map(|entry| format!("{}.{}", entry["group"], entry["name"])).collect()
    };
    let name = |database: &Database, table: &str| format!("\"{}\".\"{table}\"", database.name);
    assert_eq!(names(json!({"tables": ["!tmp_*"]})), [name(&shop.database, "a")]);
    let qualified = format!("{}.tmp*", shop.database.name);
    assert_eq!(names(json!({"tables": [qualified]})), [name(&shop.database, "tmp_a")]);
    let all = names(json!({"all_databases": true, "database": ""}));
    assert!(all.contains(&name(&other, "elsewhere")) && all.contains(&name(&shop.database, "a")));
    assert!(!all.iter().any(|name| name.starts_with("\"mysql\"")), "{all:?}");
}

#[test]
fn a_sample_of_a_large_table_is_spread_over_all_of_it_and_its_seed_repeats_it() {
    let Some(shop) = Shop::of(
        "CREATE TABLE t (id INT UNSIGNED PRIMARY KEY);
         INSERT INTO t SELECT seq FROM seq_1_to_20000",
    ) else {
        return;
    };
    let sample = |seed: &str| {
        let schemas = [("-s", chosen(&shop.store("t"), None))];
        CONNECTOR.run(&shop.config(), &["scan", "--seed", seed], &schemas).done().data()
    };
    let first = sample("7");
    spread(&first, 20_000);
    assert_eq!(sample("7"), first);
    assert_ne!(sample("8"), first);
}

#[test]
fn all_that_is_read_is_of_one_moment() {
    let Some(shop) = Shop::of(
        "CREATE TABLE a (id INT PRIMARY KEY, note TEXT); CREATE TABLE b (id INT PRIMARY KEY);
         INSERT INTO a SELECT seq, REPEAT('x', 1000) FROM seq_1_to_5000; INSERT INTO b VALUES (1)",
    ) else {
        return;
    };
    let (mut child, _folder) = CONNECTOR.start(&shop.config(), &["read"], &[]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // More than a pipe holds is still to come.
    assert!(lines.next().unwrap().unwrap().contains("RECORD"));
    shop.database
        .run("INSERT INTO a VALUES (6000, 'new'); DELETE FROM b; INSERT INTO b VALUES (2)");
    let rest: Vec<Value> =
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(child.wait().unwrap().success());
    let of = |table: &str| -> Vec<&Value> {
        let records = rest.iter().map(|message| &message["record"]);
        records
            .filter(|record| record["schema_name"] == table)
            .map(|record| &record["data"])
            .collect()
    };
    assert_eq!(of("a").len(), 4999);
    assert_eq!(of("b"), [&json!({"id": 1})]);
}

/// A user that is gone with this.
struct User<'s>(&'s Shop, String);

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.0.database.run(&format!("DROP USER {}", self.1));
    }
}

#[test]
fn what_a_user_may_not_read_is_not_there_and_what_it_may_not_delete_is_one_line() {
    let Some(shop) = Shop::of(
        "CREATE TABLE open (id INT PRIMARY KEY, note TEXT); INSERT INTO open VALUES (1, 'a');
         CREATE TABLE half (id INT PRIMARY KEY, shown TEXT, hidden TEXT);
         INSERT INTO half VALUES (1, 's', 'h');
         CREATE TABLE closed (id INT PRIMARY KEY); INSERT INTO closed VALUES (1)",
    ) else {
        return;
    };
    let (user, password) = (User(&shop, format!("{}_user", shop.database.name)), "it's \"a\" \\");
    let quoted = password.replace('\\', "\\\\").replace('\'', "''");
    shop.database.run(&format!(
        "CREATE USER {0} IDENTIFIED BY '{quoted}'; GRANT SELECT ON open TO {0};
         GRANT SELECT (id, shown) ON half TO {0}",
        user.1
    ));
    let form =
        shop.server.config(&shop.database, json!({"username": user.1, "password": password}));
    let read = CONNECTOR.run(&form, &["read"], &[]).done();
    assert_eq!(read.data(), [json!({"id": 1, "shown": "s"}), json!({"id": 1, "note": "a"})]);
    let request = asked(&shop.store("open"), "id", "1");
    let delete = CONNECTOR.run(&form, &["delete"], &[("-q", request)]);
    assert_eq!(delete.messages[0]["request"]["status"]["request_status"], "FAILED");
    assert!(delete.said.contains("lacks a right"), "{}", delete.said);
    assert_eq!(shop.records("open").len(), 1);
}

#[test]
fn a_row_of_many_megabytes_and_the_one_after_it_are_read() {
    let Some(shop) = Shop::of(
        "SET GLOBAL max_allowed_packet = 67108864;
         CREATE TABLE wide (id INT PRIMARY KEY, content LONGTEXT) DEFAULT CHARSET latin1",
    ) else {
        return;
    };
    shop.database.run("INSERT INTO wide VALUES (1, REPEAT('x', 17000000)), (2, 'y')");
    let records = shop.records("wide");
    assert_eq!(records[0]["content"].as_str().unwrap().len(), 17_000_000);
    assert_eq!(records[1]["content"], "y");
}

#[test]
fn encryption_is_as_the_mode_says() {
    let Some(shop) = Shop::of("CREATE TABLE t (id INT PRIMARY KEY)") else { return };
    let validate = |config| shop.run_with(config, "validate", &[]);
    for mode in ["disable", "prefer", "require"] {
        let run = validate(json!({"sslmode": mode}));
        assert_eq!(run.status, 0, "{mode}: {}", run.said);
    }
    validate(json!({"sslmode": "verify-ca"})).fails_saying("sslmode");
    if let Ok(authority) = std::env::var("MANIFOLD_TEST_MARIADB_CERT") {
        let run = validate(json!({"sslmode": "verify-full", "sslrootcert": authority}));
        assert_eq!(run.status, 0, "{}", run.said);
    }
}

#[test]
fn a_statement_that_takes_too_long_is_one_line() {
    let Some(shop) = Shop::of(
        "CREATE TABLE t (id INT PRIMARY KEY);
         CREATE VIEW slow AS SELECT SLEEP(5) AS slept",
    ) else {
        return;
    };
    let schemas = json!({"schemas": [{"name": "slow", "group": shop.database.name}]});
    let run = shop.run_with(json!({"statement_timeout": 1}), "read", &[("-s", schemas)]);
    run.fails_saying("statement_timeout");
}

#[test]
fn a_state_of_every_type_of_key_reads_the_rest() {
    let Some(shop) = Shop::of(&every_type()) else { return };
    for (n, (of, ..)) in types().into_iter().enumerate() {
        if ["JSON", "POINT", "GEOMETRY"].contains(&of) {
            continue;
        }
        let entry =
            json!({"name": "every", "group": shop.database.name, "cursor": format!("c{n}")});
        let schemas = json!({"schemas": [entry]});
        let first = shop.run("read", &[("-s", schemas.clone())]);
        let state = first.messages.iter().rfind(|message| message["type"] == "STATE").unwrap();
        let again = shop.run("read", &[("-s", schemas), ("--state", state.clone())]);
        let ids: Vec<_> = again.data().iter().map(|row| row["id"].clone()).collect();
        // The row whose cursor is null comes every time.
        assert_eq!(ids, [2], "{of}: {}", again.said);
    }
}

#[test]
fn every_type_that_is_written_reads_the_same() {
    let Some(shop) = Shop::of(&every_type()) else { return };
    let copy = shop.server.database("");
    let mut entry = shop.entry("every");
    entry["group"] = json!(copy.name);
    let mut messages = vec![json!({"type": "SCHEMA", "schema_msg": {"schemas": [entry]}})];
    let schemas = json!({"schemas": [{"name": "every", "group": shop.database.name}]});
    let read = shop.run("read", &[("-s", schemas)]);
    for mut message in read.messages.iter().filter(|one| one["type"] == "RECORD").cloned() {
        message["record"]["schema_group"] = json!(copy.name);
        messages.push(message);
    }
    // Once into a table that is made for them, once into one of the same types.
    for schema in [None, Some(every_type().split("INSERT").next().unwrap().to_owned())] {
        if let Some(schema) = schema {
            copy.run(&format!("DROP TABLE every; {schema}"));
            // A geometry is not written, because the server makes none of a text.
            copy.run(
                &geometries().map(|name| format!("ALTER TABLE every MODIFY {name} TEXT")).join(";"),
            );
        }
        let run = shop.write(&copy, "append", &messages);
        assert_eq!(run.status, 0, "{}", run.said);
        let there = Shop { server: shop.server.clone(), database: Rc::clone(&copy) };
        assert_eq!(there.records("every"), read.data());
    }
}

/// The names of the columns that hold geometries.
fn geometries() -> [String; 2] {
    let of: Vec<&str> = types().iter().map(|(of, ..)| *of).collect();
    let place = |wanted| of.iter().position(|of| *of == wanted).unwrap();
    [format!("c{}", place("POINT")), format!("c{}", place("GEOMETRY"))]
}

#[test]
fn an_upsert_never_changes_a_strangers_row() {
    let Some(shop) = Shop::of(
        "CREATE TABLE people (email VARCHAR(60) PRIMARY KEY, code INT UNIQUE, name TEXT)
             DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_general_ci;
         INSERT INTO people VALUES ('ada@x', 1, 'Ada'), ('grace@x', 2, 'Grace')",
    ) else {
        return;
    };
    let upsert = |data: Value| {
        let record =
            json!({"schema_name": "people", "schema_group": shop.database.name, "data": data});
        shop.write(&shop.database, "upsert", &[json!({"type": "RECORD", "record": record})])
    };
    let before = shop.records("people");
    // The key's collation takes these two for one, and the other key is somebody else's.
    upsert(json!({"email": "ADA@x", "code": 3, "name": "x"})).fails_saying("people");
    upsert(json!({"email": "new@x", "code": 2, "name": "x"})).fails_saying("people");
    assert_eq!(shop.records("people"), before);
    for (email, code) in [("ada@x", 5), ("new@x", 6)] {
        let run = upsert(json!({"email": email, "code": code, "name": "y"}));
        assert_eq!(run.status, 0, "{}", run.said);
    }
    let codes: Vec<_> = shop.records("people").iter().map(|row| row["code"].clone()).collect();
    assert_eq!(codes, [5, 2, 6]);
}

#[test]
fn a_value_that_a_column_would_change_is_refused_by_name_and_not_shown() {
    let Some(shop) = Shop::of(
        "CREATE TABLE t (id INT PRIMARY KEY, amount DECIMAL(5,2), word VARCHAR(4) CHARACTER SET latin1)",
    ) else {
        return;
    };
    for (name, value) in [
        ("amount", json!("1.23456789")),
        ("amount", json!("123456.00")),
        ("word", json!("much too long for it")),
        ("word", json!("日本日本")),
        ("id", json!(12345678901u64)),
    ] {
        let mut data = json!({"id": 1});
        data[name] = value.clone();
        let record = json!({"schema_name": "t", "schema_group": shop.database.name, "data": data});
        let run =
            shop.write(&shop.database, "append", &[json!({"type": "RECORD", "record": record})]);
        run.fails_saying("t");
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert!(!run.said.contains(&text), "{}", run.said);
        assert!(shop.records("t").is_empty());
    }
}
