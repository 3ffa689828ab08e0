//! A connector's requests, judged by a mock server that knows the vendor's own description of its API.
//!
//! Nothing of the vendor's is part of this project: whoever runs this brings the file.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::services::{self, Home};
use crate::workspace::{self, Workspace};
use crate::{programs, screen};

/// The mock server, as npm knows it.
const PACKAGE: &str = "@stoplight/prism-cli@5";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The vendor's description, as OpenAPI 2 or 3
    #[arg(long, value_name = "FILE")]
    openapi: PathBuf,
    /// The connector
    #[arg(long, value_name = "NAME")]
    connector: String,
    /// A configuration of it; its `base_url` becomes the mock server's
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Also find and delete who this request file is about
    #[arg(long, value_name = "FILE")]
    query: Option<PathBuf>,
    /// Install the mock server from npm
    #[arg(long)]
    install: bool,
}

/// The mock server's program.
fn prism(workspace: &Workspace, install: bool) -> Result<PathBuf> {
    let folder = workspace.target.join("interop").join("prism");
    let binaries = folder.join("node_modules/.bin");
    let find = || programs::find("prism", &[&binaries.to_string_lossy()]);
    if find().is_none() && install {
        screen::note(format_args!("installing {PACKAGE}"));
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
        workspace::output(npm.arg(PACKAGE))?;
    }
    find().with_context(|| format!("there is no prism: --install installs {PACKAGE} with npm"))
}

/// Runs the connector against the mock server, and lists what each request was found to be.
pub(super) fn command(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::load()?;
    let connector = workspace.connector(&arguments.connector)?;
    let prism = prism(&workspace, arguments.install)?;
    let text = fs::read_to_string(&arguments.config)
        .with_context(|| format!("reading {}", arguments.config.display()))?;
    let mut config: Value = serde_saphyr::from_str(&text)
        .ok()
        .filter(Value::is_object)
        .with_context(|| format!("{} holds no object", arguments.config.display()))?;
    let openapi = fs::canonicalize(&arguments.openapi)
        .with_context(|| format!("finding {}", arguments.openapi.display()))?;
    workspace.build(&[connector])?;

    let home = Home::privileged("prism")?;
    let port = services::free_port()?;
    config["base_url"] = format!("http://127.0.0.1:{port}").into();
    let config = home.write("config.json", &config.to_string())?;
    // It prints what it thinks of each request.
    let (log, stores) = (home.path("log"), home.path("stores.json"));
    let mut mock = home.command(&prism);
    mock.args(["mock", "--errors", "--port", &port.to_string()]).arg(openapi);
    let listens = |_: &Home| TcpStream::connect(("127.0.0.1", port)).is_ok();
    let _server = home.serve(&mock, "TERM", port, listens)?;

    let binary = workspace.binary(connector);
    let run = |arguments: &[&str], files: &[(&str, &Path)]| {
        // A mock's lists may go on for ever.
        let mut command = Command::new("timeout");
        command.arg("20").arg(&binary).args(arguments).arg("-c").arg(&config);
        for (flag, path) in files {
            command.arg(flag).arg(path);
        }
        // What it makes of made-up answers does not matter; what it asks does.
        command.stdin(Stdio::null()).stderr(Stdio::null()).output().context("running the connector")
    };
    run(&["validate"], &[])?;
    let discovered = run(&["discover"], &[])?.stdout;
    fs::write(&stores, discovered).with_context(|| format!("writing {}", stores.display()))?;
    run(&["scan", "--limit", "3"], &[("-s", &stores)])?;
    run(&["read"], &[])?;
    if let Some(query) = &arguments.query {
        run(&["query"], &[("-q", query)])?;
        run(&["delete"], &[("-q", query)])?;
    }

    let said = fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    report(&requests(&said))
}

/// A kind of request, and what the mock server objects to.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    line: String,
    objections: Vec<String>,
}

/// The kinds of requests that a mock server's log tells of, in the order in which they came first.
fn requests(log: &str) -> Vec<Request> {
    let mut requests: Vec<Request> = vec![];
    let mut objections = vec![];
    for line in log.lines().map(plain) {
        if let Some((_, objection)) = line.split_once("error     ")
            && line.contains("[VALIDATOR]")
        {
            objections.push(objection.trim().to_owned());
        }
        let Some((_, said)) = line.split_once("[HTTP SERVER] ") else { continue };
        let mut words = said.split_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else { continue };
        let line = format!("{} {path}", method.to_uppercase());
        let known = requests.iter().position(|request| request.line == line);
        let place = known.unwrap_or_else(|| {
            requests.push(Request { line, objections: vec![] });
            requests.len() - 1
        });
        if let Some((_, error)) = said.split_once("Request terminated with error: ") {
            // What the validator found before, else the error itself without its address.
            let error = error.rsplit(": ").next().unwrap_or(error).to_owned();
            let found =
                if objections.is_empty() { vec![error] } else { std::mem::take(&mut objections) };
            let known = &mut requests[place].objections;
            known.extend(found.into_iter().filter(|it| !known.contains(it)).collect::<Vec<_>>());
        }
    }
    requests
}

/// A line without what makes a terminal colour it.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        text += before;
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    text + rest
}

fn report(requests: &[Request]) -> Result<()> {
    let mut failed = 0;
    for Request { line, objections } in requests {
        match objections.as_slice() {
            [] => screen::result(format_args!("ok: {line}"))?,
            objections => {
                failed += 1;
                screen::result(format_args!("FAILED: {line}: {}", objections.join("; ")))?;
            }
        }
    }
    screen::result(format_args!("{} passed, {failed} failed", requests.len() - failed))?;
    ensure!(!requests.is_empty(), "the connector asked for nothing");
    ensure!(failed == 0, "the vendor's description does not allow what the connector asks");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
[1:20:10 PM] › [CLI] ▶  start     Prism is listening on http://127.0.0.1:4099
[1:20:11 PM] › [HTTP SERVER] get /v1/guests ℹ  info      Request received
[1:20:11 PM] ›     [VALIDATOR] ✔  success   The request passed the validation rules.
\u{1b}[90m[1:20:11 PM]\u{1b}[39m › [HTTP SERVER] get /v1/guests ℹ  info      Request received
[1:20:11 PM] ›     [VALIDATOR] ⚠  warning   Request did not pass the validation rules
[1:20:11 PM] ›     [VALIDATOR] ✖  error     Request query parameter limit must be <= 100
[1:20:11 PM] › [HTTP SERVER] get /v1/guests ✖  error     Request terminated with error: https://example.com/errors#X: Invalid request
[1:20:11 PM] › [HTTP SERVER] put /v1/guests/3 ℹ  info      Request received
[1:20:11 PM] › [HTTP SERVER] put /v1/guests/3 ✖  error     Request terminated with error: https://example.com/errors#Y: Route resolved, but no method matched
[1:20:11 PM] › [HTTP SERVER] delete /v1/guests/3 ℹ  info      Request received
";

    #[test]
    fn each_kind_of_request_is_told_with_what_is_wrong_with_it() {
        let request = |line: &str, objections: &[&str]| Request {
            line: line.to_owned(),
            objections: objections.iter().map(|&text| text.to_owned()).collect(),
        };
        let expected = [
            request("GET /v1/guests", &["Request query parameter limit must be <= 100"]),
            request("PUT /v1/guests/3", &["Route resolved, but no method matched"]),
            request("DELETE /v1/guests/3", &[]),
        ];
        assert_eq!(requests(LOG), expected);
    }
}
