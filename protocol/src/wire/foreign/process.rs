//! Runs a foreign program: its files, its lines, its log, and its end.
//!
//! A program is a process group of its own, so that what it starts ends with it. It sees a chosen
//! part of the environment and a folder of its own for files with secrets in them; both are gone
//! when it is, also when a signal ends this process.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, getgid, getuid, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::lines::Lines;
use crate::fault::Fault;
use crate::log;

/// How long a program that was asked to end may take over it.
const GRACE: Duration = Duration::from_secs(10);

/// How often a program is looked at that says nothing.
const LOOK: Duration = Duration::from_millis(500);

/// How long the output of a program is waited for that has ended, while others hold it open.
const REST: Duration = Duration::from_secs(2);

/// What a signal that ends this process leaves to the programs it has started.
const LAST: Duration = Duration::from_millis(100);

/// How many of the last lines of a program's log are kept, to say why it failed.
const WORDS: usize = 8;

/// What a program sees of this process's environment: enough to be found and to reach its system,
/// and no secret that is meant for us. An engine sees all of it, and its container nothing.
const ENVIRONMENT: [&str; 31] = [
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "JAVA_HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "NO_PROXY",
    "PATH",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "PYTHONPATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
    "XDG_RUNTIME_DIR",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// The container engines that are looked for, the likeliest first.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// A program, and how it is started.
#[derive(Debug, Clone)]
pub struct Program {
    start: Start,
    /// How long it may say nothing.
    patience: Duration,
    /// Whether what it says in its log is for whoever looks for a fault.
    quiet: bool,
}

#[derive(Debug, Clone)]
enum Start {
    Command(Vec<String>),
    Image { engine: PathBuf, image: String },
}

impl Program {
    /// A program that is started as a command, or as an image by whatever engine is installed.
    pub(super) fn new(
        command: &[String],
        image: Option<&str>,
        patience: Duration,
    ) -> Result<Program> {
        let start = match (command, image) {
            ([], None) => {
                return Err(Fault::config("name the program: a `command` or an `image`").into());
            }
            ([_, ..], Some(_)) => {
                let both = "`command` and `image` are both there: name the program by one of them";
                return Err(Fault::config(both).into());
            }
            (words, None) => Start::Command(words.to_vec()),
            ([], Some(image)) => {
                let engine = engine().ok_or_else(|| {
                    Fault::config(
                        "`image`: neither docker nor podman is installed here to run it; name a \
                         `command` instead",
                    )
                })?;
                Start::Image { engine, image: image.to_owned() }
            }
        };
        Ok(Program { start, patience, quiet: false })
    }

    /// What to call it.
    pub(super) fn name(&self) -> &str {
        match &self.start {
            Start::Command(words) => {
                let path = words.first().map_or("", String::as_str);
                path.rsplit('/').next().unwrap_or(path)
            }
            Start::Image { image, .. } => image,
        }
    }

    /// The same, given up on sooner.
    pub(super) fn within(&self, limit: Duration) -> Program {
        Program { patience: self.patience.min(limit), ..self.clone() }
    }

    /// The same for a question that it may well not understand.
    pub(super) fn quiet(&self) -> Program {
        Program { quiet: true, ..self.clone() }
    }

    /// Starts it with `arguments`, which name files of `folder`.
    pub(super) fn start(&self, folder: Folder, arguments: &[&str]) -> Result<Run> {
        let (mut command, container) = match &self.start {
            Start::Command(words) => {
                let (program, rest) = words.split_first().context("a command without a word")?;
                let mut command = Command::new(program);
                command.args(rest).env_clear();
                command.envs(
                    ENVIRONMENT.iter().filter_map(|&name| Some((name, std::env::var_os(name)?))),
                );
                (command, None)
            }
            Start::Image { engine, image } => {
                let name = container_name();
                let mut command = Command::new(engine);
                command.args(["run", "--rm", "--name", &name]);
                // Its files are this user's alone, so that it has to run as this user.
                command.arg("--user");
                command.arg(format!("{}:{}", getuid().as_raw(), getgid().as_raw()));
                if engine.ends_with("podman") && !getuid().is_root() {
                    command.arg("--userns=keep-id");
                }
                let mut volume = OsString::from(folder.path());
                volume.push(":");
                volume.push(folder.path());
                command.arg("-v").arg(volume).arg(image);
                (command, Some(Container { engine: engine.clone(), name }))
            }
        };
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        log::debug(format_args!("{}: {}", self.name(), arguments.first().unwrap_or(&"")));
        let mut child = command.spawn().map_err(|error| self.cannot_start(&error))?;
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        let stderr = child.stderr.take().context("stderr is a pipe")?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let living = Living::add(group, folder, container);
        let said = Arc::new(Mutex::new(Said { last: Instant::now(), words: VecDeque::new() }));
        let name = self.name().to_owned();
        let log = tokio::spawn(hand_on(stderr, name, self.quiet, Arc::clone(&said)));
        Ok(Run {
            name: self.name().to_owned(),
            patience: self.patience,
            lines: Lines::new(stdout),
            child,
            living,
            log,
            said,
        })
    }

    fn cannot_start(&self, error: &std::io::Error) -> anyhow::Error {
        let field = match &self.start {
            Start::Command(_) => "command",
            Start::Image { .. } => "image",
        };
        let name = self.name();
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such program".to_owned(),
            std::io::ErrorKind::PermissionDenied => "it may not be run".to_owned(),
            _ => error.to_string(),
        };
        Fault::config(format!("`{field}`: {name} cannot be started: {why}")).into()
    }
}

/// The engine that is installed; of several, one that answers: Docker's client is there also where
/// none of its engines is.
fn engine() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let find = |name: &&str| places.iter().map(|at| at.join(name)).find(|path| path.is_file());
    let found: Vec<PathBuf> = ENGINES.iter().filter_map(find).collect();
    let answers = |engine: &&PathBuf| {
        let mut version = std::process::Command::new(engine);
        version.arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    };
    match found.as_slice() {
        [] | [_] => found.into_iter().next(),
        [first, ..] => found.iter().find(answers).or(Some(first)).cloned(),
    }
}

/// A container's name that no other run has.
fn container_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("manifold-{}-{count}", std::process::id())
}

/// A folder that only this user can look into, for files with secrets in them.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    /// A new one.
    pub(super) fn new() -> Result<Folder> {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("manifold-").permissions(private).tempdir();
        folder.map(Folder).context("making a private folder for the program's files")
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file that only this user can read, and returns its path.
    pub(super) fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.path().join(name);
        let written = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        written.with_context(|| format!("writing {name} for the program"))?;
        path.into_os_string().into_string().ok().context("the temporary folder is not UTF-8")
    }
}

/// A program at work.
pub(super) struct Run {
    name: String,
    patience: Duration,
    lines: Lines<ChildStdout>,
    child: Child,
    living: Living,
    log: JoinHandle<()>,
    said: Arc<Mutex<Said>>,
}

/// What a program says on stderr.
struct Said {
    /// When it last said something.
    last: Instant,
    /// Its last words.
    words: VecDeque<String>,
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    /// The next line that it prints, without its end; `None` when there are no more.
    pub(super) async fn line(&mut self) -> Result<Option<&[u8]>> {
        if self.lines.more()? {
            return Ok(self.lines.take());
        }
        let mut last = Instant::now();
        let mut ended: Option<Instant> = None;
        loop {
            match timeout(LOOK, self.lines.fill()).await {
                Ok(filled) => {
                    let filled = filled.with_context(|| format!("reading {}", self.name))?;
                    if filled == 0 || self.lines.more()? {
                        break;
                    }
                    last = Instant::now();
                }
                Err(_) if ended.is_some_and(|at| at.elapsed() >= REST) => break,
                Err(_) => {
                    if ended.is_none() && self.child.try_wait()?.is_some() {
                        ended = Some(Instant::now());
                    }
                    if last.max(lock(&self.said).last).elapsed() >= self.patience {
                        self.kill().await;
                        return Err(Fault::transient(format!(
                            "{} said nothing for {} seconds and was stopped",
                            self.name,
                            self.patience.as_secs()
                        ))
                        .into());
                    }
                }
            }
        }
        Ok(self.lines.take())
    }

    /// Waits for its end, once it prints no more.
    pub(super) async fn end(mut self) -> Result<End> {
        let Ok(status) = timeout(self.patience, self.child.wait()).await else {
            self.kill().await;
            return Err(Fault::transient(format!(
                "{} closed its output and did not end within {} seconds",
                self.name,
                self.patience.as_secs()
            ))
            .into());
        };
        let status = status.with_context(|| format!("waiting for {}", self.name))?;
        // What it left behind may hold its log open for ever.
        self.living.signal(Signal::KILL);
        drop(timeout(REST, &mut self.log).await);
        let words = lock(&self.said).words.iter().cloned().collect();
        Ok(End { status, words, name: self.name.clone(), folder: self.living.take() })
    }

    /// Asks it to end, and makes it.
    pub(super) async fn stop(mut self) {
        self.living.signal(Signal::TERM);
        // It may want to be rid of what it has still to say.
        let end = Instant::now() + GRACE;
        loop {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) || Instant::now() >= end {
                break;
            }
            if let Ok(Ok(1..)) = timeout(Duration::from_millis(20), self.lines.fill()).await {
                self.lines.forget();
            }
        }
        self.kill().await;
    }

    async fn kill(&mut self) {
        self.living.kill();
        drop(timeout(REST, self.child.wait()).await);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.log.abort();
    }
}

/// How a program ended.
pub(super) struct End {
    status: ExitStatus,
    words: Vec<String>,
    name: String,
    /// Its files, which it may have changed.
    pub(super) folder: Option<Folder>,
}

impl End {
    /// Whether it says that all went well.
    pub(super) fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// Whether it took its arguments for wrong ones.
    pub(super) fn is_usage(&self) -> bool {
        self.status.code() == Some(2)
    }

    /// What it said last in its log, if anything.
    pub(super) fn words(&self) -> Option<&str> {
        self.words.last().map(String::as_str)
    }

    /// That it did not print what it was asked for.
    pub(super) fn silent(&self, what: &str, command: &str) -> anyhow::Error {
        if !self.succeeded() {
            return self.fault();
        }
        let last = self.words().map(|words| format!(": {words}")).unwrap_or_default();
        Fault::system(format!("{} printed no {what} for its `{command}`{last}", self.name)).into()
    }

    /// Why it failed, in its own words where it has some.
    pub(super) fn fault(&self) -> anyhow::Error {
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "an unknown status".to_owned(),
        };
        let words = self.words().unwrap_or("and said nothing about it");
        Fault::system(format!("{} ended with {how}: {words}", self.name)).into()
    }
}

/// Hands on what a program says on stderr, and keeps its last words.
async fn hand_on(stderr: ChildStderr, name: String, quiet: bool, said: Arc<Mutex<Said>>) {
    /// A longer line is cut into pieces.
    const LONG: usize = 16 * 1024;
    let mut reader = BufReader::with_capacity(LONG, stderr);
    let mut line = Vec::new();
    loop {
        let (used, whole) = match reader.fill_buf().await {
            Ok([]) | Err(_) => (0, true),
            Ok(bytes) => match memchr::memchr(b'\n', bytes) {
                Some(at) => {
                    line.extend_from_slice(&bytes[..at]);
                    (at + 1, true)
                }
                None => {
                    line.extend_from_slice(bytes);
                    (bytes.len(), line.len() >= LONG)
                }
            },
        };
        reader.consume(used);
        if whole {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if !text.trim().is_empty() {
                match quiet {
                    true => log::debug(format_args!("{name}: {text}")),
                    false => log::info(format_args!("{name}: {text}")),
                }
                let mut said = lock(&said);
                said.last = Instant::now();
                if said.words.len() == WORDS {
                    said.words.pop_front();
                }
                said.words.push_back(text.trim().chars().take(500).collect());
            }
            line.clear();
        }
        if used == 0 {
            return;
        }
    }
}

/// A container that an engine runs for us.
struct Container {
    engine: PathBuf,
    name: String,
}

impl Container {
    /// An engine's client that is killed leaves its container running.
    fn remove(&self) {
        let mut command = std::process::Command::new(&self.engine);
        command.args(["rm", "-f", &self.name]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Err(error) = command.spawn() {
            log::warn(format_args!("the container {} may still run: {error}", self.name));
        }
    }
}

/// What must not outlive this process.
struct Alive {
    id: u64,
    group: Option<Pid>,
    folder: PathBuf,
    container: Option<Container>,
}

impl Alive {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // One that is gone needs no signal.
            kill_process_group(group, signal).unwrap_or(());
        }
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
        if let Some(container) = &self.container {
            container.remove();
        }
    }
}

static ALIVE: Mutex<Vec<Alive>> = Mutex::new(Vec::new());

/// The programs that were started and have not ended.
fn alive() -> MutexGuard<'static, Vec<Alive>> {
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every program and removes its files, for a process that a signal ends.
pub(crate) fn end_all() {
    let alive = alive();
    if alive.is_empty() {
        return;
    }
    alive.iter().for_each(|one| one.signal(Signal::TERM));
    std::thread::sleep(LAST);
    for one in alive.iter() {
        one.kill();
        drop(std::fs::remove_dir_all(&one.folder));
    }
}

/// The entry of a program in [`ALIVE`], and its files: as long as this is there.
struct Living {
    id: u64,
    folder: Option<Folder>,
}

impl Living {
    fn add(group: Option<Pid>, folder: Folder, container: Option<Container>) -> Living {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let id = COUNT.fetch_add(1, Ordering::Relaxed);
        alive().push(Alive { id, group, folder: folder.path().to_owned(), container });
        Living { id, folder: Some(folder) }
    }

    fn signal(&self, signal: Signal) {
        alive().iter().filter(|one| one.id == self.id).for_each(|one| one.signal(signal));
    }

    fn kill(&mut self) {
        let mut alive = alive();
        if let Some(place) = alive.iter().position(|one| one.id == self.id) {
            alive.swap_remove(place).kill();
        }
    }

    /// The files of a program that has ended.
    fn take(&mut self) -> Option<Folder> {
        alive().retain(|one| one.id != self.id);
        self.folder.take()
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        if self.folder.is_some() {
            self.kill();
        }
    }
}
