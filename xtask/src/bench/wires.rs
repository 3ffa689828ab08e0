//! Each foreign protocol beside the native read of the same table: a wire should cost nothing per record.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Bench, Contest, Suite, sqlite};

pub(super) const SUITE: Suite =
    Suite { name: "wires", connector: "sqlite", programs: &["sqlite3"], services: &[], contests };

fn contests(bench: &Bench<'_>) -> Result<Vec<Contest>> {
    let database = sqlite::database(bench.folder, 1_000_000)?;
    let config = json!({"path": database});
    let stream = json!({"name": "users", "json_schema": {}});
    let catalog = json!({"streams": [
        {"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "append"}]});
    let binding = json!({"resourceConfig": {"stream": "users", "mode": "full_refresh"}});
    let open = json!({"open": {"capture": {"config": config, "bindings": [binding]}}});
    let [config, catalog, open] = [("config", config), ("catalog", catalog), ("open", open)]
        .map(|(name, value)| write(bench, name, &value));
    let (config, catalog, open) = (config?, catalog?, open?);
    let native = || {
        let mut command = Command::new(bench.binary);
        command.arg("read").arg("-c").arg(&config);
        Some(("native read", command))
    };
    let wire = |name: &str| {
        let mut command = Command::new(bench.binary);
        command.args(["--wire", name]);
        command
    };
    let mut airbyte = wire("airbyte-source");
    airbyte.arg("read").arg("--config").arg(&config).arg("--catalog").arg(catalog);
    let mut singer = wire("singer-tap");
    singer.arg("--config").arg(&config);
    // Flow's requests come on stdin, which the shell opens before it becomes the program.
    let mut flow = Command::new("/bin/sh");
    flow.args(["-c", "exec \"$0\" --wire flow-capture < \"$1\""]).arg(bench.binary).arg(open);
    let contest = |name, ours| Contest { name, ours, peer: native(), rounds: 9 };
    Ok(vec![
        contest("Airbyte, 1,000,000 rows", airbyte),
        contest("Singer, 1,000,000 rows", singer),
        contest("Flow, 1,000,000 rows", flow),
    ])
}

fn write(bench: &Bench<'_>, name: &str, content: &Value) -> Result<PathBuf> {
    let path = bench.folder.join(name).with_extension("json");
    fs::write(&path, format!("{content}\n"))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
