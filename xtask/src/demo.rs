//! `cargo xtask demo`: every job of a connector, one after the other, on a shop or on a copy of your own database.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::screen;
use crate::workspace::{Workspace, run};

/// The person whom the shop forgets.
const SUBJECT: &str = "customers.email=ada.1@example.com";

#[derive(Args)]
pub(crate) struct Arguments {
    /// A SQLite file of your own; the demo works on a copy
    #[arg(long, value_name = "FILE", requires = "subject")]
    database: Option<PathBuf>,
    /// Whom to look for, as TABLE.COLUMN=VALUE; `-` reads it from standard input
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
}

/// Shows every job.
pub(crate) fn command(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::load()?;
    let subject = match arguments.subject.as_deref() {
        Some("-") => {
            let line = std::io::read_to_string(std::io::stdin()).context("reading the subject")?;
            line.trim_end_matches(['\r', '\n']).to_owned()
        }
        Some(subject) => subject.to_owned(),
        None => SUBJECT.to_owned(),
    };
    let (store, column, value) = parts(&subject)?;

    let connector = workspace.connector("sqlite")?;
    screen::note("building the connector for SQLite …");
    let mut build = workspace.cargo("build");
    build.args(["--release", "--locked", "--package", &connector.name, "--bins", "--examples"]);
    run(&mut build)?;

    let folder = workspace.target.join("demo");
    fs::remove_dir_all(&folder).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error).with_context(|| format!("clearing {}", folder.display())),
    })?;
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let database = folder.join("demo.db");
    let mut shop = Command::new(workspace.target.join("release/examples/shop"));
    shop.arg(&database).args(arguments.database.as_deref());
    run(&mut shop).context("making the database of the demo")?;

    // The erasure has a copy of its own, so that every command can be tried again on the first.
    let erased = folder.join("erased.db");
    fs::copy(&database, &erased).context("copying the database of the demo")?;

    let demo = Demo { binary: workspace.binary(connector), folder };
    for (name, path) in [("config.json", database), ("erased.json", erased)] {
        let config = json!({"path": path, "evidence_key": "demo-only, choose your own"});
        demo.write(name, &config)?;
    }
    let identifier = json!({"schema_name": store, "identifier": column, "identifier_query": value});
    demo.write("query.json", &json!({"identifiers": [identifier]}))?;
    demo.show(&workspace)
}

/// The store, column and value of `TABLE.COLUMN=VALUE`. The value may hold anything.
fn parts(subject: &str) -> Result<(&str, &str, &str)> {
    let parts = subject.split_once('=').and_then(|(name, value)| {
        let (store, column) = name.rsplit_once('.')?;
        Some((store, column, value))
    });
    // The text is a person's, so it is not repeated.
    parts.context("the subject must have the form TABLE.COLUMN=VALUE")
}

/// The connector at work in the folder of the demo.
struct Demo {
    binary: PathBuf,
    folder: PathBuf,
}

impl Demo {
    fn write(&self, name: &str, content: &Value) -> Result<()> {
        let text = serde_json::to_string_pretty(content)?;
        fs::write(self.folder.join(name), text + "\n").with_context(|| format!("writing {name}"))
    }

    /// Runs a command in the folder; what it prints is in `output`. Returns its messages and exit status.
    fn step<S: AsRef<OsStr>>(&self, output: &str, arguments: &[S]) -> Result<(Vec<Value>, i32)> {
        let path = self.folder.join(output);
        let log = self.folder.join(Path::new(output).with_extension("log"));
        let ended = Command::new(&self.binary)
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(File::create(&path)?)
            .stderr(File::create(&log)?)
            .status()
            .context("starting the connector")?;
        let lines = BufReader::new(File::open(&path)?).lines();
        let messages = lines
            .map(|line| Ok(serde_json::from_str(&line?)?))
            .collect::<Result<Vec<Value>>>()
            .with_context(|| format!("reading {output}"))?;
        let code = ended.code().context("the connector was killed")?;
        if !matches!(code, 0 | 3) {
            let said = fs::read_to_string(&log)?;
            let last = said.lines().last().unwrap_or("it says nothing");
            let text = serde_json::from_str::<Value>(last)
                .ok()
                .and_then(|line| line["log"]["message"].as_str().map(str::to_owned));
            bail!("{output}: status {code}: {}", text.as_deref().unwrap_or(last));
        }
        Ok((messages, code))
    }

    fn show(&self, workspace: &Workspace) -> Result<()> {
        let c = ["-c", "config.json"];
        let with = |command: &'static str, more: &[&'static str]| -> Vec<&'static str> {
            [&[command][..], more].concat()
        };

        let (messages, _) = self.step("spec.jsonl", &["spec"])?;
        let form = &messages.first().context("spec prints nothing")?["spec"];
        let fields: Vec<&str> = object(&form["spec"]["properties"]).map(|(name, _)| name).collect();
        tell("spec", format_args!("a form of {} fields: {}", fields.len(), fields.join(", ")))?;

        let (messages, _) = self.step("validate.jsonl", &with("validate", &c))?;
        let status = messages.first().context("validate prints nothing")?;
        tell("validate", format_args!("{}", text(&status["validate_msg"]["status"])))?;

        let (messages, _) = self.step("discover.jsonl", &with("discover", &c))?;
        let schemas = &messages.first().context("discover prints nothing")?["schema_msg"];
        self.write("schemas.json", schemas)?;
        let stores = schemas["schemas"].as_array().context("discover lists no stores")?;
        let columns: usize =
            stores.iter().map(|store| object(&store["json_schema"]["properties"]).count()).sum();
        let relations: usize =
            stores.iter().filter_map(|store| store["relations"].as_array()).map(Vec::len).sum();
        tell(
            "discover",
            format_args!("{} stores, {columns} columns, {relations} relations", stores.len()),
        )?;

        let chosen = [&c[..], &["-s", "schemas.json"]].concat();
        let scan = [&chosen[..], &["--limit", "5"]].concat();
        let (messages, _) = self.step("scan.jsonl", &with("scan", &scan))?;
        tell("scan", format_args!("{} records, at most 5 of each store", messages.len()))?;

        let (messages, _) = self.step("read.jsonl", &with("read", &chosen))?;
        let records = |messages: &[Value]| count(messages, "RECORD");
        let states = count(&messages, "STATE");
        tell("read", format_args!("{} records, {states} states", records(&messages)))?;
        let again = [&chosen[..], &["--state", "read.jsonl"]].concat();
        let (messages, _) = self.step("read-again.jsonl", &with("read", &again))?;
        tell(
            "read",
            format_args!("{} records when it goes on from those states", records(&messages)),
        )?;

        self.data_rights()?;
        screen::result("")?;
        screen::result(format_args!(
            "Configurations, inputs and outputs are in {}; demo.db is as it was, erased.db lacks the subject.",
            workspace.shown(&self.folder)
        ))?;
        screen::result("Try for yourself:")?;
        screen::result(format_args!(
            "    cd {} && PATH={}:$PATH",
            workspace.shown(&self.folder),
            self.binary.parent().unwrap_or(&self.folder).display()
        ))?;
        screen::result("    connector-sqlite discover -c config.json")
    }

    /// Finds the subject, plans, erases and looks again.
    fn data_rights(&self) -> Result<()> {
        let follow = |command, config| [command, "-c", config, "-q", "query.json", "--follow"];
        let (messages, _) = self.step("query.jsonl", &follow("query", "config.json"))?;
        let handles: Vec<&Value> =
            messages.iter().map(|message| &message["request"]["handle"]).collect();
        self.write("handles.json", &json!({"handles": handles}))?;
        let results = ["request-results", "-c", "config.json", "-r", "handles.json"];
        let (messages, _) = self.step("results.jsonl", &results)?;
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        for message in &messages {
            *found.entry(text(&message["record"]["schema_name"])).or_default() += 1;
        }
        let found: Vec<String> =
            found.iter().map(|(store, records)| format!("{records} {store}")).collect();
        tell("query", format_args!("what belongs to the subject: {}", found.join(", ")))?;

        let (messages, stopped) = self.step("plan.jsonl", &follow("plan", "erased.json"))?;
        let plan = &messages.first().context("plan prints nothing")?["plan"];
        let hash = text(&plan["hash"]).to_owned();
        let steps = plan["steps"].as_array().map_or(&[][..], Vec::as_slice);
        let say = |step: &Value| {
            format!("{} {} {}", text(&step["action"]), step["rows"], text(&step["schema_name"]))
        };
        for (i, step) in steps.iter().enumerate() {
            let why = step["relation"]["reason"].as_str().unwrap_or("the subject");
            tell(if i == 0 { "plan" } else { "" }, format_args!("{}: {why}", say(step)))?;
        }
        if stopped == 3 {
            for step in steps.iter().filter(|step| !step["reason"].is_null()) {
                tell("", format_args!("{}: {}", say(step), text(&step["reason"])))?;
            }
            return tell(
                "delete",
                format_args!(
                    "not done: the plan has open points, which a policy decides (--policy)"
                ),
            );
        }

        let mut delete = follow("delete", "erased.json").to_vec();
        delete.extend(["--plan", &hash, "--evidence", "evidence.jsonl"]);
        let (messages, code) = self.step("delete.jsonl", &delete)?;
        ensure!(code == 0, "delete.jsonl: something was not erased; delete.log says what");
        let deleted: u64 = messages
            .iter()
            .filter_map(|message| message["request"]["handle"]["data"]["deleted"].as_u64())
            .sum();
        tell("delete", format_args!("{deleted} records, in one transaction"))?;

        let (messages, _) = self.step("verify.jsonl", &follow("verify", "erased.json"))?;
        let verify = &messages.first().context("verify prints nothing")?["verify"];
        tell("verify", format_args!("{} records remaining, read afresh", verify["remaining"]))?;
        let check = ["evidence", "-c", "erased.json", "--evidence", "evidence.jsonl"];
        let (messages, _) = self.step("evidence-check.jsonl", &check)?;
        let evidence = &messages.first().context("evidence prints nothing")?["evidence"];
        tell(
            "evidence",
            format_args!(
                "{} sealed records without personal data, their chain whole",
                evidence["records"]
            ),
        )
    }
}

fn tell(step: &str, what: std::fmt::Arguments<'_>) -> Result<()> {
    screen::result(format_args!("{step:9} {what}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn object(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn count(messages: &[Value], of: &str) -> usize {
    messages.iter().filter(|message| message["type"] == of).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_a_table_a_column_and_whatever_comes_after() {
        assert_eq!(parts("a.b=c").unwrap(), ("a", "b", "c"));
        assert_eq!(
            parts("my.schema.users.email=x=y.z").unwrap(),
            ("my.schema.users", "email", "x=y.z")
        );
        let refused = parts("ada@example.com").unwrap_err().to_string();
        assert!(refused.contains("TABLE.COLUMN=VALUE") && !refused.contains("ada@"));
    }
}
