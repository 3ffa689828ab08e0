//! What becomes of the rows of a closure: which go, which are masked or kept, and what stops it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::closure::{Walk, candidate_table, shared_table};
use super::engine::{Cell, Engine, Session};
use super::mask::Key;
use super::policy::{Named, Policy, Retain, Rule, StoreAction, find};
use super::sequence::children_first;
use super::work::{Fate, Phase, Stay, Work, key_table};
use crate::message::Action;
use crate::sql::catalog::{Referrers, Right};
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
    /// The last of the relations that led to rows that go.
    via: Option<usize>,
}

impl<E: Engine> Work<'_, E> {
    /// How many rows of each store in the key tables have which fate.
    async fn fates(&mut self) -> Result<BTreeMap<usize, Fates>> {
        /// A statement counts so many stores: a round trip for each of many costs more.
        const STORES: usize = 50;
        let reached = self.reached();
        let mut found: BTreeMap<usize, Fates> =
            reached.iter().map(|&place| (place, Fates::default())).collect();
        for places in reached.chunks(STORES) {
            let count = |place: &usize| {
                let keys = key_table(*place);
                format!("SELECT {place}, fate, count(*), max(via) FROM {keys} GROUP BY fate")
            };
            let sql = places.iter().map(count).collect::<Vec<_>>().join(" UNION ALL ");
            let mut each = |cells: &[Cell<'_>]| {
                let number = |i: usize| match cells.get(i) {
                    Some(Cell::Integer(number)) => *number,
                    _ => -1,
                };
                let place = usize::try_from(number(0)).unwrap_or_default();
                let (rows, fates) = (u64::try_from(number(2)).unwrap_or(0), found.entry(place));
                let fates = fates.or_default();
                match number(1) {
                    0 => {
                        fates.delete = rows;
                        fates.via = usize::try_from(number(3)).ok();
                    }
                    1 => fates.mask = rows,
                    _ => fates.keep = rows,
                }
                Ok(())
            };
            self.session.rows(&Statement::plain(sql), &mut each).await?;
        }
        Ok(found)
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
        let fates = self.fates().await?;
        self.references(policy, follow, &fates, &mut decision).await?;
        if follow {
            self.left(&fates, &mut decision).await?;
        }
        self.order(&fates, &mut decision).await?;
        self.steps(policy, &fates, &reasons, key, follow, &mut decision).await?;
        self.name_denied(&mut decision);
        Ok(decision)
    }

    /// Names what the user may not see of what relations lead to, and may not do of what is planned.
    fn name_denied(&self, decision: &mut Decision) {
        let mut denied = Vec::new();
        for &(edge, place) in &self.unseen {
            denied.push(Planned {
                edge: Some(edge),
                reason: Some(
                    "this user may not read all rows of it, by its grants or row-level security, and \
                     the relation may lead to some"
                        .to_owned(),
                ),
                ..Planned::of(place, Action::Denied, 0)
            });
        }
        for step in &decision.steps {
            let (right, word) = match step.action {
                Action::Delete => (Right::Delete, "delete"),
                Action::Mask | Action::Null => (Right::Update, "change"),
                _ => continue,
            };
            if !self.table(step.place).may(right) {
                denied.push(Planned {
                    edge: step.edge,
                    reason: Some(format!("this user may not {word} rows of it")),
                    ..Planned::of(step.place, Action::Denied, step.rows)
                });
            }
        }
        let mut looked = BTreeSet::new();
        for step in &decision.steps {
            let taken = matches!(step.action, Action::Delete | Action::Mask | Action::Keep);
            if !taken || step.keys.is_some() || !looked.insert(step.place) {
                continue;
            }
            let (action, why) = match &self.table(step.place).referrers {
                Referrers::Seen => continue,
                Referrers::Hidden(why) => (Action::Denied, why),
                Referrers::Unknown(why) => (Action::Unknown, why),
            };
            denied.push(Planned {
                reason: Some(why.clone()),
                ..Planned::of(step.place, action, step.rows)
            });
        }
        decision.steps.splice(0..0, denied);
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
                    || !reasons.contains_key(&edge.parent)
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
            // What kept rows of such parts own is kept for their sake.
            reasons.clear();
            for place in self.reached() {
                let (keys, delete) = (key_table(place), Fate::Delete as i64);
                self.run(format!("UPDATE {keys} SET fate = {delete} WHERE fate <> {delete}"))
                    .await?;
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

    /// The stores with rows to be masked, children first: a key that is masked changes the keys below
    /// it.
    fn masked_in_order(&self, fates: &BTreeMap<usize, Fates>) -> Vec<usize> {
        let masked = |place: usize| fates.get(&place).is_some_and(|fates| fates.mask > 0);
        let edges = self.graph.edges.iter();
        let pairs: Vec<(usize, usize)> = edges
            .map(|edge| (edge.child, edge.parent))
            .filter(|(child, parent)| masked(*child) && masked(*parent))
            .collect();
        let groups = children_first(self.catalog.tables.len(), &pairs);
        groups.into_iter().flatten().filter(|&place| masked(place)).collect()
    }

    /// The steps of rows that go, are masked or kept.
    async fn steps(
        &mut self,
        policy: &Policy,
        fates: &BTreeMap<usize, Fates>,
        reasons: &BTreeMap<usize, BTreeSet<String>>,
        key: Option<&Key>,
        follow: bool,
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
        }
        for place in self.masked_in_order(fates) {
            let fates = fates.get(&place).copied().unwrap_or_default();
            let steps = self.mask_steps(policy, place, fates, key, follow, decision).await?;
            decision.steps.extend(steps);
        }
        for place in decision.order.clone() {
            let of_store = fates.get(&place).copied().unwrap_or_default();
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
                edge: of_store.via,
                reason: (!opened.is_empty()).then(|| opened.join("; ")),
                ..Planned::of(place, Action::Delete, of_store.delete)
            });
        }
        // What stops first, then in the order of execution.
        decision.steps.sort_by_key(|step| match step.action {
            Action::Undecided => 0,
            Action::Blocked | Action::Denied => 1,
            Action::Near | Action::Unknown => 2,
            Action::Left => 3,
            Action::Keep => 4,
            Action::Null => 5,
            Action::Delete => 6,
            // A key changes once nothing that goes refers to it any more.
            Action::Mask => 7,
        });
        Ok(())
    }
}
