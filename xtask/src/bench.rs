//! `cargo xtask bench NAME`: whole processes of ours beside those of the program that people use today.

mod foreign;
mod http;
mod measure;
mod mysql;
mod postgres;
mod server;
mod sqlite;
mod wires;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::build::{self, Platform};
use crate::services::Services;
use crate::workspace::Workspace;
use crate::{programs, screen};
use measure::{Run, measure};

/// What is measured of a connector. The next one is a file beside this one and an entry in [`SUITES`].
struct Suite {
    name: &'static str,
    /// Whose binary is run.
    connector: &'static str,
    /// Programs that it takes.
    programs: &'static [&'static str],
    /// Servers that it takes.
    services: &'static [&'static str],
    /// Makes what the contests need in a folder, unless it is there, and lists them.
    contests: fn(&Bench<'_>) -> Result<Vec<Contest>>,
}

const SUITES: [Suite; 6] =
    [foreign::SUITE, http::SUITE, mysql::SUITE, postgres::SUITE, sqlite::SUITE, wires::SUITE];

/// One thing that is done, by us and perhaps by a peer.
struct Contest {
    name: &'static str,
    ours: Command,
    /// Its name, and the command that does the same.
    peer: Option<(&'static str, Command)>,
    rounds: usize,
    /// What ours may cost beside the peer, whose output it passes on.
    toll: Option<Toll>,
}

impl Contest {
    fn new(
        name: &'static str,
        ours: Command,
        peer: Option<(&'static str, Command)>,
        rounds: usize,
    ) -> Contest {
        Contest { name, ours, peer, rounds, toll: None }
    }
}

/// A bound for passing on so many things that a peer makes.
struct Toll {
    things: u32,
    /// The most processor time for each, the peer's own taken off.
    most: Duration,
    /// The most memory for all.
    memory: u64,
}

/// Where a suite finds things and leaves them.
struct Bench<'a> {
    workspace: &'a Workspace,
    /// The connector's binary.
    binary: &'a Path,
    /// A folder that is kept from run to run.
    folder: &'a Path,
    /// The variables that lead to the servers.
    variables: &'a [(&'static str, String)],
}

impl Bench<'_> {
    /// The binary of another connector.
    fn other(&self, connector: &str) -> Result<PathBuf> {
        build::binary(self.workspace, self.workspace.connector(connector)?, &Platform::new(None)?)
    }

    /// Writes a file of JSON.
    fn write(&self, name: &str, content: &Value) -> Result<PathBuf> {
        let path = self.folder.join(format!("{name}.json"));
        fs::write(&path, format!("{content}\n"))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

/// The medians of one side of a contest.
struct Medians {
    elapsed: Duration,
    processor: Duration,
    memory: u64,
}

/// Runs the suites of the named connectors, by default all.
pub(crate) fn command(names: &[String], rounds: Option<usize>) -> Result<()> {
    let workspace = Workspace::load()?;
    let suites: Vec<&Suite> = match names {
        [] => SUITES.iter().collect(),
        names => names.iter().map(|name| suite(name)).collect::<Result<_>>()?,
    };
    let mut rows =
        vec![["", "ours", "memory", "peer", "", "memory", "ratio"].map(str::to_owned).to_vec()];
    for suite in suites {
        if let Some(missing) =
            suite.programs.iter().find(|program| programs::find(program, &[]).is_none())
        {
            bail!("{}: it is compared with {missing}, which is not installed", suite.name);
        }
        let binary = build::binary(
            &workspace,
            workspace.connector(suite.connector)?,
            &Platform::new(None)?,
        )?;
        let services = Services::get(suite.services.iter().copied(), false)?;
        if let Some(missing) = services.missing().first() {
            bail!("{}: {}: {}", suite.name, missing.service, missing.why);
        }
        let folder = workspace.target.join("bench").join(suite.name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let variables = services.variables();
        let bench = Bench { workspace: &workspace, binary: &binary, folder: &folder, variables };
        for mut contest in (suite.contests)(&bench)? {
            let rounds = rounds.unwrap_or(contest.rounds);
            screen::note(format_args!("{}: {}, {rounds} rounds", suite.name, contest.name));
            rows.push(contest.hold(suite.name, rounds)?);
        }
    }
    for line in screen::table(&rows) {
        screen::result(line)?;
    }
    Ok(())
}

impl Contest {
    /// Runs both sides in turns, so that whatever else the machine does meets both alike.
    fn hold(&mut self, connector: &str, rounds: usize) -> Result<Vec<String>> {
        ensure!(rounds > 0, "a contest takes at least one round");
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..rounds {
            ours.push(measure(&mut self.ours)?);
            if let Some((_, peer)) = &mut self.peer {
                theirs.push(measure(peer)?);
            }
        }
        let ours = Medians::of(&ours);
        let mut row = vec![
            format!("{connector} {}", self.name),
            seconds(ours.elapsed),
            mebibytes(ours.memory),
        ];
        if let Some((name, _)) = &self.peer {
            let theirs = Medians::of(&theirs);
            let ratio = theirs.elapsed.as_secs_f64() / ours.elapsed.as_secs_f64();
            row.extend([(*name).to_owned(), seconds(theirs.elapsed), mebibytes(theirs.memory)]);
            row.push(match &self.toll {
                Some(toll) => toll.paid(self.name, &ours, &theirs)?,
                None => format!("{ratio:.2}x as fast"),
            });
        }
        Ok(row)
    }
}

impl Toll {
    /// What each thing cost, if that was not too much.
    fn paid(&self, name: &str, ours: &Medians, peer: &Medians) -> Result<String> {
        let each = ours.processor.saturating_sub(peer.processor) / self.things;
        ensure!(each <= self.most, "{name}: each takes {each:?}, and may take {:?}", self.most);
        ensure!(
            ours.memory <= self.memory,
            "{name}: it takes {}, and may take {}",
            mebibytes(ours.memory),
            mebibytes(self.memory)
        );
        Ok(format!("{:.2} us of processor each", each.as_secs_f64() * 1e6))
    }
}

impl Medians {
    fn of(runs: &[Run]) -> Medians {
        Medians {
            elapsed: median(runs.iter().map(|run| run.elapsed)),
            processor: median(runs.iter().map(|run| run.processor)),
            memory: median(runs.iter().map(|run| run.memory)),
        }
    }
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

fn suite(name: &str) -> Result<&'static Suite> {
    let known = || SUITES.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ");
    let found = SUITES.iter().find(|suite| suite.name == name);
    found.with_context(|| format!("{name} has no benchmarks; there are: {}", known()))
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 0.1 { format!("{:.2} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median([5, 1, 9].into_iter()), 5);
        assert_eq!(median([7].into_iter()), 7);
    }

    #[test]
    fn a_contest_is_a_row() {
        let peer = Some(("true", Command::new("true")));
        let mut contest = Contest::new("nothing", Command::new("true"), peer, 3);
        let row = contest.hold("x", 3).unwrap();
        assert_eq!((row.len(), row[0].as_str()), (7, "x nothing"));
        contest.toll = Some(Toll { things: 1000, most: Duration::from_secs(1), memory: 1 << 30 });
        assert!(contest.hold("x", 1).unwrap()[6].ends_with("us of processor each"));
        contest.toll = Some(Toll { things: 1000, most: Duration::from_secs(1), memory: 1 });
        assert!(contest.hold("x", 1).is_err(), "what takes too much fails");
        contest.ours = Command::new("false");
        assert!(contest.hold("x", 1).is_err(), "what fails is not measured");
    }
}
