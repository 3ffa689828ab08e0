//! The closure: every row that belongs to the subject, breadth first over the relations that own,
//! each step a statement over whole sets.
//!
//! A row that is reached through an owning relation is a candidate first, where anything could
//! speak against it: a reference to another person, a person's row that refers to it, a store that
//! looks like one of persons. Candidates are judged again whenever more of the subject's own rows
//! are known; what is taken stays taken, so the order of steps does not matter. Who is left at the
//! end is another person's, or undecided.

use anyhow::Result;

use super::engine::{Engine, Session};
use super::policy::Rule;
use super::relations::Edge;
use super::work::{Fate, Phase, Work, into_columns, key_table};
use crate::sql::statement::Statement;

/// The rows a relation led to that are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Undecided {
    /// The relation.
    pub(super) edge: usize,
    /// How many rows.
    pub(super) rows: u64,
    /// Why they are not taken.
    pub(super) both: u64,
    /// How many of them refer to the subject and to somebody else.
    pub(super) linked: u64,
}

/// Where a walk through the relations stands.
pub(super) struct Walk {
    phase: Phase,
    round: i64,
    /// The stores whose key tables got rows in this round, and in the next.
    fresh: Vec<bool>,
    next: Vec<bool>,
    /// Statements that wait to be run together, each with the store whose key table it fills.
    pending: Vec<(Option<usize>, String)>,
}

/// The name of a store's table of candidates.
pub(super) fn candidate_table(place: usize) -> String {
    format!("manifold_c{place}")
}

/// The name of the table of a store's parts that stay, because others refer to them.
pub(super) fn shared_table(place: usize) -> String {
    format!("manifold_x{place}")
}

impl Walk {
    /// A walk from what is in the key tables of `stores`, at `round`.
    pub(super) fn from(phase: Phase, round: i64, stores: &[usize], n: usize) -> Walk {
        let mut fresh = vec![false; n];
        for &place in stores {
            fresh[place] = true;
        }
        Walk { phase, round, fresh, next: vec![false; n], pending: Vec::new() }
    }
}

impl<E: Engine> Work<'_, E> {
    /// Takes what the rows of round 0 own, and what that owns. Returns the last round.
    pub(super) async fn spread(&mut self, mut walk: Walk, first_any_round: bool) -> Result<i64> {
        let edges = self.graph.edges.clone();
        let mut any_round = first_any_round;
        while walk.fresh.contains(&true) {
            let mut judge: Vec<usize> = Vec::new();
            for (place, edge) in edges.iter().enumerate() {
                if edge.rule == Rule::Owns && walk.fresh[edge.parent] && !any_round {
                    self.follow(place, edge, &mut walk, &mut judge).await?;
                }
                if edge.rule == Rule::Part && walk.phase == Phase::Part && walk.fresh[edge.child] {
                    self.run_pending(&mut walk).await?;
                    self.follow_part(place, edge, &mut walk, any_round).await?;
                }
            }
            self.run_pending(&mut walk).await?;
            any_round = false;
            // More of the subject's own rows may decide about others.
            let more = (0..walk.next.len()).any(|place| {
                walk.next[place] && (self.graph.persons[place] || self.graph.looks[place])
            });
            for place in 0..walk.next.len() {
                let waiting = self.has_made(&candidate_table(place));
                if judge.contains(&place) || (more && waiting) {
                    self.judge(place, &mut walk).await?;
                }
            }
            walk.round += 1;
            walk.fresh = std::mem::replace(&mut walk.next, vec![false; walk.fresh.len()]);
        }
        // What was in doubt may have been reached by a relation that leaves none.
        for place in 0..walk.fresh.len() {
            if self.has_made(&candidate_table(place)) {
                self.forget_taken(place, walk.phase).await?;
            }
        }
        Ok(walk.round)
    }

    /// Runs what waits to be run.
    async fn run_pending(&mut self, walk: &mut Walk) -> Result<()> {
        let (stores, statements): (Vec<Option<usize>>, Vec<String>) =
            walk.pending.drain(..).unzip();
        if statements.is_empty() {
            return Ok(());
        }
        let filled = self.session.run_all(&statements).await?;
        for (store, rows) in stores.into_iter().zip(filled) {
            let Some(store) = store.filter(|_| rows > 0) else { continue };
            walk.next[store] = true;
            self.tell_filled(&key_table(store), rows).await?;
        }
        Ok(())
    }

    /// What is another person's so far is judged again with the parts.
    pub(super) async fn set_theirs_aside(&mut self) -> Result<()> {
        for place in 0..self.catalog.tables.len() {
            let waiting = candidate_table(place);
            if self.has_made(&waiting) {
                let (theirs, owned) = (Phase::Theirs as i64, Phase::Owned as i64);
                self.run(format!(
                    "UPDATE {waiting} SET phase = {theirs} \
                     WHERE phase = {owned} AND other = 1 AND subject = 0"
                ))
                .await?;
            }
        }
        Ok(())
    }

    /// Candidates of a phase that are taken by now are none any more.
    async fn forget_taken(&mut self, place: usize, phase: Phase) -> Result<()> {
        let (waiting, taken) = (candidate_table(place), key_table(place));
        let k = self.temp_key(place, None)?;
        self.run(format!(
            "DELETE FROM {waiting} WHERE phase = {} AND ({k}) IN (SELECT {k} FROM {taken})",
            phase as i64
        ))
        .await?;
        Ok(())
    }

    async fn follow(
        &mut self,
        place: usize,
        edge: &Edge,
        walk: &mut Walk,
        judge: &mut Vec<usize>,
    ) -> Result<()> {
        let child = edge.child;
        // A review never shows another person.
        if walk.phase == Phase::Review && (self.graph.persons[child] || self.graph.looks[child]) {
            return Ok(());
        }
        if !self.sees(place, child) {
            return Ok(());
        }
        let from = self.children(edge)?;
        let key = self.row_key(child, "c")?;
        let (round, phase) = (walk.round, walk.phase as i64);
        let mut of_round = format!("k.round = {round}");
        if walk.phase == Phase::Review {
            of_round.push_str(&format!(" AND k.phase = {phase}"));
        }
        // A part that others refer to stays, also where it is reached as a child.
        let aside = shared_table(child);
        if walk.phase == Phase::Part && self.has_made(&aside) {
            let on = self.on_key(child, "c", "x")?;
            of_round.push_str(&format!(" AND NOT EXISTS (SELECT 1 FROM {aside} x WHERE {on})"));
        }
        if self.is_certain(place, edge) {
            let make = self.new_keys(child)?;
            walk.pending.extend(make.map(|sql| (None, sql)));
            let parts = self.key_parts(child)?;
            let fate = Fate::Delete as i64;
            let (into, columns) = (key_table(child), into_columns(&parts));
            let taken = if edge.child == edge.parent {
                self.run_pending(walk).await?;
                // No database likes to fill a temporary table from itself.
                let scratch = "manifold_s".to_owned() + &child.to_string();
                self.scratch(&scratch, child, "").await?;
                let k = self.temp_key(child, None)?;
                let select = format!("SELECT {key} FROM {from} WHERE {of_round}");
                self.insert(&scratch, &k, &select).await?;
                format!("SELECT {k}, {}, {phase}, {fate}, {place} FROM {scratch}", round + 1)
            } else {
                format!(
                    "SELECT {key}, {}, {phase}, {fate}, {place} FROM {from} WHERE {of_round}",
                    round + 1
                )
            };
            walk.pending.push((Some(child), self.engine.insert_new(&into, &columns, &taken)));
            return Ok(());
        }
        self.run_pending(walk).await?;
        let waiting = candidate_table(child);
        if !self.has_made(&waiting) {
            let further = ", via INTEGER NOT NULL, phase INTEGER NOT NULL, sure INTEGER NOT NULL, \
                           subject INTEGER NOT NULL, other INTEGER NOT NULL, linked INTEGER NOT NULL";
            self.scratch(&waiting, child, further).await?;
        }
        self.ensure_keys(child).await?;
        let columns = self.temp_key(child, None)? + ", via, phase, sure, subject, other, linked";
        let select =
            format!("SELECT {key}, {place}, {phase}, 0, 0, 0, 0 FROM {from} WHERE {of_round}");
        let statement = Statement::plain(self.engine.insert_new(&waiting, &columns, &select));
        if self.fill(&waiting, statement).await? > 0 && !judge.contains(&child) {
            judge.push(child);
        }
        Ok(())
    }

    /// The parents that are parts of what was taken, but for those that must stay.
    async fn follow_part(
        &mut self,
        place: usize,
        edge: &Edge,
        walk: &mut Walk,
        any_round: bool,
    ) -> Result<()> {
        let parent = edge.parent;
        if !self.sees(place, parent) {
            return Ok(());
        }
        self.ensure_keys(parent).await?;
        let (from, key) = (self.parents(edge)?, self.row_key(parent, "p")?);
        let mut conditions = Vec::new();
        if !any_round {
            conditions.push(format!("k.round = {}", walk.round));
        }
        let shared = shared_table(parent);
        if self.has_made(&shared) {
            let on = self.on_key(parent, "p", "x")?;
            conditions.push(format!("NOT EXISTS (SELECT 1 FROM {shared} x WHERE {on})"));
        }
        let filter = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let scratch = format!("manifold_s{parent}");
        self.scratch(&scratch, parent, "").await?;
        let k = self.temp_key(parent, None)?;
        let select = format!("SELECT {key} FROM {from}{filter}");
        self.insert(&scratch, &k, &select).await?;
        let into = key_table(parent);
        let columns = into_columns(&self.key_parts(parent)?);
        let select = format!(
            "SELECT {k}, {}, {}, {}, {place} FROM {scratch}",
            walk.round + 1,
            walk.phase as i64,
            Fate::Delete as i64
        );
        let statement = Statement::plain(self.engine.insert_new(&into, &columns, &select));
        if self.fill(&into, statement).await? > 0 {
            walk.next[parent] = true;
        }
        Ok(())
    }

    /// Whether every row that an owning relation leads to is taken, whatever is in it.
    pub(super) fn is_certain(&self, place: usize, edge: &Edge) -> bool {
        let subjects = self.graph.persons[edge.parent];
        if edge.by_hand || (subjects && edge.in_key) {
            return true;
        }
        if self.graph.looks[edge.child] {
            return false;
        }
        let speaks_against = |other: usize| {
            let q = &self.graph.edges[other];
            let towards = self.graph.persons[q.parent] || self.graph.looks[q.parent];
            // Through this relation it refers to the subject's own row.
            q.rule != Rule::Refers && towards && !(other == place && subjects)
        };
        let refers_here = |other: usize| {
            let child = self.graph.edges[other].child;
            self.graph.persons[child] || self.graph.looks[child]
        };
        !self.graph.from[edge.child].iter().any(|&other| speaks_against(other))
            && !self.graph.into[edge.child].iter().any(|&other| refers_here(other))
    }

    /// Looks at the candidates of a store again, and takes those that nothing speaks against.
    async fn judge(&mut self, place: usize, walk: &mut Walk) -> Result<()> {
        let (waiting, taken) = (candidate_table(place), key_table(place));
        let k = self.temp_key(place, None)?;
        self.forget_taken(place, walk.phase).await?;
        let looks = i64::from(self.graph.looks[place]);
        // What was judged before parts were looked at stays judged so.
        let phases = match walk.phase {
            Phase::Part => format!("phase IN ({}, {})", Phase::Part as i64, Phase::Theirs as i64),
            phase => format!("phase = {}", phase as i64),
        };
        self.run(format!(
            "UPDATE {waiting} SET sure = 0, subject = 0, other = 0, linked = {looks} \
             WHERE {phases}"
        ))
        .await?;
        let now = format!("WHERE {phases} AND");
        for edge in self.graph.from[place].clone() {
            let edge = self.graph.edges[edge].clone();
            if edge.rule == Rule::Refers {
                continue;
            }
            if self.graph.persons[edge.parent] {
                if self.has_keys(edge.parent) {
                    let own = self.refers_to_taken(&edge, &waiting)?;
                    let sure = if edge.in_key { ", sure = 1" } else { "" };
                    self.run(format!("UPDATE {waiting} SET subject = 1{sure} {now} {own}")).await?;
                }
                let other = self.refers_to_others(&edge, &waiting)?;
                self.run(format!("UPDATE {waiting} SET other = 1 {now} {other}")).await?;
            } else if self.graph.looks[edge.parent] {
                let other = self.refers_to_others(&edge, &waiting)?;
                self.run(format!("UPDATE {waiting} SET linked = 1 {now} {other}")).await?;
            }
        }
        for edge in self.graph.into[place].clone() {
            let edge = self.graph.edges[edge].clone();
            if self.graph.persons[edge.child] || self.graph.looks[edge.child] {
                let by = self.referred_by_others(&edge, &waiting)?;
                self.run(format!("UPDATE {waiting} SET linked = 1 {now} {by}")).await?;
            }
        }
        let clear = match walk.phase {
            // Nothing is taken for good here: all but what is another person's is shown.
            Phase::Review => "other = 0 OR subject = 1",
            Phase::Owned | Phase::Part | Phase::Theirs => "other = 0 AND linked = 0",
        };
        let parts = self.key_parts(place)?;
        let select = format!(
            "SELECT {k}, {}, {}, {}, via FROM {waiting} WHERE {phases} AND (sure = 1 OR {clear})",
            walk.round + 1,
            walk.phase as i64,
            Fate::Delete as i64
        );
        let statement =
            Statement::plain(self.engine.insert_new(&taken, &into_columns(&parts), &select));
        if self.fill(&taken, statement).await? > 0 {
            walk.next[place] = true;
            self.forget_taken(place, walk.phase).await?;
        }
        Ok(())
    }

    /// The condition that a candidate refers to one of the parent's rows that are taken.
    pub(super) fn refers_to_taken(&self, edge: &Edge, waiting: &str) -> Result<String> {
        let (child, keys) = (self.path(edge.child), key_table(edge.parent));
        let on_child = self.on_key(edge.child, "c", waiting)?;
        Ok(match self.referenced_in_keys(edge, "s")? {
            Some(columns) => format!(
                "EXISTS (SELECT 1 FROM {child} c JOIN {keys} s ON {} WHERE {on_child})",
                self.on_reference(edge, &columns, "c")
            ),
            None => format!(
                "EXISTS (SELECT 1 FROM {child} c JOIN {} p ON {} JOIN {keys} s ON {} WHERE {on_child})",
                self.path(edge.parent),
                self.on_rows(edge, "p", "c"),
                self.on_key(edge.parent, "p", "s")?
            ),
        })
    }

    /// The condition that a candidate refers to one of the parent's rows that are not taken.
    pub(super) fn refers_to_others(&self, edge: &Edge, waiting: &str) -> Result<String> {
        let on_child = self.on_key(edge.child, "c", waiting)?;
        let not_taken = self.not_taken(edge.parent, "p")?;
        Ok(format!(
            "EXISTS (SELECT 1 FROM {} c JOIN {} p ON {} WHERE {on_child}{not_taken})",
            self.path(edge.child),
            self.path(edge.parent),
            self.on_rows(edge, "p", "c")
        ))
    }

    /// The condition that a candidate is referred to by one of the child's rows that are not taken.
    fn referred_by_others(&self, edge: &Edge, waiting: &str) -> Result<String> {
        let (child, parent, j) =
            (self.path(edge.child), self.path(edge.parent), self.engine.join());
        let on = self.on_rows(edge, "p", "c");
        let not_taken = self.not_taken(edge.child, "c")?;
        if edge.indexed {
            let on_candidate = self.on_key(edge.parent, "p", waiting)?;
            return Ok(format!(
                "EXISTS (SELECT 1 FROM {parent} p {j} {child} c ON {on} WHERE {on_candidate}{not_taken})"
            ));
        }
        // One pass over the child, not one for each candidate.
        let (k, key) = (self.temp_key(edge.parent, None)?, self.row_key(edge.parent, "p")?);
        Ok(format!(
            "({k}) IN (SELECT {key} FROM {child} c {j} {parent} p ON {on} WHERE 1 = 1{not_taken})"
        ))
    }

    /// ` AND …`: the condition that a row is not in its store's key table.
    pub(super) fn not_taken(&self, place: usize, alias: &str) -> Result<String> {
        if !self.has_keys(place) {
            return Ok(String::new());
        }
        let on = self.on_key(place, alias, "t")?;
        Ok(format!(" AND NOT EXISTS (SELECT 1 FROM {} t WHERE {on})", key_table(place)))
    }

    /// The candidates of a phase that are left and are not another person's, by relation.
    pub(super) async fn undecided(&mut self, phase: Phase) -> Result<Vec<Undecided>> {
        let mut found = Vec::new();
        for place in 0..self.catalog.tables.len() {
            let waiting = candidate_table(place);
            if !self.has_made(&waiting) {
                continue;
            }
            let sql = format!(
                "SELECT via, count(*), sum(CASE WHEN other = 1 THEN 1 ELSE 0 END), sum(linked) \
                 FROM {waiting} WHERE phase = {} AND NOT (other = 1 AND subject = 0) \
                 GROUP BY via ORDER BY via",
                phase as i64
            );
            let mut each = |cells: &[super::engine::Cell<'_>]| {
                let number = |i: usize| match cells.get(i) {
                    Some(super::engine::Cell::Integer(n)) => *n,
                    _ => 0,
                };
                let positive = |i: usize| u64::try_from(number(i)).unwrap_or(0);
                found.push(Undecided {
                    edge: usize::try_from(number(0)).unwrap_or(0),
                    rows: positive(1),
                    both: positive(2),
                    linked: positive(3),
                });
                Ok(())
            };
            self.session.rows(&Statement::plain(sql), &mut each).await?;
        }
        Ok(found)
    }
}
