//! What the suite has to know of a connector: its binary, a configuration that works, and known data.

use std::any::Any;
use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::Value;

use crate::silo::StoreId;

/// A connector and a silo of it with known data, made afresh for each promise.
pub struct Setup {
    /// The program, and what comes before the connector's own arguments.
    pub(super) program: Vec<OsString>,
    pub(super) config: Value,
    pub(super) broken: Vec<Broken>,
    pub(super) secrets: Vec<String>,
    pub(super) cases: Vec<Case>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) read_only: Option<Value>,
    pub(super) empty: Option<Empty>,
    pub(super) package: PathBuf,
    pub(super) folder: tempfile::TempDir,
    kept: Vec<Box<dyn Any>>,
}

/// A configuration that does not work.
pub(super) struct Broken {
    pub(super) config: Value,
    pub(super) word: String,
}

/// A silo without stores, to write into.
pub(super) struct Empty {
    pub(super) config: Value,
    pub(super) groups: Vec<(String, String)>,
}

impl Setup {
    /// A connector's binary, `env!("CARGO_BIN_EXE_connector-NAME")`, and a configuration with
    /// which it reaches a silo that no other test touches.
    ///
    /// One of the stores should have some thousands of records, so that a read can be interrupted.
    pub fn new(program: impl Into<PathBuf>, config: Value) -> Setup {
        Setup {
            program: vec![program.into().into_os_string()],
            config,
            broken: Vec::new(),
            secrets: Vec::new(),
            cases: Vec::new(),
            environment: Vec::new(),
            read_only: None,
            empty: None,
            package: PathBuf::new(),
            folder: tempfile::tempdir().expect("the folder for temporary files can be written"),
            kept: Vec::new(),
        }
    }

    /// A configuration that does not work: `validate` must fail with a message that has `word` in
    /// it, such as the name of the field to correct.
    ///
    /// Required fields that are missing and fields of another type are tried without this.
    pub fn broken(mut self, config: Value, word: &str) -> Setup {
        self.broken.push(Broken { config, word: word.to_owned() });
        self
    }

    /// The configuration with another value in one field.
    pub fn with(&self, field: &str, value: impl Into<Value>) -> Value {
        let mut config = self.config.clone();
        config[field] = value.into();
        config
    }

    /// What is wrong with a configuration of a server that is connected to, field by field, and that
    /// it may be `read_only`. `host` is the field that names the server.
    pub fn server(self, host: &str) -> Setup {
        let quoted = format!("`{host}`");
        let wrong = [
            (host, "no-such-host.invalid".into(), quoted.as_str()),
            ("port", 1.into(), "`port`"),
            ("database", "no_such_database".into(), "`database`"),
            ("username", "nobody_here".into(), "nobody_here"),
            ("password", "not-the-password".into(), "`password`"),
            ("sslmode", "sometimes".into(), "`sslmode`"),
        ];
        let read_only = self.with("read_only", true);
        let broken = |setup: Setup, (field, value, word): (&str, Value, &str)| {
            let config = setup.with(field, value);
            setup.broken(config, word)
        };
        wrong.into_iter().fold(self, broken).read_only(read_only)
    }

    /// The cases of the shop that databases' setups are made of: `people`, of whom there are so many,
    /// `events` and `newsletter`. `run` runs a statement in it.
    pub fn shop(
        self,
        people: usize,
        store: impl Fn(&str) -> StoreId,
        mut run: impl FnMut(&str) + 'static,
    ) -> Setup {
        let mut next = 4000;
        let grow = move || {
            for _ in 0..3 {
                next += 1;
                let row = format!("{next}, 1, 'kind 9', '2025-01-01 00:00:00'");
                run(&format!("INSERT INTO events (id, person, kind, at) VALUES ({row})"));
            }
            3
        };
        let near =
            ["ADA@example.com", "ada@example.com ", "ad\u{e1}@example.com", "ádà@example.com"];
        let ada = "ada@example.com";
        self.case(
            Case::new(store("people"), "email", ada).finds(1, people).near(near).number("id", 4),
        )
        .case(
            Case::new(store("events"), "kind", "kind 1")
                .finds(1334, 4000)
                .number("person", 3)
                .cursor("at")
                .grows(grow),
        )
        .case(Case::new(store("newsletter"), "email", ada).finds(2, 5))
    }

    /// A value that must never be shown, beside those of the form's secret fields.
    pub fn secret(mut self, value: &str) -> Setup {
        self.secrets.push(value.to_owned());
        self
    }

    /// A subject in a store, to find and erase. The first case is used where one will do.
    pub fn case(mut self, case: Case) -> Setup {
        self.cases.push(case);
        self
    }

    /// A variable of the binary's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A configuration of the same silo that must refuse to delete and to write.
    pub fn read_only(mut self, config: Value) -> Setup {
        self.read_only = Some(config);
        self
    }

    /// A silo of the same kind without stores, for what a read of the first one gives to be
    /// written into. Required where the connector can write.
    pub fn empty(self, config: Value) -> Setup {
        Setup { empty: Some(Empty { config, groups: Vec::new() }), ..self }
    }

    /// Where the empty silo has another group for the stores of a group, such as
    /// `copy/public` for `shop/public`.
    pub fn regroup(mut self, from: &str, to: &str) -> Setup {
        let empty = self.empty.as_mut().expect("`empty` comes before `regroup`");
        empty.groups.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Something that must live as long as the silo does: a folder, a server on loopback, a
    /// database that is dropped when this is.
    pub fn keep(mut self, kept: impl Any) -> Setup {
        self.kept.push(Box::new(kept));
        self
    }

    /// The same connector through a shell script, in which `"$CONNECTOR" "$@"` is the real one:
    /// for tests that a promise fails where a connector breaks it.
    pub fn through(mut self, script: &str) -> Setup {
        let path = self.folder.path().join("connector.sh");
        std::fs::write(&path, script).expect("the temporary folder can be written");
        let program = std::mem::replace(&mut self.program, vec!["/bin/sh".into(), path.into()]);
        let program = program[0].to_str().expect("the path of the binary is UTF-8").to_owned();
        self.environment("CONNECTOR", &program)
    }
}

/// A subject in a store: the records in which `property` is `value`.
pub struct Case {
    pub(super) store: StoreId,
    pub(super) property: String,
    pub(super) value: String,
    pub(super) finds: usize,
    pub(super) records: usize,
    pub(super) near: Vec<String>,
    pub(super) number: Option<(String, String)>,
    pub(super) cursor: Option<String>,
    pub(super) refused: bool,
    pub(super) change: Option<Change>,
}

/// Adds records to a store, and says how many.
type Change = Box<dyn FnMut() -> usize>;

impl Case {
    /// The records of `store` in which the text property `property` is `value`: six bytes or more,
    /// as only such a value can be told from other words in a log line.
    pub fn new(store: StoreId, property: &str, value: &str) -> Case {
        assert!(value.len() >= 6, "a case's value has six bytes or more");
        Case {
            store,
            property: property.to_owned(),
            value: value.to_owned(),
            finds: 1,
            records: 1,
            near: Vec::new(),
            number: None,
            cursor: None,
            refused: false,
            change: None,
        }
    }

    /// How many of the store's records they are.
    pub fn finds(self, records: usize, of: usize) -> Case {
        Case { finds: records, records: of, ..self }
    }

    /// Values that resemble this one and must not be taken for it, beside those that the suite
    /// makes of it (another case, blanks, accents).
    pub fn near<'a>(mut self, values: impl IntoIterator<Item = &'a str>) -> Case {
        self.near.extend(values.into_iter().map(str::to_owned));
        self
    }

    /// An integer property, and a value of it that is there.
    pub fn number(self, property: &str, value: i64) -> Case {
        Case { number: Some((property.to_owned(), value.to_string())), ..self }
    }

    /// The property to read incrementally by, where it is not the store's own way.
    pub fn cursor(self, property: &str) -> Case {
        Case { cursor: Some(property.to_owned()), ..self }
    }

    /// Adds records to the store that a read from the last state must give, and says how many.
    pub fn grows(self, change: impl FnMut() -> usize + 'static) -> Case {
        Case { change: Some(Box::new(change)), ..self }
    }

    /// That a delete of these records alone is refused, such as for other stores' rows that the
    /// database would delete with them.
    pub fn refuses_delete(self) -> Case {
        Case { refused: true, ..self }
    }
}
