//! What InnoDB brings to the erasure engine: its transactions and the places where its SQL differs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::fault::Fault;
use protocol::output::Output;
use protocol::silo::{Kind, StoreId};
use protocol::sql::catalog::{Catalog, Column, ForeignKey, Table};
use protocol::sql::dialect::Dialect;
use protocol::sql::erase::engine::{
    Cell, Commit, Each, Engine, KeyPart, Mode, Residue, Session as EngineSession,
};
use protocol::sql::erase::{Databases, Settings};
use protocol::sql::statement::Statement;
use protocol::sql::types::Type;
use protocol::{Result, anyhow, async_trait, log};

use crate::MySql;
use crate::catalog::{self, Databases as Chosen};
use crate::config::Config;
use crate::dialect::{Bound, MYSQL, charset, positional};
use crate::driver::{self, Client, Form, Refusal, Value};
use crate::moment;
use crate::residue;
use crate::rights::Rights;
use crate::table::push;
use crate::values::identifier;

impl Databases for MySql {
    type Engine = MySql;

    /// One transaction holds for all databases of a server.
    fn databases(&self) -> Vec<&MySql> {
        vec![self]
    }

    fn settings(&self) -> Settings<'_> {
        Settings {
            policy: self.config.policy.as_deref(),
            evidence_key: self.config.evidence_key.as_ref(),
        }
    }
}

#[async_trait]
impl Engine for MySql {
    type Value = Bound;
    type Session = Session;

    fn dialect(&self) -> &Dialect {
        &MYSQL
    }

    async fn begin(&self, _: Mode) -> Result<Session> {
        Ok(Session {
            client: self.config.locking()?,
            config: Arc::clone(&self.config),
            lasting: Arc::clone(&self.lasting),
            triggers: Vec::new(),
            lost: false,
        })
    }

    async fn identity(&self) -> Result<String> {
        let mut client = self.config.plain()?;
        // MySQL's, MariaDB's, or where the server is.
        let server = ["SELECT @@server_uuid", "SELECT @@server_uid"]
            .iter()
            .find_map(|text| residue::line(&mut client, text).ok().flatten())
            .unwrap_or_else(|| self.config.address());
        Ok(format!("mysql:{server}/{}", self.config.database))
    }

    fn convert(&self, column: &Column, text: &str) -> Option<Bound> {
        identifier(column, text)
    }

    fn value(&self, cell: &Cell<'_>) -> Bound {
        Bound::Value(match *cell {
            Cell::Null => Value::Null,
            Cell::Integer(integer) => Value::Integer(integer),
            Cell::Real(real) => Value::Double(real),
            Cell::Text(text) => Value::Text(text.as_bytes().to_vec()),
            Cell::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        })
    }

    fn refuses(&self, table: &Table) -> Option<&'static str> {
        let lasting = self.lasting.lock().unwrap_or_else(PoisonError::into_inner);
        lasting.contains(&table.id).then_some(
            "its storage engine is not InnoDB, and what is changed there could not be undone",
        )
    }

    /// InnoDB has a number for each row of such a table, and shows it to nobody: only columns do.
    fn row_id(&self, table: &Table) -> Option<Vec<KeyPart>> {
        table.uniques.iter().find_map(|names| {
            let columns: Option<Vec<&Column>> =
                names.iter().map(|name| table.column(name)).collect();
            let columns = columns?;
            let finds = columns.iter().all(|column| !column.nullable && is_findable(column));
            finds.then(|| columns.into_iter().map(|column| self.key_part(column)).collect())
        })
    }

    fn key_part(&self, column: &Column) -> KeyPart {
        let name = MYSQL.name(&column.name);
        let (sql, indexed) = match charset(column) {
            Some((charset, collation)) if !collation.ends_with("_bin") => {
                (format!("{name} COLLATE {charset}_bin"), Some(name))
            }
            _ => (name, None),
        };
        let declared = format!("{} NOT NULL", column.declared);
        KeyPart { column: Some(column.name.clone()), sql, indexed, declared }
    }

    fn temporary(&self, name: &str, columns: &str, key: &str) -> String {
        // Whatever the server's default is: it must be undone with the rest.
        format!("CREATE TEMPORARY TABLE {name} ({columns}, PRIMARY KEY ({key})) ENGINE = InnoDB")
    }

    fn insert_new(&self, into: &str, columns: &str, select: &str) -> String {
        format!("INSERT IGNORE INTO {into} ({columns}) {select}")
    }

    fn join(&self) -> &'static str {
        "STRAIGHT_JOIN"
    }

    fn refers(&self, parent: &Column, parent_sql: &str, child: &Column, child_sql: &str) -> String {
        let same = match (&parent.of, &child.of) {
            (Type::Text, Type::Text) => charset(parent) == charset(child),
            (Type::Text, _) | (_, Type::Text) => false,
            _ => true,
        };
        if same {
            return format!("{child_sql} = {parent_sql}");
        }
        // Only a policy knows of such a relation. A word would be 0 beside a number, and two
        // collations cannot be compared.
        let text = |sql: &str| format!("CAST(CONVERT({sql} USING utf8mb4) AS BINARY)");
        format!("{} = {}", text(child_sql), text(parent_sql))
    }

    fn before(&self, column: &Column, sql: &str, parameter: &str) -> String {
        match column.of {
            // A zero date is none.
            Type::Date | Type::Timestamp | Type::Instant => {
                format!("({sql} >= '0001-01-01' AND {sql} < CAST({parameter} AS DATE))")
            }
            Type::Text => {
                let day = format!("CAST(LEFT(CONVERT({sql} USING utf8mb4), 10) AS BINARY)");
                format!(
                    "({sql} REGEXP '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}' \
                     AND {day} < CAST({parameter} AS BINARY))"
                )
            }
            _ => "1 = 0".to_owned(),
        }
    }

    fn date(&self, text: &str) -> Bound {
        self.text(text)
    }

    fn near(&self, column: &Column, sql: &str, parameter: &str) -> Option<String> {
        if column.of != Type::Text {
            return None;
        }
        let mut folded = format!("CONVERT({sql} USING utf8mb4)");
        for blank in ["20", "09", "0a", "0d", "c2a0"] {
            folded = format!("REPLACE({folded}, _utf8mb4 x'{blank}', '')");
        }
        Some(format!("{folded} COLLATE utf8mb4_unicode_ci = {parameter}"))
    }

    fn contains(&self, column: &Column, sql: &str, parameter: &str) -> Option<String> {
        matches!(column.of, Type::Text | Type::Json | Type::Any | Type::Other).then(|| {
            let text = format!("LOWER(CONVERT({sql} USING utf8mb4)) COLLATE utf8mb4_bin");
            format!("LOCATE({parameter}, {text}) > 0")
        })
    }

    fn text(&self, text: &str) -> Bound {
        Bound::Value(Value::Text(text.as_bytes().to_vec()))
    }

    fn defer(&self, _: &ForeignKey) -> Option<String> {
        None
    }

    fn checks_at_end(&self, _: &ForeignKey) -> bool {
        // Row by row, as they come.
        false
    }

    fn alike(&self, name: &str, table: &Table) -> Option<String> {
        // No temporary table has partitions or a history.
        let plain = table.kind == Kind::Table && table.copies.is_empty();
        plain.then(|| format!("CREATE TEMPORARY TABLE {name} LIKE {}", MYSQL.path(&table.path)))
    }

    fn lets_itself_go(&self) -> bool {
        false
    }

    async fn residue(&self, _: &[&Table]) -> Result<Vec<Residue>> {
        Ok(residue::look(&mut self.config.plain()?, &self.config.database))
    }
}

/// Whether a column can be a temporary table's key, and its value finds the row again.
fn is_findable(column: &Column) -> bool {
    let of = column.declared.split([' ', '(']).next().unwrap_or_default();
    let endless = of.ends_with("text") || of.ends_with("blob");
    // A parameter is text, and beside it a decimal is a double.
    let broken = column.of == Type::Decimal && !column.declared.contains(",0)");
    !endless && !broken
}

/// A transaction on a connection of its own.
pub struct Session {
    client: Client,
    config: Arc<Config>,
    /// The tables whose changes last, whatever becomes of the transaction.
    lasting: Arc<Mutex<BTreeSet<StoreId>>>,
    /// The names of all triggers, for when one refuses.
    triggers: Vec<String>,
    /// Whether the server has undone the transaction. What ran now would be outside of any.
    lost: bool,
}

impl Session {
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match code(&error) {
            Some(number::RAISED | number::IN_USE) => {
                let names = match self.triggers.as_slice() {
                    [] => "it is none of those that this user can see".to_owned(),
                    names => format!("those there are: {}", names.join(", ")),
                };
                Fault::config(format!("a trigger refuses the change; {names}")).into()
            }
            Some(number::NO_DATABASE) => {
                Fault::config("`database`: name one, because temporary tables are made in it")
                    .into()
            }
            _ => self.config.explain(error),
        }
    }

    /// Does something in the transaction, and sees whether it is still there then.
    fn within<T>(&mut self, work: impl FnOnce(&mut Client) -> Result<T>) -> Result<T> {
        if self.lost {
            return Err(Fault::transient("the server has undone the transaction").into());
        }
        work(&mut self.client).map_err(|error| {
            self.lost |= matches!(code(&error), Some(number::DEADLOCK | number::NO_SAVEPOINT));
            self.explain(error)
        })
    }
}

/// The server's numbers for what happens here.
mod number {
    pub(super) const NO_DATABASE: u16 = 1046;
    /// The transaction was undone for another's sake.
    pub(super) const DEADLOCK: u16 = 1213;
    /// It was undone earlier, with its savepoints.
    pub(super) const NO_SAVEPOINT: u16 = 1305;
    /// A trigger would change the table that it is of.
    pub(super) const IN_USE: u16 = 1442;
    /// A trigger says no.
    pub(super) const RAISED: u16 = 1644;
}

fn code(error: &anyhow::Error) -> Option<u16> {
    error.downcast_ref::<Refusal>().map(|refusal| refusal.code)
}

#[async_trait]
impl EngineSession for Session {
    type Value = Bound;

    async fn catalog(&mut self) -> Result<Catalog> {
        let config = Arc::clone(&self.config);
        let chosen = Chosen::of(&config);
        let (catalog, lasting) = self.within(|client| {
            if let Chosen::One(database) = chosen {
                alone(client, database)?;
            }
            let mut catalog = catalog::read(client, chosen, &[])?;
            Rights::read(client)?.note(client, &mut catalog)?;
            Ok((catalog, catalog::lasting(client, chosen)?))
        })?;
        *self.lasting.lock().unwrap_or_else(PoisonError::into_inner) = lasting;
        self.triggers = catalog.tables.iter().flat_map(|table| table.triggers.clone()).collect();
        let mut catalog = catalog;
        for table in &mut catalog.tables {
            let finds = |name: &String| table.column(name).is_some_and(is_findable);
            if !table.key.iter().all(finds) {
                table.key.clear();
            }
        }
        Ok(catalog)
    }

    async fn run(&mut self, statement: &Statement<Bound>) -> Result<u64> {
        let (text, values) = positional(statement);
        self.within(|client| {
            if values.is_empty() {
                return client.run(&text);
            }
            let prepared = client.prepare(&text)?;
            let done = client.execute(prepared, &values);
            client.close(prepared)?;
            done
        })
    }

    async fn rows(&mut self, statement: &Statement<Bound>, each: Each<'_>) -> Result<()> {
        let (text, values) = positional(statement);
        self.within(|client| {
            client.rows(&text, &values, |row| {
                let found = row.forms().iter().map(|&form| Ok(Found::of(form, row.next()?)));
                let found: Vec<Found<'_>> = found.collect::<Result<_>>()?;
                let cells: Vec<Cell<'_>> = found.iter().map(Found::cell).collect();
                each(&cells)
            })
        })?;
        Ok(())
    }

    async fn push(
        &mut self,
        table: &Table,
        columns: &[&Column],
        statement: &Statement<Bound>,
        out: &mut Output,
    ) -> Result<()> {
        self.within(|client| push(client, table, statement, columns, out))
    }

    async fn commit(&mut self) -> Result<Commit> {
        match self.within(|client| client.run("COMMIT")) {
            Ok(_) => Ok(Commit::Done),
            Err(error) if code(&error).is_none() && !self.lost => {
                log::warn("the connection broke at the commit");
                Ok(Commit::Unknown)
            }
            Err(error) => Err(error),
        }
    }

    async fn rollback(&mut self) -> Result<()> {
        self.client.run("ROLLBACK").map_err(|error| self.explain(error))?;
        Ok(())
    }
}

/// Refuses to erase from one database where others refer to its rows: their rows would go or be
/// changed with them, unseen.
fn alone(client: &mut Client, database: &str) -> Result<()> {
    let text = "SELECT DISTINCT TABLE_SCHEMA FROM information_schema.KEY_COLUMN_USAGE
                WHERE REFERENCED_TABLE_SCHEMA = ? AND TABLE_SCHEMA <> REFERENCED_TABLE_SCHEMA";
    let mut others = Vec::new();
    client.rows(text, &[Value::Text(database.into())], |row| {
        others.extend(row.text()?);
        Ok(())
    })?;
    match others.as_slice() {
        [] => Ok(()),
        names => Err(Fault::config(format!(
            "`all_databases`: tables of {} refer to tables of {database}, so nothing can be erased \
             without them",
            names.join(", ")
        ))
        .into()),
    }
}

/// A value of a small result, with the text that the wire has no text for.
enum Found<'a> {
    Cell(Cell<'a>),
    Text(String),
}

impl<'a> Found<'a> {
    fn of(form: Form, cell: driver::Cell<'a>) -> Found<'a> {
        use driver::Cell as Wire;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Found::Cell(match cell {
            Wire::Null => Cell::Null,
            Wire::Integer(integer) => Cell::Integer(integer),
            Wire::Unsigned(unsigned) => match i64::try_from(unsigned) {
                Ok(integer) => Cell::Integer(integer),
                Err(_) => return Found::Text(unsigned.to_string()),
            },
            Wire::Single(single) => Cell::Real(single.into()),
            Wire::Double(double) => Cell::Real(double),
            Wire::Moment(moment) => {
                let spelled = match form {
                    Form::Date => moment::date(&moment),
                    _ => moment::timestamp(&moment, false),
                };
                return Found::Text(text(spelled.bytes()));
            }
            Wire::Span(span) => return Found::Text(text(moment::time(&span).bytes())),
            Wire::Bytes(bytes) => match (form, std::str::from_utf8(bytes)) {
                // A sum is one.
                (Form::Decimal, Ok(digits)) => match digits.parse() {
                    Ok(integer) => Cell::Integer(integer),
                    Err(_) => Cell::Text(digits),
                },
                (Form::Text, Ok(text)) => Cell::Text(text),
                _ => Cell::Bytes(bytes),
            },
        })
    }

    fn cell(&self) -> Cell<'_> {
        match self {
            Found::Cell(cell) => *cell,
            Found::Text(text) => Cell::Text(text),
        }
    }
}
