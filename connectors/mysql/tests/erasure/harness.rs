//! A database of its own for the shared erasure tests.

use std::path::Path;
use std::rc::Rc;

use connector_mysql::MySql;
use protocol::testing::erasure::faults::Served;
use protocol::testing::erasure::{self, Can, Denial, Dump, quoted};
use serde_json::{Value, json};

use crate::server::{self, Server};

pub(crate) struct Database {
    pub(crate) server: Server,
    pub(crate) database: Rc<server::Database>,
}

/// Standard names, and references that are not checked.
const STANDARD: &str =
    "SET sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES'), foreign_key_checks = 0;\n";

/// Only the same is equal.
const EXACT: &str = "ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;\n";

impl Database {
    /// The name of a user of this database only.
    pub(crate) fn name(&self) -> String {
        format!("e_{}", self.database.name)
    }

    fn user(&self) -> String {
        format!("{}@'%'", self.name())
    }

    fn made(script: &str) -> Database {
        let server = Server::find().unwrap();
        let database = server.database(&format!("{EXACT}{script}"));
        Database { server, database }
    }
}

impl erasure::Database for Database {
    type Silo = MySql;

    fn available() -> bool {
        Server::find().is_some()
    }

    fn can() -> Can {
        Can {
            find_keyless: false,
            defer: false,
            set_default: false,
            change_together: false,
            leave_unindexed: false,
            partition: false,
            denies: &[Denial::Delete, Denial::Update],
        }
    }

    fn collations() -> (&'static str, &'static str) {
        // A reference has its key's.
        (" COLLATE utf8mb4_general_ci", " COLLATE utf8mb4_general_ci")
    }

    fn caseless() -> bool {
        true
    }

    fn new(sql: &str) -> Database {
        Database::made(&format!("{STANDARD}{sql}"))
    }

    fn chinook(folder: &Path) -> Database {
        let text = std::fs::read_to_string(folder.join("Chinook_MySql.sql")).unwrap();
        // Its first statements make and enter a database of a fixed name.
        let (_, text) = text.split_once("USE `Chinook`;").unwrap();
        let database = Database::made("");
        database.database.load(text);
        database
    }

    fn run(&self, sql: &str) {
        self.database.run(&format!("{STANDARD}{sql}"));
    }

    fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let printed = self.database.run(&format!("{STANDARD}{sql}"));
        let value = |text: &str| if text == "NULL" { "-".to_owned() } else { text.to_owned() };
        printed.lines().map(|line| line.split('\t').map(value).collect()).collect()
    }

    fn tables(&self) -> Vec<String> {
        let names = "SELECT TABLE_NAME FROM information_schema.TABLES \
                     WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE'";
        self.database.run(names).lines().map(str::to_owned).collect()
    }

    fn dump(&self) -> Dump {
        // Each question is a run of the server's client: one for all tables.
        let tables = self.tables();
        let rows = |name: &String| format!("SELECT '-- {name}'; SELECT * FROM {};", quoted(name));
        let all = self.rows(&tables.iter().map(rows).collect::<String>());
        let mut dump = Dump::new();
        let mut current = String::new();
        for row in all {
            match row[0].strip_prefix("-- ") {
                Some(name) => {
                    name.clone_into(&mut current);
                    dump.insert(name.to_owned(), Vec::new());
                }
                None => dump.entry(current.clone()).or_default().push(row.join("|")),
            }
        }
        dump.values_mut().for_each(|rows| rows.sort());
        dump
    }

    fn group(&self) -> Option<String> {
        Some(self.database.name.clone())
    }

    fn form(&self) -> Value {
        let more = json!({"evidence_key": "a key of some length", "lock_timeout": 2});
        self.server.config(&self.database, more)
    }

    fn deny(&self, table: &str, denial: Denial) -> Value {
        let (user, name) = (self.user(), &self.database.name);
        let mut sql = format!(
            "CREATE USER {user} IDENTIFIED BY 'p'; GRANT PROCESS ON *.* TO {user};
             GRANT SELECT, INSERT, CREATE TEMPORARY TABLES ON \"{name}\".* TO {user};\n"
        );
        for other in self.tables().iter().map(|name| quoted(name)) {
            let rights = match denial {
                _ if other != table => "DELETE, UPDATE",
                Denial::Delete => "UPDATE",
                Denial::Update => "DELETE",
                Denial::See | Denial::Hidden => panic!("a right to a database is one to all of it"),
            };
            sql.push_str(&format!("GRANT {rights} ON {other} TO {user};\n"));
        }
        self.run(&sql);
        let mut form = self.form();
        (form["username"], form["password"]) = (json!(self.name()), json!("p"));
        form
    }

    fn deny_no_more(&self, _: &str) {
        self.run(&format!("DROP USER {}", self.user()));
    }

    fn keeps(table: &str, id: i64) -> String {
        // A trigger can keep a row only by refusing.
        format!(
            "\ndelimiter //\n\
             CREATE TRIGGER keeps BEFORE DELETE ON {table} FOR EACH ROW\n\
             IF OLD.id = {id} THEN SIGNAL SQLSTATE '45000'; END IF//\n\
             delimiter ;\n"
        )
    }

    fn keeps_no_more(_: &str) -> String {
        "DROP TRIGGER keeps".to_owned()
    }

    fn copies(table: &str, into: &str) -> String {
        format!(
            "CREATE TRIGGER copies AFTER DELETE ON {table} FOR EACH ROW \
             INSERT INTO {into} VALUES (OLD.id)"
        )
    }
}

impl Served for Database {
    const SETTLES: bool = false;
    const PROGRAM: &'static str = env!("CARGO_BIN_EXE_connector-mysql");

    fn through(&self, port: u16) -> Value {
        let mut form = erasure::Database::form(self);
        (form["port"], form["sslmode"]) = (json!(port), json!("disable"));
        form
    }

    fn clients(&self) -> u64 {
        erasure::Database::count(
            self,
            "SELECT count(*) FROM information_schema.PROCESSLIST \
             WHERE DB = DATABASE() AND ID <> CONNECTION_ID()",
        )
    }

    fn beside(&self, statements: &'static [&'static str]) -> Box<dyn Fn() + Send + Sync> {
        let (server, name) = (self.server.clone(), self.database.name.clone());
        let statements = format!(
            "SET SESSION innodb_lock_wait_timeout = 0; BEGIN; {}; COMMIT",
            statements.join("; ")
        );
        Box::new(move || {
            // It ends at the first statement that is refused.
            server.client(&name).args(["-e", &statements]).output().unwrap();
        })
    }
}
