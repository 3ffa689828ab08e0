//! Log lines on stderr: LOG messages, or plain text for a person at a terminal.
//!
//! Levels: error, something was not done; warn, odd but nothing lost; info, one line a store or
//! request; debug, requests. Nothing is logged per record, and never a record's contents: counts
//! and names of columns. Secrets of the configuration are struck out of every line.

use std::fmt::Display;
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::Serialize;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Something was not done.
    Error,
    /// Odd, but nothing is lost.
    Warn,
    /// One line a store or request.
    Info,
    /// Requests and decisions, for whoever looks for a fault.
    Debug,
}

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One LOG message a line.
    Json,
    /// Plain text for a person.
    Text,
}

/// Writes one line; what it is given is scrubbed and holds no line break.
pub(crate) type Printer = Box<dyn Fn(Level, &str) + Send + Sync>;

struct Settings {
    print: Printer,
    debug: bool,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Chooses the style, once, before the first line; later calls change nothing.
pub(crate) fn start(style: Style, debug: bool) {
    start_with(Box::new(move |level, message| to_stderr(&spelled(style, level, message))), debug);
}

/// The same with lines of another form, or that go elsewhere.
pub(crate) fn start_with(print: Printer, debug: bool) {
    SETTINGS.get_or_init(|| Settings { print, debug });
}

/// Strikes `value` out of every line from now on. Values below four bytes stay: they would take
/// ordinary words with them.
pub fn hide(value: &str) {
    if value.len() >= 4 {
        let mut secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.push(value.to_owned());
        // A secret that holds another must go first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }
}

/// The same for a subject's value: short ones are as likely a count or a name in a line about
/// something else, so only what is long enough to identify somebody is struck out.
pub(crate) fn hide_word(value: &str) {
    if value.len() >= 6 {
        hide(value);
    }
}

/// `text` without the hidden values.
pub fn scrub(text: &str) -> String {
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
}

/// Says that something was not done.
pub fn error(message: impl Display) {
    line(Level::Error, &message.to_string());
}

/// Says that something is odd.
pub fn warn(message: impl Display) {
    line(Level::Warn, &message.to_string());
}

/// Says what was done.
pub fn info(message: impl Display) {
    line(Level::Info, &message.to_string());
}

/// Says what is being tried; shown with `--verbose` only.
pub fn debug(message: impl Display) {
    if SETTINGS.get().is_some_and(|settings| settings.debug) {
        line(Level::Debug, &message.to_string());
    }
}

fn line(level: Level, message: &str) {
    // A store's name may hold a line break; a line of the log holds none.
    let message = scrub(message).replace(['\n', '\r', '\t'], " ");
    match SETTINGS.get() {
        Some(settings) => (settings.print)(level, &message),
        None => to_stderr(&spelled(Style::Json, level, &message)),
    }
}

/// A line as a style has it, without its end.
fn spelled(style: Style, level: Level, message: &str) -> Vec<u8> {
    match style {
        Style::Json => {
            #[derive(Serialize)]
            struct Line<'a> {
                r#type: &'static str,
                log: Log<'a>,
            }
            #[derive(Serialize)]
            struct Log<'a> {
                message: &'a str,
                level: Level,
            }
            let line = Line { r#type: "LOG", log: Log { message, level } };
            serde_json::to_vec(&line).unwrap_or_default()
        }
        Style::Text => {
            let word = match level {
                Level::Error => "error: ",
                Level::Warn => "warning: ",
                Level::Info => "",
                Level::Debug => "debug: ",
            };
            // A progress line may stand on this row of the terminal: clear it.
            format!("\r\x1b[K{word}{message}").into_bytes()
        }
    }
}

/// Writes a line and its end to stderr.
pub(crate) fn to_stderr(line: &[u8]) {
    // One write a line; where stderr itself is gone there is nobody left to tell.
    drop(std::io::stderr().lock().write_all(&[line, b"\n"].concat()));
}
