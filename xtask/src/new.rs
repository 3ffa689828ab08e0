//! `cargo xtask new NAME`: a connector that works, copied from one of `connectors/`.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::manifest::{self, MONOID_IDS};
use crate::workspace::Workspace;
use crate::wrapped::{self, Captured, Wraps};
use crate::{date, screen, services, spec};

/// What a connector is for, which chooses the one that is copied.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Anything
    Plain,
    /// An HTTP API
    Http,
}

impl Kind {
    /// The connector that is copied.
    fn template(self) -> &'static str {
        match self {
            Kind::Plain => "hello",
            Kind::Http => "guestbook",
        }
    }
}

/// The program that a new connector wraps.
#[derive(clap::Args)]
#[group(requires_all = ["wraps", "command"], multiple = true)]
pub(crate) struct Program {
    /// Make it of a program that speaks this protocol
    #[arg(long, value_enum, conflicts_with = "kind")]
    wraps: Option<Wraps>,
    /// The program and its arguments, which is asked for the form of its configuration
    #[arg(long, num_args = 1.., value_name = "WORD", allow_hyphen_values = true)]
    command: Vec<String>,
}

/// The connector that is copied for one that wraps a program, and what is left out: the program,
/// and what is of it.
const WRAPPER: &str = "phonebook";
const LEFT_OUT: [&str; 4] = [wrapped::FILE, "source-phonebook", "program.rs", "golden"];

/// The name of the connector that is copied, and that of the copy.
#[derive(Clone, Copy)]
struct Names<'a> {
    template: &'a str,
    own: &'a str,
}

/// What is in the lines where it tells that it is copied.
const ITSELF: &str = "the template of new";

/// The file that begins anew.
const CHANGES: &str = "CHANGELOG.md";

/// Makes the connector `name`, with its entry in the manifest.
pub(crate) fn command(name: &str, kind: Kind, program: &Program) -> Result<()> {
    check_name(name)?;
    // Before anything is written: the program may not be there.
    let captured = program.wraps.map(|wraps| Captured::ask(wraps, &program.command)).transpose()?;
    let workspace = Workspace::load()?;
    let folder = workspace.root.join("connectors").join(name);
    ensure!(!folder.exists(), "connectors/{name} is there already");
    // A manifest that cannot be read would leave half a connector behind.
    let entries = manifest::read(&workspace.root)?;
    ensure!(
        entries.iter().all(|entry| entry.connector() != Some(name)),
        "{} has an entry for {name} already",
        manifest::FILE
    );

    let template = if captured.is_some() { WRAPPER } else { kind.template() };
    let names = Names { template, own: name };
    let of_program = program.replacements();
    let text = |text: &str| {
        let text = own(text, name);
        let text = of_program.iter().fold(text, |text, (theirs, own)| text.replace(theirs, own));
        names.renamed(&text)
    };
    let left_out = if captured.is_some() { &LEFT_OUT[..] } else { &[] };
    copy(workspace.connector(template)?.folder(), &folder, left_out, &text)?;
    if let Some(captured) = &captured {
        captured.write(&folder)?;
    }
    let path = workspace.root.join(manifest::FILE);
    let mut text =
        fs::read_to_string(&path).with_context(|| format!("reading {}", manifest::FILE))?;
    let id = match MONOID_IDS.iter().find(|(known, _)| *known == name) {
        Some((_, id)) => (*id).to_owned(),
        None => uuid()?,
    };
    text += &manifest::new_entry(
        &id,
        name,
        &title(name),
        workspace.repository()?,
        workspace.version()?,
        program.wraps.is_none_or(Wraps::reads),
    );
    fs::write(&path, text).with_context(|| format!("writing {}", manifest::FILE))?;
    screen::note(format_args!("wrote connectors/{name} and its entry in {}", manifest::FILE));

    // This also adds the package to the lock file.
    let mut metadata = workspace.cargo("metadata");
    let output =
        metadata.args(["--format-version", "1"]).output().context("running cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    spec::update(&Workspace::load()?, false, false)?;
    let what = match captured {
        Some(_) => "README.md: what the program reads, and what it needs",
        None => "src/lib.rs",
    };
    screen::note(format_args!(
        "next: write connectors/{name}/{what}; and run `cargo xtask test {name}`"
    ));
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    ensure!(
        name.len() <= 40 && name.split('-').all(word),
        "{name:?} cannot be a connector's name: it takes lower-case words joined by hyphens, such as acme-crm"
    );
    Ok(())
}

impl Program {
    /// What stands for the template's program, and what for this one.
    fn replacements(&self) -> Vec<(String, String)> {
        let Some(wraps) = self.wraps else { return vec![] };
        let (module, kind) = wraps.path();
        let (theirs, name) = Wraps::Airbyte.path();
        vec![
            (format!("{theirs}::{name}"), format!("{module}::{kind}")),
            (format!("[{theirs}](../{theirs}/"), format!("[{module}](../{module}/")),
            ("source-phonebook".to_owned(), self.command.join(" ")),
        ]
    }
}

/// Copies a folder but for what is left out, each file and name as `text` makes it.
fn copy(from: &Path, to: &Path, left_out: &[&str], text: &dyn Fn(&str) -> String) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry.with_context(|| format!("reading {}", from.display()))?;
        let (from, name) = (entry.path(), entry.file_name());
        if left_out.iter().any(|left| name == *left) {
            continue;
        }
        let to = to.join(text(&name.to_string_lossy()).trim_end());
        if entry.file_type().with_context(|| format!("reading {}", from.display()))?.is_dir() {
            copy(&from, &to, left_out, text)?;
        } else {
            let found =
                fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
            let made = if name == CHANGES { first_change()? } else { text(&found) };
            fs::write(&to, made).with_context(|| format!("writing {}", to.display()))?;
        }
    }
    Ok(())
}

/// The list of changes of a connector that is new today.
fn first_change() -> Result<String> {
    let date = date::rfc3339(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    Ok(format!("# Changes\n\n## {}\n\n- The first version.\n", &date[..10]))
}

/// The text without what only the template says of itself.
fn own(text: &str, name: &str) -> String {
    let line = |line: &str| match line {
        _ if !line.contains(ITSELF) => Some(line.to_owned()),
        _ if line.starts_with("description = ") => {
            Some(format!("description = \"{}\"", title(name)))
        }
        _ => None,
    };
    text.lines().filter_map(line).map(|line| line + "\n").collect()
}

impl Names<'_> {
    /// The text with the template's name replaced, in each of the forms that it has.
    fn renamed(self, text: &str) -> String {
        let (theirs, own) = (title(self.template), title(self.own));
        let (module, r#type) = (self.own.replace('-', "_"), own.replace(' ', ""));
        text.replace(&format!("connector_{}", self.template), &format!("connector_{module}"))
            .replace(&format!("\"{theirs}\""), &format!("\"{own}\""))
            .replace(&format!("# {theirs}\n"), &format!("# {own}\n"))
            .replace(&theirs, &r#type)
            .replace(self.template, self.own)
            // What it says is not what it is called.
            .replace(&format!("{type}, ", r#type = r#type), &format!("{theirs}, "))
    }
}

/// The name as people write it.
fn title(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    };
    name.split('-').map(word).collect::<Vec<_>>().join(" ")
}

/// A random UUID, version 4.
fn uuid() -> Result<String> {
    let mut digits = services::random()?.into_bytes();
    digits[12] = b'4';
    digits[16] = b"89ab"[usize::from(digits[16] % 4)];
    let digits = String::from_utf8(digits)?;
    Ok([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_words() {
        for name in ["acme", "acme-crm", "s3", "a1-b2"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in
            ["", "Acme", "acme_crm", "3s", "-a", "a-", "a--b", "../a", "a b", "é", &"a".repeat(41)]
        {
            let error = check_name(name).unwrap_err().to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn every_form_of_the_name_is_replaced() {
        for (text, expected) in [
            ("connector-hello, connectors/hello", "connector-acme-crm, connectors/acme-crm"),
            ("connector_hello::Hello", "connector_acme_crm::AcmeCrm"),
            ("# Hello\n\"Hello\"", "# Acme Crm\n\"Acme Crm\""),
            ("\"Hello, Ada!\"", "\"Hello, Ada!\""),
        ] {
            assert_eq!(Names { template: "hello", own: "acme-crm" }.renamed(text), expected);
        }
    }

    #[test]
    fn a_copy_does_not_call_itself_the_template() {
        let text = "description = \"Is the template of new ones\"\nAnd the template of new ones.\nIt greets.\n";
        assert_eq!(own(text, "acme-crm"), "description = \"Acme Crm\"\nIt greets.\n");
    }

    #[test]
    fn a_new_id_is_a_random_uuid() {
        let (one, other) = (uuid().unwrap(), uuid().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 36);
        assert!(one[14..].starts_with('4') && "89ab".contains(&one[19..20]), "{one}");
    }
}
