//! The program around a silo: arguments, commands, exit status, signals.
//!
//! Exit status, for every command:
//!
//! | status | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | the operation failed as a whole, or `validate` printed FAILURE |
//! | 2 | wrong usage, or an input that cannot be read or understood; nothing was done |
//! | 3 | it ended, but something failed or was skipped; each is a line on stderr |
//! | 130, 143 | ended by SIGINT or SIGTERM, with whole lines |
//! | 141 | the reader of the output went away |
//!
//! In `query`, `delete` and `request-status` without `--follow` and `--plan` a store that fails is
//! a FAILED line of its own, and the status is 0 once every identifier or handle has its line:
//! a Monoid host discards all results of a run that ends otherwise, and repeats deletes.

mod arguments;
pub(crate) mod configuration;
pub(crate) mod input;
pub(crate) mod reading;
mod requests;
mod suggested;
pub(crate) mod terminal;
pub(crate) mod writing;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Error, Result};

use crate::fault;
use crate::log;
use crate::message::{Message, Spec, Validate, ValidateStatus};
use crate::output::{Outputs, ReaderGone, Shape, Sink};
use crate::silo::{Access, Silo};
use crate::{config, runtime, silo, wire};

use arguments::Command;
use input::Unreadable;
use terminal::Terminal;

/// How a command ended, where it did not fail as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Everything was done.
    Done,
    /// Something failed or was skipped, and was said.
    Partly,
}

impl End {
    /// `Partly`, if anything was missed.
    fn missed(something: bool) -> End {
        if something { End::Partly } else { End::Done }
    }
}

/// Runs the connector binary of a silo: what its `main` returns.
pub fn main<S: Silo>() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    match wire::choose(words, std::env::var_os(wire::VARIABLE), arguments::is_command) {
        Ok((Some(wire), words)) => wire::serve::<S>(wire, words),
        Ok((None, words)) => native::<S>(&words),
        Err(error) => {
            log::error(format_args!("{error} (--help lists what there is)"));
            ExitCode::from(2)
        }
    }
}

fn native<S: Silo>(words: &[OsString]) -> ExitCode {
    let terminal = Terminal::look();
    log::start(terminal.style(), words.iter().any(|word| word == "--verbose"));
    let arguments = match arguments::parse(S::NAME, words) {
        Ok(arguments) => arguments,
        Err(code) => {
            terminal.linger();
            return code;
        }
    };
    let sink = match terminal.sink() {
        Ok(sink) => Arc::new(sink),
        Err(error) => return failed(&error),
    };
    hand_on_changes(&arguments.command, &sink);
    terminal::end_on_signals(Arc::clone(&sink));
    let display = terminal.display(Arc::clone(&sink));
    let result = runtime::block_on(run::<S>(arguments.command, &sink, terminal));
    display.end();
    let code = match result {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Partly) => ExitCode::from(3),
        Err(error) => failed(&error),
    };
    terminal.linger();
    code
}

/// Sees to it that a secret which the vendor replaces reaches whoever keeps the configuration. A
/// Monoid host takes a message it does not know for a log line, which is no place for a secret.
fn hand_on_changes(command: &Command, sink: &Arc<Sink>) {
    let sink = (!command.is_monoid()).then(|| Arc::clone(sink));
    config::on_change(move |field, secret| match &sink {
        Some(sink) => {
            let value = serde_json::Value::from(secret.reveal());
            let config = [(field.to_owned(), value)].into_iter().collect();
            sink.message(&Message::Config { config })
        }
        None => {
            log::warn(format_args!(
                "the vendor has replaced `{field}`, and this command cannot hand out the new one: \
                 authorize the connector again before its next run"
            ));
            Ok(())
        }
    });
}

fn failed(error: &Error) -> ExitCode {
    if error.chain().any(|part| part.is::<ReaderGone>()) {
        return ExitCode::from(141);
    }
    log::error(fault::line(error));
    ExitCode::from(if error.is::<Unreadable>() { 2 } else { 1 })
}

async fn run<S: Silo>(command: Command, sink: &Arc<Sink>, terminal: Terminal) -> Result<End> {
    let outputs = |shape: Shape| {
        Outputs::new(Arc::clone(sink), Shape { longest_line: terminal.longest_line(), ..shape })
    };
    match command {
        Command::Spec(_) => {
            let spec = Spec {
                name: Some(S::NAME.to_owned()),
                spec: config::form::<S::Config>(),
                abilities: Some(S::ABILITIES.to_vec()),
            };
            sink.message(&Message::Spec { spec })?;
            Ok(End::Done)
        }
        Command::Validate(common) => {
            let config = configuration::read(&common.config, common.expand_env)?;
            let problem = match connect::<S>(config, Access::Read).await {
                Ok(silo) => silo.validate().await.err(),
                Err(error) => Some(error),
            };
            let (status, message) = match &problem {
                None => (ValidateStatus::Success, None),
                Some(error) => (ValidateStatus::Failure, Some(log::scrub(&fault::line(error)))),
            };
            sink.message(&Message::Validate { validate_msg: Validate { status, message } })?;
            problem.map_or(Ok(End::Done), Err)
        }
        Command::Schema(common) => {
            let silo = open::<S>(&common, Access::Read).await?;
            reading::discover(&silo, sink, false).await
        }
        Command::Discover(common) => {
            let silo = open::<S>(&common, Access::Read).await?;
            reading::discover(&silo, sink, true).await
        }
        Command::Scan(arguments) => {
            let chosen = input::schemas(&arguments.schemas)?;
            let files = input::files(arguments.common.persist_conf.as_deref())?;
            let silo = open::<S>(&arguments.common, Access::Read).await?;
            let outputs = outputs(Shape { files, ..Shape::default() });
            reading::scan(&silo, &chosen, &arguments, &outputs).await
        }
        Command::Read(arguments) => {
            let chosen = arguments.schemas.as_deref().map(input::schemas).transpose()?;
            let states = arguments.state.as_deref().map(input::states).transpose()?;
            let silo = open::<S>(&arguments.common, Access::Read).await?;
            let outputs =
                outputs(Shape { checkpoint: Some(arguments.checkpoint), ..Shape::default() });
            reading::read(&silo, chosen, &states.unwrap_or_default(), &arguments, &outputs).await
        }
        Command::Query(arguments) => {
            let request = input::request(&arguments.query, &arguments.policy, arguments.follow)?;
            let silo = open::<S>(&arguments.common, Access::Read).await?;
            requests::query(&silo, &request, sink).await
        }
        Command::Delete(arguments) => {
            let request = input::request(
                &arguments.query.query,
                &arguments.query.policy,
                arguments.query.follow,
            )?;
            let silo = open::<S>(&arguments.query.common, Access::Write).await?;
            requests::delete(&silo, &request, &arguments, sink).await
        }
        Command::Plan(arguments::Plan { query, suggest }) => {
            let request = input::request(&query.query, &query.policy, query.follow)?;
            let silo = open::<S>(&query.common, Access::Read).await?;
            requests::plan(&silo, &request, suggest, sink).await
        }
        Command::Verify(arguments::Verify { query, search_values }) => {
            let request = input::request(&query.query, &query.policy, query.follow)?;
            let silo = open::<S>(&query.common, Access::Read).await?;
            requests::verify(&silo, &request, search_values, sink).await
        }
        Command::Evidence(arguments) => {
            let config = readable::<S>(&arguments.common)?;
            let evidence = S::evidence(&config, &arguments.evidence)?;
            let missed = !evidence.problems.is_empty() || !evidence.undetermined.is_empty();
            sink.message(&Message::Evidence { evidence })?;
            Ok(End::missed(missed))
        }
        Command::RequestStatus(arguments) => {
            let handles = input::handles(&arguments.requests)?;
            let config = readable::<S>(&arguments.common)?;
            requests::status::<S>(&handles, config, sink).await
        }
        Command::RequestResults(arguments) => {
            let handles = input::handles(&arguments.requests)?;
            let files = input::files(arguments.common.persist_conf.as_deref())?;
            let silo = open::<S>(&arguments.common, Access::Read).await?;
            let outputs = outputs(Shape { files, ..Shape::default() });
            requests::results(&silo, &handles, &outputs).await
        }
        Command::Write(arguments) => {
            let silo = open::<S>(&arguments.common, Access::Write).await?;
            let mut how = silo::WriteOptions::of(arguments.mode);
            how.columns = arguments.columns;
            writing::write(&silo, &how, std::io::stdin().lock(), sink).await
        }
    }
}

async fn open<S: Silo>(common: &arguments::Common, access: Access) -> Result<S> {
    S::connect(readable::<S>(common)?, access).await
}

/// A configuration of the wrong shape is an input that cannot be understood.
fn readable<S: Silo>(common: &arguments::Common) -> Result<S::Config, Unreadable> {
    config::read(configuration::read(&common.config, common.expand_env)?).map_err(Unreadable::from)
}

async fn connect<S: Silo>(config: serde_json::Value, access: Access) -> Result<S> {
    let config = config::read::<S::Config>(config)?;
    S::connect(config, access).await
}
