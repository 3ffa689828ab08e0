//! One table or view as a store: its schema, samples, reads and searches.

use protocol::fault::Fault;
use protocol::output::Output;
use protocol::silo::{
    Capabilities, From, Kind, Query, Read, Sample, Schema, Store, StoreId, Subject,
};
use protocol::sql::catalog::{Column, Table};
use protocol::sql::order::Order;
use protocol::sql::sample::{Random, choose};
use protocol::sql::statement::{self, Statement};
use protocol::sql::types::Type;
use protocol::{Result, async_trait};

use crate::MySql;
use crate::dialect::{Bound, MYSQL, is_geometry, positional};
use crate::driver::{Cell, Client, Row, Value};
use crate::values::{Objects, bound, from_state, identifier, keep, to_state};

/// A table of the server.
pub(crate) struct Rows<'s> {
    pub(crate) silo: &'s MySql,
    pub(crate) table: &'s Table,
}

#[async_trait]
impl Store for Rows<'_> {
    fn id(&self) -> StoreId {
        self.table.id.clone()
    }

    async fn schema(&self) -> Result<Schema> {
        let mut schema = self.table.schema();
        // What has no sign goes into a column without one, if it is written elsewhere.
        for column in self.table.columns.iter().filter(|column| column.of == Type::Integer) {
            let of = &column.declared;
            if of.contains(" unsigned") || of.starts_with("bit(") {
                schema.json_schema["properties"][&column.name]["minimum"] = 0.into();
            }
        }
        schema.relations = self.silo.relations_of(&self.table.id).await?;
        Ok(schema)
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        self.silo.with(|client| scan(client, self.table, sample, out))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        let capabilities = Capabilities::default().read(self).query(self);
        match self.table.kind {
            Kind::Table | Kind::PartitionedTable => capabilities.erase(self.silo),
            _ => capabilities,
        }
    }
}

#[async_trait]
impl Read for Rows<'_> {
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()> {
        self.silo.with(|client| read(client, self.table, from, out))
    }
}

#[async_trait]
impl Query for Rows<'_> {
    async fn query(&self, subject: &Subject, out: &mut Output) -> Result<()> {
        let columns = statement::columns(self.table, subject.properties.as_deref())?;
        let select = MYSQL.select(self.table, &columns, &[]);
        let found = |condition: &str| format!("{select} WHERE {condition}");
        let about = statement::about(&MYSQL, self.table, subject, found, identifier)?;
        let Some(statement) = about else { return Ok(()) };
        self.silo.with(|client| push(client, self.table, &statement, &columns, out))
    }
}

/// Pushes every row of a statement whose first columns are `columns`.
pub(crate) fn push(
    client: &mut Client,
    table: &Table,
    statement: &Statement<Bound>,
    columns: &[&Column],
    out: &mut Output,
) -> Result<()> {
    let mut objects = Objects::of(columns);
    let (text, values) = positional(statement);
    client.rows(&text, &values, |row| objects.push(row, out, |_, _| {}))?;
    objects.report(&table.id);
    Ok(())
}

fn read(client: &mut Client, table: &Table, from: &From<'_>, out: &mut Output) -> Result<()> {
    let columns = statement::columns(table, from.properties)?;
    let order = Order::of(table, from)?;
    if let Some(rows) = table.rows {
        out.total(rows);
    }
    if !order.resumes() {
        let statement = Statement::plain(MYSQL.select(table, &columns, &[]));
        return push(client, table, &statement, &columns, out);
    }
    let by: Vec<&Column> = order.by.iter().filter_map(|name| table.column(name)).collect();
    let position = order.position(from.since)?;
    let after = position.map(|position| position.after.iter().map(from_state).collect());
    let after: Option<Vec<Value>> = after.transpose()?;
    // Columns of the order that are not wanted stand behind those that are.
    let mut further = Vec::new();
    // For each column of the result, its place in the order.
    let mut places: Vec<Option<usize>> = vec![None; columns.len()];
    for (place, column) in by.iter().enumerate() {
        match columns.iter().position(|other| other.name == column.name) {
            Some(at) => places[at] = Some(place),
            None => {
                further.push(column.name.clone());
                places.push(Some(place));
            }
        }
    }
    let mut statement = Statement::plain(MYSQL.select(table, &columns, &further));
    let bounds = after.clone().map(|values| {
        values.into_iter().zip(&by).map(|(value, column)| bound(column, value)).collect()
    });
    let clause = order.clause(&MYSQL, bounds, &mut statement);
    statement.text.push_str(&clause);
    let cursor = |last: &[Value]| order.cursor(last.iter().map(to_state).collect());
    let mut kept = vec![Value::Null; by.len()];
    let mut any = false;
    let mut objects = Objects::of(&columns);
    let (text, values) = positional(&statement);
    client.rows(&text, &values, |row| {
        let mut remember = |at: usize, cell: Cell<'_>| {
            if let Some(place) = places[at] {
                keep(&mut kept[place], by[place], cell);
            }
        };
        objects.push(row, out, &mut remember)?;
        for at in columns.len()..places.len() {
            remember(at, row.next()?);
        }
        any = true;
        match out.due() {
            true => out.checkpoint(&cursor(&kept)?),
            false => Ok(()),
        }
    })?;
    objects.report(&table.id);
    if let Some(remainder) = order.remainder(&MYSQL) {
        let statement = Statement::plain(MYSQL.select(table, &columns, &[]) + &remainder);
        push(client, table, &statement, &columns, out)?;
    }
    match if any { Some(kept) } else { after } {
        Some(last) => out.checkpoint(&cursor(&last)?),
        // An empty table has no place to go on from: the next read begins at the beginning too.
        None => Ok(()),
    }
}

/// A table with less than this many times the rows wanted is gone through by the server; in a larger
/// one rows are found by their key.
const DENSE: u64 = 50;

/// How many rows are looked for by one statement.
const AT_ONCE: usize = 100;

fn scan(client: &mut Client, table: &Table, sample: &Sample, out: &mut Output) -> Result<()> {
    let columns = statement::columns(table, sample.properties.as_deref())?;
    if sample.limit == 0 {
        return Ok(());
    }
    let mut objects = Objects::of(&columns);
    let limit = u64::try_from(sample.limit).unwrap_or(u64::MAX);
    match ends(client, table, limit)? {
        Some((key, ends)) => {
            probe(
                client,
                table,
                key,
                ends,
                sample,
                |row| objects.push(row, out, |_, _| {}),
                &columns,
            )?;
        }
        None => {
            let text = format!(
                "{}{} LIMIT {limit}",
                MYSQL.select(table, &columns, &[]),
                shuffled(table, sample.seed)
            );
            client.rows(&text, &[], |row| objects.push(row, out, |_, _| {}))?;
        }
    }
    objects.report(&table.id);
    Ok(())
}

/// ` ORDER BY` what looks random, and is the same every time: a hash of the key, or of all columns
/// where there is none.
fn shuffled(table: &Table, seed: u64) -> String {
    let keyed = |column: &&Column| table.key.is_empty() || table.key.contains(&column.name);
    let parts: Vec<String> = table
        .columns
        .iter()
        .filter(keyed)
        .filter(|column| !is_geometry(column))
        .map(|column| format!("CAST({} AS BINARY)", MYSQL.name(&column.name)))
        .collect();
    let mut order = format!(" ORDER BY CRC32(CONCAT_WS('/', {seed}, {}))", parts.join(", "));
    if parts.is_empty() {
        return String::new();
    }
    for name in &table.key {
        order.push_str(&format!(", {}", MYSQL.name(name)));
    }
    order
}

/// The key of a table with many rows, if it is one number, and its least and greatest value.
fn ends<'t>(
    client: &mut Client,
    table: &'t Table,
    limit: u64,
) -> Result<Option<(&'t Column, (i128, i128))>> {
    let [key] = table.key.as_slice() else { return Ok(None) };
    let Some(key) = table.column(key) else { return Ok(None) };
    if key.of != Type::Integer || key.declared.starts_with("bit") {
        return Ok(None);
    }
    let few = limit.saturating_mul(DENSE).min(u64::MAX - 1);
    let (name, path) = (MYSQL.name(&key.name), MYSQL.path(&table.path));
    let mut rows = 0;
    let text = format!("SELECT COUNT(*) FROM (SELECT 1 FROM {path} LIMIT {}) AS few", few + 1);
    client.rows(&text, &[], |row| {
        rows = row.count()?.unwrap_or_default();
        Ok(())
    })?;
    if rows <= few {
        return Ok(None);
    }
    let mut found = None;
    client.rows(&format!("SELECT MIN({name}), MAX({name}) FROM {path}"), &[], |row| {
        if let (Some(least), Some(most)) = (whole(row.next()?), whole(row.next()?)) {
            found = Some((key, (least, most)));
        }
        Ok(())
    })?;
    Ok(found)
}

fn whole(cell: Cell<'_>) -> Option<i128> {
    match cell {
        Cell::Integer(integer) => Some(integer.into()),
        Cell::Unsigned(integer) => Some(integer.into()),
        _ => None,
    }
}

/// Hands on the rows next to chosen keys, each once.
fn probe(
    client: &mut Client,
    table: &Table,
    key: &Column,
    (least, most): (i128, i128),
    sample: &Sample,
    mut each: impl FnMut(&mut Row<'_>) -> Result<()>,
    columns: &[&Column],
) -> Result<()> {
    let (name, path) = (MYSQL.name(&key.name), MYSQL.path(&table.path));
    let span = u64::try_from(most - least).unwrap_or(u64::MAX);
    let chosen: Vec<u64> =
        choose(&mut Random::new(sample.seed), sample.limit, span).into_iter().collect();
    let selected = columns.iter().map(|column| format!("t.{}", MYSQL.name(&column.name)));
    let selected: Vec<String> = std::iter::once(format!("t.{name}")).chain(selected).collect();
    let mut last = None;
    for places in chosen.chunks(AT_ONCE) {
        let probes = places.iter().map(|&place| {
            let from = least + i128::from(place);
            format!("SELECT (SELECT {name} FROM {path} WHERE {name} >= {from} ORDER BY {name} LIMIT 1) AS k")
        });
        let text = format!(
            "SELECT {} FROM ({}) AS chosen JOIN {path} AS t ON t.{name} = chosen.k ORDER BY t.{name}",
            selected.join(", "),
            probes.collect::<Vec<_>>().join(" UNION ")
        );
        client.rows(&text, &[], |row| {
            let found = whole(row.next()?)
                .ok_or_else(|| Fault::system("a key that was a number is none"))?;
            // The last of one statement may be the first of the next.
            if last.is_some_and(|last| found <= last) {
                return Ok(());
            }
            last = Some(found);
            each(row)
        })?;
    }
    Ok(())
}
