//! What a failure of the server means for the person who runs the connector.

use protocol::anyhow;
use protocol::fault::Fault;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::server::Server;

/// `error` with its cause and what to do, and without any value that the server quotes in it.
pub fn explain(server: &Server, error: Error) -> anyhow::Error {
    anyhow::Error::from(fault(server, &error))
}

fn fault(server: &Server, error: &Error) -> Fault {
    let Some(db) = error.as_db_error() else {
        return connection(server, error);
    };
    let code = db.code();
    let said = db.message();
    let role = server.role();
    let class = code.code().get(..2).unwrap_or_default();
    match code {
        &SqlState::INVALID_PASSWORD => {
            Fault::config(format!("`username` or `password`: the server refuses {role}"))
        }
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => Fault::config(format!(
            "`username`, `sslmode`: the server does not let {role} in like this: {said}"
        )),
        &SqlState::INVALID_CATALOG_NAME => Fault::config(format!("`database`: {said}")),
        &SqlState::INSUFFICIENT_PRIVILEGE => {
            Fault::config(format!("the role {role} lacks a right: {said}"))
        }
        &SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN => {
            Fault::transient(format!("the table was dropped or altered meanwhile: {said}"))
        }
        &SqlState::QUERY_CANCELED => Fault::transient(if said.contains("statement timeout") {
            format!(
                "the statement took longer than {} seconds (`statement_timeout`)",
                server.statement_timeout.as_secs()
            )
        } else {
            format!("the statement was cancelled: {said}")
        }),
        &SqlState::LOCK_NOT_AVAILABLE => Fault::transient(format!(
            "somebody else holds a lock, for longer than {} seconds (`lock_timeout`)",
            server.lock_timeout.as_secs()
        )),
        &SqlState::READ_ONLY_SQL_TRANSACTION => {
            Fault::config(format!("the server only lets this connection read: {said}"))
        }
        &SqlState::T_R_DEADLOCK_DETECTED | &SqlState::T_R_SERIALIZATION_FAILURE => {
            Fault::transient(format!("another transaction was in the way: {said}"))
        }
        &SqlState::DISK_FULL => Fault::transient(format!("the server's disk is full: {said}")),
        &SqlState::TOO_MANY_CONNECTIONS => Fault::transient(format!(
            "the server has no connection left: {said}; read with a smaller --parallel"
        )),
        &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN | &SqlState::CANNOT_CONNECT_NOW => {
            Fault::transient(format!("the server is shutting down or starting up: {said}"))
        }
        // These quote values; the column or constraint is what helps, and is no value.
        _ if class == "22" || class == "23" => {
            let mut text = match class {
                "22" => "a value does not fit its type".to_owned(),
                _ => "a row breaks a constraint".to_owned(),
            };
            for (what, name) in
                [("table", db.table()), ("column", db.column()), ("constraint", db.constraint())]
            {
                if let Some(name) = name {
                    text.push_str(&format!(", {what} {name}"));
                }
            }
            if let Some(place) = db.where_() {
                // `COPY t, line 3, column x: "value"`: everything before the value.
                let place = place.split(": \"").next().unwrap_or_default();
                if place.starts_with("COPY ") {
                    text.push_str(&format!(" ({})", place.lines().next().unwrap_or_default()));
                }
            }
            Fault::config(format!("{text} (SQLSTATE {})", code.code()))
        }
        _ if class == "53" || class == "58" => Fault::transient(format!("the server: {said}")),
        _ => Fault::system(format!("the server: {said} (SQLSTATE {})", code.code())),
    }
}

/// A failure that is not the server's word.
fn connection(server: &Server, error: &Error) -> Fault {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    let place = format!("{}:{}", server.host(), server.port());
    if error.is_closed()
        || text.contains("reset")
        || text.contains("closed")
        || text == "unexpected end of file"
    {
        return Fault::transient(format!("the connection to {place} broke off"));
    }
    if text.contains("does not support TLS") {
        return Fault::config(format!(
            "`sslmode`: the server at {place} offers no encryption, and it is required"
        ));
    }
    if text.contains("certificate") {
        return Fault::config(format!(
            "`sslmode`, `sslrootcert`: the certificate of {place} is not accepted: {text}"
        ));
    }
    if text.contains("password missing") {
        return Fault::config("`password`: the server wants one");
    }
    Fault::transient(format!("the connection to {place} failed: {text}"))
}
