//! The server of the tests, and databases of their own on it.

use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

/// What `MANIFOLD_TEST_MARIADB` names: `mysql://user:password@host:port/database`.
#[derive(Clone)]
pub(crate) struct Server {
    user: String,
    password: String,
    host: String,
    port: u16,
}

/// A database that is dropped with the last of its handles.
pub(crate) struct Database {
    pub(crate) name: String,
    server: Server,
}

impl Server {
    pub(crate) fn find() -> Option<Server> {
        let url = std::env::var("MANIFOLD_TEST_MARIADB").ok()?;
        let (_, rest) = url.split_once("://").unwrap();
        let (login, place) = rest.rsplit_once('@').unwrap();
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let address = place.split('/').next().unwrap();
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "3306"));
        Some(Server {
            user: user.to_owned(),
            password: password.to_owned(),
            host: host.to_owned(),
            port: port.parse().unwrap(),
        })
    }

    /// A new database in which `script` has run.
    pub(crate) fn database(&self, script: &str) -> Rc<Database> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{next}", std::process::id());
        let database = Database { name, server: self.clone() };
        self.run("", &format!("CREATE DATABASE `{}`", database.name));
        database.run(script);
        Rc::new(database)
    }

    /// A configuration for a database, with further members.
    pub(crate) fn config(&self, database: &Database, more: Value) -> Value {
        let mut config = json!({
            "hostname": self.host,
            "port": self.port,
            "database": database.name,
            "username": self.user,
            "password": self.password,
        });
        for (name, value) in more.as_object().unwrap() {
            config[name] = value.clone();
        }
        config
    }

    /// Runs statements with the server's own client, and returns what it prints.
    pub(crate) fn run(&self, database: &str, script: &str) -> String {
        printed(self.client(database).args(["-e", script]))
    }

    /// The server's own client, in a database.
    pub(crate) fn client(&self, database: &str) -> Command {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--default-character-set=utf8mb4", "--batch"]);
        client.args(["--skip-ssl", "--skip-column-names", "-h", &self.host]);
        client.args(["-P", &self.port.to_string(), "-u", &self.user]);
        client.arg(database).env("MYSQL_PWD", &self.password);
        client
    }
}

fn printed(client: &mut Command) -> String {
    let output = client.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Database {
    /// Runs statements in it.
    pub(crate) fn run(&self, script: &str) -> String {
        match script {
            "" => String::new(),
            _ => self.server.run(&self.name, script),
        }
    }

    /// Runs a script that is too long for an argument.
    #[allow(dead_code, reason = "not every test that uses this module has one")]
    pub(crate) fn load(&self, script: &str) {
        use std::io::{Seek as _, Write as _};
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(script.as_bytes()).unwrap();
        file.rewind().unwrap();
        printed(self.server.client(&self.name).stdin(file));
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.server.run("", &format!("DROP DATABASE `{}`", self.name));
    }
}
