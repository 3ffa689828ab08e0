//! Reads a configuration: JSON or YAML, sealed by sops or not, with variables in it or not.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::input::{Unreadable, parse, plain_text, text, unreadable};
use crate::sops::{self, Identities};

/// A configuration in the clear. Variables of the environment take the place of `${NAME}` where
/// that is asked for.
pub(crate) fn read(path: &str, expand_env: bool) -> Result<Value, Unreadable> {
    let mut config = document(path)?;
    if sops::is_sealed(&config) {
        config = sops::open(config, identities)
            .map_err(|error| unreadable(path, format_args!("{error:#}")))?;
    }
    if expand_env {
        expand(&mut config, "", &variable)
            .map_err(|error| unreadable(path, format_args!("{error:#}")))?;
    }
    Ok(config)
}

/// A configuration as it stands in its file, which may be sealed. What opens with a bracket is
/// JSON, though YAML has brackets too: to YAML, many a slip in JSON is a value.
pub(crate) fn document(path: &str) -> Result<Value, Unreadable> {
    let text = text(path)?;
    if text.trim_start().starts_with(['{', '[']) {
        return parse(path, &text);
    }
    match serde_saphyr::from_str(&text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(unreadable(path, "it is neither a JSON object nor YAML with members")),
        Err(error) => {
            let line = error.location().map(|at| format!(", line {}", at.line()));
            let line = line.unwrap_or_default();
            Err(unreadable(path, format_args!("it is neither JSON nor YAML{line}")))
        }
    }
}

/// The age identities of this user, from where sops looks for them.
fn identities() -> Result<Identities> {
    let mut identities = Identities::default();
    let file = |path: &str| plain_text(path).map_err(anyhow::Error::from);
    if let Some(text) = variable("SOPS_AGE_KEY") {
        identities.add(&text).context("SOPS_AGE_KEY")?;
    }
    if let Some(path) = variable("SOPS_AGE_KEY_FILE") {
        file(&path).and_then(|text| identities.add(&text)).context("SOPS_AGE_KEY_FILE")?;
    }
    if let Some(path) = usual_file().filter(|path| path.exists()) {
        let path = path.to_string_lossy();
        file(&path).and_then(|text| identities.add(&text)).with_context(|| path.into_owned())?;
    }
    if identities.is_empty() {
        bail!(
            "sops encrypted it, and no age identity is given: set SOPS_AGE_KEY or SOPS_AGE_KEY_FILE"
        );
    }
    Ok(identities)
}

/// `~/.config/sops/age/keys.txt`
fn usual_file() -> Option<PathBuf> {
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")));
    folder.map(|folder| folder.join("sops/age/keys.txt"))
}

/// A variable of the environment that has a value.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Puts values in the place of `${NAME}` in every text of a document; `path` leads to it.
fn expand(value: &mut Value, path: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<()> {
    match value {
        Value::Object(members) => members.iter_mut().try_for_each(|(name, member)| {
            let dot = if path.is_empty() { "" } else { "." };
            expand(member, &format!("{path}{dot}{name}"), variable)
        }),
        Value::Array(items) => items.iter_mut().try_for_each(|item| expand(item, path, variable)),
        Value::String(text) if text.contains("${") => {
            *text = expanded(text, variable).with_context(|| format!("`{path}`"))?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A text with values in the place of `${NAME}`; `$${` stands for `${` itself.
fn expanded(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = after;
            continue;
        }
        result.push_str(before);
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        // The text around it is not quoted: it may be a secret.
        let (name, after) = after.split_once('}').filter(|(name, _)| is_name(name)).context(
            "no name of a variable and } follow ${, which is written $${ where it is meant so",
        )?;
        let value = variable(name).with_context(|| format!("the variable {name} is not set"))?;
        result.push_str(&value);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write;

    fn read_text(text: &str) -> Result<Value, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        read(file.path().to_str().unwrap(), false).map_err(|error| {
            let error = error.to_string();
            assert!(!error.contains("hunter2"), "{error}");
            error
        })
    }

    #[test]
    fn yaml_is_taken_where_json_is() {
        let expected = json!({"host": "h", "port": 1, "tables": ["a", "b"], "key": "0123"});
        for text in [
            r#"{"host": "h", "port": 1, "tables": ["a", "b"], "key": "0123"}"#,
            "host: h\nport: 1 # the usual\ntables:\n- a\n- b\nkey: '0123'\n",
            "---\n\"host\": h\nport: 1\ntables: [a, b]\nkey: '0123'\n",
        ] {
            assert_eq!(read_text(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_said_with_its_place_and_not_its_text() {
        for (text, says) in [
            ("{\"password\": \"hunter2\",\n \"b\": }", "it is not JSON"),
            ("password: hunter2\n  port: [1\n", "it is neither JSON nor YAML, line 2"),
            ("hunter2", "neither a JSON object nor YAML with members"),
            ("- hunter2\n", "neither a JSON object nor YAML with members"),
            (" \n", "it is empty"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
            assert_eq!(error.lines().count(), 1);
        }
    }

    #[test]
    fn variables_take_the_place_of_their_names() {
        let variable = |name: &str| match name {
            "HOST" => Some("db.example.com".to_owned()),
            "ODD" => Some("${HOST} \"".to_owned()),
            _ => None,
        };
        for (text, expected) in [
            ("${HOST}:5432", "db.example.com:5432"),
            ("a ${ODD}${HOST}", "a ${HOST} \"db.example.com"),
            ("$HOST and $5, $${HOST}", "$HOST and $5, ${HOST}"),
        ] {
            assert_eq!(expanded(text, variable).unwrap(), expected);
        }
        let mut config = json!({"a": {"b": ["x", "${HOST}"]}, "n": 1});
        expand(&mut config, "", &variable).unwrap();
        assert_eq!(config, json!({"a": {"b": ["x", "db.example.com"]}, "n": 1}));
        for (text, says) in
            [("${NONE}", "`a.b`: the variable NONE is not set"), ("hunter2${", "`a.b`: no name")]
        {
            let error = expand(&mut json!({"a": {"b": text}}), "", &variable).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.starts_with(says) && !error.contains("hunter2"), "{error}");
        }
    }
}
