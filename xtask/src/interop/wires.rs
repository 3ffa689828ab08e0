//! Our binaries, driven by the clients that people use, and at the other end of the taps and targets of
//! others.

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

/// One thing that a client does with a connector of ours.
struct Case {
    name: &'static str,
    /// The connector whose silo is read.
    silo: &'static str,
    /// The script that does it, and the environment it runs in.
    script: &'static str,
    environment: &'static str,
    /// What else the script is told.
    told: &'static [(&'static str, Told)],
    /// Whether it is a part of every run, and not of `--all` only.
    always: bool,
}

/// A thing that a script is told.
#[derive(Clone, Copy)]
enum Told {
    /// A word.
    Word(&'static str),
    /// A connector of ours under this name.
    Ours(&'static str),
    /// A program of an environment.
    Theirs(&'static str, &'static str),
    /// The configuration of another silo, empty before.
    Empty(&'static str),
}

use Told::{Empty, Ours, Theirs, Word};

const CASES: [Case; 11] = [
    Case {
        name: "PyAirbyte reads SQLite twice, and its cache equals the source",
        silo: "sqlite",
        script: "pyairbyte.py",
        environment: "pyairbyte",
        told: &[("source", Ours("source-sqlite"))],
        always: true,
    },
    Case {
        name: "the Airbyte CDK's checks of a source, SQLite",
        silo: "sqlite",
        script: "cdk.py",
        environment: "pyairbyte",
        told: &[("source", Ours("source-sqlite"))],
        always: true,
    },
    Case {
        name: "Meltano runs tap-sqlite into target-jsonl twice, with its state",
        silo: "sqlite",
        script: "meltano.py",
        environment: "meltano",
        told: &[
            ("tap", Ours("tap-sqlite")),
            ("orders", Word("orders")),
            ("meltano", Theirs("meltano", "meltano")),
            ("target", Theirs("target-jsonl", "target-jsonl")),
        ],
        always: true,
    },
    Case {
        name: "PyAirbyte reads PostgreSQL twice, and its cache equals the source",
        silo: "postgres",
        script: "pyairbyte.py",
        environment: "pyairbyte",
        told: &[("source", Ours("source-postgres"))],
        always: false,
    },
    Case {
        name: "the Airbyte CDK's checks of a source, PostgreSQL",
        silo: "postgres",
        script: "cdk.py",
        environment: "pyairbyte",
        told: &[("source", Ours("source-postgres"))],
        always: false,
    },
    Case {
        name: "Meltano runs tap-postgres into target-jsonl twice, with its state",
        silo: "postgres",
        script: "meltano.py",
        environment: "meltanolabs",
        told: &[
            ("tap", Ours("tap-postgres")),
            ("orders", Word("public-orders")),
            ("meltano", Theirs("meltano", "meltano")),
            ("target", Theirs("target-jsonl", "target-jsonl")),
        ],
        always: false,
    },
    Case {
        name: "our tap-sqlite into meltanolabs-target-postgres",
        silo: "sqlite",
        script: "foreign.py",
        environment: "meltanolabs",
        told: &[
            ("tap", Ours("tap-sqlite")),
            ("tap_kind", Word("ours")),
            ("target", Theirs("meltanolabs", "target-postgres")),
            ("target_kind", Word("meltanolabs")),
            ("target_silo", Word("postgres")),
            ("target_config", Empty("postgres")),
            ("arrived", Word("public.orders")),
        ],
        always: false,
    },
    Case {
        name: "our tap-postgres into meltanolabs-target-postgres",
        silo: "postgres",
        script: "foreign.py",
        environment: "meltanolabs",
        told: &[
            ("tap", Ours("tap-postgres")),
            ("tap_kind", Word("ours")),
            ("target", Theirs("meltanolabs", "target-postgres")),
            ("target_kind", Word("meltanolabs")),
            ("target_silo", Word("postgres")),
            ("target_config", Empty("postgres")),
            ("arrived", Word("public.orders")),
        ],
        always: false,
    },
    Case {
        name: "our tap-postgres into pipelinewise-target-postgres",
        silo: "postgres",
        script: "foreign.py",
        environment: "pipelinewise-target",
        told: &[
            ("tap", Ours("tap-postgres")),
            ("tap_kind", Word("ours")),
            ("target", Theirs("pipelinewise-target", "target-postgres")),
            ("target_kind", Word("pipelinewise")),
            ("target_silo", Word("postgres")),
            ("target_config", Empty("postgres")),
            ("arrived", Word("public.orders")),
        ],
        always: false,
    },
    Case {
        name: "meltanolabs-tap-postgres into our target-sqlite",
        silo: "postgres",
        script: "foreign.py",
        environment: "meltanolabs",
        told: &[
            ("tap", Theirs("meltanolabs", "tap-postgres")),
            ("tap_kind", Word("meltanolabs")),
            ("target", Ours("target-sqlite")),
            ("target_kind", Word("ours")),
            ("target_silo", Word("sqlite")),
            ("target_config", Empty("sqlite")),
            ("arrived", Word("\"public-orders\"")),
        ],
        always: false,
    },
    Case {
        name: "pipelinewise-tap-postgres into our target-postgres",
        silo: "postgres",
        script: "foreign.py",
        environment: "pipelinewise-tap",
        told: &[
            ("tap", Theirs("pipelinewise-tap", "tap-postgres")),
            ("tap_kind", Word("pipelinewise")),
            ("target", Ours("target-postgres")),
            ("target_kind", Word("ours")),
            ("target_silo", Word("postgres")),
            ("target_config", Empty("postgres")),
            ("arrived", Word("\"public-orders\"")),
        ],
        always: false,
    },
];

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

/// Runs the cases of every run, or all of them; in CI none may be skipped.
pub(super) fn command(all: bool, install: bool) -> Result<()> {
    let mut tally = Tally::default();
    run(all, install, &mut tally)?;
    let Tally { passed, failed, skipped } = tally;
    screen::result(format_args!("{passed} passed, {failed} failed, {skipped} skipped"))?;
    ensure!(failed == 0, "not everybody understands our wires");
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    ensure!(skipped == 0 || !ci, "clients were skipped, which CI=true forbids");
    Ok(())
}

fn run(all: bool, install: bool, tally: &mut Tally) -> Result<()> {
    let workspace = Workspace::load()?;
    let cases: Vec<&Case> = CASES.iter().filter(|case| all || case.always).collect();
    let clients = match Clients::new(&workspace) {
        Ok(clients) => clients,
        Err(error) => {
            return cases.iter().try_for_each(|case| tally.skip(case.name, &format!("{error:#}")));
        }
    };
    let mut connectors = vec![workspace.connector("sqlite")?];
    let mut services = Services::get([], install)?;
    if all {
        connectors.push(workspace.connector("postgres")?);
        services = Services::get(["postgres"], install)?;
    }
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
            tally.skip(case.name, &missing.why)?;
            continue;
        }
        match room.prepare(case) {
            Ok(mut command) => tally.judge(case.name, said(&mut command))?,
            Err(error) => tally.skip(case.name, &format!("{error:#}"))?,
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
        other || self.silo == "postgres"
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
        task.insert("silo".to_owned(), case.silo.into());
        task.insert("folder".to_owned(), path(&self.folder)?);
        task.insert("config".to_owned(), self.silo(case.silo, "source")?);
        task.insert("wrong".to_owned(), self.silo(case.silo, "no/such/place")?);
        for (member, told) in case.told {
            let value = match *told {
                Word(word) => word.into(),
                Ours(name) => path(&self.link(name)?)?,
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
    fn link(&self, name: &str) -> Result<PathBuf> {
        let (_, connector) = name.split_once('-').context("a link's name has two parts")?;
        let binary = self.workspace.binary(self.workspace.connector(connector)?);
        let link = self.folder.join(name);
        symlink(&binary, &link).with_context(|| format!("making {}", link.display()))?;
        Ok(link)
    }
}

fn path(path: &Path) -> Result<Value> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.into())
}
