//! `cargo xtask tidy`: the rules of the house that no compiler checks, each finding one line.

mod catalogue;
mod modules;
mod packages;
mod text;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::screen;
use crate::workspace::Workspace;

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 2] = [".git", "target"];

/// What breaks a rule, where, and what to do.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(file: &File, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: file.path.clone(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A text file.
struct File {
    /// From the root, with slashes.
    path: String,
    text: String,
}

impl File {
    /// The lines with their numbers, from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, line)| (i + 1, line))
    }

    fn is_below(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// All text files of the project.
struct Tree(Vec<File>);

impl Tree {
    fn read(root: &Path) -> Result<Tree> {
        let mut files = vec![];
        collect(root, root, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree(files))
    }

    fn file(&self, path: &str) -> Option<&File> {
        self.0.iter().find(|file| file.path == path)
    }

    fn rust(&self) -> impl Iterator<Item = &File> {
        self.0.iter().filter(|file| file.path.ends_with(".rs"))
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Tree {
        Tree(
            files
                .iter()
                .map(|&(path, text)| File { path: path.to_owned(), text: text.to_owned() })
                .collect(),
        )
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) -> Result<()> {
    let context = || format!("reading {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let path = entry.path();
        if FOREIGN.iter().any(|&name| entry.file_name() == name) {
            continue;
        }
        let kind = entry.file_type().with_context(context)?;
        if kind.is_dir() {
            collect(root, &path, files)?;
        } else if kind.is_file() {
            // What is not text has no lines to be tidy.
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            if let Ok(text) = String::from_utf8(bytes) {
                let path = path.strip_prefix(root)?.to_string_lossy().into_owned();
                files.push(File { path, text });
            }
        }
    }
    Ok(())
}

fn findings(tree: &Tree) -> Vec<Finding> {
    let mut found = vec![];
    text::check(tree, &mut found);
    modules::check(tree, &mut found);
    packages::check(tree, &mut found);
    catalogue::check(tree, &mut found);
    found.sort();
    found
}

/// Prints every finding, and fails if there are any.
pub(crate) fn command() -> Result<()> {
    let found = findings(&Tree::read(&Workspace::load()?.root)?);
    for finding in &found {
        screen::result(finding)?;
    }
    match found.len() {
        0 => Ok(()),
        n => bail!("{n} to tidy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_project_is_tidy() {
        let found = findings(&Tree::read(&Workspace::load().unwrap().root).unwrap());
        let found: Vec<String> = found.iter().map(Finding::to_string).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
