//! Masking what others refer to: a key that is masked takes the references to it along, in the same
//! transaction.
//!
//! How depends on what the database does meanwhile: it changes them itself, or one statement changes
//! both, or the check waits, or the references are null for a moment. Where nothing of that can be, the
//! strategy cannot hold.

use std::collections::BTreeMap;

use anyhow::Result;

use super::decide::Planned;
use super::engine::{Engine, KeyPart, Session};
use super::policy::Policy;
use super::relations::{Edge, nullable_columns};
use super::strategies::masks;
use super::work::{Fate, Stay, Work, key_table};
use crate::fault::Fault;
use crate::message::Action;
use crate::sql::catalog::{Column, OnChange};
use crate::sql::statement::Statement;

/// How a reference gets the new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The database changes it.
    Cascade,
    /// One statement changes both rows.
    Together,
    /// It is changed after the key; a check of it waits so long.
    After,
    /// It is null in between.
    Null,
}

/// The name of the table of rows whose reference by a relation is null in between.
fn aside_table(edge: usize) -> String {
    format!("manifold_w{edge}")
}

/// A row whose key changes.
pub(super) struct Change<V> {
    /// The row's own key, in order.
    pub(super) found: Vec<V>,
    /// The columns that change, and to what.
    pub(super) sets: Vec<(Column, V)>,
    /// What references hold so far.
    pub(super) old: BTreeMap<String, V>,
}

impl<V: Clone> Change<V> {
    /// The row's own key as it will be.
    pub(super) fn key_after(&self, parts: &[KeyPart]) -> Vec<V> {
        let part = |(part, old): (&KeyPart, &V)| {
            let mut sets = self.sets.iter();
            let set = sets.find(|(column, _)| part.column.as_ref() == Some(&column.name));
            set.map_or(old, |(_, value)| value).clone()
        };
        parts.iter().zip(&self.found).map(part).collect()
    }

    /// What a referenced column will be.
    fn after(&self, name: &str) -> Option<V> {
        let changed = self.sets.iter().find(|(column, _)| column.name == name);
        changed.map(|(_, value)| value).or_else(|| self.old.get(name)).cloned()
    }
}

impl<E: Engine> Work<'_, E> {
    /// The relations to a store whose referenced columns are among these.
    pub(super) fn followers(&self, place: usize, columns: &[&str]) -> Vec<usize> {
        let concerned = |edge: &usize| {
            let references = &self.graph.edges[*edge].references;
            references.iter().any(|name| columns.contains(&name.as_str()))
        };
        self.graph.into[place].iter().copied().filter(concerned).collect()
    }

    fn way(&self, edge: &Edge) -> Option<Way> {
        let Some(key) = &edge.key else { return Some(Way::After) };
        let alone = edge.child == edge.parent;
        if key.on_update == OnChange::Cascade && (!alone || self.engine.lets_itself_go()) {
            return Some(Way::Cascade);
        }
        if !alone && self.engine.together(&[], "").is_some() {
            return Some(Way::Together);
        }
        if key.on_update == OnChange::Refuse && self.engine.defer(key).is_some() {
            return Some(Way::After);
        }
        (!nullable_columns(&self.catalog, edge).is_empty()).then_some(Way::Null)
    }

    /// Those of some relations that go one way.
    fn by(&self, way: Way, followers: &[usize]) -> Vec<usize> {
        let edges = followers.iter().copied();
        edges.filter(|&edge| self.way(&self.graph.edges[edge]) == Some(way)).collect()
    }

    /// The steps that change references to masked keys, which are set to be masked in the key table. A
    /// strategy that no reference can follow is a fault.
    pub(super) async fn follow_steps(
        &mut self,
        policy: &Policy,
        place: usize,
        changed: &[&str],
        followers: &[usize],
    ) -> Result<Vec<Planned>> {
        let mut steps = Vec::new();
        for &follower in followers {
            let edge = self.graph.edges[follower].clone();
            let keys = format!("manifold_u{follower}");
            self.scratch(&keys, edge.child, "").await?;
            let (k, key) = (self.temp_key(edge.child, None)?, self.row_key(edge.child, "c")?);
            let rows = self.rows_below(&edge, Fate::Mask, Stay::All).await?;
            let select = format!("SELECT {key} FROM {rows}");
            let statement = Statement::plain(self.engine.insert_new(&keys, &k, &select));
            let rows = self.fill(&keys, statement).await?;
            if rows == 0 {
                continue;
            }
            if let Some(why) = self.hindrance(policy, changed, &edge).await? {
                let column = edge.references.iter().find(|name| changed.contains(&name.as_str()));
                return Err(Fault::config(format!(
                    "the strategy for `{}` of {} cannot hold: {} refers to it, and {why}",
                    column.map_or("", String::as_str),
                    self.store(place),
                    edge.name(&self.catalog)
                ))
                .into());
            }
            steps.push(Planned {
                edge: Some(follower),
                columns: edge.columns.clone(),
                reason: Some("they refer to a key that is masked, and change with it".to_owned()),
                keys: Some(keys),
                ..Planned::of(edge.child, Action::Mask, rows)
            });
        }
        Ok(steps)
    }

    /// Why rows of a relation cannot follow a key that is masked.
    async fn hindrance(
        &mut self,
        policy: &Policy,
        changed: &[&str],
        edge: &Edge,
    ) -> Result<Option<String>> {
        if self.way(edge).is_none() {
            return Ok(Some("the database lets neither of the two change first".to_owned()));
        }
        // Of a composite reference, only what changes.
        let pairs = edge.columns.iter().zip(&edge.references);
        let columns: Vec<&str> = pairs
            .filter(|(_, reference)| changed.contains(&reference.as_str()))
            .map(|(name, _)| name.as_str())
            .collect();
        let own = masks(policy, self.table(edge.child))?;
        if own.iter().any(|(column, _)| columns.contains(&column.name.as_str())) {
            return Ok(Some("has a strategy of its own".to_owned()));
        }
        if let Some(&other) = self.followers(edge.child, &columns).first() {
            let other = self.graph.edges[other].name(&self.catalog);
            return Ok(Some(format!("is itself what {other} refers to")));
        }
        let kept = self.rows_below(edge, Fate::Mask, Stay::Kept).await?;
        let kept = self.count(format!("SELECT count(*) FROM {kept}")).await?;
        Ok((kept > 0).then(|| "rows of it are kept as they are".to_owned()))
    }

    /// Changes a row that others refer to, and their references. Returns how many of each relation
    /// refer to it afterwards.
    pub(super) async fn change_key(
        &mut self,
        place: usize,
        followers: &[usize],
        change: &Change<E::Value>,
    ) -> Result<BTreeMap<usize, u64>> {
        let together = self.by(Way::Together, followers);
        let (after, nulled) = (self.by(Way::After, followers), self.by(Way::Null, followers));
        for &edge in &after {
            let key = self.graph.edges[edge].key.clone();
            if let Some(sql) = key.and_then(|key| self.engine.defer(&key)) {
                self.run(sql).await?;
            }
        }
        for &edge in &nulled {
            self.set_aside(edge, change).await?;
        }
        let mut statement = Statement::plain("");
        let mut first = Vec::new();
        let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for edge in together {
            children.entry(self.graph.edges[edge].child).or_default().push(edge);
        }
        for (child, edges) in children {
            first.push(self.update_children(child, &edges, change, &mut statement));
        }
        let own = self.update_row(place, change, &mut statement)?;
        statement.text = match first.is_empty() {
            true => own,
            false => self.engine.together(&first, &own).unwrap_or_default(),
        };
        self.session.run(&statement).await?;
        for &edge in &after {
            let child = self.graph.edges[edge].child;
            let mut statement = Statement::plain("");
            statement.text = self.update_children(child, &[edge], change, &mut statement);
            self.session.run(&statement).await?;
        }
        for &edge in &nulled {
            if self.graph.edges[edge].child == place {
                // It may refer to itself.
                self.rename(place, &aside_table(edge), change).await?;
            }
            self.put_back(edge, change).await?;
        }
        let mut found = BTreeMap::new();
        for &follower in followers {
            self.follow_keys(follower, change).await?;
            let edge = self.graph.edges[follower].clone();
            let mut statement = Statement::plain("");
            let condition = self.refers_to(&edge, |name| change.after(name), &mut statement);
            statement.text =
                format!("SELECT count(*) FROM {} c WHERE {condition}", self.path(edge.child));
            found.insert(follower, self.number(&statement).await?);
        }
        Ok(found)
    }

    /// The condition that a child's row `c` refers to these values.
    fn refers_to(
        &self,
        edge: &Edge,
        value: impl Fn(&str) -> Option<E::Value>,
        statement: &mut Statement<E::Value>,
    ) -> String {
        let mut conditions = Vec::new();
        for (name, reference) in edge.columns.iter().zip(&edge.references) {
            let (child, parent) = (self.table(edge.child), self.table(edge.parent));
            let (Some(c), Some(p)) = (child.column(name), parent.column(reference)) else {
                continue;
            };
            let Some(value) = value(reference) else { continue };
            let parameter = statement.bind(self.engine.dialect(), value);
            let sql = format!("c.{}", self.name(name));
            conditions.push(self.engine.refers(p, &parameter, c, &sql));
        }
        conditions.join(" AND ")
    }

    /// `UPDATE …` of a row to its new values.
    pub(super) fn update_row(
        &self,
        place: usize,
        change: &Change<E::Value>,
        statement: &mut Statement<E::Value>,
    ) -> Result<String> {
        self.update_at(place, &self.path(place), change, statement)
    }

    /// `UPDATE …` of a row of `path`, which has a store's columns, to its new values.
    pub(super) fn update_at(
        &self,
        place: usize,
        path: &str,
        change: &Change<E::Value>,
        statement: &mut Statement<E::Value>,
    ) -> Result<String> {
        let mut sets = Vec::new();
        for (column, value) in &change.sets {
            let parameter = statement.bind(self.engine.dialect(), value.clone());
            sets.push(format!("{} = {parameter}", self.name(&column.name)));
        }
        let parts = self.key_parts(place)?;
        let on = parts.iter().zip(&change.found).map(|(part, value)| {
            let parameter = statement.bind(self.engine.dialect(), value.clone());
            format!("{} = {parameter}", part.sql)
        });
        let on = on.collect::<Vec<_>>().join(" AND ");
        Ok(format!("UPDATE {path} SET {} WHERE {on}", sets.join(", ")))
    }

    /// `UPDATE …` of a child's rows, each reference among `edges` to the new key.
    fn update_children(
        &self,
        child: usize,
        edges: &[usize],
        change: &Change<E::Value>,
        statement: &mut Statement<E::Value>,
    ) -> String {
        let mut cases: BTreeMap<&str, String> = BTreeMap::new();
        for edge in edges.iter().map(|&edge| &self.graph.edges[edge]) {
            for (name, reference) in edge.columns.iter().zip(&edge.references) {
                let Some((_, value)) =
                    change.sets.iter().find(|(column, _)| column.name == *reference)
                else {
                    continue;
                };
                let when = self.refers_to(edge, |name| change.old.get(name).cloned(), statement);
                let parameter = statement.bind(self.engine.dialect(), value.clone());
                let case = format!(" WHEN {when} THEN {parameter}");
                cases.entry(name).or_default().push_str(&case);
            }
        }
        let sets = cases.iter().map(|(name, case)| {
            let name = self.name(name);
            format!("{name} = CASE{case} ELSE c.{name} END")
        });
        let sets = sets.collect::<Vec<_>>().join(", ");
        let any = edges.iter().map(|&edge| {
            let edge = &self.graph.edges[edge];
            let on = self.refers_to(edge, |name| change.old.get(name).cloned(), statement);
            format!("({on})")
        });
        let any = any.collect::<Vec<_>>().join(" OR ");
        format!("UPDATE {} AS c SET {sets} WHERE {any}", self.path(child))
    }

    /// Nulls references to a row, and remembers whose they are.
    async fn set_aside(&mut self, place: usize, change: &Change<E::Value>) -> Result<()> {
        let edge = self.graph.edges[place].clone();
        let aside = aside_table(place);
        self.scratch(&aside, edge.child, "").await?;
        let (k, key) = (self.temp_key(edge.child, None)?, self.row_key(edge.child, "c")?);
        let old = |name: &str| change.old.get(name).cloned();
        let mut statement = Statement::plain("");
        let on = self.refers_to(&edge, old, &mut statement);
        let path = self.path(edge.child);
        let select = format!("SELECT {key} FROM {path} c WHERE {on}");
        statement.text = self.engine.insert_new(&aside, &k, &select);
        self.session.run(&statement).await?;
        let columns = nullable_columns(&self.catalog, &edge);
        let sets: Vec<String> =
            columns.iter().map(|column| format!("{} = NULL", self.name(&column.name))).collect();
        let bare = self.bare_key(edge.child)?;
        self.run(format!(
            "UPDATE {path} SET {} WHERE ({bare}) IN (SELECT {k} FROM {aside})",
            sets.join(", ")
        ))
        .await?;
        Ok(())
    }

    /// Sets references that were nulled to the new key.
    async fn put_back(&mut self, place: usize, change: &Change<E::Value>) -> Result<()> {
        let edge = self.graph.edges[place].clone();
        let mut statement = Statement::plain("");
        let mut sets = Vec::new();
        for (name, reference) in edge.columns.iter().zip(&edge.references) {
            let Some(value) = change.after(reference) else { continue };
            let parameter = statement.bind(self.engine.dialect(), value);
            sets.push(format!("{} = {parameter}", self.name(name)));
        }
        let (bare, k) = (self.bare_key(edge.child)?, self.temp_key(edge.child, None)?);
        statement.text = format!(
            "UPDATE {} SET {} WHERE ({bare}) IN (SELECT {k} FROM {})",
            self.path(edge.child),
            sets.join(", "),
            aside_table(place)
        );
        self.session.run(&statement).await?;
        Ok(())
    }

    /// Where a reference is part of a child's own key, the child's key table follows too.
    async fn follow_keys(&mut self, follower: usize, change: &Change<E::Value>) -> Result<()> {
        let edge = self.graph.edges[follower].clone();
        if !self.has_keys(edge.child) {
            return Ok(());
        }
        let parts = self.key_parts(edge.child)?;
        let mut statement = Statement::plain("");
        let (mut sets, mut on) = (Vec::new(), Vec::new());
        for (name, reference) in edge.columns.iter().zip(&edge.references) {
            let at = parts.iter().position(|part| part.column.as_ref() == Some(name));
            let (Some(at), Some(new)) = (at, change.after(reference)) else { continue };
            let parameter = statement.bind(self.engine.dialect(), new);
            sets.push(format!("k{} = {parameter}", at + 1));
        }
        for (name, reference) in edge.columns.iter().zip(&edge.references) {
            let at = parts.iter().position(|part| part.column.as_ref() == Some(name));
            let (Some(at), Some(old)) = (at, change.old.get(reference)) else { continue };
            let parameter = statement.bind(self.engine.dialect(), old.clone());
            on.push(format!("k{} = {parameter}", at + 1));
        }
        if sets.is_empty() {
            return Ok(());
        }
        statement.text = format!(
            "UPDATE {} SET {} WHERE {}",
            key_table(edge.child),
            sets.join(", "),
            on.join(" AND ")
        );
        self.session.run(&statement).await?;
        Ok(())
    }
}
