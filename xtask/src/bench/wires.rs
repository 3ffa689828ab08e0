//! Each foreign protocol beside the native read of the same table: a wire should cost nothing per record.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::server::Server;
use super::{Bench, Contest, Suite, postgres, sqlite};
use crate::interop::clients::Clients;
use crate::workspace::output;

pub(super) const SUITE: Suite = Suite {
    name: "wires",
    connector: "sqlite",
    programs: &["sqlite3", "psql"],
    services: &["postgres"],
    contests,
};

/// How many rows the taps of others read, which are slow.
const FEW: &str = "100000";

fn contests(bench: &Bench<'_>) -> Result<Vec<Contest>> {
    let mut contests = vec![];
    for (rows, names) in [
        (
            1_000_000,
            [
                "SQLite, Airbyte, 1,000,000 rows",
                "SQLite, Singer, 1,000,000 rows",
                "SQLite, Flow, 1,000,000 rows",
            ],
        ),
        (
            100_000,
            [
                "SQLite, Airbyte, 100,000 rows",
                "SQLite, Singer, 100,000 rows",
                "SQLite, Flow, 100,000 rows",
            ],
        ),
    ] {
        let config = json!({"path": sqlite::database(bench.folder, rows)?});
        let stream = json!({"name": "users"});
        contests.extend(against_native(bench, bench.binary, &config, &stream, names)?);
    }

    let server = Server::of(bench, "MANIFOLD_TEST_POSTGRES")?;
    let binary = bench.other("postgres")?;
    for (database, rows, names) in [
        (
            "users",
            "1000000",
            [
                "PostgreSQL, Airbyte, 1,000,000 rows",
                "PostgreSQL, Singer, 1,000,000 rows",
                "PostgreSQL, Flow, 1,000,000 rows",
            ],
        ),
        (
            "few",
            FEW,
            [
                "PostgreSQL, Airbyte, 100,000 rows",
                "PostgreSQL, Singer, 100,000 rows",
                "PostgreSQL, Flow, 100,000 rows",
            ],
        ),
    ] {
        postgres::make(&server, database, &postgres::USERS.replace("1000000", rows))?;
        let config = config(&server, database);
        let stream = json!({"name": "users", "namespace": "public"});
        contests.extend(against_native(bench, &binary, &config, &stream, names)?);
    }
    contests.extend(against_taps(bench, &server, &binary)?);
    Ok(contests)
}

fn config(server: &Server, database: &str) -> Value {
    json!({
        "hostname": server.host, "port": server.port, "database": database, "scan_all": false,
        "username": server.user, "password": server.password, "ssl": false,
    })
}

/// One table by Airbyte, Singer and Flow. `stream` is what Airbyte calls it.
fn against_native(
    bench: &Bench<'_>,
    binary: &Path,
    config: &Value,
    stream: &Value,
    names: [&'static str; 3],
) -> Result<Vec<Contest>> {
    let mut resource = json!({"stream": stream["name"], "mode": "full_refresh"});
    if let Some(namespace) = stream.get("namespace") {
        resource["namespace"] = namespace.clone();
    }
    let mut stream = stream.clone();
    stream["json_schema"] = json!({});
    let catalog = json!({"streams": [
        {"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "append"}]});
    let open = json!({"open": {"capture": {
        "config": config, "bindings": [{"resourceConfig": resource}]}}});
    let of = |what: &str| format!("{what} of {}", names[0].replace(", ", "-"));
    let catalog = bench.write(&of("catalog"), &catalog)?;
    let open = bench.write(&of("open"), &open)?;
    let config = bench.write(&of("config"), config)?;
    let wire = |name: &str| {
        let mut command = Command::new(binary);
        command.args(["--wire", name]);
        command
    };
    let mut airbyte = wire("airbyte-source");
    airbyte.arg("read").arg("--config").arg(&config).arg("--catalog").arg(catalog);
    let mut singer = wire("singer-tap");
    singer.arg("--config").arg(&config);
    // Flow's requests come on stdin, which the shell opens before it becomes the program.
    let mut flow = Command::new("/bin/sh");
    flow.args(["-c", "exec \"$0\" --wire flow-capture < \"$1\""]).arg(binary).arg(open);
    let contest = |(name, ours)| {
        let mut native = Command::new(binary);
        native.arg("read").arg("-c").arg(&config);
        Contest::new(name, ours, Some(("native read", native)), 9)
    };
    Ok(names.into_iter().zip([airbyte, singer, flow]).map(contest).collect())
}

/// Our tap beside those of others, each with the whole table selected.
fn against_taps(bench: &Bench<'_>, server: &Server, binary: &Path) -> Result<Vec<Contest>> {
    let clients = Clients::new(bench.workspace)?;
    let ours = bench.write("tap-ours", &config(server, "few"))?;
    let mut contests = vec![];
    for (name, peer, environment) in [
        ("tap-postgres, 100,000 rows", "meltanolabs-tap-postgres", "meltanolabs"),
        ("tap-postgres, 100,000 rows", "pipelinewise-tap-postgres", "pipelinewise-tap"),
    ] {
        // One takes a list of schemas, the other a text.
        let schemas =
            if environment == "meltanolabs" { json!(["public"]) } else { "public".into() };
        let settings = json!({
            "host": server.host, "port": server.port, "user": server.user,
            "password": server.password, "database": "few", "dbname": "few", "filter_dbs": "few",
            "filter_schemas": schemas,
        });
        let settings = bench.write(environment, &settings)?;
        let program = clients.programs(environment)?.join("tap-postgres");
        let discovered =
            output(Command::new(&program).arg("--config").arg(&settings).arg("--discover"));
        let mut catalog: Value = serde_json::from_slice(&discovered?)
            .with_context(|| format!("the catalog of {peer}"))?;
        for stream in catalog["streams"].as_array_mut().into_iter().flatten() {
            stream["replication_method"] = "FULL_TABLE".into();
            for entry in stream["metadata"].as_array_mut().into_iter().flatten() {
                entry["metadata"]["selected"] = true.into();
                if entry["breadcrumb"] == json!([]) {
                    entry["metadata"]["replication-method"] = "FULL_TABLE".into();
                }
            }
        }
        let catalog = bench.write(&format!("{environment}-catalog"), &catalog)?;
        let mut theirs = Command::new(program);
        theirs.arg("--config").arg(settings).arg("--catalog").arg(catalog);
        let mut tap = Command::new(binary);
        tap.args(["--wire", "singer-tap", "--config"]).arg(&ours);
        contests.push(Contest::new(name, tap, Some((peer, theirs)), 3));
    }
    Ok(contests)
}
