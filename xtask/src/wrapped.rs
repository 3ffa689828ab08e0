//! Connectors that wrap a program: which there are, and what their programs say of themselves.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::screen;
use crate::workspace::{Workspace, output};

/// The file in such a connector's folder.
pub(crate) const FILE: &str = "program.json";

/// What a program speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wraps {
    /// An Airbyte source
    Airbyte,
    /// A Singer tap
    Singer,
    /// A Monoid connector
    Monoid,
}

impl Wraps {
    /// The module and the type of `protocol::wire::foreign` for it.
    pub(crate) fn path(self) -> (&'static str, &'static str) {
        match self {
            Wraps::Airbyte => ("airbyte", "Source"),
            Wraps::Singer => ("singer", "Tap"),
            Wraps::Monoid => ("monoid", "Connector"),
        }
    }

    /// Whether what is wrapped can be read as a whole, and so by way of a wire.
    pub(crate) fn reads(self) -> bool {
        self != Wraps::Monoid
    }

    /// Asks a program for the form of its configuration; half of all taps have no answer.
    fn form(self, command: &[String]) -> Result<Option<Value>> {
        let (words, member): (&[&str], _) = match self {
            Wraps::Airbyte => (&["spec"], "/spec/connectionSpecification"),
            Wraps::Singer => (&["--about", "--format=json"], "/settings"),
            Wraps::Monoid => (&["spec"], "/spec/spec"),
        };
        let (program, rest) = command.split_first().context("a command has a word at least")?;
        let said = match output(Command::new(program).args(rest).args(words)) {
            Err(_) if self == Wraps::Singer && is_there(program) => return Ok(None),
            said => said?,
        };
        let form = documents(&said).find_map(|document| document.pointer(member).cloned());
        match form {
            None if self != Wraps::Singer => bail!("{program} printed no form of a configuration"),
            form => Ok(form),
        }
    }
}

/// Whether a program can be started at all.
fn is_there(program: &str) -> bool {
    program.contains('/') && Path::new(program).exists()
        || crate::programs::find(program, &[]).is_some()
}

/// The JSON objects in what a program printed, among lines that are none.
fn documents(said: &[u8]) -> impl Iterator<Item = Value> {
    let starts = said
        .iter()
        .enumerate()
        .filter(|&(at, &byte)| byte == b'{' && (at == 0 || said[at - 1] == b'\n'));
    starts.filter_map(|(at, _)| {
        serde_json::Deserializer::from_slice(&said[at..]).into_iter().next()?.ok()
    })
}

/// What is kept of a program.
#[derive(Serialize, Deserialize)]
pub(crate) struct Captured {
    wraps: Wraps,
    command: Vec<String>,
    form: Value,
}

impl Captured {
    /// Asks a program what it is.
    pub(crate) fn ask(wraps: Wraps, command: &[String]) -> Result<Captured> {
        let form = wraps.form(command)?.unwrap_or_else(|| {
            screen::note(format_args!(
                "{} says nothing of its configuration: describe its fields in {FILE}",
                command.join(" ")
            ));
            json!({"type": "object", "properties": {}})
        });
        Ok(Captured { wraps, command: command.to_vec(), form })
    }

    fn read(path: &Path) -> Result<Captured> {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// Writes it down; whether that changed anything.
    pub(crate) fn write(&self, folder: &Path) -> Result<bool> {
        let path = folder.join(FILE);
        let text = format!("{}\n", serde_json::to_string_pretty(self)?);
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            return Ok(false);
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(true)
    }
}

/// Asks the programs of the named connectors, by default of all that wrap one, for their forms again.
pub(crate) fn refresh(workspace: &Workspace, names: &[String]) -> Result<()> {
    for connector in workspace.chosen_connectors(names)? {
        let path = connector.folder().join(FILE);
        if !path.exists() {
            ensure!(names.is_empty(), "{} wraps no program", connector.name);
            continue;
        }
        let known = Captured::read(&path)?;
        let asked = known.wraps.form(&known.command);
        // A form that was written by hand stays.
        let form = asked.with_context(|| connector.name.clone())?.unwrap_or(known.form);
        if (Captured { form, ..known }).write(connector.folder())? {
            screen::note(format_args!("wrote {}", workspace.shown(&path)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_found_among_other_lines() {
        for (wraps, said, expected) in [
            (
                Wraps::Airbyte,
                r#"echo "a {line}"; echo '{"type":"LOG"}'; echo '{"type":"SPEC","spec":{"connectionSpecification":{"a":1}}}'"#,
                Some(1),
            ),
            (Wraps::Monoid, r#"echo '{"type":"SPEC","spec":{"spec":{"a":2}}}'"#, Some(2)),
            (Wraps::Singer, r#"printf '{\n "name": "x",\n "settings": {"a": 3}\n}\n'"#, Some(3)),
            (Wraps::Singer, "exit 2", None),
            (Wraps::Singer, "echo no", None),
        ] {
            let command = ["sh", "-c", said].map(str::to_owned);
            let form = wraps.form(&command).unwrap();
            assert_eq!(form, expected.map(|number| json!({ "a": number })), "{said}");
        }
        for said in ["exit 1", "echo no"] {
            let command = ["sh", "-c", said].map(str::to_owned);
            assert!(Wraps::Airbyte.form(&command).is_err(), "{said}");
        }
        assert!(Wraps::Singer.form(&["/no/such/tap".to_owned()]).is_err());
    }
}
