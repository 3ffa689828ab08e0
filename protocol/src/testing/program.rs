//! Runs a connector's binary as its users do, and holds every run to what is promised of all runs.

use std::ffi::OsString;
use std::io::{PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::output::{Line, Record, parse};
use super::setup::Setup;
use crate::silo::StoreId;

/// No command of a suite's small silo takes longer, whatever else the machine does.
const LIMIT: Duration = Duration::from_secs(120);

/// The smallest pipe there is: a program is stopped in the middle of its output soon.
const SMALL_PIPE: usize = 4096;

/// A run of the connector, to be prepared.
pub(super) struct Call<'a> {
    setup: &'a Setup,
    arguments: Vec<OsString>,
    input: Option<Vec<u8>>,
    words: String,
}

/// Who is at the other end of stdout.
enum Reader {
    /// One that reads everything.
    Patient,
    /// One that takes little at a time.
    Slow,
    /// Nobody.
    Gone,
}

/// The content of an input file.
pub(super) trait Content {
    /// Its bytes.
    fn bytes(&self) -> Vec<u8>;
}

impl Content for Value {
    fn bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl Content for [u8] {
    fn bytes(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Content for str {
    fn bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Setup {
    /// A run with the setup's configuration.
    pub(super) fn call(&self, command: &str) -> Call<'_> {
        self.bare(command).with("-c", &self.config)
    }

    /// A run with another configuration.
    pub(super) fn call_with(&self, command: &str, config: &Value) -> Call<'_> {
        self.bare(command).with("-c", config)
    }

    /// A run without any flag.
    pub(super) fn bare(&self, command: &str) -> Call<'_> {
        Call {
            setup: self,
            arguments: vec![command.into()],
            input: None,
            words: command.to_owned(),
        }
    }

    /// A run without so much as a command.
    pub(super) fn nothing(&self) -> Call<'_> {
        Call { arguments: Vec::new(), ..self.bare("") }
    }

    /// A file of its own that holds `content`.
    pub(super) fn file(&self, content: &(impl Content + ?Sized)) -> PathBuf {
        let file = tempfile::NamedTempFile::new_in(self.folder.path()).expect("a temporary file");
        let (mut file, path) = file.keep().expect("the file can stay until its folder goes");
        file.write_all(&content.bytes()).expect("a temporary file can be written");
        path
    }
}

/// The words of the command line, with `FILE` for each file.
impl std::fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words)
    }
}

impl Call<'_> {
    /// A word of the command line.
    pub(super) fn arg(mut self, word: impl AsRef<str>) -> Self {
        self.words = format!("{} {}", self.words, word.as_ref());
        self.arguments.push(word.as_ref().into());
        self
    }

    /// A flag and the file it names.
    pub(super) fn file(mut self, flag: &str, path: &Path) -> Self {
        self.words = format!("{} {flag} FILE", self.words);
        self.arguments.extend([flag.into(), path.into()]);
        self
    }

    /// A flag and a file with `content`.
    pub(super) fn with(self, flag: &str, content: &(impl Content + ?Sized)) -> Self {
        let path = self.setup.file(content);
        self.file(flag, &path)
    }

    /// A flag, and `content` on standard input.
    pub(super) fn piped(self, flag: &str, content: &(impl Content + ?Sized)) -> Self {
        self.arg(flag).arg("-").input(content)
    }

    /// What stands on standard input.
    pub(super) fn input(mut self, content: &(impl Content + ?Sized)) -> Self {
        self.input = Some(content.bytes());
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.setup.program[0]);
        command
            .args(&self.setup.program[1..])
            .args(&self.arguments)
            .envs(self.setup.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end.
    pub(super) fn run(mut self) -> Run {
        let input = self.input.take();
        let (mut stdin, mut started) = self.start(Reader::Patient, input.is_some());
        if let Some(input) = input {
            // A program that does not want its input closes it.
            std::thread::spawn(move || stdin.as_mut().map(|stdin| stdin.write_all(&input)));
        }
        let stdout = started.rest();
        started.end(stdout)
    }

    /// Starts it, with a small pipe as stdout that nobody reads yet.
    pub(super) fn start_stopped(self) -> Started {
        self.start(Reader::Slow, false).1
    }

    /// Starts it, and leaves its standard input open.
    pub(super) fn start_fed(self) -> (ChildStdin, Started) {
        let (stdin, started) = self.start(Reader::Patient, true);
        (stdin.expect("it was asked for"), started)
    }

    /// Runs it with a stdout that nobody reads.
    pub(super) fn run_unread(self) -> Run {
        self.start(Reader::Gone, false).1.end(Vec::new())
    }

    fn start(self, reader: Reader, fed: bool) -> (Option<ChildStdin>, Started) {
        let (stdout, writer) = std::io::pipe().expect("a pipe");
        let stdout = match reader {
            Reader::Patient => Some(stdout),
            Reader::Slow => {
                let small = rustix::pipe::fcntl_setpipe_size(&stdout, SMALL_PIPE);
                small.expect("a pipe can be made smaller");
                Some(stdout)
            }
            Reader::Gone => {
                // Before the start, as the program may be faster.
                drop(stdout);
                None
            }
        };
        let mut child = self
            .command()
            .stdin(if fed { Stdio::piped() } else { Stdio::null() })
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.setup.program));
        let stdin = child.stdin.take();
        let mut stderr = child.stderr.take().expect("stderr is a pipe");
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).map(|_| text)
        });
        let started =
            Started { child, stdout, errors, words: self.words, watch: Watch::of(self.setup) };
        (stdin, started)
    }

    /// Runs it with stdout and stderr on one pseudo-terminal, as a container engine does that was
    /// told to: what it wrote, its status and how long it lived.
    pub(super) fn run_on_terminal(self) -> (Vec<String>, i32, Duration) {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&master).expect("a pseudo-terminal of ours");
        unlockpt(&master).expect("a pseudo-terminal of ours");
        let name = ptsname(&master, Vec::new()).expect("a pseudo-terminal has a name");
        let terminal = std::fs::File::options()
            .read(true)
            .write(true)
            .open(name.to_str().expect("its name is ASCII"))
            .expect("the pseudo-terminal can be opened");
        let started = Instant::now();
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(terminal.try_clone().expect("a file can be opened twice"))
            .stderr(terminal);
        let mut child = command.spawn().expect("the connector's binary starts");
        // The terminal must be open in the child only, or reading it never ends.
        drop(command);
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            // The end of a terminal is an error, after everything was read.
            drop(std::fs::File::from(master).read_to_end(&mut text));
            text
        });
        let status = wait(&mut child, &self.words);
        let lived = started.elapsed();
        let text = reader.join().expect("reading the terminal");
        let text = String::from_utf8(text).expect("what a terminal shows is UTF-8");
        assert!(text.ends_with('\n'), "{}: the last line is cut: {text:?}", self.words);
        let lines = text.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect();
        (lines, code(status, &self.words), lived)
    }
}

/// A run under way.
pub(super) struct Started {
    child: Child,
    stdout: Option<PipeReader>,
    errors: std::thread::JoinHandle<std::io::Result<Vec<u8>>>,
    words: String,
    watch: Watch,
}

impl Started {
    /// Reads until `bytes` have come or there is no more.
    pub(super) fn read(&mut self, bytes: usize) -> Vec<u8> {
        let mut read = Vec::new();
        let stdout = self.stdout.as_mut().expect("the reader is there until it is dropped");
        stdout.take(bytes as u64).read_to_end(&mut read).expect("a pipe can be read");
        read
    }

    /// Reads a line.
    pub(super) fn read_line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            match self.read(1).first() {
                Some(byte) => line.push(*byte),
                None => break,
            }
        }
        String::from_utf8(line).expect("a message is UTF-8")
    }

    /// Reads everything that is left.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        self.read(usize::MAX)
    }

    /// Stops reading for good.
    pub(super) fn close(&mut self) {
        self.stdout = None;
    }

    /// Ends the process as the operating system does: at once, wherever it is.
    pub(super) fn kill(&mut self) {
        self.child.kill().expect("a process of ours can be killed");
    }

    /// Asks the process to end.
    pub(super) fn terminate(&mut self) {
        let id = i32::try_from(self.child.id()).expect("process ids are small");
        let id = Pid::from_raw(id).expect("no process has the id 0");
        rustix::process::kill_process(id, Signal::TERM).expect("a process of ours can be ended");
    }

    /// The end of a process that was killed: what it had written, whole or not.
    pub(super) fn killed(mut self) -> Vec<u8> {
        let rest = self.rest();
        self.child.wait().expect("a child can be waited for");
        drop(self.errors.join());
        rest
    }

    /// Waits for the end, and holds what was written to what is promised of every run.
    pub(super) fn end(mut self, stdout: Vec<u8>) -> Run {
        drop(self.stdout.take());
        let status = wait(&mut self.child, &self.words);
        let errors = self.errors.join().expect("reading stderr").expect("stderr can be read");
        let errors = String::from_utf8(errors)
            .unwrap_or_else(|_| panic!("{}: stderr is not UTF-8", self.words));
        let status = code(status, &self.words);
        let run = Run { words: self.words, status, errors, lines: Vec::new() };
        self.watch.errors(&run);
        let lines = parse(&stdout).unwrap_or_else(|why| panic!("{run}: {why}"));
        let run = Run { lines, ..run };
        self.watch.output(&run, &stdout);
        run
    }
}

fn wait(child: &mut Child, words: &str) -> ExitStatus {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        if Instant::now() > end {
            child.kill().expect("a process of ours can be killed");
            panic!("`{words}` does not end");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn code(status: ExitStatus, words: &str) -> i32 {
    status.code().unwrap_or_else(|| panic!("`{words}` was ended by a signal: {status}"))
}

/// What must not be seen in any run.
struct Watch {
    secrets: Vec<String>,
    values: Vec<String>,
}

impl Watch {
    fn of(setup: &Setup) -> Watch {
        let values = setup.cases.iter().map(|case| case.value.clone()).collect();
        Watch { secrets: setup.secrets.clone(), values }
    }

    fn errors(&self, run: &Run) {
        let text = &run.errors;
        assert!(!text.contains("panicked at"), "{run}: it panicked");
        assert!(text.is_empty() || text.ends_with('\n'), "{run}: the last line of stderr is cut");
        for line in text.lines() {
            let message: Value = serde_json::from_str(line)
                .unwrap_or_else(|_| panic!("{run}: a line of stderr is no JSON: {line}"));
            assert_eq!(message["type"], "LOG", "{run}: stderr carries LOG messages only");
            assert!(message["log"]["message"].is_string(), "{run}: a LOG without its message");
        }
        for value in self.secrets.iter().chain(&self.values) {
            assert!(!text.contains(value.as_str()), "{run}: `{value}` must not be in a log line");
        }
    }

    fn output(&self, run: &Run, stdout: &[u8]) {
        let text = String::from_utf8_lossy(stdout);
        for secret in &self.secrets {
            assert!(!text.contains(secret.as_str()), "{run}: a secret is on stdout");
        }
        for line in &run.lines {
            let Line::Other(message) = line else { continue };
            let data = &message["request"]["handle"]["data"];
            for text in [
                &message["validate_msg"]["message"],
                &data["error"],
                &data["unverifiable"],
                &message["plan"],
                &message["verify"],
            ] {
                let text = text.to_string();
                for value in &self.values {
                    assert!(!text.contains(value.as_str()), "{run}: `{value}` is in {text}");
                }
            }
        }
    }
}

/// A run that has ended.
pub(super) struct Run {
    words: String,
    pub(super) status: i32,
    pub(super) lines: Vec<Line>,
    pub(super) errors: String,
}

/// The command and how it ended, for a failing test.
impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let errors = self.errors.get(..2000).unwrap_or(&self.errors);
        write!(f, "`{}` (status {})\n{errors}", self.words, self.status)
    }
}

impl Run {
    /// That it ended with `status`.
    #[track_caller]
    pub(super) fn status(self, status: i32) -> Run {
        assert_eq!(self.status, status, "{self}: the status should be {status}");
        self
    }

    /// That it did everything.
    #[track_caller]
    pub(super) fn done(self) -> Run {
        self.status(0)
    }

    /// That it printed nothing.
    #[track_caller]
    pub(super) fn silent(self) -> Run {
        assert!(self.lines.is_empty(), "{self}: nothing should be on stdout");
        self
    }

    /// That an error line says `word`, and that it is one line.
    #[track_caller]
    pub(super) fn complains_of(self, word: &str) -> Run {
        let errors = self.log("ERROR");
        assert!(!errors.is_empty(), "{self}: an error line is missing");
        let told = errors.iter().any(|line| line.contains(word));
        assert!(told, "{self}: an error line should name {word}");
        assert!(errors.iter().all(|line| !line.contains('\n')), "{self}: an error is one line");
        self
    }

    /// The log lines of a level.
    pub(super) fn log(&self, level: &str) -> Vec<String> {
        let lines = self.errors.lines().map(|line| {
            serde_json::from_str::<Value>(line).expect("stderr was looked at when the run ended")
        });
        lines
            .filter(|message| message["log"]["level"] == level)
            .filter_map(|message| message["log"]["message"].as_str().map(str::to_owned))
            .collect()
    }

    /// Its records.
    pub(super) fn records(&self) -> Vec<Record> {
        let records = self.lines.iter().filter_map(|line| match line {
            Line::Record(record) => Some(record.clone()),
            _ => None,
        });
        records.collect()
    }

    /// Its STATE lines, each with how many records stand before it.
    pub(super) fn states(&self) -> Vec<(usize, String)> {
        let mut records = 0;
        let mut states = Vec::new();
        for line in &self.lines {
            match line {
                Line::Record(_) => records += 1,
                Line::State(text) => states.push((records, text.clone())),
                Line::Other(_) => {}
            }
        }
        states
    }

    /// The payloads of its messages of a type; no message of another type may stand beside them.
    #[track_caller]
    pub(super) fn only(&self, kind: &str, payload: &str) -> Vec<Value> {
        let messages = self.lines.iter().map(|line| match line {
            Line::Other(message) if message["type"] == kind => message[payload].clone(),
            other => panic!("{self}: only {kind} messages should be printed, not {other:?}"),
        });
        messages.collect()
    }

    /// The payload of its one message.
    #[track_caller]
    pub(super) fn one(&self, kind: &str, payload: &str) -> Value {
        let mut messages = self.only(kind, payload);
        assert_eq!(messages.len(), 1, "{self}: one {kind} message");
        messages.remove(0)
    }
}

/// The name of a store as the members of a message.
pub(super) fn named(store: &StoreId) -> Value {
    let mut members = json!({ "schema_name": store.name });
    if let Some(group) = &store.group {
        members["schema_group"] = json!(group);
    }
    members
}
