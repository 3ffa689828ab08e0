//! The plan of an erasure: everything found and decided inside one transaction, as a person reads
//! it, and the hash that stands for it.

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::closure::{Walk, candidate_table};
use super::decide::{Decision, Planned};
use super::engine::{Cell, Engine, Mode, Session};
use super::fold::fold;
use super::mask::{Key, hmac};
use super::policy::{Date, Policy, Retain, cutoff};
use super::seal::Seal;
use super::work::{Phase, Work, key_table};
use crate::fault::Fault;
use crate::message::{self, Action, Matching, Relation, Step};
use crate::silo::{StoreId, Subject};
use crate::sql::catalog::Table;
use crate::sql::statement::Statement;

/// What is wanted, the same for every database.
pub(super) struct Intent {
    pub(super) subjects: Vec<(StoreId, Subject)>,
    pub(super) follow: bool,
    pub(super) policy: Policy,
    pub(super) key: Option<Key>,
    pub(super) today: Date,
}

/// A transaction in which everything is found and decided, and nothing written yet.
pub(super) struct Prepared<'e, E: Engine> {
    pub(super) work: Work<'e, E>,
    pub(super) decision: Decision,
    /// A person store in which the identifiers match several rows.
    pub(super) several: Option<StoreId>,
    /// How many rows each subject's identifiers match.
    pub(super) identified: Vec<(usize, u64)>,
}

/// Raised whenever the same database and request could give another plan.
const VERSION: u64 = 2;

/// Finds and decides, in a new transaction.
pub(super) async fn prepare<'e, E: Engine>(
    engine: &'e E,
    mode: Mode,
    intent: &Intent,
) -> Result<Prepared<'e, E>> {
    if let Some(reason) = &intent.policy.hold {
        return Err(Fault::config(format!(
            "nothing may be erased, by the policy's hold: {reason}"
        ))
        .into());
    }
    let mut work = Work::begin(engine, mode, &intent.policy, &intent.subjects).await?;
    let cutoffs: Vec<(Retain, Option<String>)> = intent
        .policy
        .retain
        .iter()
        .map(|rule| Ok((rule.clone(), cutoff(rule, intent.today)?)))
        .collect::<Result<_>>()?;
    let mut identified = Vec::new();
    let mut several = None;
    let mut near = Vec::new();
    for (id, subject) in &intent.subjects {
        let place = work.place(id)?;
        let rows = work.identify(place, subject).await?;
        if rows > 1 && work.graph.persons[place] {
            several = Some(id.clone());
        }
        identified.push((place, rows));
        near.extend(work.near(place, subject).await?);
    }
    let places: Vec<usize> = identified.iter().map(|(place, _)| *place).collect();
    let mut round = 0;
    if intent.follow {
        let walk = Walk::from(Phase::Owned, 0, &places, work.catalog.tables.len());
        round = work.spread(walk, false).await?;
    }
    let mut decision =
        work.decide(&intent.policy, cutoffs, intent.follow, intent.key.as_ref(), round).await?;
    near.append(&mut decision.steps);
    near.sort_by_key(|step| {
        !matches!(step.action, Action::Undecided | Action::Blocked | Action::Denied)
    });
    decision.steps = near;
    work.name_copies(&mut decision);
    Ok(Prepared { work, decision, several, identified })
}

/// Whether a step changes rows.
fn writes(step: &Planned) -> bool {
    matches!(step.action, Action::Delete | Action::Mask | Action::Null)
}

impl<E: Engine> Work<'_, E> {
    /// Rows that differ from an identifier by case, accents or blanks only.
    async fn near(&mut self, place: usize, subject: &Subject) -> Result<Vec<Planned>> {
        let mut steps = Vec::new();
        for known in subject.identifiers.iter().filter(|one| one.matching == Matching::Exact) {
            let Some(column) = self.table(place).column(&known.property).cloned() else { continue };
            let mut statement = Statement::plain("");
            let value = self.engine.text(&fold(&known.value));
            let parameter = statement.bind(self.engine.dialect(), value);
            let sql = format!("c.{}", self.name(&column.name));
            let Some(condition) = self.engine.near(&column, &sql, &parameter) else { continue };
            statement.text = format!(
                "SELECT count(*) FROM {} c WHERE {condition}{}",
                self.path(place),
                self.not_taken(place, "c")?
            );
            let rows = self.number(&statement).await?;
            if rows > 0 {
                steps.push(Planned {
                    columns: vec![column.name.clone()],
                    reason: Some(
                        "their value differs from the identifier by case, accents or blanks only: \
                         name it too, if it is the same person's"
                            .to_owned(),
                    ),
                    ..Planned::of(place, Action::Near, rows)
                });
            }
        }
        Ok(steps)
    }

    /// Names what may hold copies of what is written, or act on it.
    fn name_copies(&self, decision: &mut Decision) {
        let written =
            |place: usize| decision.steps.iter().any(|step| step.place == place && writes(step));
        let mut warnings = Vec::new();
        for (place, table) in self.catalog.tables.iter().enumerate() {
            if written(place) && !table.triggers.is_empty() {
                warnings.push(format!(
                    "{}: these run when its rows change, and may copy them or change others: {}",
                    table.id,
                    table.triggers.join(", ")
                ));
            }
            if written(place) && !table.copies.is_empty() {
                warnings.push(format!(
                    "{}: these hold copies of its rows, which stay until they are refreshed or \
                     purged: {}",
                    table.id,
                    table.copies.join(", ")
                ));
            }
        }
        decision.warnings.extend(warnings);
    }
}

impl<E: Engine> Prepared<'_, E> {
    /// What stops it from being done.
    pub(super) fn stop(&self) -> Option<String> {
        let step = self.decision.steps.iter().find(|step| {
            matches!(step.action, Action::Undecided | Action::Blocked | Action::Denied)
        })?;
        let relation = step.edge.map(|edge| self.work.graph.edges[edge].name(&self.work.catalog));
        let store = self.work.store(step.place);
        if step.action == Action::Denied {
            return Some(format!("{store}: {}", step.reason.as_deref().unwrap_or_default()));
        }
        Some(format!(
            "{} rows of {store} are {}{}: {}",
            step.rows,
            match step.action {
                Action::Undecided => "undecided",
                _ => "blocked",
            },
            relation.map(|name| format!(", by {name}")).unwrap_or_default(),
            step.reason.as_deref().unwrap_or_default()
        ))
    }

    /// The steps as messages have them.
    pub(super) fn steps(&self) -> Vec<Step> {
        let step = |step: &Planned| {
            let StoreId { group, name } = self.work.store(step.place).clone();
            Step {
                schema_name: name,
                schema_group: group,
                action: step.action,
                rows: step.rows,
                relation: step.edge.map(|edge| {
                    let edge = &self.work.graph.edges[edge];
                    let child = (edge.child != step.place).then(|| self.work.store(edge.child));
                    Relation { child: child.cloned(), ..edge.message(&self.work.catalog) }
                }),
                columns: step.columns.clone(),
                reason: step.reason.clone(),
            }
        };
        self.decision.steps.iter().map(step).collect()
    }

    /// The tables that are written to.
    pub(super) fn written(&self) -> Vec<Table> {
        let mut places: Vec<usize> =
            self.decision.steps.iter().filter(|step| writes(step)).map(|step| step.place).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| self.work.table(place).clone()).collect()
    }

    /// The stores taken as ones of persons.
    pub(super) fn persons(&self) -> Vec<StoreId> {
        let tables = self.work.catalog.tables.iter().zip(&self.work.graph.persons);
        tables.filter(|(_, person)| **person).map(|(table, _)| table.id.clone()).collect()
    }

    /// Everything the plan depends on and does, in one form, with a digest for each set of rows.
    pub(super) async fn sealed(&mut self, intent: &Intent, seal: &Seal) -> Result<Value> {
        let identity = self.work.engine.identity().await?;
        let mut steps = Vec::new();
        for step in self.decision.steps.clone() {
            let digest = self.digest(&step, seal).await?;
            steps.push(json!({
                "store": self.work.store(step.place).to_string(),
                "action": step.action,
                "rows": step.rows,
                "columns": step.columns,
                "rows_digest": digest,
            }));
        }
        let reached = self.work.reached();
        let concerned = |place: &usize| {
            reached.contains(place)
                || self.work.graph.from[*place]
                    .iter()
                    .any(|&edge| reached.contains(&self.work.graph.edges[edge].parent))
        };
        let places: Vec<usize> = (0..self.work.catalog.tables.len()).filter(concerned).collect();
        let catalog: Vec<String> = places
            .iter()
            .map(|&place| {
                // How many rows there are in all, and what is said of them, changes nothing.
                let table = Table { rows: None, comment: None, ..self.work.table(place).clone() };
                format!("{table:?}")
            })
            .collect();
        let relations: Vec<Value> = self
            .work
            .graph
            .edges
            .iter()
            .filter(|edge| places.contains(&edge.child))
            .map(|edge| {
                json!([
                    edge.name(&self.work.catalog),
                    self.work.store(edge.parent).to_string(),
                    edge.references,
                    edge.rule,
                    edge.by_hand
                ])
            })
            .collect();
        let mut identifiers: Vec<Value> = Vec::new();
        for (id, subject) in &intent.subjects {
            for known in &subject.identifiers {
                identifiers.push(json!([
                    id.to_string(),
                    known.property,
                    known.value,
                    known.matching
                ]));
            }
        }
        identifiers.sort_by_key(Value::to_string);
        Ok(json!({
            "version": VERSION,
            "database": identity,
            "follow": intent.follow,
            "catalog": catalog,
            "persons": self.persons(),
            "relations": relations,
            "strategies": intent.policy.strategies,
            "retain": self.decision.cutoffs,
            "identifiers": identifiers,
            "steps": steps,
        }))
    }

    /// A digest of the set of a step's rows, which does not depend on their order.
    async fn digest(&mut self, step: &Planned, seal: &Seal) -> Result<String> {
        let place = step.place;
        let (temp, filter) = match (&step.keys, step.action) {
            (Some(keys), _) => (keys.clone(), String::new()),
            (None, Action::Delete) => (key_table(place), " WHERE k.fate = 0".to_owned()),
            (None, Action::Mask) => (key_table(place), " WHERE k.fate = 1".to_owned()),
            (None, Action::Keep) => (key_table(place), " WHERE k.fate > 0".to_owned()),
            (None, Action::Undecided) => (
                candidate_table(place),
                format!(
                    " WHERE k.via = {} AND k.phase <> {} AND NOT (k.other = 1 AND k.subject = 0)",
                    step.edge.unwrap_or_default(),
                    Phase::Theirs as i64
                ),
            ),
            (None, _) => return Ok(String::new()),
        };
        self.work.digest(place, &temp, &filter, seal).await
    }
}

impl<E: Engine> Work<'_, E> {
    /// A digest of the rows of a temporary table: of their keys, or of all their columns where the
    /// store has no key of its own.
    pub(super) async fn digest(
        &mut self,
        place: usize,
        temp: &str,
        filter: &str,
        seal: &Seal,
    ) -> Result<String> {
        let parts = self.key_parts(place)?;
        let keyed = parts.iter().all(|part| part.column.is_some());
        let sql = if keyed {
            format!("SELECT {} FROM {temp} k{filter}", self.temp_key(place, Some("k"))?)
        } else {
            let columns = self.all_columns(place, "t");
            let on = self.on_key(place, "t", "k")?;
            format!(
                "SELECT {columns} FROM {temp} k {} {} t ON {on}{filter}",
                self.engine.join(),
                self.path(place)
            )
        };
        let mut sum = SetDigest::new(seal);
        let mut each = |cells: &[Cell<'_>]| {
            sum.add(cells);
            Ok(())
        };
        self.session.rows(&Statement::plain(sql), &mut each).await?;
        Ok(sum.finish())
    }

    pub(super) fn all_columns(&self, place: usize, alias: &str) -> String {
        let columns = self.table(place).columns.iter();
        let columns: Vec<String> =
            columns.map(|column| format!("{alias}.{}", self.name(&column.name))).collect();
        if columns.is_empty() { "1".to_owned() } else { columns.join(", ") }
    }
}

/// A digest of a set: the sum of the digests of its members, so that their order does not matter
/// and none has to be remembered. Keyed, so that nobody can choose rows that add up.
pub(super) struct SetDigest {
    begin: Sha256,
    sum: [u64; 4],
    buffer: Vec<u8>,
}

impl SetDigest {
    pub(super) fn new(seal: &Seal) -> SetDigest {
        // A whole block, so that each member costs one more.
        let mut begin = Sha256::new();
        begin.update(hmac(seal.key(), b"manifold rows"));
        begin.update([0; 32]);
        SetDigest { begin, sum: [0; 4], buffer: Vec::new() }
    }

    pub(super) fn add(&mut self, cells: &[Cell<'_>]) {
        self.buffer.clear();
        for cell in cells {
            let (tag, bytes): (u8, &[u8]) = match cell {
                Cell::Null => (0, &[]),
                Cell::Integer(integer) => (1, &integer.to_be_bytes()),
                Cell::Real(real) => (2, &real.to_bits().to_be_bytes()),
                Cell::Text(text) => (3, text.as_bytes()),
                Cell::Bytes(bytes) => (4, bytes),
            };
            self.buffer.push(tag);
            self.buffer.extend((bytes.len() as u64).to_be_bytes());
            self.buffer.extend(bytes);
        }
        let mut one = self.begin.clone();
        one.update(&self.buffer);
        let digest = one.finalize();
        let mut carry = false;
        for (word, bytes) in self.sum.iter_mut().zip(digest.chunks_exact(8)) {
            let add = u64::from_be_bytes(bytes.try_into().expect("a chunk has eight bytes"));
            let (sum, first) = word.overflowing_add(add);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, first || second);
        }
    }

    pub(super) fn finish(&self) -> String {
        self.sum.iter().map(|word| format!("{word:016x}")).collect()
    }
}

/// The plan of several databases, as one message.
pub(super) fn message<E: Engine>(prepared: &[Prepared<'_, E>], hash: String) -> message::Plan {
    let mut plan = message::Plan { hash, ..message::Plan::default() };
    for one in prepared {
        plan.steps.extend(one.steps());
        plan.persons.extend(one.persons());
        plan.warnings.extend(one.decision.warnings.iter().cloned());
        if let Some(id) = &one.several {
            plan.warnings.push(format!(
                "the identifiers match several rows of {id}: a delete needs this plan's hash"
            ));
        }
    }
    plan
}

/// The hash of what the databases' plans say.
pub(super) fn hash(seal: &Seal, sealed: &[Value]) -> String {
    seal.hash(Value::from(sealed.to_vec()).to_string().as_bytes())
}
