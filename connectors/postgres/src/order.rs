//! Reads a table or view in the order of a cursor column and the key, so that an index can say what
//! came since; and what has neither, in no order.
//!
//! A transaction that ends late leaves rows behind the last value. They are found by their
//! transactions, for which the whole table is looked through, or, where the user says how late a
//! transaction may end (`lookback`), by beginning again that much before.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol::fault::Fault;
use protocol::json::{Json, Spelling};
use protocol::output::Output;
use protocol::silo::From;
use protocol::sql::catalog::Column;
use protocol::sql::order::strange;
use protocol::sql::types::Type;
use protocol::{Result, log};
use serde_json::Value;

use crate::catalog::ColumnWay;
use crate::copy::{Fields, Objects, copy};
use crate::decode::Decoder;
use crate::fault::explain;
use crate::identify::{POSTGRES, hex, spelled};
use crate::pool::Lease;
use crate::sql;
use crate::state::{Horizon, State, another_way};
use crate::table::Rows;
use crate::types::Compare;

/// Reads the table, or what a state has not seen of it.
pub(crate) async fn read(rows: &Rows<'_>, from: &From<'_>, out: &mut Output) -> Result<()> {
    let order = Order::of(rows, from.cursor)?;
    let lease = rows.pool()?.lease().await?;
    let result = read_on(rows, &order, from, &lease, out).await;
    lease.end(&result).await;
    result
}

/// A column that rows are ordered by.
struct Term<'s> {
    column: &'s Column,
    /// What is compared.
    expression: String,
    /// What a parameter is taken for, which is what is compared.
    of: &'static str,
    /// How its values are read.
    decoder: Decoder,
}

/// The order of one read.
struct Order<'s> {
    terms: Vec<Term<'s>>,
    /// Whether the columns tell rows apart.
    unique: bool,
}

impl<'s> Order<'s> {
    fn of(rows: &Rows<'s>, cursor: Option<&str>) -> Result<Order<'s>> {
        let mut names: Vec<&str> = Vec::new();
        if let Some(name) = cursor {
            if rows.table.column(name).is_none() {
                return Err(Fault::config(format!(
                    "the cursor `{name}` is no column; discover lists the columns"
                ))
                .into());
            }
            names.push(name);
        }
        let key = &rows.table.key;
        // A key that may not be read cannot be ordered by.
        if key.iter().all(|name| rows.way(name).is_some_and(|way| way.readable)) {
            names.extend(key.iter().map(String::as_str).filter(|name| Some(*name) != cursor));
        }
        let terms: Vec<Term<'s>> = names.iter().filter_map(|name| term(rows, name)).collect();
        let has = |set: &[String]| {
            !set.is_empty() && set.iter().all(|name| names.contains(&name.as_str()))
        };
        Ok(Order { unique: has(key) || rows.table.uniques.iter().any(|set| has(set)), terms })
    }

    fn by(&self) -> Vec<String> {
        self.terms.iter().map(|term| term.column.name.clone()).collect()
    }

    fn row(&self) -> String {
        let expressions: Vec<&str> = self.terms.iter().map(|t| t.expression.as_str()).collect();
        format!("({})", expressions.join(", "))
    }

    /// The values of the last row, as they were set for the statement.
    fn parameters(&self) -> String {
        let casts = self.terms.iter().enumerate();
        let casts: Vec<String> = casts
            .map(|(n, term)| {
                format!("current_setting('manifold.after_{n}')::pg_catalog.{}", term.of)
            })
            .collect();
        format!("({})", casts.join(", "))
    }

    fn nullable(&self) -> Vec<String> {
        let nullable = self.terms.iter().filter(|term| term.column.nullable);
        nullable.map(|term| format!("t.{}", POSTGRES.name(&term.column.name))).collect()
    }
}

fn term<'s>(rows: &Rows<'s>, name: &str) -> Option<Term<'s>> {
    let column = rows.table.columns.iter().find(|column| column.name == name)?;
    let way = rows.way(name)?;
    let quoted = format!("t.{}", POSTGRES.name(name));
    let decoder = way.resolved.decoder.clone();
    Some(match way.resolved.compare {
        Compare::Builtin(of) => Term { column, expression: quoted, of, decoder },
        Compare::Text => Term { column, expression: quoted, of: "text", decoder },
        Compare::Padded => Term { column, expression: quoted, of: "bpchar", decoder },
        // Operators of other types need not be what an index goes by, and may be anybody's.
        Compare::Citext | Compare::Spelled => Term {
            column,
            expression: format!("({}) COLLATE \"C\"", spelled(&quoted)),
            of: "text",
            decoder: Decoder::Text,
        },
    })
}

async fn read_on(
    rows: &Rows<'_>,
    order: &Order<'_>,
    from: &From<'_>,
    lease: &Lease<'_>,
    out: &mut Output,
) -> Result<()> {
    let columns = rows.columns(from.properties)?;
    let reading = Reading { rows, order, lease, columns: &columns };
    if order.terms.is_empty() {
        if from.since.is_some() {
            log::info(format_args!(
                "{}: has neither key nor cursor and is read in full",
                rows.table.id
            ));
        }
        return reading.plain("", out).await;
    }
    let lookback = rows.silo.settings.lookback.filter(|_| from.cursor.is_some());
    let transactional = lookback.is_none() && rows.has_transactions();
    let mut after: Option<Vec<Value>> = None;
    match State::parse(from.since)? {
        None => {}
        Some(State::Place { .. }) => return Err(another_way()),
        Some(State::Order { by, after: values, horizon }) => {
            if by != order.by() || values.len() != by.len() {
                return Err(another_way());
            }
            let horizon = horizon.filter(|_| transactional);
            let stale = horizon.as_ref().and_then(|h| h.stale(&lease.snapshot, rows.relation.oid));
            if let Some(why) = stale {
                log::warn(format_args!("{}: {why}: it is read in full", rows.table.id));
            } else {
                reading.bind(&values).await?;
                if let Some(horizon) = horizon.filter(|h| !h.is_now(&lease.snapshot)) {
                    let condition = format!(
                        " WHERE {} <= {} AND {}",
                        order.row(),
                        order.parameters(),
                        horizon.condition()
                    );
                    reading.plain(&condition, out).await?;
                }
                after = Some(values);
            }
        }
    }
    let horizon =
        transactional.then(|| Horizon::of(&lease.snapshot, rows.relation.oid, Vec::new()));
    let last = reading.ordered(after, lookback, &horizon, out).await?;
    let nullable = order.nullable();
    if !nullable.is_empty() {
        let nulls: Vec<String> = nullable.iter().map(|name| format!("{name} IS NULL")).collect();
        reading.plain(&format!(" WHERE {}", nulls.join(" OR ")), out).await?;
    }
    match last {
        Some(after) => out.checkpoint(&State::Order { by: order.by(), after, horizon }.cursor()?),
        // An empty table has no place to go on from: the next read begins at the beginning too.
        None => Ok(()),
    }
}

struct Reading<'r, 's> {
    rows: &'r Rows<'s>,
    order: &'r Order<'s>,
    lease: &'r Lease<'r>,
    columns: &'r [(&'s Column, &'s ColumnWay)],
}

impl Reading<'_, '_> {
    fn objects(&self) -> Objects {
        Objects::of(self.columns.iter().map(|(column, way)| (column.name.as_str(), *way)))
    }

    fn select(&self, further: &[String]) -> String {
        let mut names: Vec<String> =
            self.columns.iter().map(|(column, way)| sql::expression(column, way)).collect();
        names.extend_from_slice(further);
        let source = sql::source(&self.rows.table.path, self.rows.relation);
        format!("SELECT {} FROM {source}", sql::list(&names))
    }

    /// Pushes every row that a condition lets through, in no order.
    async fn plain(&self, condition: &str, out: &mut Output) -> Result<()> {
        let objects = self.objects();
        let text = self.select(&[]) + condition;
        let push = |(): &mut (), fields: Fields<'_>| objects.push(fields, out).map(|_| ());
        copy(&self.rows.silo.settings, self.lease.client(), &text, || (), push).await
    }

    /// Sets the values that the statements of this transaction go on from. COPY takes no
    /// parameters, and values do not stand in its text.
    async fn bind(&self, values: &[Value]) -> Result<()> {
        let names: Vec<String> = (0..values.len())
            .map(|n| format!("set_config('manifold.after_{n}', ${}, true)", n + 1))
            .collect();
        let texts: Vec<String> = self
            .order
            .terms
            .iter()
            .zip(values)
            .map(|(term, value)| text(&term.column.of, value))
            .collect::<Result<_>>()?;
        let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            texts.iter().map(|text| text as _).collect();
        let text = format!("SELECT {}", names.join(", "));
        let done = self.lease.client().query(&text, &parameters).await;
        done.map(|_| ()).map_err(|error| explain(&self.rows.silo.settings.server, error))
    }

    /// Pushes the rows that have a place in the order, after those values where there are any, and
    /// returns the values of the last.
    async fn ordered(
        &self,
        after: Option<Vec<Value>>,
        lookback: Option<u32>,
        horizon: &Option<Horizon>,
        out: &mut Output,
    ) -> Result<Option<Vec<Value>>> {
        let order = self.order;
        let mut conditions: Vec<String> = Vec::new();
        if after.is_some() {
            conditions.push(match lookback.and_then(|n| lowered(&order.terms[0], n)) {
                Some(lowest) => format!("{} >= {lowest}", order.terms[0].expression),
                None => {
                    let than = if order.unique { ">" } else { ">=" };
                    format!("{} {than} {}", order.row(), order.parameters())
                }
            });
        }
        conditions.extend(order.nullable().iter().map(|name| format!("{name} IS NOT NULL")));
        let expressions: Vec<String> =
            order.terms.iter().map(|term| term.expression.clone()).collect();
        let mut text = self.select(&expressions);
        if !conditions.is_empty() {
            text.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        text.push_str(&format!(" ORDER BY {}", expressions.join(", ")));
        let objects = self.objects();
        // The values of the last row, in binary form: they are spelled only where they are needed.
        let mut last: Vec<Vec<u8>> = vec![Vec::new(); order.terms.len()];
        let mut any = false;
        let push = |(): &mut (), fields: Fields<'_>| {
            let mut fields = objects.push(fields, out)?;
            for value in &mut last {
                value.clear();
                value.extend_from_slice(fields.next()?.unwrap_or_default());
            }
            any = true;
            if out.due() {
                let (by, after) = (order.by(), self.values(&last)?);
                let state = State::Order { by, after, horizon: horizon.clone() };
                out.checkpoint(&state.cursor()?)?;
            }
            Ok(())
        };
        copy(&self.rows.silo.settings, self.lease.client(), &text, || (), push).await?;
        if any { self.values(&last).map(Some) } else { Ok(after) }
    }

    fn values(&self, last: &[Vec<u8>]) -> Result<Vec<Value>> {
        let values = self.order.terms.iter().zip(last).map(|(term, bytes)| {
            let mut json = Vec::new();
            term.decoder.write(bytes, &mut Json::new(&mut json, Spelling::NATIVE))?;
            Ok(serde_json::from_slice(&json)?)
        });
        values.collect()
    }
}

/// Where a read begins that goes back by so much; `None` where nothing can be taken off.
fn lowered(term: &Term<'_>, lookback: u32) -> Option<String> {
    let value = format!("current_setting('manifold.after_0')::pg_catalog.{}", term.of);
    match term.column.of {
        Type::Instant | Type::Timestamp | Type::Date => {
            Some(format!("{value} - make_interval(secs => {lookback})"))
        }
        Type::Integer if term.of.starts_with("int") => {
            Some(format!("{value}::pg_catalog.numeric - {lookback}"))
        }
        Type::Number | Type::Decimal => Some(format!("{value} - {lookback}")),
        _ => None,
    }
}

/// A value of a state as the server reads it.
fn text(of: &Type, value: &Value) -> Result<String> {
    Ok(match (of, value) {
        (Type::Bytes, Value::String(text)) => hex(&BASE64.decode(text).map_err(|_| strange())?),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Number(number)) => number.to_string(),
        (_, Value::Bool(value)) => value.to_string(),
        _ => return Err(strange().into()),
    })
}
