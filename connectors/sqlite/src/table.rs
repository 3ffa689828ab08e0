//! One table or view as a store: its schema, samples, reads and searches.

use protocol::output::Output;
use protocol::silo::{
    Capabilities, From, Kind, Query, Read, Sample, Schema, Store, StoreId, Subject,
};
use protocol::sql::catalog::{Column, Table};
use protocol::sql::order::Order;
use protocol::sql::sample::{Random, choose};
use protocol::sql::statement::{self, Statement};
use protocol::{Context, Result, async_trait};
use rusqlite::{Connection, params_from_iter};

use crate::values::{Bound, Objects, SQLITE, from_state, identifier, to_state};
use crate::{Sqlite, connection};

/// A table of an open file.
pub(crate) struct Rows<'s> {
    pub(crate) silo: &'s Sqlite,
    pub(crate) table: &'s Table,
}

impl Rows<'_> {
    fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.silo.with(read).map_err(|error| connection::explain(&self.silo.config, error))
    }
}

#[async_trait]
impl Store for Rows<'_> {
    fn id(&self) -> StoreId {
        self.table.id.clone()
    }

    async fn schema(&self) -> Result<Schema> {
        let mut schema = self.table.schema();
        schema.relations = self.silo.relations_of(&self.table.id).await?;
        Ok(schema)
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        self.with(|connection| scan(connection, self.table, sample, out))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        let capabilities = Capabilities::default().read(self).query(self);
        match self.table.kind {
            Kind::Table => capabilities.erase(self.silo),
            _ => capabilities,
        }
    }
}

#[async_trait]
impl Read for Rows<'_> {
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()> {
        self.with(|connection| read(connection, self.table, from, out))
    }
}

#[async_trait]
impl Query for Rows<'_> {
    async fn query(&self, subject: &Subject, out: &mut Output) -> Result<()> {
        let columns = statement::columns(self.table, subject.properties.as_deref())?;
        let select = SQLITE.select(self.table, &columns, &[]);
        let found = |condition: &str| format!("{select} WHERE {condition}");
        let about = statement::about(&SQLITE, self.table, subject, found, identifier)?;
        let Some(statement) = about else { return Ok(()) };
        self.with(|connection| push(connection, self.table, &statement, &columns, |_| Ok(()), out))
    }
}

/// A row in the hands of [`push`], with the output it was just pushed into.
struct Pushed<'r, 's> {
    row: &'r rusqlite::Row<'s>,
    out: &'r mut Output,
}

/// Pushes every row of a statement whose first columns are `columns`, and calls `then` after each.
fn push(
    connection: &Connection,
    table: &Table,
    statement: &Statement<Bound>,
    columns: &[&Column],
    mut then: impl FnMut(Pushed<'_, '_>) -> Result<()>,
    out: &mut Output,
) -> Result<()> {
    let mut objects = Objects::of(columns);
    let mut prepared = connection.prepare(&statement.text).context("preparing the read")?;
    let mut rows = prepared.query(params_from_iter(&statement.values))?;
    while let Some(row) = rows.next()? {
        objects.push(row, 0, out)?;
        then(Pushed { row, out })?;
    }
    objects.report(&table.id);
    Ok(())
}

fn read(connection: &Connection, table: &Table, from: &From<'_>, out: &mut Output) -> Result<()> {
    let columns = statement::columns(table, from.properties)?;
    let order = Order::of(table, from)?;
    if !order.resumes() {
        let statement = Statement::plain(SQLITE.select(table, &columns, &[]));
        return push(connection, table, &statement, &columns, |_| Ok(()), out);
    }
    let position = order.position(from.since)?;
    let after = position.map(|position| position.after.iter().map(from_state).collect());
    let after: Option<Vec<Bound>> = after.transpose()?;
    // Columns of the order that are not wanted stand behind those that are.
    let mut further = Vec::new();
    let places: Vec<usize> = order
        .by
        .iter()
        .map(|name| {
            columns.iter().position(|column| column.name == *name).unwrap_or_else(|| {
                further.push(name.clone());
                columns.len() + further.len() - 1
            })
        })
        .collect();
    let mut statement = Statement::plain(SQLITE.select(table, &columns, &further));
    let clause = order.clause(&SQLITE, after.clone(), &mut statement);
    statement.text.push_str(&clause);
    let cursor = |last: &[Bound]| order.cursor(last.iter().map(to_state).collect());
    let mut last = after;
    let mut kept = Vec::with_capacity(order.by.len());
    let then = |Pushed { row, out }: Pushed<'_, '_>| {
        kept.clear();
        for &place in &places {
            kept.push(Bound::from(row.get_ref(place)?));
        }
        if out.due() {
            out.checkpoint(&cursor(&kept)?)?;
        }
        Ok(())
    };
    push(connection, table, &statement, &columns, then, out)?;
    if !kept.is_empty() {
        last = Some(kept);
    }
    if let Some(remainder) = order.remainder(&SQLITE) {
        let statement = Statement::plain(SQLITE.select(table, &columns, &[]) + &remainder);
        push(connection, table, &statement, &columns, |_| Ok(()), out)?;
    }
    match last {
        Some(last) => out.checkpoint(&cursor(&last)?),
        // An empty table has no place to go on from: the next read begins at the beginning too.
        None => Ok(()),
    }
}

/// A table with less than this many times the rows wanted is counted and read through; in a larger
/// one rows are found by their rowid.
const DENSE: u64 = 50;

fn scan(connection: &Connection, table: &Table, sample: &Sample, out: &mut Output) -> Result<()> {
    let columns = statement::columns(table, sample.properties.as_deref())?;
    if sample.limit == 0 {
        return Ok(());
    }
    let mut random = Random::new(sample.seed);
    let limit = u64::try_from(sample.limit).unwrap_or(u64::MAX);
    match rowids(connection, table)? {
        Some((rowid, least, most))
            if most.abs_diff(least) / DENSE > limit && more_than(connection, table, limit)? =>
        {
            probe(connection, table, &columns, rowid, (least, most), limit, &mut random, out)
        }
        found => {
            let rowid = found.map(|(rowid, ..)| rowid);
            pass(connection, table, &columns, rowid, sample.limit, &mut random, out)
        }
    }
}

/// Whether a table has so many rows that passing over all of them for `limit` would be a waste. The
/// ends of its rowids do not say so where there are gaps.
fn more_than(connection: &Connection, table: &Table, limit: u64) -> Result<bool> {
    let few = i64::try_from(limit.saturating_mul(DENSE)).unwrap_or(i64::MAX);
    let path = SQLITE.path(&table.path);
    let text = format!("SELECT count(*) > ?1 FROM (SELECT 1 FROM {path} LIMIT ?1 + 1)");
    Ok(connection.query_row(&text, [few.min(i64::MAX - 1)], |row| row.get(0))?)
}

/// The name the rowid goes by, and the least and greatest of the table; `None` where it has none.
fn rowids(connection: &Connection, table: &Table) -> Result<Option<(&'static str, i64, i64)>> {
    let free = ["rowid", "_rowid_", "oid"]
        .into_iter()
        .find(|name| table.columns.iter().all(|column| !column.name.eq_ignore_ascii_case(name)));
    let Some(rowid) = free else { return Ok(None) };
    let path = SQLITE.path(&table.path);
    // Two statements, because one for both would read the whole table.
    let end = |order: &str| {
        let text = format!("SELECT {rowid} FROM {path} ORDER BY {rowid} {order} LIMIT 1");
        connection.query_row(&text, [], |row| row.get::<_, Option<i64>>(0))
    };
    match (end("ASC"), end("DESC")) {
        (Ok(Some(least)), Ok(Some(most))) => Ok(Some((rowid, least, most))),
        // Views and WITHOUT ROWID tables have none; an empty table has no ends.
        _ => Ok(None),
    }
}

/// Pushes the rows at chosen places of the whole table.
fn pass(
    connection: &Connection,
    table: &Table,
    columns: &[&Column],
    rowid: Option<&str>,
    limit: usize,
    random: &mut Random,
    out: &mut Output,
) -> Result<()> {
    let path = SQLITE.path(&table.path);
    let count: i64 =
        connection.query_row(&format!("SELECT count(*) FROM {path}"), [], |row| row.get(0))?;
    let chosen = choose(random, limit, count.unsigned_abs());
    let mut objects = Objects::of(columns);
    // In an order of its own, or the columns wanted would choose an index and so the order.
    let order = match (rowid, table.key.as_slice()) {
        (Some(rowid), _) => format!(" ORDER BY {rowid}"),
        (None, []) => String::new(),
        (None, key) => format!(" ORDER BY {}", SQLITE.names(key.iter().map(String::as_str))),
    };
    let mut prepared = connection.prepare(&(SQLITE.select(table, columns, &[]) + &order))?;
    let mut rows = prepared.query([])?;
    let mut place = 0;
    while let Some(row) = rows.next()? {
        if chosen.contains(&place) {
            objects.push(row, 0, out)?;
        }
        place += 1;
        if chosen.last().is_none_or(|&last| place > last) {
            break;
        }
    }
    Ok(())
}

/// Pushes the rows next to chosen rowids, each once.
#[expect(clippy::too_many_arguments, reason = "the parts of one statement")]
fn probe(
    connection: &Connection,
    table: &Table,
    columns: &[&Column],
    rowid: &str,
    (least, most): (i64, i64),
    limit: u64,
    random: &mut Random,
    out: &mut Output,
) -> Result<()> {
    let text = format!(
        "{} WHERE {rowid} >= ?1 AND {rowid} > ?2 ORDER BY {rowid} LIMIT 1",
        SQLITE.select(table, columns, &[]).replacen("SELECT ", &format!("SELECT {rowid}, "), 1)
    );
    let mut prepared = connection.prepare(&text)?;
    let mut objects = Objects::of(columns);
    let mut last = least.saturating_sub(1);
    for place in choose(random, usize::try_from(limit).unwrap_or(usize::MAX), most.abs_diff(least))
    {
        let wanted = least.saturating_add_unsigned(place);
        let mut rows = prepared.query([wanted, last])?;
        let Some(row) = rows.next()? else { break };
        last = row.get(0)?;
        objects.push(row, 1, out)?;
    }
    Ok(())
}
