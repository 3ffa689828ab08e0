//! Rules for every file: how lines end, and words that do not belong.

use super::{Finding, Tree};

/// Words that do not belong, and what to do instead.
const WORDS: [(&str, &str); 9] = [
    ("TODO", "do it, or say in the documentation what is not there"),
    ("FIXME", "mend it"),
    ("XXX", "say what it means"),
    ("HACK", "say why it has to be so"),
    ("#[ignore", "make the test run, or remove it"),
    ("#[should_panic", "assert on what goes wrong"),
    ("blazing", "give the figure"),
    ("seamless", "say what it does"),
    ("todo!(", "write it"),
];

/// Files that hold these words because they are their list, or that others wrote.
const FREE: [&str; 3] = ["xtask/src/tidy/text.rs", "LICENSE-APACHE", "LICENSE-MIT"];

/// Folders of recorded bytes, which stay as they were recorded.
const RECORDED: [&str; 2] = ["/fixtures/", "/golden/"];

pub(super) fn check(tree: &Tree, found: &mut Vec<Finding>) {
    let ours =
        |path: &str| !FREE.contains(&path) && !RECORDED.iter().any(|folder| path.contains(folder));
    for file in tree.0.iter().filter(|file| ours(&file.path)) {
        let mut add = |line, what: String| found.push(Finding::new(file, line, what));
        if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
            add(file.text.lines().count(), "end the file with one newline".to_owned());
        }
        for (number, line) in file.text.split('\n').enumerate().map(|(i, line)| (i + 1, line)) {
            if line.ends_with('\r') {
                add(
                    number,
                    "end the line with a newline alone, without a carriage return".to_owned(),
                );
            } else if line.ends_with([' ', '\t']) {
                add(number, "remove the blanks at the end of the line".to_owned());
            }
            if line.contains('\t') {
                add(number, "write blanks instead of the tab".to_owned());
            }
            for (word, instead) in WORDS {
                if has_word(line, word) {
                    add(number, format!("`{word}` does not belong here: {instead}"));
                }
            }
        }
    }
}

/// Whether the line has the word on its own, not within a longer one.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let letter =
        |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let inside = |edge: Option<char>, beside| letter(edge) && letter(beside);
        !inside(word.chars().next(), before) && !inside(word.chars().next_back(), after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn lines(text: &str) -> Vec<usize> {
        let mut found = vec![];
        check(&Tree::of(&[("a.md", text)]), &mut found);
        found.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn untidy_lines_are_found() {
        assert_eq!(lines("one\n  two\n\nthree\n"), NONE);
        assert_eq!(lines("one\ntwo"), [2], "no newline at the end");
        assert_eq!(lines("one\n\n"), [2], "an empty last line");
        assert_eq!(lines("one \ntwo\n"), [1], "a blank at the end");
        assert_eq!(lines("one\r\n"), [1], "a carriage return");
        assert_eq!(lines("one\n\ttwo\n"), [2], "a tab");
    }

    #[test]
    fn words_are_found_on_their_own_only() {
        assert_eq!(lines("// FIXME: later\n"), [1]);
        assert_eq!(lines("FIXMES and PREFIXME\n"), NONE);
    }

    #[test]
    fn recorded_bytes_stay_as_they_are() {
        let mut found = vec![];
        check(&Tree::of(&[("connectors/x/tests/fixtures/page.json", "{}\t\r\n\n")]), &mut found);
        assert!(found.is_empty());
    }
}
