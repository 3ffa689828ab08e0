//! Whose move a failure is: the person's with the form, time's, or ours.

use std::fmt;

/// A failure whose cause is known. Attach it with `.context(Fault::config("…"))` or return it.
///
/// `message` is for the person who runs the connector: one line, lower case, no full stop, naming
/// the field or store and what to do. It never holds a secret or a subject's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Who can mend it.
    pub cause: Cause,
    /// What went wrong and what to do.
    pub message: String,
}

/// Who can mend a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The person who filled in the configuration or the request.
    Config,
    /// Nobody needs to: the same call may succeed later.
    Transient,
    /// Whoever maintains the connector or the system it reaches.
    System,
}

impl Fault {
    /// A failure that a change of the configuration or the request mends.
    pub fn config(message: impl Into<String>) -> Fault {
        Fault { cause: Cause::Config, message: message.into() }
    }

    /// A failure that may be gone at the next try.
    pub fn transient(message: impl Into<String>) -> Fault {
        Fault { cause: Cause::Transient, message: message.into() }
    }

    /// A failure of the connector or of the system it reaches.
    pub fn system(message: impl Into<String>) -> Fault {
        Fault { cause: Cause::System, message: message.into() }
    }

    /// The cause of `error`: that of the outermost fault in its chain, else `System`.
    pub fn cause_of(error: &anyhow::Error) -> Cause {
        error.downcast_ref::<Fault>().map_or(Cause::System, |fault| fault.cause)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// `error` and what led to it as one line, fit for a person.
///
/// Repetitions are left out: drivers like to print their source in their own text as well.
pub fn line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for part in error.chain() {
        let part = part.to_string();
        let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.contains(&part) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn a_cause_survives_later_context() {
        let error = Err::<(), _>(Fault::config("no such field"))
            .context("reading the catalog")
            .unwrap_err();
        assert_eq!(Fault::cause_of(&error), Cause::Config);
        assert_eq!(Fault::cause_of(&anyhow!("odd")), Cause::System);
    }

    #[test]
    fn of_two_causes_the_outermost_wins() {
        let error = anyhow!(Fault::system("broken")).context(Fault::transient("try again"));
        assert_eq!(Fault::cause_of(&error), Cause::Transient);
    }

    #[test]
    fn a_line_is_one_line_and_says_nothing_twice() {
        let error = anyhow!("disk\nfull").context("writing: disk full").context("saving");
        assert_eq!(line(&error), "saving: writing: disk full");
    }
}
