//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::log;
use crate::silo::{UnknownColumns, WriteMode};
use crate::wire;

const AFTER: &str = "\
Every FILE may be - for standard input, once. Messages are JSON, one a line, on standard output;
log lines go to standard error.

Exit status: 0 done; 1 failed as a whole; 2 usage or unreadable input, nothing was done;
3 ended, but something failed or was skipped.";

#[derive(Debug, Parser)]
#[command(version, infer_long_args = true, subcommand_required = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,

    /// Say on standard error what is being tried
    #[arg(long, global = true)]
    pub(super) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print what a configuration looks like, and what the connector can do
    Spec(Stray),
    /// Check that a configuration works
    Validate(Common),
    /// Print the stores of the silo and their schemas, as a Monoid host wants them
    Schema(Common),
    /// Print the stores of the silo with keys, cursors, relations and capabilities
    Discover(Common),
    /// Print a sample of records
    Scan(Scan),
    /// Print all records, or those that came since a state
    Read(ReadArguments),
    /// Find a subject's records; request-results prints them
    Query(Query),
    /// Erase a subject's records, and look again
    Delete(Delete),
    /// Print what an erasure would do
    Plan(Plan),
    /// Print what is still there of a subject
    Verify(Verify),
    /// Check a file of evidence: its seals, gaps, and what has no outcome
    Evidence(Evidence),
    /// Print how requests stand
    RequestStatus(Requests),
    /// Print what requests found
    RequestResults(Requests),
    /// Take SCHEMA, RECORD and STATE messages from standard input
    Write(Write),
}

impl Command {
    /// Whether a Monoid host knows it, and so reads what it prints.
    pub(super) fn is_monoid(&self) -> bool {
        match self {
            Command::Spec(_)
            | Command::Validate(_)
            | Command::Schema(_)
            | Command::Scan(_)
            | Command::Query(_)
            | Command::Delete(_)
            | Command::RequestStatus(_)
            | Command::RequestResults(_) => true,
            Command::Discover(_)
            | Command::Read(_)
            | Command::Plan(_)
            | Command::Verify(_)
            | Command::Evidence(_)
            | Command::Write(_) => false,
        }
    }
}

/// Flags that some hosts pass to every command.
#[derive(Debug, Args)]
pub(super) struct Stray {
    #[arg(short, long, hide = true, value_name = "FILE")]
    config: Option<String>,
    #[arg(short, long = "persist_conf", alias = "persist-conf", hide = true, value_name = "FILE")]
    persist_conf: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Common {
    /// The configuration: JSON or YAML, plain or encrypted by sops for an age recipient
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: String,
    /// Replace ${NAME} in texts of the configuration by that variable's value
    #[arg(long)]
    pub(super) expand_env: bool,
    /// Where files among the results go: a file that holds {"temp_store": FOLDER}
    #[arg(short, long = "persist_conf", alias = "persist-conf", value_name = "FILE")]
    pub(super) persist_conf: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Scan {
    #[command(flatten)]
    pub(super) common: Common,
    /// The stores to look at, as schema or discover printed them
    #[arg(short, long, value_name = "FILE")]
    pub(super) schemas: String,
    /// About how many records of each store
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) limit: usize,
    /// The same seed gives the same sample of an unchanged store
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
}

#[derive(Debug, Args)]
pub(super) struct ReadArguments {
    #[command(flatten)]
    pub(super) common: Common,
    /// The stores to read, as schema or discover printed them; all without this
    #[arg(short, long, value_name = "FILE")]
    pub(super) schemas: Option<String>,
    /// STATE lines of an earlier run: read on from there
    #[arg(long, value_name = "FILE")]
    pub(super) state: Option<String>,
    /// After how many records of a store to print a STATE
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) checkpoint: u64,
    /// How many stores, and parts of one store, to read side by side
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = at_least_one)]
    pub(super) parallel: usize,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be 1 or more".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("must be a whole number".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(super) struct Query {
    #[command(flatten)]
    pub(super) common: Common,
    /// What is known of the subject
    #[arg(short, long, value_name = "FILE")]
    pub(super) query: String,
    /// Follow relations to everything that belongs to the subject
    #[arg(long)]
    pub(super) follow: bool,
    /// An erasure policy: persons, relations, strategies, retain
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Plan {
    #[command(flatten)]
    pub(super) query: Query,
    /// Print a policy to start from as well
    #[arg(long)]
    pub(super) suggest: bool,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(flatten)]
    pub(super) query: Query,
    /// Look for the subject's values in all text as well
    #[arg(long)]
    pub(super) search_values: bool,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    pub(super) query: Query,
    /// Do everything but the commit
    #[arg(long)]
    pub(super) dry_run: bool,
    /// The hash of an approved plan: refuse if the plan is another by now
    #[arg(long, value_name = "HASH")]
    pub(super) plan: Option<String>,
    /// Append what was done, without personal data, to this file
    #[arg(long, value_name = "FILE")]
    pub(super) evidence: Option<std::path::PathBuf>,
    /// Look for the subject's values in all text afterwards
    #[arg(long)]
    pub(super) search_values: bool,
}

#[derive(Debug, Args)]
pub(super) struct Evidence {
    #[command(flatten)]
    pub(super) common: Common,
    /// The file that delete --evidence wrote
    #[arg(long, value_name = "FILE")]
    pub(super) evidence: std::path::PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Requests {
    #[command(flatten)]
    pub(super) common: Common,
    /// The handles that query or delete printed
    #[arg(short, long, value_name = "FILE")]
    pub(super) requests: String,
}

#[derive(Debug, Args)]
pub(super) struct Write {
    #[command(flatten)]
    pub(super) common: Common,
    /// What happens to records that are there already
    #[arg(long, value_enum, default_value = "append")]
    pub(super) mode: WriteMode,
    /// What happens to properties that a store has no column for
    #[arg(long, value_enum, default_value = "add")]
    pub(super) columns: UnknownColumns,
}

/// Whether a word is a command of the native protocol.
pub(super) fn is_command(word: &str) -> bool {
    Arguments::command().find_subcommand(word).is_some()
}

/// The arguments of this process; a usage error is said and is status 2.
pub(super) fn parse(name: &str, words: &[OsString]) -> Result<Arguments, ExitCode> {
    let about = format!("The Manifold connector for {name}");
    let after = format!("{AFTER}\n\n{}", wire::HELP);
    let command = Arguments::command().about(about).after_help(after);
    let parsed = command
        .try_get_matches_from(words)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    match parsed {
        Ok(arguments) => {
            match inputs(&arguments.command).iter().filter(|path| **path == "-").count() {
                0 | 1 => Ok(arguments),
                _ => {
                    log::error("only one input can be - (standard input)");
                    Err(ExitCode::from(2))
                }
            }
        }
        Err(error) if !error.use_stderr() => {
            // The help and the version go where messages go; a closed pipe ends them quietly.
            drop(error.print());
            Err(ExitCode::SUCCESS)
        }
        Err(error) => {
            let text = error.render().to_string();
            let text = text.split("\n\nUsage:").next().unwrap_or(&text);
            let text = text.trim_start_matches("error: ").split_whitespace();
            let text = text.collect::<Vec<_>>().join(" ");
            log::error(format_args!("{} (--help lists what there is)", text));
            Err(ExitCode::from(2))
        }
    }
}

/// The inputs a command names. The messages that `write` takes come from standard input.
fn inputs(command: &Command) -> Vec<&str> {
    let (common, first, second) = match command {
        Command::Spec(_) => return Vec::new(),
        Command::Validate(common) | Command::Schema(common) | Command::Discover(common) => {
            (common, None, None)
        }
        Command::Scan(scan) => (&scan.common, Some(scan.schemas.as_str()), None),
        Command::Read(read) => (&read.common, read.schemas.as_deref(), read.state.as_deref()),
        Command::Query(query)
        | Command::Plan(Plan { query, .. })
        | Command::Verify(Verify { query, .. }) => {
            (&query.common, Some(query.query.as_str()), query.policy.as_deref())
        }
        Command::Delete(Delete { query, .. }) => {
            (&query.common, Some(query.query.as_str()), query.policy.as_deref())
        }
        Command::Evidence(evidence) => (&evidence.common, None, None),
        Command::RequestStatus(requests) | Command::RequestResults(requests) => {
            (&requests.common, Some(requests.requests.as_str()), None)
        }
        Command::Write(write) => (&write.common, Some("-"), None),
    };
    let named = [Some(common.config.as_str()), common.persist_conf.as_deref()];
    named.into_iter().chain([first, second]).flatten().collect()
}

/// The arguments as given, for a test.
#[cfg(test)]
fn parse_from(words: &[&str]) -> Result<Arguments, clap::Error> {
    let words = std::iter::once("connector").chain(words.iter().copied());
    Arguments::try_parse_from(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_in_any_order_abbreviated_or_joined() {
        for words in [
            &["query", "-q", "q", "-p", "p", "-c", "c"][..],
            &["query", "--conf=c", "--persist_conf", "p", "--query=q"],
            &["query", "--pers", "p", "-qq", "-cc"],
        ] {
            let Command::Query(query) = parse_from(words).unwrap().command else { panic!() };
            assert_eq!(query.common.config, "c");
            assert_eq!(query.common.persist_conf.as_deref(), Some("p"));
            assert_eq!(query.query, "q");
        }
    }

    #[test]
    fn a_stray_persistence_file_is_accepted_everywhere() {
        for command in ["spec", "validate", "schema", "discover"] {
            assert!(parse_from(&[command, "-p", "p", "-c", "c"]).is_ok(), "{command}");
        }
    }

    #[test]
    fn the_definition_of_the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }
}
