//! A database of its own for the shared erasure tests.

use std::path::Path;
use std::rc::Rc;

use connector_postgres::Postgres;
use protocol::testing::erasure::faults::Served;
use protocol::testing::erasure::{self, Can, Denial};
use serde_json::{Value, json};

use crate::common::{self, Server};

pub(crate) struct Database(pub(crate) Rc<common::Database>);

impl Database {
    /// One that somebody else made.
    pub(crate) fn of(database: &Rc<common::Database>) -> Database {
        Database(Rc::clone(database))
    }

    /// A user of this database only.
    fn role(&self) -> String {
        format!("eraser_of_{}", self.0.name)
    }
}

/// References are not checked, and no trigger runs.
const UNGUARDED: &str = "SET session_replication_role = replica;";

impl erasure::Database for Database {
    type Silo = Postgres;

    fn available() -> bool {
        Server::find().is_some()
    }

    fn can() -> Can {
        Can {
            find_keyless: true,
            defer: true,
            set_default: true,
            change_together: true,
            leave_unindexed: true,
            partition: true,
            denies: &[Denial::See, Denial::Hidden, Denial::Delete, Denial::Update],
        }
    }

    fn collations() -> (&'static str, &'static str) {
        (" COLLATE \"en-x-icu\"", " COLLATE \"C\"")
    }

    fn new(sql: &str) -> Database {
        let server = Server::find().unwrap();
        Database(Rc::new(server.database("erasure", &format!("{UNGUARDED} {sql}"))))
    }

    fn anew(self, sql: &str) -> Database {
        self.0.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
        self.run(sql);
        self
    }

    fn chinook(folder: &Path) -> Database {
        let text = std::fs::read_to_string(folder.join("Chinook_PostgreSql.sql")).unwrap();
        // Its first statements make and enter a database of a fixed name.
        let (_, text) = text.split_once("\\c chinook;").unwrap();
        Database::new(text)
    }

    fn spelled(name: &str) -> String {
        let mut spelled = String::new();
        for (place, c) in name.char_indices() {
            if c.is_uppercase() && place > 0 {
                spelled.push('_');
            }
            spelled.extend(c.to_lowercase());
        }
        spelled
    }

    fn run(&self, sql: &str) {
        self.0.run(&format!("{UNGUARDED} {sql}"));
    }

    fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let rows = self.0.rows(sql).into_iter();
        rows.map(|row| row.into_iter().map(|value| value.unwrap_or("-".to_owned())).collect())
            .collect()
    }

    fn tables(&self) -> Vec<String> {
        let names = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') \
                     AND NOT relispartition AND relnamespace = 'public'::regnamespace";
        self.0.query(names).into_iter().flatten().collect()
    }

    fn group(&self) -> Option<String> {
        Some(self.0.group())
    }

    fn form(&self) -> Value {
        let mut form = self.0.form();
        form["evidence_key"] = json!("a key of some length");
        form["lock_timeout"] = json!(2);
        form
    }

    fn deny(&self, table: &str, denial: Denial) -> Value {
        let role = self.role();
        let change = match denial {
            Denial::See => format!("REVOKE ALL ON {table} FROM {role}"),
            Denial::Hidden => format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"),
            Denial::Delete => format!("REVOKE DELETE ON {table} FROM {role}"),
            Denial::Update => format!("REVOKE UPDATE ON {table} FROM {role}"),
        };
        self.0.run(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT USAGE ON SCHEMA public TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; {change}"
        ));
        let mut form = self.form();
        (form["username"], form["password"]) = (json!(role), json!("p"));
        form
    }

    fn deny_no_more(&self, table: &str) {
        let role = self.role();
        self.0.run(&format!(
            "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY; DROP OWNED BY {role}; DROP ROLE {role}"
        ));
    }

    fn keeps(table: &str, id: i64) -> String {
        format!(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN IF old.id = {id} THEN RETURN NULL; END IF; RETURN old; END';
             CREATE TRIGGER keeps BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION keep();"
        )
    }

    fn keeps_no_more(table: &str) -> String {
        format!("DROP TRIGGER keeps ON {table}")
    }

    fn copies(table: &str, into: &str) -> String {
        format!(
            "CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN INSERT INTO public.{into} VALUES (old.id); RETURN NULL; END';
             CREATE TRIGGER copies AFTER DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION copy();"
        )
    }
}

impl Served for Database {
    const SETTLES: bool = true;
    const PROGRAM: &'static str = env!("CARGO_BIN_EXE_connector-postgres");

    fn through(&self, port: u16) -> Value {
        let mut form = erasure::Database::form(self);
        form["port"] = json!(port);
        form
    }

    fn clients(&self) -> u64 {
        erasure::Database::count(
            self,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        )
    }

    fn beside(&self, statements: &'static [&'static str]) -> Box<dyn Fn() + Send + Sync> {
        let (name, statements) = (self.0.name.clone(), statements.join("; "));
        Box::new(move || {
            Server::find().unwrap().run(
                &name,
                &format!(
                    "DO 'BEGIN SET LOCAL lock_timeout = 50; {statements};
                         EXCEPTION WHEN OTHERS THEN NULL; END'"
                ),
            );
        })
    }
}
