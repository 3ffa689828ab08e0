//! One transaction at work: the catalog, the graph, and the temporary tables of row keys, with the
//! pieces of SQL that everything else is put together from.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::engine::{Cell, Engine, KeyPart, Mode, Session};
use super::policy::Policy;
use super::relations::{Edge, Graph};
use crate::fault::Fault;
use crate::silo::{Kind, StoreId, Subject};
use crate::sql::catalog::{Catalog, Column, Right, Table};
use crate::sql::statement::{self, Statement};

/// How the rows of a key table came there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Identified, or owned by what is.
    Owned = 0,
    /// By way of a part.
    Part = 1,
    /// Undecided, or owned by what is; only a query has these.
    Review = 2,
    /// Another person's, as far as the subject's own rows tell; a part may tell otherwise.
    Theirs = 3,
}

/// What becomes of a row in a key table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes.
    Delete = 0,
    /// It stays, masked.
    Mask = 1,
    /// It stays as it is.
    Keep = 2,
}

/// Which of the rows that stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    /// All.
    All,
    /// Those that are kept as they are.
    Kept,
    /// Those whose reference may be changed.
    Free,
}

/// The word for a transaction's work on one database.
pub(super) struct Work<'e, E: Engine> {
    pub(super) engine: &'e E,
    pub(super) session: E::Session,
    pub(super) catalog: Catalog,
    pub(super) graph: Graph,
    /// What finds a row of each store that has a key table.
    keys: BTreeMap<usize, Vec<KeyPart>>,
    /// The other temporary tables that were made, by name.
    made: Vec<String>,
    /// Relations that lead to stores whose rows the user may not see, with those stores.
    pub(super) unseen: BTreeSet<(usize, usize)>,
}

impl<'e, E: Engine> Work<'e, E> {
    /// Begins a transaction and reads the catalog in it.
    pub(super) async fn begin(
        engine: &'e E,
        mode: Mode,
        policy: &Policy,
        subjects: &[(StoreId, Subject)],
    ) -> Result<Work<'e, E>> {
        let mut session = engine.begin(mode).await?;
        let catalog = session.catalog().await.context("reading the catalog")?;
        let identified = subjects.iter().filter_map(|(id, _)| place(&catalog, id));
        let graph = Graph::of(&catalog, policy, &identified.collect::<Vec<_>>())?;
        let (keys, made, unseen) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Ok(Work { engine, session, catalog, graph, keys, made, unseen })
    }

    /// The place of a store in the catalog.
    pub(super) fn place(&self, id: &StoreId) -> Result<usize> {
        place(&self.catalog, id).ok_or_else(|| {
            Fault::config(format!("there is no store {id}; discover lists what there is")).into()
        })
    }

    pub(super) fn table(&self, place: usize) -> &Table {
        &self.catalog.tables[place]
    }

    /// Whether the user may see the rows of a store that a relation leads to; it is remembered where
    /// not.
    pub(super) fn sees(&mut self, edge: usize, place: usize) -> bool {
        let may = self.table(place).may(Right::See);
        if !may {
            self.unseen.insert((edge, place));
        }
        may
    }

    /// The store's name, for people.
    pub(super) fn store(&self, place: usize) -> &StoreId {
        &self.catalog.tables[place].id
    }

    /// The store's full name in SQL.
    pub(super) fn path(&self, place: usize) -> String {
        self.engine.dialect().path(&self.table(place).path)
    }

    pub(super) fn name(&self, name: &str) -> String {
        self.engine.dialect().name(name)
    }

    /// The stores that have a key table.
    pub(super) fn reached(&self) -> Vec<usize> {
        self.keys.keys().copied().collect()
    }

    pub(super) fn has_keys(&self, place: usize) -> bool {
        self.keys.contains_key(&place)
    }

    /// What finds a row of a store.
    pub(super) fn key_parts(&self, place: usize) -> Result<Vec<KeyPart>> {
        if let Some(parts) = self.keys.get(&place) {
            return Ok(parts.clone());
        }
        let table = self.table(place);
        if let Some(why) = self.engine.refuses(table) {
            return Err(Fault::config(format!(
                "{}: {why}, so nothing can be erased from it",
                table.id
            ))
            .into());
        }
        let columns: Option<Vec<&Column>> =
            table.key.iter().map(|name| table.column(name)).collect();
        let columns = columns
            .filter(|columns| !columns.is_empty() && columns.iter().all(|column| !column.nullable));
        if let Some(columns) = columns {
            return Ok(columns.into_iter().map(|column| self.engine.key_part(column)).collect());
        }
        let stored = matches!(table.kind, Kind::Table | Kind::PartitionedTable);
        stored.then(|| self.engine.row_id(table)).flatten().ok_or_else(|| {
            Fault::config(format!(
                "{}: nothing tells its rows apart (it is a view, or has no key of its own), so \
                 nothing can be erased from it",
                table.id
            ))
            .into()
        })
    }

    /// Makes the key table of a store, if there is none yet.
    pub(super) async fn ensure_keys(&mut self, place: usize) -> Result<()> {
        match self.new_keys(place)? {
            Some(sql) => self.run(sql).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// What makes the key table of a store, if there is none yet: it counts as there from now on.
    pub(super) fn new_keys(&mut self, place: usize) -> Result<Option<String>> {
        if self.has_keys(place) {
            return Ok(None);
        }
        let parts = self.key_parts(place)?;
        let columns = declare(&parts)
            + ", round INTEGER NOT NULL, phase INTEGER NOT NULL, fate INTEGER NOT NULL, via \
               INTEGER NOT NULL";
        let sql = self.engine.temporary(&key_table(place), &columns, &key_columns(&parts, None));
        self.keys.insert(place, parts);
        Ok(Some(sql))
    }

    /// Makes a temporary table for keys of a store with further columns, emptied if it is there.
    pub(super) async fn scratch(&mut self, name: &str, place: usize, further: &str) -> Result<()> {
        if self.made.iter().any(|known| known == name) {
            self.run(format!("DELETE FROM {name}")).await?;
            return Ok(());
        }
        let parts = self.key_parts(place)?;
        let columns = declare(&parts) + further;
        let sql = self.engine.temporary(name, &columns, &key_columns(&parts, None));
        self.run(sql).await?;
        self.made.push(name.to_owned());
        Ok(())
    }

    pub(super) fn has_made(&self, name: &str) -> bool {
        self.made.iter().any(|known| known == name)
    }

    /// `c.id, c.line`: a row's key, below an alias.
    pub(super) fn row_key(&self, place: usize, alias: &str) -> Result<String> {
        let parts = self.key_parts(place)?;
        Ok(list(parts.iter().map(|part| format!("{alias}.{}", part.sql))))
    }

    /// `id, line`, or `(id, line)` for a condition.
    pub(super) fn bare_key(&self, place: usize) -> Result<String> {
        let parts = self.key_parts(place)?;
        Ok(list(parts.iter().map(|part| part.sql.clone())))
    }

    /// `k1, k2`, below an alias where one is given.
    pub(super) fn temp_key(&self, place: usize, alias: Option<&str>) -> Result<String> {
        Ok(key_columns(&self.key_parts(place)?, alias))
    }

    /// The condition that a row is the one of a temporary table's row.
    pub(super) fn on_key(&self, place: usize, row: &str, temp: &str) -> Result<String> {
        let parts = self.key_parts(place)?;
        let pairs = parts.iter().enumerate().map(|(i, part)| {
            let exact = format!("{row}.{} = {temp}.k{}", part.sql, i + 1);
            match &part.indexed {
                Some(name) => format!("{row}.{name} = {temp}.k{} AND {exact}", i + 1),
                None => exact,
            }
        });
        Ok(pairs.collect::<Vec<_>>().join(" AND "))
    }

    /// The columns that an edge refers to, as SQL, straight from a row of the parent's key table,
    /// where it has them all.
    pub(super) fn referenced_in_keys(
        &self,
        edge: &Edge,
        temp: &str,
    ) -> Result<Option<Vec<String>>> {
        let parts = self.key_parts(edge.parent)?;
        Ok(edge
            .references
            .iter()
            .map(|name| {
                let place = parts.iter().position(|part| {
                    // A reference goes by the column's own collation.
                    part.column.as_ref() == Some(name) && part.indexed.is_none()
                })?;
                Some(format!("{temp}.k{}", place + 1))
            })
            .collect())
    }

    /// The condition that a child's row refers to a parent, whose referenced columns are given as
    /// SQL.
    pub(super) fn on_reference(&self, edge: &Edge, referenced: &[String], child: &str) -> String {
        let (parent_table, child_table) = (self.table(edge.parent), self.table(edge.child));
        let mut conditions = Vec::new();
        for ((column, reference), sql) in edge.columns.iter().zip(&edge.references).zip(referenced)
        {
            let (Some(c), Some(p)) = (child_table.column(column), parent_table.column(reference))
            else {
                continue;
            };
            let child_sql = format!("{child}.{}", self.name(column));
            conditions.push(self.engine.refers(p, sql, c, &child_sql));
        }
        conditions.join(" AND ")
    }

    /// The condition that child row `c` refers to parent row `p`.
    pub(super) fn on_rows(&self, edge: &Edge, parent: &str, child: &str) -> String {
        let names: Vec<String> =
            edge.references.iter().map(|name| format!("{parent}.{}", self.name(name))).collect();
        self.on_reference(edge, &names, child)
    }

    /// `FROM …` that pairs rows `k` of the parent's key table with the child's rows `c`. In the
    /// order that costs least: keys first where the child can be looked up by its reference.
    pub(super) fn children(&self, edge: &Edge) -> Result<String> {
        let (keys, j) = (key_table(edge.parent), self.engine.join());
        let (parent, child) = (self.path(edge.parent), self.path(edge.child));
        Ok(match self.referenced_in_keys(edge, "k")? {
            Some(columns) => {
                let on = self.on_reference(edge, &columns, "c");
                match edge.indexed {
                    true => format!("{keys} k {j} {child} c ON {on}"),
                    false => format!("{child} c {j} {keys} k ON {on}"),
                }
            }
            None => {
                let on = self.on_rows(edge, "p", "c");
                let on_key = self.on_key(edge.parent, "p", "k")?;
                match edge.indexed {
                    true => format!("{keys} k {j} {parent} p ON {on_key} {j} {child} c ON {on}"),
                    false => format!("{child} c {j} {parent} p ON {on} {j} {keys} k ON {on_key}"),
                }
            }
        })
    }

    /// `FROM …` that pairs rows `k` of the child's key table with the rows `p` they refer to.
    pub(super) fn parents(&self, edge: &Edge) -> Result<String> {
        let (keys, j) = (key_table(edge.child), self.engine.join());
        let (parent, child) = (self.path(edge.parent), self.path(edge.child));
        let on_key = self.on_key(edge.child, "c", "k")?;
        let on = self.on_rows(edge, "p", "c");
        Ok(format!("{keys} k {j} {child} c ON {on_key} {j} {parent} p ON {on}"))
    }

    /// Runs a statement without parameters.
    pub(super) async fn run(&mut self, sql: impl Into<String>) -> Result<u64> {
        self.session.run(&Statement::plain(sql)).await
    }

    /// Inserts into a temporary table what is not there yet; returns how many rows that were.
    pub(super) async fn insert(&mut self, into: &str, columns: &str, select: &str) -> Result<u64> {
        let sql = self.engine.insert_new(into, columns, select);
        self.run(sql).await
    }

    /// Fills a temporary table, and tells the planner where it matters.
    pub(super) async fn fill(&mut self, temp: &str, statement: Statement<E::Value>) -> Result<u64> {
        let filled = self.session.run(&statement).await?;
        self.tell_filled(temp, filled).await?;
        Ok(filled)
    }

    /// Tells the planner of new rows in a temporary table, where it matters.
    pub(super) async fn tell_filled(&mut self, temp: &str, rows: u64) -> Result<()> {
        /// So few rows are found by any plan.
        const FEW: u64 = 100;
        if rows > FEW
            && let Some(sql) = self.engine.filled(temp)
        {
            self.run(sql).await?;
        }
        Ok(())
    }

    /// The one number a statement yields.
    pub(super) async fn count(&mut self, sql: impl Into<String>) -> Result<u64> {
        self.number(&Statement::plain(sql)).await
    }

    /// The one number a statement yields.
    pub(super) async fn number(&mut self, statement: &Statement<E::Value>) -> Result<u64> {
        let mut number = 0;
        let mut each = |cells: &[Cell<'_>]| {
            if let Some(Cell::Integer(n)) = cells.first() {
                number = u64::try_from(*n).unwrap_or(0);
            }
            Ok(())
        };
        self.session.rows(statement, &mut each).await?;
        Ok(number)
    }

    /// Puts the rows that a subject's identifiers match into the store's key table.
    pub(super) async fn identify(&mut self, place: usize, subject: &Subject) -> Result<u64> {
        self.ensure_keys(place).await?;
        let parts = self.key_parts(place)?;
        let mut statement = Statement::plain("");
        let engine = self.engine;
        let condition = statement::matches(
            engine.dialect(),
            self.table(place),
            subject,
            &mut statement,
            |column, text| engine.convert(column, text),
        )?;
        let Some(condition) = condition else { return Ok(0) };
        let keys = key_table(place);
        let select = format!(
            "SELECT {}, 0, {}, {}, -1 FROM {} WHERE {condition}",
            self.bare_key(place)?,
            Phase::Owned as i64,
            Fate::Delete as i64,
            self.path(place)
        );
        statement.text = self.engine.insert_new(&keys, &into_columns(&parts), &select);
        self.fill(&keys, statement).await
    }

    /// How many rows a subject's identifiers match.
    pub(super) async fn matching(&mut self, place: usize, subject: &Subject) -> Result<u64> {
        let mut statement = Statement::plain("");
        let engine = self.engine;
        let condition = statement::matches(
            engine.dialect(),
            self.table(place),
            subject,
            &mut statement,
            |column, text| engine.convert(column, text),
        )?;
        let Some(condition) = condition else { return Ok(0) };
        statement.text = format!("SELECT count(*) FROM {} WHERE {condition}", self.path(place));
        self.number(&statement).await
    }

    /// A copy of the keys and fates of a store, for a statement that needs them twice: not every
    /// database names a temporary table twice in one.
    pub(super) async fn copy_of_keys(&mut self, place: usize) -> Result<String> {
        let name = format!("manifold_m{place}");
        self.scratch(&name, place, ", fate INTEGER NOT NULL").await?;
        let k = self.temp_key(place, None)?;
        let select = format!("SELECT {k}, fate FROM {}", key_table(place));
        let statement =
            Statement::plain(self.engine.insert_new(&name, &format!("{k}, fate"), &select));
        self.fill(&name, statement).await?;
        Ok(name)
    }

    /// The keys of a relation's child, beside those of its parent.
    pub(super) async fn child_keys(&mut self, edge: &Edge) -> Result<String> {
        match edge.child == edge.parent {
            true => self.copy_of_keys(edge.child).await,
            false => Ok(key_table(edge.child)),
        }
    }

    /// `FROM … WHERE …`: rows `c` of a relation's child that stay, by what becomes of them, and refer
    /// to rows that go.
    pub(super) async fn staying_rows(&mut self, edge: &Edge, stay: Stay) -> Result<String> {
        self.rows_below(edge, Fate::Delete, stay).await
    }

    /// `FROM … WHERE …`: rows `c` of a relation's child that stay, by what becomes of them, and refer
    /// to rows of a fate.
    pub(super) async fn rows_below(
        &mut self,
        edge: &Edge,
        above: Fate,
        stay: Stay,
    ) -> Result<String> {
        let goes = Fate::Delete as i64;
        let mut sql = format!("{} WHERE k.fate = {}", self.children(edge)?, above as i64);
        if !self.has_keys(edge.child) {
            if stay == Stay::Kept {
                sql.push_str(" AND 1 = 0");
            }
            return Ok(sql);
        }
        let keys = self.child_keys(edge).await?;
        let on = self.on_key(edge.child, "c", "t")?;
        let keep = Fate::Keep as i64;
        let (not, fates) = match stay {
            Stay::All => ("NOT ", format!("= {goes}")),
            Stay::Kept => ("", format!("= {keep}")),
            Stay::Free => ("NOT ", format!("IN ({goes}, {keep})")),
        };
        sql.push_str(&format!(
            " AND {not}EXISTS (SELECT 1 FROM {keys} t WHERE {on} AND t.fate {fates})"
        ));
        Ok(sql)
    }

    /// How many rows of a relation's child stay and refer to rows that go.
    pub(super) async fn staying(&mut self, edge: &Edge) -> Result<u64> {
        let rows = self.staying_rows(edge, Stay::All).await?;
        self.count(format!("SELECT count(*) FROM {rows}")).await
    }

    /// Deletes the rows of a store's key table that are to go; returns how many there were.
    pub(super) async fn delete_keys(&mut self, place: usize) -> Result<u64> {
        let (keys, goes) = (key_table(place), Fate::Delete as i64);
        let others =
            self.count(format!("SELECT count(*) FROM {keys} WHERE fate <> {goes}")).await?;
        // Without a condition the key table's own index serves, and nothing is copied.
        let filter = if others > 0 { format!(" WHERE fate = {goes}") } else { String::new() };
        let (path, key) = (self.path(place), self.bare_key(place)?);
        let k = self.temp_key(place, None)?;
        self.run(format!("DELETE FROM {path} WHERE ({key}) IN (SELECT {k} FROM {keys}{filter})"))
            .await
    }
}

/// The place of a store in a catalog.
pub(super) fn place(catalog: &Catalog, id: &StoreId) -> Option<usize> {
    catalog.tables.iter().position(|table| table.id == *id)
}

/// The name of a store's key table.
pub(super) fn key_table(place: usize) -> String {
    format!("manifold_k{place}")
}

/// `k1, k2, round, phase, fate, via`.
pub(super) fn into_columns(parts: &[KeyPart]) -> String {
    key_columns(parts, None) + ", round, phase, fate, via"
}

fn declare(parts: &[KeyPart]) -> String {
    list(parts.iter().enumerate().map(|(i, part)| format!("k{} {}", i + 1, part.declared)))
}

fn key_columns(parts: &[KeyPart], alias: Option<&str>) -> String {
    let dot = alias.map(|alias| format!("{alias}.")).unwrap_or_default();
    list((1..=parts.len()).map(|i| format!("{dot}k{i}")))
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
