//! Rights, encryption, hostile names, and what is said when something is refused.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::{Database, Server, call, chosen};
use serde_json::{Value, json};

fn with(database: &Database, changes: &[(&str, Value)]) -> Value {
    let mut form = database.form();
    for (name, value) in changes {
        form[*name] = value.clone();
    }
    form
}

fn validated(form: &Value) -> (i32, String) {
    let run = call(form, &["validate"], &[], "");
    let message = run.messages[0]["validate_msg"]["message"].as_str().unwrap_or_default();
    (run.status, message.to_owned())
}

#[test]
fn the_connection_is_encrypted_as_the_mode_says() {
    let Some(server) = Server::find() else { return };
    let Some(authority) = std::env::var_os("MANIFOLD_TEST_POSTGRES_CERT") else { return };
    let authority = authority.to_str().unwrap().to_owned();
    let pem = std::fs::read_to_string(&authority).unwrap();
    // Rows show whether the connection that reads them is encrypted.
    let database = server.database(
        "tls",
        "CREATE VIEW ssl AS SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    );
    for (changes, encrypted) in [
        (vec![("ssl", json!(false))], false),
        (vec![("ssl", json!(true))], true),
        (vec![("sslmode", json!("prefer"))], true),
        (vec![("sslmode", json!("require"))], true),
        (vec![("sslmode", json!("disable")), ("ssl", json!(true))], false),
        (vec![("sslmode", json!("verify-ca")), ("sslrootcert", json!(authority))], true),
        (vec![("sslmode", json!("verify-full")), ("sslrootcert", json!(pem))], true),
        (
            vec![
                ("sslmode", json!("verify-full")),
                ("sslrootcert", json!(authority)),
                ("hostname", json!("localhost")),
            ],
            true,
        ),
    ] {
        let run = call(&with(&database, &changes), &["read"], &[], "").done();
        assert_eq!(run.records("ssl"), [json!({"ssl": encrypted})], "{changes:?}");
    }
    // The public authorities have not signed it.
    for mode in ["verify-ca", "verify-full"] {
        let (status, message) = validated(&with(&database, &[("sslmode", json!(mode))]));
        assert!(status == 1 && message.contains("`sslrootcert`"), "{mode}: {message}");
    }
    // The authority has signed it for the address as it is written in it, and for no other.
    let elsewhere = |mode: &str| {
        with(
            &database,
            &[
                ("sslmode", json!(mode)),
                ("sslrootcert", json!(authority)),
                ("hostname", json!("::ffff:127.0.0.1")),
            ],
        )
    };
    assert_eq!(validated(&elsewhere("verify-ca")), (0, String::new()));
    let (status, message) = validated(&elsewhere("verify-full"));
    assert!(status == 1 && message.contains("certificate"), "{message}");
    let missing =
        with(&database, &[("sslmode", json!("verify-ca")), ("sslrootcert", json!("/no/such"))]);
    assert!(validated(&missing).1.contains("`sslrootcert`: /no/such"));
    let empty =
        with(&database, &[("sslmode", json!("verify-ca")), ("sslrootcert", json!("/dev/null"))]);
    assert!(validated(&empty).1.contains("holds no certificate"));
}

#[test]
fn a_url_stands_for_the_parts() {
    let Some(server) = Server::find() else { return };
    let database =
        server.database("url", "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let form = json!({"url": server.url(&database.name), "scan_all": false});
    assert_eq!(call(&form, &["read"], &[], "").done().records("t").len(), 1);
}

/// A role that dies with its database.
struct Role<'d>(&'d Database, String);

impl Drop for Role<'_> {
    fn drop(&mut self) {
        self.0.run(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.1));
    }
}

fn role<'d>(database: &'d Database, password: &str) -> Role<'d> {
    let name = format!("{}_role", database.name);
    database.run(&format!("CREATE ROLE {name} LOGIN PASSWORD '{}'", password.replace('\'', "''")));
    Role(database, name)
}

#[test]
fn what_a_role_may_not_read_is_named_and_the_rest_goes_on() {
    let Some(server) = Server::find() else { return };
    let database = server.database(
        "rights",
        "CREATE TABLE open (id int PRIMARY KEY, note text); INSERT INTO open VALUES (1, 'a');
         CREATE TABLE secret (id int PRIMARY KEY); INSERT INTO secret VALUES (1);
         CREATE TABLE half (id int PRIMARY KEY, shown text, hidden text); INSERT INTO half VALUES (1, 's', 'h');
         CREATE SCHEMA closed; CREATE TABLE closed.t (id int PRIMARY KEY);",
    );
    let password = "it's a \"blank\" \\ & more";
    let role = role(&database, password);
    database.run(&format!(
        "GRANT SELECT ON open TO {0}; GRANT SELECT (id, shown) ON half TO {0}; GRANT SELECT ON closed.t TO {0}",
        role.1
    ));
    let form = with(&database, &[("username", json!(role.1)), ("password", json!(password))]);
    let run = call(&form, &["read"], &[], "").done();
    assert_eq!(run.records("open"), [json!({"id": 1, "note": "a"})]);
    assert_eq!(run.records("half"), [json!({"id": 1, "shown": "s"})]);
    assert_eq!(run.records("secret").len() + run.records("t").len(), 0);
    assert!(run.said.contains("public.secret") && run.said.contains("closed.t"), "{}", run.said);
    let discovered = call(&form, &["discover"], &[], "").done();
    assert!(discovered.said.contains("hidden"), "{}", discovered.said);
    let names: Vec<Value> =
        discovered.entries().iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!(names, ["half", "open"]);
    // Nor may it delete.
    let query = json!({"identifiers": [{"schema_name": "open", "schema_group": database.group(),
        "identifier": "id", "identifier_query": "1"}]});
    let run = call(&form, &["delete"], &[("-q", &query.to_string())], "").done();
    assert_eq!(run.messages[0]["request"]["status"]["request_status"], "FAILED");
    assert!(run.said.contains("lacks a right"), "{}", run.said);
    assert_eq!(database.query("SELECT count(*) FROM open"), [Some("1".to_owned())]);
}

#[test]
fn a_database_that_may_not_be_connected_to_is_named_and_the_rest_goes_on() {
    let Some(server) = Server::find() else { return };
    let open =
        server.database("several", "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let closed = server.database("several", "CREATE TABLE t (id int PRIMARY KEY)");
    let other = server
        .database("several", "CREATE TABLE t (id int PRIMARY KEY); GRANT SELECT ON t TO PUBLIC");
    let role = role(&open, "x");
    open.run(&format!(
        "GRANT SELECT ON t TO {}; REVOKE CONNECT ON DATABASE {} FROM PUBLIC",
        role.1, closed.name
    ));
    let form = with(
        &open,
        &[
            ("username", json!(role.1)),
            ("password", json!("x")),
            ("scan_all", json!(true)),
            ("exclude_dbs", json!(["postgres"])),
        ],
    );
    let run = call(&form, &["discover"], &[], "").done();
    let groups: Vec<Value> = run.entries().iter().map(|entry| entry["group"].clone()).collect();
    assert!(
        groups.contains(&json!(open.group())) && groups.contains(&json!(other.group())),
        "{groups:?}"
    );
    assert!(!groups.contains(&json!(closed.group())), "{groups:?}");
    assert!(run.said.contains(&format!("database {} is left out", closed.name)), "{}", run.said);
}

#[test]
fn names_and_values_made_to_be_run_are_only_names_and_values() {
    let Some(server) = Server::find() else { return };
    let evil = "x'; DROP TABLE victim; --\" ; DROP TABLE victim; -- $$ \\";
    let quoted = evil.replace('"', "\"\"");
    let literal = evil.replace('\'', "''");
    let database = server.database(
        "hostile",
        &format!(
            "CREATE TABLE victim (id int PRIMARY KEY); INSERT INTO victim VALUES (1);
             CREATE SCHEMA \"{quoted}\";
             CREATE TABLE \"{quoted}\".\"{quoted}\" (\"{quoted}\" text PRIMARY KEY, n int);
             INSERT INTO \"{quoted}\".\"{quoted}\" VALUES ('{literal}', 1), ('other', 2);"
        ),
    );
    let group = format!("{}/{evil}", database.name);
    let discovered = call(&database.form(), &["discover"], &[], "").done();
    assert!(
        discovered
            .entries()
            .iter()
            .any(|entry| entry["group"] == group.as_str() && entry["name"] == evil)
    );
    let schemas = chosen(&group, evil, Some(evil));
    let run = call(&database.form(), &["read"], &[("-s", &schemas)], "").done();
    assert_eq!(run.records(evil).len(), 2);
    let files = [("-s", schemas.as_str()), ("--state", &run.states())];
    assert_eq!(call(&database.form(), &["read"], &files, "").done().records(evil).len(), 0);
    call(&database.form(), &["scan"], &[("-s", &schemas)], "").done();
    let identifier = json!({"schema_name": evil, "schema_group": group, "identifier": evil, "identifier_query": evil});
    let query = json!({"identifiers": [identifier]}).to_string();
    let run = call(&database.form(), &["delete"], &[("-q", &query)], "").done();
    assert_eq!(run.messages[0]["request"]["handle"]["data"]["deleted"], 1, "{}", run.said);
    assert_eq!(database.query("SELECT count(*) FROM victim"), [Some("1".to_owned())]);
}

#[test]
fn what_a_stranger_made_is_not_run_by_reading_their_table() {
    let Some(server) = Server::find() else { return };
    // Casts, operators and functions that would take what is read, if names led to them.
    let database = server.database(
        "traps",
        "CREATE TABLE ran (what text); GRANT INSERT ON ran TO PUBLIC;
         CREATE FUNCTION public.trap(what text) RETURNS text LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.ran VALUES (what); RETURN what; END';
         CREATE TYPE mood AS ENUM ('sad');
         CREATE FUNCTION public.cast_trap(mood) RETURNS text LANGUAGE sql AS 'SELECT public.trap(''cast'')';
         CREATE CAST (mood AS text) WITH FUNCTION public.cast_trap(mood) AS ASSIGNMENT;
         CREATE TYPE pair AS (a int);
         CREATE FUNCTION public.pair_trap(pair) RETURNS text LANGUAGE sql AS 'SELECT public.trap(''pair'')';
         CREATE CAST (pair AS text) WITH FUNCTION public.pair_trap(pair) AS IMPLICIT;
         CREATE FUNCTION public.format(text, pair) RETURNS text LANGUAGE sql AS 'SELECT public.trap(''format'')';
         CREATE FUNCTION public.equal_trap(pair, text) RETURNS boolean LANGUAGE sql AS 'SELECT public.trap(''='') IS NULL';
         CREATE OPERATOR public.= (LEFTARG = pair, RIGHTARG = text, FUNCTION = public.equal_trap);
         CREATE TABLE t (m mood PRIMARY KEY, p pair, ps pair[]); INSERT INTO t VALUES ('sad', ROW(1), ARRAY[ROW(2)::pair]);
         ALTER DATABASE postgres RESET search_path",
    );
    database.run(&format!("ALTER DATABASE {} SET search_path = public, pg_catalog", database.name));
    let run = call(&database.form(), &["read"], &[], "").done();
    assert_eq!(run.records("t"), [json!({"m": "sad", "p": "(1)", "ps": ["(2)"]})]);
    let schemas = chosen(&database.group(), "t", Some("m"));
    let read = call(&database.form(), &["read"], &[("-s", &schemas)], "").done();
    call(&database.form(), &["read"], &[("-s", &schemas), ("--state", &read.states())], "").done();
    call(&database.form(), &["scan"], &[("-s", &schemas)], "").done();
    for (property, value) in [("m", "sad"), ("p", "(1)"), ("ps", "{(2)}")] {
        let identifier = json!({"schema_name": "t", "schema_group": database.group(),
            "identifier": property, "identifier_query": value});
        let query = json!({"identifiers": [identifier]}).to_string();
        let results = call(&database.form(), &["query"], &[("-q", &query)], "").done();
        let handles = json!({"handles": [results.messages[0]["request"]["handle"]]}).to_string();
        let found = call(&database.form(), &["request-results"], &[("-r", &handles)], "").done();
        assert_eq!(found.records("t").len(), 1, "{property}: {}", found.said);
        call(&database.form(), &["verify"], &[("-q", &query)], "");
    }
    assert_eq!(database.query("SELECT what FROM ran"), Vec::<Option<String>>::new());
}

#[test]
fn row_security_hides_from_a_read_and_stops_a_delete() {
    let Some(server) = Server::find() else { return };
    let database = server.database(
        "rows",
        "CREATE TABLE t (id int PRIMARY KEY, owner text); INSERT INTO t VALUES (1, 'a'), (2, 'b');
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (owner = 'a')",
    );
    let role = role(&database, "x");
    database.run(&format!("GRANT SELECT, DELETE ON t TO {}", role.1));
    let form = with(&database, &[("username", json!(role.1)), ("password", json!("x"))]);
    let run = call(&form, &["read"], &[], "").done();
    assert_eq!(run.records("t").len(), 1);
    assert!(run.said.contains("row-level security"), "{}", run.said);
    let query = json!({"identifiers": [{"schema_name": "t", "schema_group": database.group(),
        "identifier": "owner", "identifier_query": "b"}]})
    .to_string();
    let run = call(&form, &["delete"], &[("-q", &query)], "").done();
    assert_eq!(run.messages[0]["request"]["status"]["request_status"], "FAILED", "{}", run.said);
    assert_eq!(database.query("SELECT count(*) FROM t"), [Some("2".to_owned())]);
}

#[test]
fn a_statement_that_takes_too_long_is_said() {
    let Some(server) = Server::find() else { return };
    let database = server.database(
        "slow",
        "CREATE VIEW slow AS SELECT 1 AS id FROM pg_sleep(30); CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)",
    );
    let run = call(&with(&database, &[("statement_timeout", json!(1))]), &["read"], &[], "");
    assert_eq!(run.status, 3, "{}", run.said);
    assert!(run.said.contains("`statement_timeout`"), "{}", run.said);
    assert_eq!(run.records("t").len(), 1);
}

#[test]
fn schemas_and_tables_are_chosen_by_patterns() {
    let Some(server) = Server::find() else { return };
    let database = server.database(
        "chosen",
        "CREATE SCHEMA sales; CREATE SCHEMA hr; CREATE TABLE sales.orders (id int); CREATE TABLE sales.tmp_1 (id int);
         CREATE TABLE hr.people (id int); CREATE TABLE orders (id int)",
    );
    let names = |changes: &[(&str, Value)]| -> Vec<String> {
        let run = call(&with(&database, changes), &["discover"], &[], "").done();
        let name = |entry: &Value| {
            let group = entry["group"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            format!("{group}.{}", entry["name"].as_str().unwrap())
        };
        run.entries().iter().map(name).collect()
    };
    assert_eq!(names(&[("schemas", json!(["sales"]))]), ["sales.orders", "sales.tmp_1"]);
    assert_eq!(
        names(&[("schemas", json!(["!hr"])), ("tables", json!(["!tmp_*"]))]),
        ["public.orders", "sales.orders"]
    );
    assert_eq!(names(&[("tables", json!(["hr.*", "sales.o*"]))]), ["hr.people", "sales.orders"]);
}
