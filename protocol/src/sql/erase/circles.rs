//! The order in which stores are emptied, and how circles of references among rows that go are opened.

use std::collections::BTreeMap;

use anyhow::Result;

use super::decide::{Decision, Fates, Opening, Planned};
use super::engine::Engine;
use super::relations::nullable_columns;
use super::sequence::children_first;
use super::work::{Work, key_table};
use crate::message::Action;
use crate::sql::catalog::OnChange;

impl<E: Engine> Work<'_, E> {
    /// The order in which stores are emptied, and how circles among their rows are opened.
    pub(super) async fn order(
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
}
