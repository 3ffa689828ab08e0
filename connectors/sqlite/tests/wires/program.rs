//! A file with known rows, and runs of the binary on it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with a database, and the binary under a name of its own.
pub(crate) struct Bench {
    folder: TempDir,
    program: PathBuf,
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) lines: Vec<Value>,
    pub(crate) text: String,
    pub(crate) said: String,
}

impl Bench {
    /// A bench whose binary is called `name`, with a file that holds what `sql` makes.
    pub(crate) fn new(name: &str, sql: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_connector-sqlite"), &program).unwrap();
        let bench = Bench { folder, program };
        bench.sql(sql);
        bench.file("config.json", &json!({"path": bench.path("data.db")}).to_string());
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Opens the database.
    pub(crate) fn open(&self) -> Connection {
        Connection::open(self.path("data.db")).unwrap()
    }

    pub(crate) fn sql(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap();
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// The command, in the folder of the files.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(self.folder.path()).args(arguments.split_whitespace());
        command.env_remove("MANIFOLD_WIRE");
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> Ended {
        self.run_with(arguments, "")
    }

    pub(crate) fn run_with(&self, arguments: &str, input: &str) -> Ended {
        let mut child = started(&mut self.command(arguments));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "a cut line");
        Ended {
            status: output.status.code(),
            lines: text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
            said: String::from_utf8(output.stderr).unwrap(),
            text,
        }
    }
}

/// A process with pipes.
pub(crate) fn started(command: &mut Command) -> Child {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    pipes.spawn().unwrap()
}

/// Holds a text to a golden file, or writes the file where `UPDATE_GOLDEN` is set.
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wires/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "UPDATE_GOLDEN=1 accepts it as {}", path.display());
}
