//! Samples: all of a small table, and of a large one rows from blocks chosen at random.

use protocol::output::Output;
use protocol::silo::Sample;
use protocol::{Context, Result};

use crate::copy::{Fields, Objects, copy};
use crate::fault::explain;
use crate::identify::{POSTGRES, spelled};
use crate::pool::Lease;
use crate::sql;
use crate::table::Rows;

/// Of a table of up to so many blocks (8 MiB) every row has a chance; of a larger one, those of
/// blocks that were chosen.
const SMALL: f64 = 1024.0;

/// How many times the rows wanted are looked at, so that few blocks do not give all of them.
const SPREAD: f64 = 20.0;

/// Pushes a sample. The same seed gives the same rows of an unchanged table.
pub(crate) async fn scan(rows: &Rows<'_>, sample: &Sample, out: &mut Output) -> Result<()> {
    if sample.limit == 0 {
        return Ok(());
    }
    let lease = rows.pool()?.lease().await?;
    let result = draw(rows, sample, &lease, out).await;
    lease.end(&result).await;
    result
}

async fn draw(rows: &Rows<'_>, sample: &Sample, lease: &Lease<'_>, out: &mut Output) -> Result<()> {
    let settings = &*rows.silo.settings;
    let columns = rows.columns(sample.properties.as_deref())?;
    let names: Vec<String> =
        columns.iter().map(|(column, way)| sql::expression(column, way)).collect();
    let source = sql::source(&rows.table.path, rows.relation);
    let objects = Objects::of(columns.iter().map(|(column, way)| (column.name.as_str(), *way)));
    let blocks: f64 = rows.relation.parts.iter().map(|part| part.pages as f64).sum();
    let known: f64 = rows.relation.parts.iter().map(|part| part.rows.max(0.0)).sum();
    let plain = rows.relation.parts.iter().all(|part| part.plain);
    let mut share = 100.0;
    if plain && blocks > SMALL && known > 0.0 {
        share = (100.0 * SPREAD * sample.limit as f64 / known).clamp(100.0 * 64.0 / blocks, 100.0);
    }
    // Of few rows there may be more than statistics say, and of many fewer: then all are looked at.
    loop {
        let mut text = format!("SELECT {} FROM {source}", sql::list(&names));
        if share < 100.0 {
            text.push_str(&format!(" TABLESAMPLE SYSTEM ({share}) REPEATABLE ({})", sample.seed));
        }
        let chance = chance(rows, sample.seed);
        text.push_str(&format!(" ORDER BY {chance} LIMIT {}", sample.limit));
        if share < 100.0 {
            let count = format!(
                "SELECT count(*) FROM (SELECT 1 FROM {source} TABLESAMPLE SYSTEM ({share}) REPEATABLE ({}) LIMIT {}) s",
                sample.seed, sample.limit
            );
            let row = lease.client().query_one(&count, &[]).await;
            let found: i64 = row
                .map_err(|error| explain(&settings.server, error))?
                .try_get(0)
                .context("counting a sample")?;
            if found < i64::try_from(sample.limit).unwrap_or(i64::MAX) {
                share = (share * 10.0).min(100.0);
                continue;
            }
        }
        let push = |(): &mut (), fields: Fields<'_>| objects.push(fields, out).map(|_| ());
        return copy(settings, lease.client(), &text, || (), push).await;
    }
}

/// What rows are drawn by: a hash of the seed and of what tells the row from others.
fn chance(rows: &Rows<'_>, seed: u64) -> String {
    let readable = |name: &String| rows.way(name).is_some_and(|way| way.readable);
    let parts: Vec<String> = if !rows.table.key.is_empty() && rows.table.key.iter().all(readable) {
        rows.table.key.iter().map(|name| spelled(&format!("t.{}", POSTGRES.name(name)))).collect()
    } else {
        rows.relation
            .columns
            .iter()
            .zip(&rows.table.columns)
            .filter(|(way, _)| way.readable)
            .map(|(_, column)| spelled(&format!("t.{}", POSTGRES.name(&column.name))))
            .collect()
    };
    // A variadic function takes a hundred arguments.
    let some: Vec<String> = parts.into_iter().take(50).collect();
    format!("pg_catalog.md5(pg_catalog.concat_ws('|', {seed}, {}))", sql::list(&some))
}
