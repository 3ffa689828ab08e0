//! Finds a subject's rows.

use futures::TryStreamExt as _;
use protocol::Result;
use protocol::output::Output;
use protocol::silo::Subject;
use protocol::sql::statement::Statement;
use std::pin::pin;
use tokio_postgres::Client;
use tokio_postgres::types::{FromSql, Type as Wire};

use crate::config::Settings;
use crate::copy::Objects;
use crate::fault::explain;
use crate::identify::{Parameter, condition};
use crate::sql;
use crate::table::Rows;

/// Pushes each of the subject's rows once.
pub(crate) async fn query(rows: &Rows<'_>, subject: &Subject, out: &mut Output) -> Result<()> {
    let columns = rows.columns(subject.properties.as_deref())?;
    let lease = rows.pool()?.lease().await?;
    let names: Vec<String> =
        columns.iter().map(|(column, way)| sql::expression(column, way)).collect();
    let source = sql::source(&rows.table.path, rows.relation);
    let mut statement = Statement::plain(format!("SELECT {} FROM {source}", sql::list(&names)));
    let settings = &*rows.silo.settings;
    let result = async {
        let Some(condition) =
            condition(settings, lease.client(), rows, subject, &mut statement).await?
        else {
            return Ok(());
        };
        statement.text.push_str(&format!(" WHERE {condition}"));
        let objects = Objects::of(columns.iter().map(|(column, way)| (column.name.as_str(), *way)));
        run(settings, lease.client(), &statement, &objects, out).await
    };
    let result = result.await;
    lease.recover().await;
    result
}

/// Pushes every row of a statement.
async fn run(
    settings: &Settings,
    client: &Client,
    statement: &Statement<Parameter>,
    objects: &Objects,
    out: &mut Output,
) -> Result<()> {
    let explain = |error| explain(settings, error);
    let rows = client.query_raw(&statement.text, &statement.values).await.map_err(explain)?;
    let mut rows = pin!(rows);
    while let Some(row) = rows.try_next().await.map_err(explain)? {
        objects.push_row(
            |place| Ok(row.try_get::<_, Option<Raw<'_>>>(place)?.map(|raw| raw.0)),
            out,
        )?;
    }
    Ok(())
}

/// A value as it came.
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

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
