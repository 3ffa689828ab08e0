//! Cases that a script in somebody else's environment tries, with a connector of ours and a silo.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::clients::Clients;
use crate::screen;
use crate::services::Services;
use crate::workspace::{Workspace, output};

/// One thing that a script does with a connector of ours.
pub(super) struct Case {
    pub(super) name: String,
    /// The connector whose silo is read, where one is.
    pub(super) silo: Option<&'static str>,
    /// The script that does it, and the environment it runs in.
    pub(super) script: &'static str,
    pub(super) environment: &'static str,
    /// What else the script is told.
    pub(super) told: Vec<(&'static str, Told)>,
    /// Whether it is a part of every run, and not of `--all` only.
    pub(super) always: bool,
}

/// A thing that a script is told.
pub(super) enum Told {
    /// A value.
    Json(Value),
    /// A connector of ours, by its wire and its own name.
    Ours(&'static str, &'static str),
    /// A connector of ours, in the native protocol.
    Native(&'static str),
    /// A program of an environment.
    Theirs(&'static str, &'static str),
    /// The configuration of another silo, empty before.
    Empty(&'static str),
}

use Told::{Empty, Json, Native, Ours, Theirs};

/// How many cases went which way.
#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Tally {
    fn judge(&mut self, name: &str, result: Result<String>) -> Result<()> {
        match result {
            Ok(found) => {
                self.passed += 1;
                screen::result(format_args!("ok: {name}: {found}"))
            }
            Err(error) => {
                self.failed += 1;
                screen::result(format_args!("FAILED: {name}: {error:#}"))
            }
        }
    }

    fn skip(&mut self, name: &str, why: &str) -> Result<()> {
        self.skipped += 1;
        screen::result(format_args!("skipped: {name}: {why}"))
    }
}

/// Tries the cases; in CI none may be skipped.
pub(super) fn command(cases: &[Case], install: bool) -> Result<()> {
    let mut tally = Tally::default();
    run(cases, install, &mut tally)?;
    let Tally { passed, failed, skipped } = tally;
    screen::result(format_args!("{passed} passed, {failed} failed, {skipped} skipped"))?;
    ensure!(failed == 0, "we and others do not understand each other");
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    ensure!(skipped == 0 || !ci, "cases were skipped, which CI=true forbids");
    Ok(())
}

fn run(cases: &[Case], install: bool, tally: &mut Tally) -> Result<()> {
    let workspace = Workspace::load()?;
    let clients = match Clients::new(&workspace) {
        Ok(clients) => clients,
        Err(error) => {
            return cases.iter().try_for_each(|case| tally.skip(&case.name, &format!("{error:#}")));
        }
    };
    let mut names: Vec<&str> = cases.iter().flat_map(Case::connectors).collect();
    names.sort_unstable();
    names.dedup();
    let connectors: Vec<_> =
        names.into_iter().map(|name| workspace.connector(name)).collect::<Result<_>>()?;
    let postgres = cases.iter().any(Case::takes_postgres).then_some("postgres");
    let services = Services::get(postgres, install)?;
    workspace.build(&connectors)?;
    let folder = tempfolder()?;
    for (place, case) in cases.iter().enumerate() {
        let postgres =
            services.variables().iter().find(|(name, _)| *name == "MANIFOLD_TEST_POSTGRES");
        let room = Room {
            workspace: &workspace,
            clients: &clients,
            postgres: postgres.map(|(_, url)| url.as_str()),
            folder: folder.join(place.to_string()),
        };
        if case.takes_postgres()
            && room.postgres.is_none()
            && let Some(missing) = services.missing().first()
        {
            tally.skip(&case.name, &missing.why)?;
            continue;
        }
        match room.prepare(case) {
            Ok(mut command) => tally.judge(&case.name, said(&mut command))?,
            Err(error) => tally.skip(&case.name, &format!("{error:#}"))?,
        }
    }
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
}

/// A folder of this run's own.
fn tempfolder() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("manifold-interop-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// Runs a script; its last line says what it found.
fn said(command: &mut Command) -> Result<String> {
    let printed = String::from_utf8(output(command)?).context("reading what the script printed")?;
    Ok(printed.lines().last().unwrap_or_default().to_owned())
}

impl Case {
    fn takes_postgres(&self) -> bool {
        let other = self.told.iter().any(|(_, told)| matches!(told, Empty("postgres")));
        other || self.silo == Some("postgres")
    }

    /// The connectors of ours that it takes.
    fn connectors(&self) -> impl Iterator<Item = &'static str> {
        self.told.iter().filter_map(|(_, told)| match told {
            Ours(_, name) | Native(name) => Some(*name),
            Json(_) | Theirs(..) | Empty(_) => None,
        })
    }
}

/// What a case has to itself.
struct Room<'a> {
    workspace: &'a Workspace,
    clients: &'a Clients<'a>,
    postgres: Option<&'a str>,
    folder: PathBuf,
}

impl Room<'_> {
    /// Sets up the environments, and writes down what the script is told.
    fn prepare(&self, case: &Case) -> Result<Command> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("creating {}", self.folder.display()))?;
        let mut task = Map::new();
        task.insert("folder".to_owned(), path(&self.folder)?);
        if let Some(silo) = case.silo {
            task.insert("silo".to_owned(), silo.into());
            task.insert("config".to_owned(), self.silo(silo, "source")?);
            task.insert("wrong".to_owned(), self.silo(silo, "no/such/place")?);
        }
        for (member, told) in &case.told {
            let value = match told {
                Json(value) => value.clone(),
                Ours(wire, name) => path(&self.link(wire, name)?)?,
                Native(name) => path(&self.workspace.binary(self.workspace.connector(name)?))?,
                Theirs(environment, program) => {
                    path(&self.clients.programs(environment)?.join(program))?
                }
                Empty(silo) => self.silo(silo, "target")?,
            };
            task.insert((*member).to_owned(), value);
        }
        let file = self.folder.join("task.json");
        fs::write(&file, Value::Object(task).to_string())
            .with_context(|| format!("writing {}", file.display()))?;
        let mut command = Command::new(self.clients.programs(case.environment)?.join("python"));
        command.arg("-B").arg(self.clients.folder().join(case.script)).arg(file);
        command.current_dir(&self.folder).env_remove("MANIFOLD_WIRE");
        Ok(command)
    }

    /// The configuration of a silo of this case.
    fn silo(&self, silo: &str, name: &str) -> Result<Value> {
        match (silo, self.postgres) {
            ("sqlite", _) => {
                Ok(json!({"path": path(&self.folder.join(name).with_extension("db"))?}))
            }
            (_, Some(url)) => {
                let (server, _) = url.rsplit_once('/').context("a URL without a database")?;
                let place = self.folder.file_name().unwrap_or_default().to_string_lossy();
                let name = name.replace('/', "_");
                Ok(json!({"url": format!("{server}/interop_{name}_{place}")}))
            }
            (_, None) => bail!("there is no server"),
        }
    }

    /// A connector of ours under the name that chooses its wire.
    fn link(&self, wire: &str, connector: &str) -> Result<PathBuf> {
        let binary = self.workspace.binary(self.workspace.connector(connector)?);
        let link = self.folder.join(format!("{wire}-{connector}"));
        symlink(&binary, &link).with_context(|| format!("making {}", link.display()))?;
        Ok(link)
    }
}

fn path(path: &Path) -> Result<Value> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.into())
}
