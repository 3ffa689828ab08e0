//! Connections: statements whose rows come as text, one after the other.

use std::pin::pin;
use std::sync::Arc;

use connector_postgres::family::{Server, Session, explain};
use futures::TryStreamExt as _;
use protocol::sql::statement::Statement;
use protocol::{Context, Result};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use crate::sql;

/// A connection to one database.
pub(crate) struct Connection {
    server: Arc<Server>,
    session: Session,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(server: &Arc<Server>, database: &str) -> Result<Connection> {
        let session = Session::open(server, database).await?;
        Ok(Connection { server: Arc::clone(server), session })
    }

    /// Calls `each` with every row, and returns how many rows the statement changed or gave.
    pub(crate) async fn rows(
        &self,
        statement: &Statement<String>,
        mut each: impl FnMut(&SimpleQueryRow) -> Result<()>,
    ) -> Result<u64> {
        let explain = |error| explain(&self.server, error);
        let client = &self.session.client;
        if !statement.values.is_empty() {
            let values = statement.values.iter();
            let values: Vec<(&(dyn ToSql + Sync), Type)> =
                values.map(|value| (value as &(dyn ToSql + Sync), Type::VARCHAR)).collect();
            let text = sql::bind(values.len());
            client.query_typed(&text, &values).await.map_err(explain)?;
        }
        let messages = client.simple_query_raw(&statement.text).await.map_err(explain)?;
        let mut messages = pin!(messages);
        let mut changed = 0;
        while let Some(message) = messages.try_next().await.map_err(explain)? {
            match message {
                SimpleQueryMessage::Row(row) => each(&row)?,
                SimpleQueryMessage::CommandComplete(rows) => changed = rows,
                _ => {}
            }
        }
        Ok(changed)
    }

    /// Runs a statement that has no rows.
    pub(crate) async fn run(&self, text: &str) -> Result<()> {
        let done = self.session.client.batch_execute(text).await;
        done.map_err(|error| explain(&self.server, error))
    }
}

/// A field of a row; `None` for null.
pub(crate) fn field(row: &SimpleQueryRow, place: usize) -> Result<Option<&str>> {
    row.try_get(place).context("a value is no text in UTF-8")
}

/// The connection by which a database is read: one transaction, so that all is of one state.
pub(crate) struct Reader {
    server: Arc<Server>,
    database: String,
    connection: Mutex<Option<Connection>>,
}

impl Reader {
    pub(crate) fn new(server: &Arc<Server>, database: &str) -> Reader {
        Reader {
            server: Arc::clone(server),
            database: database.to_owned(),
            connection: Mutex::new(None),
        }
    }

    /// The connection, once nobody else uses it.
    pub(crate) async fn lend(&self) -> Result<Lent<'_>> {
        let mut connection = self.connection.lock().await;
        if connection.is_none() {
            let opened = Connection::open(&self.server, &self.database).await?;
            opened.run(sql::BEGIN).await?;
            *connection = Some(opened);
        }
        Ok(Lent(connection))
    }
}

/// A reader's connection, for a while.
pub(crate) struct Lent<'r>(MutexGuard<'r, Option<Connection>>);

impl Lent<'_> {
    pub(crate) fn connection(&self) -> Result<&Connection> {
        self.0.as_ref().context("a connection is lent once it is open")
    }

    /// Gives it back. After a failure the transaction is good for nothing and there are no
    /// savepoints: what is read next is of a new one, and of its own state.
    pub(crate) async fn end<T>(mut self, result: Result<T>) -> Result<T> {
        if result.is_err()
            && let Some(connection) = self.0.take()
        {
            connection.session.cancel(&connection.server).await;
        }
        result
    }
}
