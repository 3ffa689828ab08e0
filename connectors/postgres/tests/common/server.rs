//! A database of its own for each test, on the server that `MANIFOLD_TEST_POSTGRES` names.

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error, NoTls};

type Driver = JoinHandle<Result<(), Error>>;

/// Where the server is, and a role that may do everything.
pub(crate) struct Server {
    config: Config,
}

impl Server {
    /// The server, or `None` where there is none.
    pub(crate) fn find() -> Option<Server> {
        let url = std::env::var("MANIFOLD_TEST_POSTGRES").ok()?;
        Some(Server { config: url.parse().unwrap() })
    }

    /// Runs statements in a database.
    pub(crate) fn run(&self, database: &str, statements: &str) {
        self.query(database, statements);
    }

    /// The first column of the statements' rows.
    pub(crate) fn query(&self, database: &str, statements: &str) -> Vec<Option<String>> {
        let rows = self.rows(database, statements).into_iter();
        rows.filter_map(|row| row.into_iter().next()).collect()
    }

    /// The statements' rows.
    pub(crate) fn rows(&self, database: &str, statements: &str) -> Vec<Vec<Option<String>>> {
        // A thread of its own, because a test may be within a runtime.
        std::thread::scope(|scope| scope.spawn(|| self.ask(database, statements)).join().unwrap())
    }

    fn ask(&self, database: &str, statements: &str) -> Vec<Vec<Option<String>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, driver) = self.connect(database).await;
            let messages = client.simple_query(statements).await.unwrap_or_else(|error| {
                panic!("{}", error.as_db_error().map_or(error.to_string(), ToString::to_string))
            });
            drop(client);
            driver.await.unwrap().unwrap();
            let rows = messages.iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|place| row.get(place).map(str::to_owned)).collect())
                }
                _ => None,
            });
            rows.collect()
        })
    }

    async fn connect(&self, database: &str) -> (Client, Driver) {
        let mut config = self.config.clone();
        config.dbname(database);
        let socket = tokio::net::TcpStream::connect((self.host().as_str(), self.port())).await;
        let (client, connection) = config.connect_raw(socket.unwrap(), NoTls).await.unwrap();
        (client, tokio::spawn(connection))
    }

    fn host(&self) -> String {
        match &self.config.get_hosts()[0] {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            other => panic!("the tests reach their server by TCP, not at {other:?}"),
        }
    }

    fn port(&self) -> u16 {
        self.config.get_ports().first().copied().unwrap_or(5432)
    }

    fn password(&self) -> String {
        String::from_utf8(self.config.get_password().unwrap_or_default().to_vec()).unwrap()
    }

    /// The address of a database of it.
    pub(crate) fn url(&self, database: &str) -> String {
        let (user, password) = (self.config.get_user().unwrap(), self.password());
        format!("postgres://{user}:{password}@{}:{}/{database}", self.host(), self.port())
    }

    /// A new database with these statements in it.
    pub(crate) fn database(&self, name: &str, statements: &str) -> Database {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}_{}_{number}", std::process::id());
        self.run("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"));
        self.run(&name, statements);
        Database { server: Server { config: self.config.clone() }, name }
    }
}

/// A database that is dropped with this.
pub(crate) struct Database {
    pub(crate) server: Server,
    pub(crate) name: String,
}

impl Database {
    /// Runs statements.
    pub(crate) fn run(&self, statements: &str) {
        self.server.run(&self.name, statements);
    }

    /// The first column of the last statement's rows.
    pub(crate) fn query(&self, statements: &str) -> Vec<Option<String>> {
        self.server.query(&self.name, statements)
    }

    /// The statements' rows.
    pub(crate) fn rows(&self, statements: &str) -> Vec<Vec<Option<String>>> {
        self.server.rows(&self.name, statements)
    }

    /// A connection that stays open.
    pub(crate) async fn connect(&self) -> Client {
        self.server.connect(&self.name).await.0
    }

    /// The group of the stores of its schema `public`.
    pub(crate) fn group(&self) -> String {
        format!("{}/public", self.name)
    }

    /// A form that was filled in for it.
    pub(crate) fn form(&self) -> Value {
        let server = &self.server;
        json!({
            "hostname": server.host(),
            "port": server.port(),
            "database": self.name,
            "username": server.config.get_user(),
            "password": server.password(),
            "ssl": false,
            "scan_all": false,
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.server.run("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}
