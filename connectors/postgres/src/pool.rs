//! The connections of one database in a run: all of them see it as it was at one moment.

use std::sync::{Arc, Mutex, PoisonError};

use protocol::fault::Fault;
use protocol::{Context, Result, log};
use tokio::sync::Mutex as AsyncMutex;
use tokio_postgres::SimpleQueryMessage;

use crate::config::Settings;
use crate::fault::explain;
use crate::session::Session;

/// What tells a snapshot from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The server's own number, by which it and its standbys are told from others.
    pub(crate) cluster: Option<String>,
    /// What a standby counts up when it takes over.
    pub(crate) timeline: Option<u32>,
    /// Every transaction below this one had ended.
    pub(crate) xmin: u64,
    /// No transaction from this one on had begun to write.
    pub(crate) xmax: u64,
}

/// Connections to a database, each in a transaction that only reads, of one snapshot.
pub(crate) struct Pool {
    settings: Arc<Settings>,
    database: String,
    opened: AsyncMutex<Option<Opened>>,
    /// Connections in the snapshot that nobody uses now.
    idle: Mutex<Vec<Session>>,
}

struct Opened {
    snapshot: Snapshot,
    exported: String,
}

/// A connection of a pool, which goes back to it.
pub(crate) struct Lease<'p> {
    pool: &'p Pool,
    session: Option<Session>,
    pub(crate) snapshot: Snapshot,
}

impl Pool {
    pub(crate) fn new(settings: Arc<Settings>, database: String) -> Pool {
        Pool { settings, database, opened: AsyncMutex::new(None), idle: Mutex::new(Vec::new()) }
    }

    /// A connection, in the snapshot of the run.
    pub(crate) async fn lease(&self) -> Result<Lease<'_>> {
        let mut opened = self.opened.lock().await;
        let lease = |session, snapshot: &Snapshot| Lease {
            pool: self,
            session: Some(session),
            snapshot: snapshot.clone(),
        };
        if let Some(Opened { snapshot, exported }) = &*opened {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let session = match idle {
                Some(session) => session,
                None => self.join(exported).await?,
            };
            return Ok(lease(session, snapshot));
        }
        let session = Session::open(&self.settings.server, &self.database).await?;
        let first = self.begin(&session).await?;
        let lease = lease(session, &first.snapshot);
        *opened = Some(first);
        Ok(lease)
    }

    /// Takes the snapshot of the run, and lets other connections have it too.
    async fn begin(&self, session: &Session) -> Result<Opened> {
        let explain = |error| explain(&self.settings.server, error);
        // A role may be without the right to see this, and a service may not have it.
        let identity = "SELECT (SELECT system_identifier FROM pg_control_system()), \
                        (SELECT timeline_id FROM pg_control_checkpoint())";
        let identity = match session.client.simple_query(identity).await {
            Ok(messages) => first_row(&messages),
            Err(error) => {
                log::debug(format_args!("the server does not say which it is: {error}"));
                Vec::new()
            }
        };
        let messages = session
            .client
            .simple_query(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                 SELECT pg_export_snapshot(), pg_current_snapshot(); SAVEPOINT clean",
            )
            .await
            .map_err(explain)?;
        let row = first_row(&messages);
        let [Some(exported), Some(snapshot)] = row.as_slice() else {
            return Err(Fault::system("the server gave no snapshot").into());
        };
        let mut numbers = snapshot.split(':').map(str::parse::<u64>);
        let (Some(Ok(xmin)), Some(Ok(xmax))) = (numbers.next(), numbers.next()) else {
            return Err(Fault::system("the server's snapshot is not of a known form").into());
        };
        let mut identity = identity.into_iter();
        let cluster = identity.next().flatten();
        let timeline = identity.next().flatten().and_then(|number| number.parse().ok());
        let snapshot = Snapshot { cluster, timeline, xmin, xmax };
        Ok(Opened { snapshot, exported: exported.clone() })
    }

    /// Opens a further connection in the snapshot.
    async fn join(&self, exported: &str) -> Result<Session> {
        let session = Session::open(&self.settings.server, &self.database).await?;
        let literal = exported.replace('\'', "''");
        let text = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET TRANSACTION SNAPSHOT '{literal}'; SAVEPOINT clean"
        );
        session
            .client
            .batch_execute(&text)
            .await
            .map_err(|error| explain(&self.settings.server, error))
            .context("joining the run's snapshot")?;
        Ok(session)
    }
}

impl Lease<'_> {
    /// The connection.
    pub(crate) fn client(&self) -> &tokio_postgres::Client {
        &self.session.as_ref().expect("it is there until the lease ends").client
    }

    /// Gives the connection back as it was before. Of a statement that failed here, and not on the
    /// server, rows may still be on their way.
    pub(crate) async fn end<T>(self, result: &Result<T>) {
        if let (Err(_), Some(session)) = (result, &self.session) {
            session.cancel(&self.pool.settings.server).await;
        }
        // Where even this fails the connection is gone, and the next use says so.
        if let Err(error) = self.client().batch_execute("ROLLBACK TO clean").await {
            log::debug(format_args!("a connection cannot be used again: {error}"));
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && !session.client.is_closed()
        {
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        }
    }
}

/// The first row of the results, column by column.
pub(crate) fn first_row(messages: &[SimpleQueryMessage]) -> Vec<Option<String>> {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.map_or_else(Vec::new, |row| (0..row.len()).map(|n| row.get(n).map(str::to_owned)).collect())
}
