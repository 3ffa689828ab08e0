//! A database of its own for each test, on the server that `MANIFOLD_TEST_POSTGRES` names.

use std::sync::OnceLock;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
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
        let asked = async {
            let (client, driver) = self.connect(database).await;
            let rows = ask(&client, statements).await;
            drop(client);
            driver.await.unwrap().unwrap();
            firsts(rows)
        };
        apart(|| runtime().block_on(asked))
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
        let server = Server { config: self.config.clone() };
        let database = Database { server, name, open: OnceLock::new() };
        database.run(statements);
        database
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Works on a thread of its own, because a test may be within a runtime.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// The statements' rows.
async fn ask(client: &Client, statements: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(statements).await.unwrap_or_else(|error| {
        panic!("{}", error.as_db_error().map_or(error.to_string(), ToString::to_string))
    });
    let rows = messages.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|place| row.get(place).map(str::to_owned)).collect())
        }
        _ => None,
    });
    rows.collect()
}

fn firsts(rows: Vec<Vec<Option<String>>>) -> Vec<Option<String>> {
    rows.into_iter().filter_map(|row| row.into_iter().next()).collect()
}

/// A database that is dropped with this.
pub(crate) struct Database {
    pub(crate) server: Server,
    pub(crate) name: String,
    /// What the test itself asks on: a new connection would cost more than what it asks.
    open: OnceLock<(Runtime, Client)>,
}

impl Database {
    /// Runs statements.
    pub(crate) fn run(&self, statements: &str) {
        self.rows(statements);
    }

    /// The first column of the statements' rows.
    pub(crate) fn query(&self, statements: &str) -> Vec<Option<String>> {
        firsts(self.rows(statements))
    }

    /// The statements' rows.
    pub(crate) fn rows(&self, statements: &str) -> Vec<Vec<Option<String>>> {
        apart(|| {
            let (runtime, client) = self.open.get_or_init(|| {
                let runtime = runtime();
                let client = runtime.block_on(self.connect());
                (runtime, client)
            });
            runtime.block_on(async {
                let rows = ask(client, statements).await;
                // As a new connection would be.
                client.simple_query("DISCARD ALL").await.unwrap();
                rows
            })
        })
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
        let open = self.open.take();
        apart(|| drop(open));
        self.server.run("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}
