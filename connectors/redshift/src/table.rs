//! One table or view as a store: its samples, reads, searches and deletions.

use protocol::fault::Fault;
use protocol::message::Relation;
use protocol::output::Output;
use protocol::silo::{
    Capabilities, Delete, From, Kind, Query, Read, Remaining, Sample, Schema, Store, StoreId,
    Subject, Verify,
};
use protocol::sql::catalog::{Column, Table};
use protocol::sql::order::{Order, strange};
use protocol::sql::statement::{self, Statement};
use protocol::{Result, async_trait};
use serde_json::Value;
use tokio_postgres::SimpleQueryRow;

use crate::connection::{Connection, field};
use crate::sql::{self, REDSHIFT};
use crate::values::{Objects, alike, identifier};
use crate::{Database, Redshift};

/// A table or view of a database.
pub(crate) struct Rows<'s> {
    pub(crate) silo: &'s Redshift,
    pub(crate) database: &'s Database,
    pub(crate) table: &'s Table,
    pub(crate) relations: &'s [Relation],
}

#[async_trait]
impl Store for Rows<'_> {
    fn id(&self) -> StoreId {
        self.table.id.clone()
    }

    async fn schema(&self) -> Result<Schema> {
        let mut schema = self.table.schema();
        schema.relations = self.relations.to_vec();
        // Nothing is ordered by what does not compare.
        let sorts = |name: &String| self.table.column(name).is_some_and(sql::compares);
        if !schema.key.iter().all(sorts) {
            schema.key.clear();
        }
        schema.cursors.retain(sorts);
        Ok(schema)
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        let columns = statement::columns(self.table, sample.properties.as_deref())?;
        let mut text = sql::select(self.table, &columns);
        text.push_str(&sql::shuffled(self.table, sample.seed));
        text.push_str(&format!(" LIMIT {}", sample.limit));
        let lent = self.database.reader.lend().await?;
        let pushed = push(lent.connection()?, &columns, &Statement::plain(text), out).await;
        lent.end(pushed).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        let capabilities = Capabilities::default().read(self).query(self);
        match self.table.kind {
            Kind::Table => capabilities.delete(self),
            _ => capabilities,
        }
    }
}

#[async_trait]
impl Read for Rows<'_> {
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()> {
        let lent = self.database.reader.lend().await?;
        let done = read(lent.connection()?, self.table, from, out).await;
        lent.end(done).await
    }
}

#[async_trait]
impl Query for Rows<'_> {
    async fn query(&self, subject: &Subject, out: &mut Output) -> Result<()> {
        let columns = statement::columns(self.table, subject.properties.as_deref())?;
        let select = sql::select(self.table, &columns);
        let found = |condition: &str| format!("{select} WHERE {condition}");
        let Some(statement) = self.about(subject, found)? else { return Ok(()) };
        let lent = self.database.reader.lend().await?;
        let pushed = push(lent.connection()?, &columns, &statement, out).await;
        lent.end(pushed).await
    }
}

#[async_trait]
impl Verify for Rows<'_> {
    async fn remaining(&self, subject: &Subject) -> Result<Remaining> {
        let count = |condition: &str| sql::count(self.table, condition);
        let Some(statement) = self.about(subject, count)? else {
            return Ok(Remaining::Records(0));
        };
        let connection = Connection::open(&self.silo.server, &self.database.name).await?;
        let mut rows = None;
        let count = |row: &SimpleQueryRow| {
            rows = field(row, 0)?.and_then(|count| count.parse().ok());
            Ok(())
        };
        connection.rows(&statement, count).await?;
        Ok(match rows {
            Some(rows) => Remaining::Records(rows),
            None => Remaining::Unknown("the server gave no count".to_owned()),
        })
    }
}

#[async_trait]
impl Delete for Rows<'_> {
    async fn delete(&self, subject: &Subject) -> Result<u64> {
        let delete = |condition: &str| sql::delete(self.table, condition);
        let Some(statement) = self.about(subject, delete)? else { return Ok(0) };
        // A statement of its own is a transaction of its own.
        let connection = Connection::open(&self.silo.server, &self.database.name).await?;
        connection.rows(&statement, |_| Ok(())).await
    }
}

impl Rows<'_> {
    /// A statement about the subject's rows; `None` where no row can be one of them.
    fn about(
        &self,
        subject: &Subject,
        text: impl Fn(&str) -> String,
    ) -> Result<Option<Statement<String>>> {
        for known in &subject.identifiers {
            let column = self.table.column(&known.property);
            if let Some(column) = column.filter(|column| !sql::compares(column)) {
                return Err(Fault::config(format!(
                    "{}: rows are not found by `{}`, which is of the type {}",
                    self.table.id, column.name, column.declared
                ))
                .into());
            }
        }
        statement::about(&REDSHIFT, self.table, subject, text, identifier)
    }
}

/// Pushes every row of a statement.
async fn push(
    connection: &Connection,
    columns: &[&Column],
    statement: &Statement<String>,
    out: &mut Output,
) -> Result<()> {
    let objects = Objects::of(columns);
    connection.rows(statement, |row| objects.push(row, out)).await?;
    Ok(())
}

/// Reads a table, or what came after a state.
///
/// Of rows with the same place in the order none is passed over: keys are only declared, so a state
/// is written where the next row has another place.
async fn read(
    connection: &Connection,
    table: &Table,
    from: &From<'_>,
    out: &mut Output,
) -> Result<()> {
    let columns = statement::columns(table, from.properties)?;
    let order = order(table, from)?;
    if let Some(rows) = table.rows {
        out.total(rows);
    }
    if !order.resumes() {
        let statement = Statement::plain(sql::select(table, &columns));
        return push(connection, &columns, &statement, out).await;
    }
    let position = order.position(from.since)?;
    let after = position.map(|position| position.after.iter().map(text).collect()).transpose()?;
    let after: Option<Vec<String>> = after;
    let by: Vec<&Column> = order.by.iter().filter_map(|name| table.column(name)).collect();
    let all: Vec<&Column> = columns.iter().chain(&by).copied().collect();
    let mut statement = Statement::plain(sql::select(table, &all));
    let clause = order.clause(&REDSHIFT, after.clone(), &mut statement);
    statement.text.push_str(&clause);
    let objects = Objects::of(&columns);
    let cursor =
        |last: &[String]| order.cursor(last.iter().map(|value| value.as_str().into()).collect());
    let mut last: Vec<String> = Vec::new();
    let each = |row: &SimpleQueryRow| {
        let place = |n: usize| field(row, columns.len() + n).map(Option::unwrap_or_default);
        if out.due() {
            let mut same = last.len() == by.len();
            for (n, (value, column)) in last.iter().zip(&by).enumerate() {
                same &= alike(column, place(n)?, value);
            }
            if !same {
                out.checkpoint(&cursor(&last)?)?;
            }
        }
        objects.push(row, out)?;
        last.resize(by.len(), String::new());
        for (n, value) in last.iter_mut().enumerate() {
            value.clear();
            value.push_str(place(n)?);
        }
        Ok(())
    };
    connection.rows(&statement, each).await?;
    if let Some(remainder) = order.remainder(&REDSHIFT) {
        let statement = Statement::plain(sql::select(table, &columns) + &remainder);
        push(connection, &columns, &statement, out).await?;
    }
    match if last.is_empty() { after } else { Some(last) } {
        Some(last) => out.checkpoint(&cursor(&last)?),
        // An empty table has no place to go on from: the next read begins at the beginning too.
        None => Ok(()),
    }
}

/// The order of a read, by columns that compare.
fn order(table: &Table, from: &From<'_>) -> Result<Order> {
    if let Some(column) = from.cursor.and_then(|name| table.column(name))
        && !sql::compares(column)
    {
        return Err(Fault::config(format!(
            "the cursor `{}` is of the type {}, which has no order",
            column.name, column.declared
        ))
        .into());
    }
    Order::of(table, from)
}

/// A value of a state, as the server spelled it.
fn text(value: &Value) -> Result<String> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| strange().into())
}
