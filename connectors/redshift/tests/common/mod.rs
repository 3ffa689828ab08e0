//! What the tests share: a database of their own, in which PostgreSQL stands in for Redshift.

// Each test file uses some of it.
#![expect(dead_code, reason = "every test file compiles all of it, and uses some")]

#[path = "../../../postgres/tests/common/server.rs"]
mod server;

use serde_json::{Value, json};
pub(crate) use server::{Database, Server};

/// A new database that looks like one of Redshift's, with these statements in it.
pub(crate) fn standin(server: &Server, name: &str, statements: &str) -> Database {
    let database = server.database(name, include_str!("../standin.sql"));
    database.run(statements);
    database
}

/// A form that was filled in for it.
pub(crate) fn form(database: &Database) -> Value {
    let postgres = database.form();
    json!({
        "host": postgres["hostname"],
        "port": postgres["port"],
        "database": postgres["database"],
        "username": postgres["username"],
        "password": postgres["password"],
        "scan_all": false,
        "sslmode": "disable",
    })
}
