//! `cargo xtask test`: every test of the workspace, with the real services that they need.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::screen;
use crate::services::{self, Services};
use crate::workspace::{self, Package, Workspace};

/// Names a file to which a test that cannot run here appends one line saying why, before it returns.
const SKIPS: &str = "MANIFOLD_SKIPS";

/// How many tests ended how.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Runs the tests of the named connectors or packages, by default of all; `arguments` go to the test programs.
pub(crate) fn command(names: &[String], install: bool, arguments: &[String]) -> Result<()> {
    let workspace = Workspace::load()?;
    let packages = chosen(&workspace, names)?;
    let cargo_test = || {
        let mut command = workspace.cargo("test");
        command.args(["--release", "--locked", "--no-fail-fast"]);
        match names {
            [] => command.arg("--workspace"),
            _ => command.args(packages.iter().flat_map(|package| ["--package", &package.name])),
        };
        command
    };

    // Whoever's build fails hears that before anything is installed or started.
    workspace::run(cargo_test().args(["--no-run", "--quiet"]))?;
    let services = Services::get(services::needed(packages.iter().copied()), install)?;
    let skips = workspace.target.join("skipped-tests");
    fs::write(&skips, "").with_context(|| format!("writing {}", skips.display()))?;

    let mut command = cargo_test();
    command
        .env(SKIPS, &skips)
        .envs(services.variables().iter().map(|(name, value)| (name, value)))
        .arg("--");
    let (counts, succeeded) = run(command.args(arguments))?;
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let skipped = skipped(&services, &packages, &skips)?;
    for reason in &skipped {
        screen::result(format_args!("skipped: {reason}"))?;
    }
    let counts = Counts { skipped: counts.skipped + u64::try_from(skipped.len())?, ..counts };
    screen::result(&counts)?;
    counts.judge(succeeded, ci)
}

fn chosen<'a>(workspace: &'a Workspace, names: &[String]) -> Result<Vec<&'a Package>> {
    if names.is_empty() {
        return Ok(workspace.packages.iter().collect());
    }
    let by_name =
        |name: &String| match workspace.packages.iter().find(|package| package.name == *name) {
            Some(package) => Ok(package),
            None => workspace.connector(name),
        };
    names.iter().map(by_name).collect()
}

/// Runs `cargo test`, passing on what it prints, and counts.
fn run(command: &mut Command) -> Result<(Counts, bool)> {
    let mut cargo = command.stdout(Stdio::piped()).spawn().context("starting cargo test")?;
    let stdout = cargo.stdout.take().context("cargo test has no stdout")?;
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("reading what cargo test prints")?;
        let line = String::from_utf8_lossy(&line);
        counts.add(&line);
        screen::result(line)?;
    }
    let status = cargo.wait().context("waiting for cargo test")?;
    Ok((counts, status.success()))
}

impl Counts {
    /// Adds what a test program says in its last line: `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        for count in counts.split(['.', ';']) {
            let Some((number, what)) = count.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Fails if anything did, or was skipped in CI.
    fn judge(&self, succeeded: bool, ci: bool) -> Result<()> {
        ensure!(succeeded && self.failed == 0, "the tests failed");
        ensure!(self.skipped == 0 || !ci, "tests were skipped, which CI=true forbids");
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Why tests were skipped, in a line each.
fn skipped(services: &Services, packages: &[&Package], skips: &Path) -> Result<Vec<String>> {
    let mut reasons = vec![];
    for missing in services.missing() {
        let users = packages.iter().filter(|package| package.services().contains(&missing.service));
        reasons.extend(
            users.map(|package| format!("{}: {}: {}", package.name, missing.service, missing.why)),
        );
    }
    let told = fs::read_to_string(skips).with_context(|| format!("reading {}", skips.display()))?;
    reasons.extend(told.lines().map(str::to_owned));
    Ok(reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_all_test_programs_are_added_up() {
        let mut counts = Counts::default();
        counts.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.02s");
        counts.add("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s");
        counts.add("test the_test_result_is_1_passed ... ok");
        assert_eq!(counts, Counts { passed: 7, failed: 2, skipped: 1 });
    }

    #[test]
    fn a_failure_fails_and_so_does_a_skip_in_ci() {
        let passed = Counts { passed: 1, ..Counts::default() };
        let skipped = Counts { passed: 1, skipped: 1, ..Counts::default() };
        let failed = Counts { passed: 1, failed: 1, ..Counts::default() };
        assert!(passed.judge(true, true).is_ok());
        assert!(skipped.judge(true, false).is_ok());
        assert!(skipped.judge(true, true).is_err());
        assert!(failed.judge(true, false).is_err());
        assert!(passed.judge(false, false).is_err(), "a test program that did not even begin");
    }
}
