//! Rules for Rust files: what a module opens with, what it may use, and where IO and names of protocols may be.

use super::text::has_word;
use super::{File, Finding, Tree};
use crate::wrapped;

/// Modules of `protocol`, and those that each must not use: dependencies go one way.
const DIRECTIONS: [(&[&str], &[&str]); 4] = [
    (&["message"], &["output", "runner", "http", "sql", "wire", "testing"]),
    (
        &["silo", "fault", "config", "json", "log", "select", "sops", "output"],
        &["runner", "http", "sql", "wire", "testing"],
    ),
    (&["http", "sql"], &["http", "sql", "wire", "runner", "testing"]),
    (&["wire", "runner"], &["http", "sql", "testing"]),
];

/// What code names, the files that may, and what to do in others.
struct Place {
    names: &'static [&'static str],
    /// The folders and files that the rule holds for.
    within: &'static [&'static str],
    /// The folders and files among them that it does not hold for.
    but: &'static [&'static str],
    instead: &'static str,
    /// Whether it is about foreign protocols, of which a connector that wraps a program names one.
    of_protocols: bool,
}

const PLACES: [Place; 4] = [
    Place {
        names: &["std::fs", "std::io", "std::net", "std::process", "std::thread", "tokio"],
        within: &[
            "protocol/src/message.rs",
            "protocol/src/message",
            "protocol/src/silo.rs",
            "protocol/src/silo",
        ],
        but: &[],
        instead: "messages and silos do no IO and know no runtime: do it where they are used",
        of_protocols: false,
    },
    Place {
        names: &[
            "std::env",
            "env::var",
            "env::args",
            "io::stdin",
            "io::stdout",
            "stdout()",
            "stdin()",
        ],
        within: &["protocol/src", "connectors"],
        but: &[
            "protocol/src/runner.rs",
            "protocol/src/runner",
            "protocol/src/wire.rs",
            "protocol/src/wire",
            "protocol/src/testing.rs",
            "protocol/src/testing",
        ],
        instead: "only the runner and the wires touch stdin, stdout, arguments and the environment",
        of_protocols: false,
    },
    Place {
        names: &["println!", "print!", "eprintln!", "eprint!", "process::exit"],
        within: &["protocol/src", "connectors"],
        but: &["protocol/src/runner.rs", "protocol/src/runner"],
        instead: "stdout is the protocol and the runner ends the process: return an error, or log",
        of_protocols: false,
    },
    Place {
        names: &[
            "airbyte", "Airbyte", "singer", "Singer", "estuary", "Estuary", "devlake", "DevLake",
        ],
        within: &["protocol/src", "connectors"],
        but: &[
            "protocol/src/wire.rs",
            "protocol/src/wire",
            "connectors/airbyte",
            "connectors/singer",
        ],
        instead: "only files under wire/ know a foreign protocol",
        of_protocols: true,
    },
];

pub(super) fn check(tree: &Tree, found: &mut Vec<Finding>) {
    for file in tree.rust() {
        // A README may take the sentence's place.
        if !file.text.starts_with("//! ") && !file.text.starts_with("#![doc = include_str!(") {
            found.push(Finding::new(
                file,
                1,
                "open with `//!` and one sentence on what the file is for",
            ));
        }
        directions(file, found);
        for place in PLACES.iter().filter(|place| !(place.of_protocols && wraps(tree, file))) {
            place.check(file, found);
        }
    }
}

impl Place {
    fn check(&self, file: &File, found: &mut Vec<Finding>) {
        let any =
            |paths: &[&str]| paths.iter().any(|path| file.path == *path || file.is_below(path));
        if !any(self.within) || any(self.but) || is_test(file) {
            return;
        }
        for (number, code) in code(file) {
            if let Some(name) = self.names.iter().find(|name| has_word(code, name)) {
                found.push(Finding::new(
                    file,
                    number,
                    format!("`{name}` in the wrong place: {}", self.instead),
                ));
            }
        }
    }
}

/// Whether a file is of a connector that wraps a program.
fn wraps(tree: &Tree, file: &File) -> bool {
    let name = file.path.strip_prefix("connectors/").and_then(|path| path.split('/').next());
    name.is_some_and(|name| tree.file(&format!("connectors/{name}/{}", wrapped::FILE)).is_some())
}

/// A module of `protocol` that uses one above it.
fn directions(file: &File, found: &mut Vec<Finding>) {
    let Some(path) = file.path.strip_prefix("protocol/src/") else { return };
    let module = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    for (_, above) in DIRECTIONS.iter().filter(|(modules, _)| modules.contains(&module)) {
        for (number, used) in uses(file) {
            if used != module && above.contains(&used) {
                found.push(Finding::new(
                    file,
                    number,
                    format!("`{module}` must not use `{used}`: turn it around"),
                ));
            }
        }
    }
}

/// The modules of its crate that a file names, by `crate::name` or `crate::{name, …}`.
fn uses(file: &File) -> Vec<(usize, &str)> {
    let mut used = vec![];
    // The depth of braces within a `crate::{…}`, 0 outside of one.
    let mut depth = 0;
    for (number, code) in code(file) {
        let mut rest = code;
        loop {
            if depth == 0 {
                let Some((_, after)) = rest.split_once("crate::") else { break };
                rest = after;
                if let Some(after) = rest.strip_prefix('{') {
                    (depth, rest) = (1, after);
                } else {
                    used.push((number, word(rest)));
                    continue;
                }
            }
            if depth == 1 && !word(rest).is_empty() {
                used.push((number, word(rest)));
            }
            let Some(stop) = rest.find(['{', '}', ',']) else { break };
            match rest.as_bytes()[stop] {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            rest = rest[stop + 1..].trim_start();
        }
    }
    used
}

/// The name that a text begins with, after blanks.
fn word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The lines of a file before its tests, without comments.
fn code(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let lines = file.lines().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines.map(|(number, line)| (number, without_comment(line)))
}

fn without_comment(line: &str) -> &str {
    let quoted = |at: usize| line[..at].matches('"').count() % 2 == 1;
    let comment = line.match_indices("//").map(|(at, _)| at).find(|&at| !quoted(at));
    comment.map_or(line, |at| &line[..at])
}

fn is_test(file: &File) -> bool {
    file.path.contains("/tests/")
        || file.path.contains("/benches/")
        || file.path.contains("/examples/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut found = vec![];
        check(&Tree::of(&[(path, &format!("//! A file.\n{text}"))]), &mut found);
        found.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_file_says_what_it_is_for() {
        let mut found = vec![];
        check(&Tree::of(&[("xtask/src/a.rs", "fn a() {}\n")]), &mut found);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn dependencies_go_one_way() {
        let wrong = ["protocol/src/sql/table.rs:2: `sql` must not use `http`: turn it around"];
        assert_eq!(found("protocol/src/sql/table.rs", "use crate::http::Client;\n"), wrong);
        assert_eq!(found("protocol/src/sql/table.rs", "let a = crate::http::client();\n"), wrong);
        assert_eq!(
            found("protocol/src/sql/table.rs", "use crate::{silo::{Silo, http}, http};\n"),
            wrong
        );
        let several = "use crate::{\n    silo::{\n        wire,\n    },\n    wire::Frame,\n};\n";
        assert_eq!(
            found("protocol/src/http.rs", several),
            ["protocol/src/http.rs:6: `http` must not use `wire`: turn it around"]
        );
        assert!(
            found(
                "protocol/src/sql/table.rs",
                "use crate::sql::Dialect;\nuse crate::output::Output;\n"
            )
            .is_empty()
        );
        assert!(found("protocol/src/runner.rs", "use crate::wire;\n").is_empty());
    }

    #[test]
    fn what_tests_use_is_theirs_to_choose() {
        let text = "#[cfg(test)]\nmod tests {\n    use crate::testing;\n    use std::env;\n}\n";
        assert!(found("protocol/src/silo.rs", text).is_empty());
        assert!(found("connectors/x/tests/conformance.rs", "use std::env;\n").is_empty());
    }

    #[test]
    fn io_has_its_place() {
        assert_eq!(found("protocol/src/message.rs", "use std::fs;\n").len(), 1);
        assert_eq!(found("connectors/x/src/lib.rs", "let a = std::env::var(\"A\");\n").len(), 1);
        assert_eq!(found("connectors/x/src/lib.rs", "println!(\"a\");\n").len(), 1);
        assert!(found("protocol/src/runner/arguments.rs", "std::env::args_os();\n").is_empty());
        assert!(
            found("connectors/x/src/lib.rs", "// never println!\n/// Not env::var either.\n")
                .is_empty()
        );
    }

    #[test]
    fn foreign_protocols_stay_in_their_wire() {
        assert_eq!(
            found("protocol/src/silo.rs", "struct AirbyteStream;\n").len(),
            0,
            "a word is looked for"
        );
        assert_eq!(found("protocol/src/silo.rs", "let name = \"airbyte\";\n").len(), 1);
        assert!(found("protocol/src/wire/airbyte.rs", "let name = \"airbyte\";\n").is_empty());
    }
}
