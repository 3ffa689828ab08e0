//! Finds a subject's rows.

use std::pin::pin;

use futures::TryStreamExt as _;
use protocol::Result;
use protocol::output::Output;
use protocol::silo::Subject;
use protocol::sql::statement::{Statement, about};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Type as Wire};
use tokio_postgres::{Client, Row};

use crate::config::Settings;
use crate::copy::Objects;
use crate::fault::explain;
use crate::identify::{POSTGRES, Parameter, convert};
use crate::sql;
use crate::table::Rows;

/// Pushes each of the subject's rows once.
pub(crate) async fn query(rows: &Rows<'_>, subject: &Subject, out: &mut Output) -> Result<()> {
    let columns = rows.columns(subject.properties.as_deref())?;
    let names: Vec<String> =
        columns.iter().map(|(column, way)| sql::expression(column, way)).collect();
    let source = sql::source(&rows.table.path, rows.relation);
    let select = format!("SELECT {} FROM {source}", sql::list(&names));
    let found = |condition: &str| format!("{select} WHERE {condition}");
    let about = about(&POSTGRES, rows.table, subject, found, convert)?;
    let Some(statement) = about else { return Ok(()) };
    let objects = Objects::of(columns.iter().map(|(column, way)| (column.name.as_str(), *way)));
    let lease = rows.pool()?.lease().await?;
    let result = run(&rows.silo.settings, lease.client(), &statement, &objects, out).await;
    lease.end(&result).await;
    result
}

/// Pushes every row of a statement.
///
/// In an encoding that lacks one of an identifier's characters no value can have it.
async fn run(
    settings: &Settings,
    client: &Client,
    statement: &Statement<Parameter>,
    objects: &Objects,
    out: &mut Output,
) -> Result<()> {
    let explain = |error| explain(&settings.server, error);
    let rows = match client.query_raw(&statement.text, &statement.values).await {
        Err(error) if error.code() == Some(&SqlState::UNTRANSLATABLE_CHARACTER) => return Ok(()),
        rows => rows.map_err(explain)?,
    };
    let mut rows = pin!(rows);
    while let Some(row) = rows.try_next().await.map_err(explain)? {
        objects.push_row(|place| Raw::of(&row, place), out)?;
    }
    Ok(())
}

/// A value as it came.
pub(crate) struct Raw<'a>(&'a [u8]);

impl<'a> Raw<'a> {
    /// The bytes of a field; `None` for null.
    pub(crate) fn of(row: &'a Row, place: usize) -> Result<Option<&'a [u8]>> {
        Ok(row.try_get::<_, Option<Raw<'_>>>(place)?.map(|raw| raw.0))
    }
}

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(
        _: &Wire,
        raw: &'a [u8],
    ) -> Result<Raw<'a>, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Wire) -> bool {
        true
    }
}
