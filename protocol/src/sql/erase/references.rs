//! What becomes of references of rows that stay to rows that go, and of what nothing refers to any more.

use std::collections::BTreeMap;

use anyhow::Result;

use super::closure::{candidate_table, shared_table};
use super::decide::{Decision, Fates, Planned};
use super::engine::Engine;
use super::persons::personal_columns;
use super::policy::{Policy, Rule, is_named};
use super::relations::{Edge, nullable_columns};
use super::work::{Fate, Phase, Stay, Work, key_table};
use crate::fault::Fault;
use crate::message::Action;
use crate::sql::catalog::{Column, OnChange, Right};
use crate::sql::statement::Statement;

/// The name of the table of rows whose reference by a relation is undone.
pub(super) fn nulled_table(edge: usize) -> String {
    format!("manifold_n{edge}")
}

impl<E: Engine> Work<'_, E> {
    /// What happens to references of rows that stay to rows that go.
    pub(super) async fn references(
        &mut self,
        policy: &Policy,
        follow: bool,
        fates: &BTreeMap<usize, Fates>,
        decision: &mut Decision,
    ) -> Result<()> {
        for (place, edge) in self.graph.edges.clone().into_iter().enumerate() {
            let goes = fates.get(&edge.parent).is_some_and(|fates| fates.delete > 0);
            let whole = fates.get(&edge.child).is_some_and(|f| f.mask == 0 && f.keep == 0);
            if goes && !edge.indexed {
                let rows = match self.table(edge.child).rows {
                    Some(rows) => format!("about {rows}"),
                    None => "all its".to_owned(),
                };
                decision.warnings.push(format!(
                    "{} has no index: {rows} rows are scanned to find what refers to {}",
                    edge.name(&self.catalog),
                    self.store(edge.parent)
                ));
            }
            // What such a relation leads to was all taken, but for parts that others refer to.
            let shared = self.has_made(&shared_table(edge.child));
            let complete = follow && whole && !shared && self.is_certain(place, &edge);
            if !goes || (edge.rule == Rule::Owns && complete) || !self.sees(place, edge.child) {
                continue;
            }
            self.reference(place, &edge, policy, follow, decision).await?;
        }
        Ok(())
    }

    async fn reference(
        &mut self,
        place: usize,
        edge: &Edge,
        policy: &Policy,
        follow: bool,
        decision: &mut Decision,
    ) -> Result<()> {
        let child = edge.child;
        let waiting = candidate_table(child);
        let mut decided = String::new();
        if self.has_made(&waiting) {
            let on = self.on_key(child, "c", "u")?;
            decided = format!(
                " AND NOT EXISTS (SELECT 1 FROM {waiting} u WHERE {on} \
                 AND u.phase <> {} AND NOT (u.other = 1 AND u.subject = 0))",
                Phase::Theirs as i64
            );
        }
        let rows = self.staying_rows(edge, Stay::All).await?;
        let total = self.count(format!("SELECT count(*) FROM {rows}{decided}")).await?;
        if total == 0 {
            return Ok(());
        }
        let rows = self.staying_rows(edge, Stay::Kept).await?;
        let kept = self.count(format!("SELECT count(*) FROM {rows}{decided}")).await?;
        let (name, parent) = (edge.name(&self.catalog), self.store(edge.parent).clone());
        if kept > 0 {
            decision.steps.push(Planned {
                edge: Some(place),
                columns: edge.columns.clone(),
                reason: Some(format!(
                    "rows of {name} are kept and refer to rows of {parent} that would go: mask \
                     {parent} with a strategy"
                )),
                ..Planned::of(edge.parent, Action::Blocked, kept)
            });
        }
        if total == kept {
            return Ok(());
        }
        let step = Planned { edge: Some(place), ..Planned::of(child, Action::Null, total - kept) };
        let blocked = |why: String| Planned {
            columns: edge.columns.clone(),
            reason: Some(why),
            action: Action::Blocked,
            ..step.clone()
        };
        if !follow {
            decision.steps.push(blocked(format!(
                "rows of {name} refer to rows of {parent} that would go, and are not named: name \
                 them too, or use --follow"
            )));
            return Ok(());
        }
        let constants = self.constants(policy, edge);
        let left_to_database = self.sets_default(edge);
        let (set_to, stays) = match (&constants, left_to_database) {
            (Some(constants), _) => ("the policy's constant", self.stays(edge, constants).await?),
            (None, true) => ("its default", self.default_stays(edge).await?),
            (None, false) => ("null", true),
        };
        if !stays {
            decision.steps.push(blocked(format!(
                "rows of {name} stay, and their reference would be set to {set_to}, which no row of \
                 {parent} has that stays: mask {parent} instead, set another constant for the \
                 columns with a strategy of {}, or set the relation's `rule`",
                self.store(child)
            )));
            return Ok(());
        }
        let columns: Vec<String> = match (&constants, left_to_database) {
            (Some(_), _) | (None, true) => edge.columns.clone(),
            (None, false) => {
                let columns = nullable_columns(&self.catalog, edge);
                columns.into_iter().map(|column| column.name.clone()).collect()
            }
        };
        if columns.is_empty() {
            decision.steps.push(blocked(format!(
                "rows of {name} stay and refer to rows of {parent} that would go, and none of these \
                 columns can be null: mask {parent} instead, set a constant for the columns with a \
                 strategy of {}, or set the relation's `rule`",
                self.store(child)
            )));
            return Ok(());
        }
        let keys = nulled_table(place);
        self.scratch(&keys, child, "").await?;
        let (k, key) = (self.temp_key(child, None)?, self.row_key(child, "c")?);
        let rows = self.staying_rows(edge, Stay::Free).await?;
        let select = format!("SELECT {key} FROM {rows}{decided}");
        let statement = Statement::plain(self.engine.insert_new(&keys, &k, &select));
        // A row that refers to several rows through one relation cannot be: one row each.
        let planned = self.fill(&keys, statement).await?;
        let reason = match (constants.is_some(), left_to_database) {
            (true, _) => "the reference is set to the constant of the policy",
            (false, true) => "the database sets the reference to its default",
            (false, false) => edge.reason,
        };
        decision.steps.push(Planned {
            columns,
            rows: planned,
            reason: Some(reason.to_owned()),
            keys: Some(keys),
            ..step
        });
        Ok(())
    }

    /// Whether the database itself sets a reference to its default when its parent goes.
    pub(super) fn sets_default(&self, edge: &Edge) -> bool {
        edge.key.as_ref().is_some_and(|key| key.on_delete == OnChange::SetDefault)
    }

    /// Whether a reference can be its default: a row that stays has it, or it is null and may be.
    async fn default_stays(&mut self, edge: &Edge) -> Result<bool> {
        let given = |column: &Column| {
            let text = column.expression.clone()?;
            let null = text.eq_ignore_ascii_case("null") || text.starts_with("NULL::");
            (!null).then_some(text)
        };
        let mut defaults = Vec::new();
        let mut null = false;
        for name in &edge.columns {
            let Some(column) = self.table(edge.child).column(name) else { continue };
            match given(column) {
                Some(text) => defaults.push(format!("({text})")),
                None if column.nullable => null = true,
                None => return Ok(false),
            }
        }
        Ok(null || self.is_kept(edge, &defaults, Statement::plain("")).await?)
    }

    /// Whether a row that stays has these values, where the database wants one.
    async fn stays(&mut self, edge: &Edge, constants: &[String]) -> Result<bool> {
        let values = self.constant_values(edge, constants)?;
        let mut statement = Statement::plain("");
        let values = values.into_iter().map(|value| statement.bind(self.engine.dialect(), value));
        let parameters: Vec<String> = values.collect();
        Ok(edge.key.is_none() || self.is_kept(edge, &parameters, statement).await?)
    }

    /// The constants of a reference's columns, as values of theirs.
    pub(super) fn constant_values(
        &self,
        edge: &Edge,
        constants: &[String],
    ) -> Result<Vec<E::Value>> {
        let value = |(name, text): (&String, &String)| {
            let column = self.table(edge.child).column(name);
            let value = column.and_then(|column| self.engine.convert(column, text));
            value.ok_or_else(|| {
                Fault::config(format!(
                    "the policy's constant for `{name}` of {} is no value of that column",
                    self.store(edge.child)
                ))
                .into()
            })
        };
        edge.columns.iter().zip(constants).map(value).collect()
    }

    /// Whether a row that a reference with such values refers to stays.
    async fn is_kept(
        &mut self,
        edge: &Edge,
        values: &[String],
        mut statement: Statement<E::Value>,
    ) -> Result<bool> {
        let (child, parent) = (self.table(edge.child), self.table(edge.parent));
        let pairs = edge.columns.iter().zip(&edge.references).zip(values);
        let on = pairs.filter_map(|((name, reference), value)| {
            let (c, p) = (child.column(name)?, parent.column(reference)?);
            let sql = format!("p.{}", self.name(reference));
            Some(self.engine.refers(p, &sql, c, value))
        });
        let on = on.collect::<Vec<_>>().join(" AND ");
        let goes = Fate::Delete as i64;
        statement.text = format!(
            "SELECT count(*) FROM {} p WHERE {on} \
             AND NOT EXISTS (SELECT 1 FROM {} t WHERE {} AND t.fate = {goes})",
            self.path(edge.parent),
            key_table(edge.parent),
            self.on_key(edge.parent, "p", "t")?
        );
        Ok(self.number(&statement).await? > 0)
    }

    /// The constants that the policy sets for all columns of a reference.
    pub(super) fn constants(&self, policy: &Policy, edge: &Edge) -> Option<Vec<String>> {
        let store = self.store(edge.child);
        let strategy =
            policy.strategies.iter().find(|strategy| is_named(&strategy.store, store))?;
        edge.columns
            .iter()
            .map(|column| {
                let constant = strategy.columns.get(column)?.get("constant")?;
                let constant = (!constant.is_null()).then_some(constant)?;
                Some(constant.as_str().map_or_else(|| constant.to_string(), str::to_owned))
            })
            .collect()
    }

    /// Parents that nothing refers to any more and that hold what is a person's.
    pub(super) async fn left(
        &mut self,
        fates: &BTreeMap<usize, Fates>,
        decision: &mut Decision,
    ) -> Result<()> {
        let mut found: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, edge) in self.graph.edges.iter().enumerate() {
            let goes = fates.get(&edge.child).is_some_and(|fates| fates.delete > 0);
            if goes
                && !edge.by_hand
                && edge.child != edge.parent
                && !self.graph.persons[edge.parent]
                && !personal_columns(self.table(edge.parent)).is_empty()
                && self.table(edge.parent).may(Right::See)
            {
                found.entry(edge.parent).or_default().push(place);
            }
        }
        for (parent, edges) in found {
            let Ok(key) = self.row_key(parent, "p") else { continue };
            let left = format!("manifold_l{parent}");
            self.scratch(&left, parent, "").await?;
            let k = self.temp_key(parent, None)?;
            for &place in &edges {
                let edge = self.graph.edges[place].clone();
                let (from, not_taken) = (self.parents(&edge)?, self.not_taken(parent, "p")?);
                let goes = Fate::Delete as i64;
                let select = format!("SELECT {key} FROM {from} WHERE k.fate = {goes}{not_taken}");
                self.insert(&left, &k, &select).await?;
            }
            for place in self.graph.into[parent].clone() {
                let edge = self.graph.edges[place].clone();
                if !self.sees(place, edge.child) {
                    continue;
                }
                let referred = self.referred_by_staying(&edge, &left)?;
                self.run(format!("DELETE FROM {left} WHERE {referred}")).await?;
            }
            let rows = self.count(format!("SELECT count(*) FROM {left}")).await?;
            if rows > 0 {
                let columns = personal_columns(self.table(parent));
                decision.steps.push(Planned {
                    edge: edges.first().copied(),
                    reason: Some(
                        "nothing refers to these rows any more, and they may be a person's: set the \
                         relation's `rule` to `part` if they are, to `refers` if not"
                            .to_owned(),
                    ),
                    columns: columns.into_iter().map(str::to_owned).collect(),
                    keys: Some(left),
                    ..Planned::of(parent, Action::Left, rows)
                });
            }
        }
        Ok(())
    }

    /// The condition that a row of `temp` is referred to by a row that stays.
    fn referred_by_staying(&self, edge: &Edge, temp: &str) -> Result<String> {
        let (child, parent, j) =
            (self.path(edge.child), self.path(edge.parent), self.engine.join());
        let on = self.on_rows(edge, "p", "c");
        let mut stays = String::new();
        if self.has_keys(edge.child) {
            let on = self.on_key(edge.child, "c", "t")?;
            stays = format!(
                " AND NOT EXISTS (SELECT 1 FROM {} t WHERE {on} AND t.fate = {})",
                key_table(edge.child),
                Fate::Delete as i64
            );
        }
        if edge.indexed {
            let on_temp = self.on_key(edge.parent, "p", temp)?;
            return Ok(format!(
                "EXISTS (SELECT 1 FROM {parent} p {j} {child} c ON {on} WHERE {on_temp}{stays})"
            ));
        }
        let (k, key) = (self.temp_key(edge.parent, None)?, self.row_key(edge.parent, "p")?);
        Ok(format!(
            "({k}) IN (SELECT {key} FROM {child} c {j} {parent} p ON {on} WHERE 1 = 1{stays})"
        ))
    }
}
