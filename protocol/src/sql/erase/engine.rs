//! What a database brings to be erased from: a transaction that runs statements, its catalog, and
//! the few places where its SQL differs.

use anyhow::Result;
use async_trait::async_trait;

use crate::output::Output;
use crate::sql::catalog::{Catalog, Column, ForeignKey, Table};
use crate::sql::dialect::Dialect;
use crate::sql::statement::Statement;

/// One database of a silo.
///
/// Everything is computed in the database, in temporary tables of row keys, so that neither a
/// subject with millions of rows nor the database's size shows in this process' memory. A statement
/// of the shared part names a temporary table at most once beside the one it fills.
#[async_trait]
pub trait Engine: Send + Sync {
    /// A parameter's value, in the driver's own type.
    type Value: Clone + Send + Sync + 'static;
    /// A transaction.
    type Session: Session<Value = Self::Value>;

    /// How statements are written.
    fn dialect(&self) -> &Dialect;

    /// Begins a transaction on a connection of its own, with timeouts set. It sees one state of the
    /// database throughout; for [`Mode::Change`] nobody else can change what it sees before it ends,
    /// or its commit fails. Foreign keys are enforced, and rows that the role may not see are an
    /// error.
    async fn begin(&self, mode: Mode) -> Result<Self::Session>;

    /// What tells this database from every other, also from a copy of it elsewhere.
    async fn identity(&self) -> Result<String>;

    /// The value of a column that a text is spelled like; `None` where no value can be.
    fn convert(&self, column: &Column, text: &str) -> Option<Self::Value>;

    /// A value as it came out of [`Session::rows`].
    fn value(&self, cell: &Cell<'_>) -> Self::Value;

    /// Why nothing can be erased from a table, where that is so whatever its key.
    fn refuses(&self, _table: &Table) -> Option<&'static str> {
        None
    }

    /// What finds a row of a table that has no key, for as long as the transaction lasts. `None`
    /// where nothing does.
    fn row_id(&self, table: &Table) -> Option<Vec<KeyPart>>;

    /// How a column of a primary key, which is never null, finds a row: whatever its collation
    /// says, only by the very same value.
    fn key_part(&self, column: &Column) -> KeyPart;

    /// Makes a temporary table.
    fn temporary(&self, name: &str, columns: &str, key: &str) -> String {
        format!("CREATE TEMPORARY TABLE {name} ({columns}, PRIMARY KEY ({key}))")
    }

    /// What the planner needs to know of a temporary table that was just filled, where it does not
    /// look by itself.
    fn filled(&self, _temporary: &str) -> Option<String> {
        None
    }

    /// Inserts what `select` yields and is not there yet.
    fn insert_new(&self, into: &str, columns: &str, select: &str) -> String;

    /// The word between two tables that are to be joined in the order in which they stand.
    fn join(&self) -> &'static str {
        "JOIN"
    }

    /// The condition that a child's column refers to a parent's, both given as SQL, as the database
    /// itself compares them when it enforces the reference: by the parent's collation and type.
    fn refers(&self, parent: &Column, parent_sql: &str, child: &Column, child_sql: &str) -> String;

    /// The condition that a date column surely holds a day before the parameter, which is text like
    /// `2024-01-31`. What is no date is not before anything.
    fn before(&self, column: &Column, sql: &str, parameter: &str) -> String;

    /// The value of a parameter for [`Engine::before`].
    fn date(&self, text: &str) -> Self::Value;

    /// The condition that a text differs from the parameter by case, accents or blanks at most;
    /// `None` where the column's values do not differ so.
    fn near(&self, column: &Column, sql: &str, parameter: &str) -> Option<String>;

    /// The condition that a text or JSON column contains the parameter, which the shared part has
    /// in lower case; `None` where the column can hold no text.
    fn contains(&self, column: &Column, sql: &str, parameter: &str) -> Option<String>;

    /// The value of a parameter for [`Engine::near`] and [`Engine::contains`].
    fn text(&self, text: &str) -> Self::Value;

    /// What makes the check of a reference wait for the commit; `None` where it cannot.
    fn defer(&self, key: &ForeignKey) -> Option<String>;

    /// What makes every check that waits for the commit happen now, where that can be said: before
    /// the first of several databases is committed.
    fn check_now(&self) -> Option<String> {
        None
    }

    /// Whether a single DELETE of rows that refer to each other is checked only at its end.
    fn checks_at_end(&self, key: &ForeignKey) -> bool;

    /// One statement that makes all these changes, `last` among them, and is checked only at its end;
    /// `None` where there is no such statement.
    fn together(&self, _first: &[String], _last: &str) -> Option<String> {
        None
    }

    /// Makes an empty temporary table with the columns of a table and its CHECK constraints, so that
    /// new values can be tried; `None` where it cannot be made.
    fn alike(&self, name: &str, table: &Table) -> Option<String>;

    /// Whether a row that refers to itself can be deleted, and not only by a cascade.
    fn lets_itself_go(&self) -> bool {
        true
    }

    /// What of the rows is left after the commit outside the tables: files, logs, copies.
    async fn residue(&self, stores: &[&Table]) -> Result<Vec<Residue>>;
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To look. Temporary tables can be filled.
    Look,
    /// To change rows.
    Change,
}

/// One transaction on a connection of its own. Dropped, it is rolled back.
#[async_trait]
pub trait Session: Send {
    /// A parameter's value.
    type Value: Clone + Send + Sync + 'static;

    /// The tables and views of the database, whatever a configuration selects: an unselected store
    /// may refer to a row that goes.
    async fn catalog(&mut self) -> Result<Catalog>;

    /// Runs a statement; returns how many rows it changed itself, without those that cascades and
    /// triggers changed. Its errors hold no row's values.
    async fn run(&mut self, statement: &Statement<Self::Value>) -> Result<u64>;

    /// Runs statements one after the other; returns how many rows each changed. Where the database
    /// takes several at once, they cost one round trip.
    async fn run_all(&mut self, statements: &[String]) -> Result<Vec<u64>> {
        let mut changed = Vec::new();
        for text in statements {
            changed.push(self.run(&Statement::plain(text)).await?);
        }
        Ok(changed)
    }

    /// Hands each row of a result to `each`, in constant memory.
    async fn rows(&mut self, statement: &Statement<Self::Value>, each: Each<'_>) -> Result<()>;

    /// Pushes a result as records of some columns of a table, which it selects in their order.
    async fn push(
        &mut self,
        table: &Table,
        columns: &[&Column],
        statement: &Statement<Self::Value>,
        out: &mut Output,
    ) -> Result<()>;

    /// Ends the transaction and keeps its changes. The session stays open for its temporary
    /// tables; what runs later is not part of a transaction.
    async fn commit(&mut self) -> Result<Commit>;

    /// Undoes everything since the transaction began.
    async fn rollback(&mut self) -> Result<()>;
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// The changes are there.
    Done,
    /// They are there, and the connection broke, and with it went the temporary tables.
    Lost,
    /// The connection broke before the answer came: they are there or not.
    Unknown,
}

/// Takes one row of a result.
pub type Each<'a> = &'a mut (dyn FnMut(&[Cell<'_>]) -> Result<()> + Send);

/// A value of a small result. One value has one form: equal cells of a column are equal values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// A count, or a whole number.
    Integer(i64),
    /// A binary floating-point number.
    Real(f64),
    /// Text, or the database's text for a value of another type.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// A part of what finds a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// The column it is; `None` where it is none of the table's own.
    pub column: Option<String>,
    /// What stands after an alias and a dot: a quoted name, with a collation where the column's own
    /// would find others.
    pub sql: String,
    /// The quoted name of a column whose collation finds others too, but has an index.
    pub indexed: Option<String>,
    /// What stands after a temporary column's name to hold it.
    pub declared: String,
}

/// Something that a commit leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Residue {
    /// What was looked at: `secure_delete`, `wal archiving`.
    pub what: String,
    /// What was found, as the server says it, or that it is unknown.
    pub found: String,
}
