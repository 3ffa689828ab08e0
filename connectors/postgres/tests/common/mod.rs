//! A database of its own for each test, on the server that `MANIFOLD_TEST_POSTGRES` names.

use serde_json::{Value, json};
use tokio_postgres::{Config, NoTls};

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

    /// The first column of the last statement's rows.
    pub(crate) fn query(&self, database: &str, statements: &str) -> Vec<Option<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut config = self.config.clone();
            config.dbname(database);
            let host = match &config.get_hosts()[0] {
                tokio_postgres::config::Host::Tcp(host) => host.clone(),
                other => panic!("the tests reach their server by TCP, not at {other:?}"),
            };
            let port = config.get_ports().first().copied().unwrap_or(5432);
            let socket = tokio::net::TcpStream::connect((host.as_str(), port)).await.unwrap();
            let (client, connection) = config.connect_raw(socket, NoTls).await.unwrap();
            let driver = tokio::spawn(connection);
            let messages = client.simple_query(statements).await.unwrap_or_else(|error| {
                panic!("{}", error.as_db_error().map_or(error.to_string(), ToString::to_string))
            });
            drop(client);
            driver.await.unwrap().unwrap();
            let rows = messages.iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
                _ => None,
            });
            rows.collect()
        })
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

    /// A form that was filled in for it.
    pub(crate) fn form(&self) -> Value {
        let config = &self.server.config;
        let host = match &config.get_hosts()[0] {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            other => panic!("the tests reach their server by TCP, not at {other:?}"),
        };
        json!({
            "hostname": host,
            "port": config.get_ports().first().copied().unwrap_or(5432),
            "database": self.name,
            "username": config.get_user(),
            "password": String::from_utf8_lossy(config.get_password().unwrap_or_default()),
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
