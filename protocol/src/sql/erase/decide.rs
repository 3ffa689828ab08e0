//! What becomes of the rows of a closure: which go, which are masked or kept, which references of
//! rows that stay are nulled, and what stops it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::closure::{Walk, candidate_table, shared_table};
use super::engine::{Cell, Engine, Session};
use super::persons::personal_columns;
use super::policy::{Named, Policy, Retain, Rule, StoreAction, find, is_named};
use super::relations::{Edge, nullable_columns};
use super::sequence::children_first;
use super::strategies::Key;
use super::work::{Fate, Phase, Stay, Work, key_table};
use crate::message::Action;
use crate::sql::catalog::OnChange;
use crate::sql::statement::Statement;

/// One step of a plan, with what its execution needs.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    /// The store.
    pub(super) place: usize,
    /// What is done, or what stops it.
    pub(super) action: Action,
    /// How many rows.
    pub(super) rows: u64,
    /// The relation that led here.
    pub(super) edge: Option<usize>,
    /// The columns that change.
    pub(super) columns: Vec<String>,
    /// Why.
    pub(super) reason: Option<String>,
    /// The temporary table with the keys of the rows, where it is not the store's own.
    pub(super) keys: Option<String>,
}

impl Planned {
    pub(super) fn of(place: usize, action: Action, rows: u64) -> Planned {
        Planned { place, action, rows, edge: None, columns: Vec::new(), reason: None, keys: None }
    }
}

/// How a circle of references among rows that go is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// The reference is nulled first.
    Null,
    /// Its check waits for the commit.
    Defer,
    /// The rows go from the leaves up.
    LeavesFirst,
    /// The database deletes some of the store's rows with others; they are counted by how many rows
    /// the store has before and after.
    Cascade,
}

/// Everything that was decided.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// The steps, what stops first, then in the order of execution.
    pub(super) steps: Vec<Planned>,
    /// How circles are opened, by relation.
    pub(super) openings: Vec<(usize, Opening)>,
    /// Groups of stores, in the order in which their rows go.
    pub(super) order: Vec<usize>,
    /// What a person should know.
    pub(super) warnings: Vec<String>,
    /// The rules of retention with their days.
    pub(super) cutoffs: Vec<(Retain, Option<String>)>,
    /// Columns whose values are kept, by store.
    pub(super) kept_columns: BTreeMap<usize, BTreeSet<String>>,
}

/// How many rows of a store go, are masked, are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fates {
    pub(super) delete: u64,
    pub(super) mask: u64,
    pub(super) keep: u64,
}

impl<E: Engine> Work<'_, E> {
    /// How many rows of a store have which fate.
    pub(super) async fn fates(&mut self, place: usize) -> Result<Fates> {
        let mut fates = Fates::default();
        if !self.has_keys(place) {
            return Ok(fates);
        }
        let sql = format!("SELECT fate, count(*) FROM {} GROUP BY fate", key_table(place));
        let mut each = |cells: &[Cell<'_>]| {
            if let [Cell::Integer(fate), Cell::Integer(rows)] = cells {
                let rows = u64::try_from(*rows).unwrap_or(0);
                match *fate {
                    0 => fates.delete = rows,
                    1 => fates.mask = rows,
                    _ => fates.keep = rows,
                }
            }
            Ok(())
        };
        self.session.rows(&Statement::plain(sql), &mut each).await?;
        Ok(fates)
    }

    /// Decides about everything in the key tables.
    pub(super) async fn decide(
        &mut self,
        policy: &Policy,
        cutoffs: Vec<(Retain, Option<String>)>,
        follow: bool,
        key: Option<&Key>,
        round: i64,
    ) -> Result<Decision> {
        let mut decision = Decision { cutoffs, ..Decision::default() };
        if follow {
            self.undecided_steps(Phase::Owned, &mut decision).await?;
        }
        let mut reasons: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        self.retain(&mut decision, &mut reasons).await?;
        self.mask_where_said(policy).await?;
        if follow {
            self.take_parts(policy, &mut decision, &mut reasons, round).await?;
            // What a part's own rows lead to can be in doubt as well.
            self.undecided_steps(Phase::Part, &mut decision).await?;
        }
        let mut fates = BTreeMap::new();
        for place in self.reached() {
            fates.insert(place, self.fates(place).await?);
        }
        self.references(policy, follow, &fates, &mut decision).await?;
        if follow {
            self.left(&fates, &mut decision).await?;
        }
        self.order(&fates, &mut decision).await?;
        self.steps(policy, &fates, &reasons, key, &mut decision).await?;
        Ok(decision)
    }

    async fn undecided_steps(&mut self, phase: Phase, decision: &mut Decision) -> Result<()> {
        for undecided in self.undecided(phase).await? {
            let edge = &self.graph.edges[undecided.edge];
            let (store, parent) = (self.store(edge.child), self.store(edge.parent));
            let why = if self.graph.looks[edge.child] {
                format!(
                    "{store} looks like a store of persons: say so with `persons`, or that its rows \
                     belong to {parent} with a relation's `rule`"
                )
            } else if undecided.both > 0 {
                "they refer to the subject and to another person: set the `rule` of their \
                 relations, `owns` for the one the row belongs to"
                    .to_owned()
            } else {
                "rows of persons, or of a store that looks like one of persons, are linked with \
                 them: set the `rule` of this relation, or list that store in `persons`"
                    .to_owned()
            };
            decision.steps.push(Planned {
                edge: Some(undecided.edge),
                columns: edge.columns.clone(),
                reason: Some(why),
                ..Planned::of(edge.child, Action::Undecided, undecided.rows)
            });
        }
        Ok(())
    }

    /// Marks what rules of retention keep, and what kept rows own.
    async fn retain(
        &mut self,
        decision: &mut Decision,
        reasons: &mut BTreeMap<usize, BTreeSet<String>>,
    ) -> Result<()> {
        for (rule, cutoff) in decision.cutoffs.clone() {
            let named = Named::Full(rule.store.clone());
            let place = find(&self.catalog, &named, "retain")?;
            for name in rule.column.iter().chain(&rule.date) {
                if self.table(place).column(name).is_none() {
                    return Err(crate::fault::Fault::config(format!(
                        "the policy's `retain` names the column `{name}`, and {} has none",
                        self.store(place)
                    ))
                    .into());
                }
            }
            if !self.has_keys(place) {
                continue;
            }
            let fate = match &rule.column {
                None => Fate::Keep,
                Some(_) => Fate::Mask,
            };
            let keys = key_table(place);
            let mut statement = Statement::plain("");
            let condition = match (&rule.date, &cutoff) {
                (Some(date), Some(cutoff)) => {
                    let parameter = statement.bind(self.engine.dialect(), self.engine.date(cutoff));
                    let column = self.table(place).column(date);
                    let column = column.map(|column| {
                        let sql = format!("t.{}", self.name(&column.name));
                        self.engine.before(column, &sql, &parameter)
                    });
                    let on = self.on_key(place, "t", &keys)?;
                    // Null, and what is no date, is not before anything.
                    format!(
                        " AND NOT EXISTS (SELECT 1 FROM {} t WHERE {on} AND {})",
                        self.path(place),
                        column.unwrap_or_else(|| "1 = 0".to_owned())
                    )
                }
                _ => String::new(),
            };
            statement.text =
                format!("UPDATE {keys} SET fate = {0} WHERE fate < {0}{condition}", fate as i64);
            let kept = self.session.run(&statement).await?;
            if kept > 0 {
                reasons.entry(place).or_default().insert(rule.reason.clone());
            }
            if let Some(column) = &rule.column {
                decision.kept_columns.entry(place).or_default().insert(column.clone());
            }
        }
        loop {
            let mut more = 0;
            for edge in self.graph.edges.clone() {
                if edge.rule != Rule::Owns
                    || !self.has_keys(edge.parent)
                    || !self.has_keys(edge.child)
                {
                    continue;
                }
                let keep = Fate::Keep as i64;
                let from = self.children(&edge)?;
                let key = self.row_key(edge.child, "c")?;
                let (keys, k) = (key_table(edge.child), self.temp_key(edge.child, None)?);
                let mut owned = format!("SELECT {key} FROM {from} WHERE k.fate = {keep}");
                if edge.child == edge.parent {
                    let scratch = format!("manifold_s{}", edge.child);
                    self.scratch(&scratch, edge.child, "").await?;
                    self.insert(&scratch, &k, &owned).await?;
                    owned = format!("SELECT {k} FROM {scratch}");
                }
                let kept = self
                    .run(format!(
                        "UPDATE {keys} SET fate = {keep} WHERE fate <> {keep} AND ({k}) IN ({owned})"
                    ))
                    .await?;
                if kept > 0 {
                    let why = format!("belongs to kept rows of {}", self.store(edge.parent));
                    reasons.entry(edge.child).or_default().insert(why);
                }
                more += kept;
            }
            if more == 0 {
                return Ok(());
            }
        }
    }

    /// Marks rows of stores that a strategy masks.
    async fn mask_where_said(&mut self, policy: &Policy) -> Result<()> {
        for strategy in &policy.strategies {
            let named = Named::Full(strategy.store.clone());
            let place = find(&self.catalog, &named, "strategies")?;
            if strategy.action == StoreAction::Mask && self.has_keys(place) {
                let (delete, mask) = (Fate::Delete as i64, Fate::Mask as i64);
                let keys = key_table(place);
                self.run(format!("UPDATE {keys} SET fate = {mask} WHERE fate = {delete}")).await?;
            }
        }
        Ok(())
    }

    /// Takes the parts that nothing that stays refers to, with what they own and their own parts.
    ///
    /// All are taken at first; those that are referred to from outside are put aside, and it begins
    /// anew without them, until none is.
    async fn take_parts(
        &mut self,
        policy: &Policy,
        decision: &mut Decision,
        reasons: &mut BTreeMap<usize, BTreeSet<String>>,
        mut round: i64,
    ) -> Result<()> {
        let parents: BTreeSet<usize> = self
            .graph
            .edges
            .iter()
            .filter(|edge| edge.rule == Rule::Part)
            .map(|edge| edge.parent)
            .collect();
        if parents.is_empty() {
            return Ok(());
        }
        self.set_theirs_aside().await?;
        loop {
            let stores = self.reached();
            let walk = Walk::from(Phase::Part, round + 1, &stores, self.catalog.tables.len());
            round = self.spread(walk, true).await?;
            self.retain(decision, reasons).await?;
            self.mask_where_said(policy).await?;
            let mut shared = 0;
            for &parent in &parents {
                if !self.has_keys(parent) {
                    continue;
                }
                let aside = shared_table(parent);
                if !self.has_made(&aside) {
                    self.scratch(&aside, parent, "").await?;
                }
                for edge in self.graph.into[parent].clone() {
                    let edge = self.graph.edges[edge].clone();
                    let rows = self.staying_rows(&edge, Stay::All).await?;
                    let (k, of) = (self.temp_key(parent, None)?, self.temp_key(parent, Some("k"))?);
                    let select =
                        format!("SELECT {of} FROM {rows} AND k.phase = {}", Phase::Part as i64);
                    shared += self.insert(&aside, &k, &select).await?;
                }
            }
            if shared == 0 {
                break;
            }
            for place in self.reached() {
                for table in [key_table(place), candidate_table(place)] {
                    if table == key_table(place) || self.has_made(&table) {
                        self.run(format!(
                            "DELETE FROM {table} WHERE phase = {}",
                            Phase::Part as i64
                        ))
                        .await?;
                    }
                }
            }
        }
        for parent in parents {
            let aside = shared_table(parent);
            if !self.has_made(&aside) {
                continue;
            }
            let rows = self.count(format!("SELECT count(*) FROM {aside}")).await?;
            if rows > 0 {
                decision.steps.push(Planned {
                    reason: Some("a part that other rows still refer to".to_owned()),
                    keys: Some(aside),
                    ..Planned::of(parent, Action::Keep, rows)
                });
            }
        }
        Ok(())
    }

    /// What happens to references of rows that stay to rows that go.
    async fn references(
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
            // What such a relation leads to was all taken.
            let complete = follow && whole && self.is_certain(place, &edge);
            if !goes || (edge.rule == Rule::Owns && complete) {
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
        let keys = format!("manifold_n{place}");
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

    /// The constants that the policy sets for all columns of a reference.
    pub(super) fn constants(&self, policy: &Policy, edge: &Edge) -> Option<Vec<String>> {
        let store = self.store(edge.child);
        let strategy =
            policy.strategies.iter().find(|strategy| is_named(&strategy.store, store))?;
        edge.columns
            .iter()
            .map(|column| {
                let constant = strategy.columns.get(column)?.get("constant")?;
                Some(constant.as_str().map_or_else(|| constant.to_string(), str::to_owned))
            })
            .collect()
    }

    /// Parents that nothing refers to any more and that hold what is a person's.
    async fn left(
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

    /// The order in which stores are emptied, and how circles among their rows are opened.
    async fn order(
        &mut self,
        fates: &BTreeMap<usize, Fates>,
        decision: &mut Decision,
    ) -> Result<()> {
        let goes = |place: usize| fates.get(&place).is_some_and(|fates| fates.delete > 0);
        let n = self.catalog.tables.len();
        let mut edges: Vec<usize> = (0..self.graph.edges.len())
            .filter(|&place| {
                let edge = &self.graph.edges[place];
                edge.key.is_some() && goes(edge.child) && goes(edge.parent)
            })
            .collect();
        let groups_of = |graph: &super::relations::Graph, edges: &[usize]| {
            let pairs: Vec<(usize, usize)> = edges
                .iter()
                .map(|&place| (graph.edges[place].child, graph.edges[place].parent))
                .collect();
            children_first(n, &pairs)
        };
        // A circle among stores is none where no row closes it.
        let circles = |graph: &super::relations::Graph, edges: &[usize]| -> Vec<usize> {
            let groups = groups_of(graph, edges);
            let inside = |place: &&usize| {
                let edge = &graph.edges[**place];
                groups.iter().any(|group| {
                    (group.len() > 1 || edge.child == edge.parent)
                        && group.contains(&edge.child)
                        && group.contains(&edge.parent)
                })
            };
            edges.iter().filter(inside).copied().collect()
        };
        for place in circles(&self.graph, &edges) {
            let edge = self.graph.edges[place].clone();
            let (from, keys) = (self.children(&edge)?, self.child_keys(&edge).await?);
            let on = self.on_key(edge.child, "c", "t")?;
            let rows = self
                .count(format!(
                    "SELECT count(*) FROM {from} JOIN {keys} t ON {on} \
                     WHERE k.fate = 0 AND t.fate = 0"
                ))
                .await?;
            if rows == 0 {
                edges.retain(|&other| other != place);
            }
        }
        let (alone, between): (Vec<usize>, Vec<usize>) = edges.iter().partition(|&&place| {
            let edge = &self.graph.edges[place];
            edge.child == edge.parent
        });
        edges = between;
        self.open_within(&alone, decision);
        let mut in_pieces: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, opening) in &decision.openings {
            if *opening == Opening::LeavesFirst {
                in_pieces.entry(self.graph.edges[*place].child).or_default().push(*place);
            }
        }
        for (store, within) in in_pieces {
            let rows = self.circle_within(store, &within).await?;
            if rows > 0 {
                decision.steps.push(self.circle(&within, rows));
            }
        }
        for place in circles(&self.graph, &edges) {
            // An earlier opening may have been enough.
            if circles(&self.graph, &edges).contains(&place)
                && !nullable_columns(&self.catalog, &self.graph.edges[place]).is_empty()
            {
                decision.openings.push((place, Opening::Null));
                edges.retain(|&other| other != place);
            }
        }
        for place in circles(&self.graph, &edges) {
            if !circles(&self.graph, &edges).contains(&place) {
                continue;
            }
            let edge = self.graph.edges[place].clone();
            let waits = edge.key.as_ref().is_some_and(|key| {
                // A cascade would run ahead of the count.
                matches!(key.on_delete, OnChange::Refuse) && self.engine.defer(key).is_some()
            });
            if waits {
                decision.openings.push((place, Opening::Defer));
                edges.retain(|&other| other != place);
            }
        }
        let closed = circles(&self.graph, &edges);
        if let Some(&first) = closed.first() {
            let child = self.graph.edges[first].child;
            let rows = fates.get(&child).map_or(0, |fates| fates.delete);
            decision.steps.push(self.circle(&closed, rows));
        }
        let groups = groups_of(&self.graph, &edges);
        decision.order = groups.into_iter().flatten().filter(|&place| goes(place)).collect();
        Ok(())
    }

    /// How rows of one store that refer to each other can go: at once, where the database checks at
    /// the end of a statement; else their references are nulled, or they go from the leaves up.
    fn open_within(&self, alone: &[usize], decision: &mut Decision) {
        let action = |place: usize| self.graph.edges[place].key.as_ref().map(|key| key.on_delete);
        for &place in alone {
            let edge = &self.graph.edges[place];
            let Some(key) = &edge.key else { continue };
            let stubborn = |&other: &usize| {
                let other_edge = &self.graph.edges[other];
                other_edge.child == edge.child
                    && !other_edge.key.as_ref().is_some_and(|key| {
                        self.engine.checks_at_end(key) || key.on_delete == OnChange::Cascade
                    })
                    && nullable_columns(&self.catalog, other_edge).is_empty()
            };
            let in_pieces = alone.iter().any(stubborn);
            if !in_pieces && self.engine.checks_at_end(key) {
                continue;
            }
            if !nullable_columns(&self.catalog, edge).is_empty() {
                decision.openings.push((place, Opening::Null));
            } else if action(place) == Some(OnChange::Cascade) {
                decision.openings.push((place, Opening::Cascade));
            } else if action(place) == Some(OnChange::Refuse) && self.engine.defer(key).is_some() {
                decision.openings.push((place, Opening::Defer));
            } else {
                decision.openings.push((place, Opening::LeavesFirst));
            }
        }
    }

    /// The step that stops an erasure whose rows refer to each other in a circle.
    fn circle(&self, edges: &[usize], rows: u64) -> Planned {
        let names: Vec<String> =
            edges.iter().map(|&place| self.graph.edges[place].name(&self.catalog)).collect();
        let edge = &self.graph.edges[edges[0]];
        Planned {
            edge: Some(edges[0]),
            columns: edge.columns.clone(),
            reason: Some(format!(
                "the rows refer to each other in a circle ({}), and none of these references can be \
                 null or wait for the commit: mask one of the stores instead",
                names.join(", ")
            )),
            ..Planned::of(edge.child, Action::Blocked, rows)
        }
    }

    /// `SELECT …`: the keys in a temporary table of those rows that no other row refers to, by
    /// relations within their store; `among` narrows down which others count, as `c`.
    pub(super) fn leaves(
        &self,
        place: usize,
        temp: &str,
        edges: &[usize],
        among: &str,
    ) -> Result<String> {
        let path = self.path(place);
        let parts = self.key_parts(place)?;
        let same: Vec<String> =
            parts.iter().map(|part| format!("c.{0} = p.{0}", part.sql)).collect();
        let other = match self.engine.lets_itself_go() {
            // A row that refers to itself is a leaf all the same.
            true => format!(" AND NOT ({})", same.join(" AND ")),
            false => String::new(),
        };
        let mut sql = format!(
            "SELECT {} FROM {temp} k {} {path} p ON {} WHERE 1 = 1",
            self.temp_key(place, Some("k"))?,
            self.engine.join(),
            self.on_key(place, "p", "k")?
        );
        for &edge in edges {
            let on = self.on_rows(&self.graph.edges[edge], "p", "c");
            sql.push_str(&format!(
                " AND NOT EXISTS (SELECT 1 FROM {path} c WHERE {on}{other}{among})"
            ));
        }
        Ok(sql)
    }

    /// How many of a store's rows can go neither at once nor from the leaves up, because they refer
    /// to each other in a circle.
    async fn circle_within(&mut self, place: usize, edges: &[usize]) -> Result<u64> {
        let (all, leaves) = (format!("manifold_p{place}"), format!("manifold_s{place}"));
        self.scratch(&all, place, "").await?;
        let k = self.temp_key(place, None)?;
        let select = format!("SELECT {k} FROM {} WHERE fate = 0", key_table(place));
        let mut rows = self.insert(&all, &k, &select).await?;
        let same = self.copy_of_keys(place).await?;
        let there = self.on_key(place, "c", "x")?;
        let among = format!(" AND EXISTS (SELECT 1 FROM {same} x WHERE {there} AND x.fate = 0)");
        while rows > 0 {
            self.scratch(&leaves, place, "").await?;
            let select = self.leaves(place, &all, edges, &among)?;
            let found = self.insert(&leaves, &k, &select).await?;
            if found == 0 {
                break;
            }
            for table in [&all, &same] {
                self.run(format!("DELETE FROM {table} WHERE ({k}) IN (SELECT {k} FROM {leaves})"))
                    .await?;
            }
            rows = rows.saturating_sub(found);
        }
        Ok(rows)
    }

    /// The steps of rows that go, are masked or kept.
    async fn steps(
        &mut self,
        policy: &Policy,
        fates: &BTreeMap<usize, Fates>,
        reasons: &BTreeMap<usize, BTreeSet<String>>,
        key: Option<&Key>,
        decision: &mut Decision,
    ) -> Result<()> {
        for (&place, fates) in fates {
            if fates.keep > 0 {
                let why = reasons
                    .get(&place)
                    .map(|all| all.iter().cloned().collect::<Vec<_>>().join("; "));
                decision
                    .steps
                    .push(Planned { reason: why, ..Planned::of(place, Action::Keep, fates.keep) });
            }
            if fates.mask > 0 {
                let steps = self.mask_steps(policy, place, *fates, key, decision).await?;
                decision.steps.extend(steps);
            }
        }
        for place in decision.order.clone() {
            let via = self
                .number(&Statement::plain(format!(
                    "SELECT coalesce(max(via), -1) + 1 FROM {} WHERE fate = 0",
                    key_table(place)
                )))
                .await?;
            let opened: Vec<String> = decision
                .openings
                .iter()
                .filter(|(edge, _)| self.graph.edges[*edge].child == place)
                .map(|(edge, opening)| {
                    let columns = self.graph.edges[*edge].columns.join(", ");
                    match opening {
                        Opening::Null => format!("{columns} is set to null first"),
                        Opening::Defer => format!("the check of {columns} waits for the commit"),
                        Opening::LeavesFirst => format!("by {columns}, from the leaves up"),
                        Opening::Cascade => format!("some by the cascade of {columns}"),
                    }
                })
                .collect();
            decision.steps.push(Planned {
                edge: usize::try_from(via).ok().and_then(|via| via.checked_sub(1)),
                reason: (!opened.is_empty()).then(|| opened.join("; ")),
                ..Planned::of(place, Action::Delete, fates.get(&place).map_or(0, |f| f.delete))
            });
        }
        // What stops first, then in the order of execution.
        decision.steps.sort_by_key(|step| match step.action {
            Action::Undecided => 0,
            Action::Blocked => 1,
            Action::Near => 2,
            Action::Left => 3,
            Action::Keep => 4,
            Action::Null => 5,
            Action::Mask => 6,
            Action::Delete => 7,
        });
        Ok(())
    }
}
