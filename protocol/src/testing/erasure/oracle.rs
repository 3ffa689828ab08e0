//! What the rules of erasure say of rows in memory, written from their text and sharing nothing
//! with the engine: row by row, until nothing changes.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    Owns,
    Refers,
    Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnDelete {
    NoAction,
    Restrict,
    Cascade,
    SetNull,
    SetDefault,
}

#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) child: usize,
    pub(super) parent: usize,
    /// The place of the referring column among the child's.
    pub(super) column: usize,
    pub(super) nullable: bool,
    pub(super) in_key: bool,
    pub(super) whole_key: bool,
    pub(super) unique: bool,
    pub(super) composite: bool,
    pub(super) on_delete: OnDelete,
    /// The id that the reference has where none is given.
    pub(super) default: Option<i64>,
    pub(super) deferrable: bool,
    /// Only one partition of the child has it.
    pub(super) on_partition: bool,
    pub(super) by_hand: Option<Rule>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) keyless: bool,
    /// Its ids are words, compared without regard to case where the database can.
    pub(super) natural: bool,
    /// Its columns hold two of the four.
    pub(super) looks: bool,
    /// It has a column of a person's at all.
    pub(super) personal: bool,
    /// The policy lists it.
    pub(super) listed: bool,
    /// A strategy masks its rows.
    pub(super) masked: bool,
    /// It gives them new ids.
    pub(super) rekeyed: bool,
    /// Rows from this day on are kept.
    pub(super) kept_since: Option<i64>,
    pub(super) partitioned: bool,
    /// By id: the references, and the day.
    pub(super) rows: BTreeMap<i64, Row>,
    pub(super) columns: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) references: Vec<Option<i64>>,
    pub(super) day: i64,
    pub(super) note: bool,
    /// Whether it has its id no more.
    pub(super) renamed: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct World {
    /// Whether a reference may differ from its key by case.
    pub(super) caseless: bool,
    pub(super) tables: Vec<Table>,
    pub(super) relations: Vec<Relation>,
    /// The table of which a trigger copies the ids of what goes.
    pub(super) copies: Option<usize>,
    /// Those ids.
    pub(super) graveyard: BTreeSet<String>,
}

pub(super) type At = (usize, i64);

#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub(super) struct Verdict {
    pub(super) delete: BTreeSet<At>,
    pub(super) mask: BTreeSet<At>,
    pub(super) keep: BTreeSet<At>,
    pub(super) shared: BTreeSet<At>,
    pub(super) undecided: BTreeSet<At>,
    pub(super) left: BTreeSet<At>,
    /// Relation and row.
    pub(super) null: BTreeSet<(usize, At)>,
    pub(super) blocked: BTreeSet<(usize, At)>,
    /// What a query shows.
    pub(super) shown: BTreeSet<At>,
}

impl World {
    fn all(&self) -> Vec<At> {
        let rows = |place: usize| self.tables[place].rows.keys().map(move |&id| (place, id));
        (0..self.tables.len()).flat_map(rows).collect()
    }

    pub(super) fn target(&self, relation: usize, at: At) -> Option<At> {
        let r = &self.relations[relation];
        if r.child != at.0 {
            return None;
        }
        let id = self.tables[at.0].rows[&at.1].references[r.column]?;
        Some((r.parent, id))
    }

    fn persons(&self, identified: usize) -> Vec<bool> {
        let mut persons: Vec<bool> = self.tables.iter().map(|t| t.listed).collect();
        let refers_to_person = self
            .relations
            .iter()
            .any(|r| r.child == identified && r.parent != identified && persons[r.parent]);
        if self.tables[identified].looks || !refers_to_person || !persons.contains(&true) {
            persons[identified] = true;
        }
        persons
    }

    fn rules(&self, persons: &[bool]) -> Vec<Rule> {
        self.relations
            .iter()
            .map(|r| {
                if let Some(rule) = r.by_hand {
                    return rule;
                }
                if r.child == r.parent {
                    return Rule::Refers;
                }
                if persons[r.child] {
                    let same = r.whole_key || (r.unique && !r.nullable);
                    return if same { Rule::Owns } else { Rule::Refers };
                }
                let owned = self.relations.iter().any(|o| {
                    o.child == r.child && persons[o.parent] && o.by_hand == Some(Rule::Owns)
                });
                if persons[r.parent] && owned {
                    return Rule::Refers;
                }
                match r.on_delete {
                    OnDelete::SetNull | OnDelete::SetDefault => Rule::Refers,
                    _ => Rule::Owns,
                }
            })
            .collect()
    }

    pub(super) fn judge(&self, subject: At) -> Verdict {
        let persons = self.persons(subject.0);
        let rules = self.rules(&persons);
        let looks: Vec<bool> =
            (0..self.tables.len()).map(|i| self.tables[i].looks && !persons[i]).collect();
        let mut taken: BTreeSet<At> = BTreeSet::new();
        if self.tables[subject.0].rows.contains_key(&subject.1) {
            taken.insert(subject);
        }
        let all = self.all();
        // What speaks about a row, given what is taken.
        let stands = |at: At, taken: &BTreeSet<At>| {
            let (mut own, mut sure, mut other, mut linked) = (false, false, false, looks[at.0]);
            for (place, r) in self.relations.iter().enumerate() {
                if let Some(to) = self.target(place, at)
                    && rules[place] != Rule::Refers
                {
                    if persons[to.0] && taken.contains(&to) {
                        own = true;
                        sure |= r.in_key;
                    } else if persons[to.0] {
                        other = true;
                    } else if looks[to.0] && !taken.contains(&to) {
                        linked = true;
                    }
                }
                for &from in &all {
                    if (persons[from.0] || looks[from.0])
                        && !taken.contains(&from)
                        && self.target(place, from) == Some(at)
                    {
                        linked = true;
                    }
                }
            }
            (own, sure, other, linked)
        };
        let reached = |at: At, from: &BTreeSet<At>, by_hand: bool| {
            (0..self.relations.len()).any(|place| {
                rules[place] == Rule::Owns
                    && (!by_hand || self.relations[place].by_hand.is_some())
                    && self.target(place, at).is_some_and(|to| from.contains(&to))
            })
        };
        let grow = |taken: &mut BTreeSet<At>, stop: &BTreeSet<At>| loop {
            let before = taken.len();
            for &at in all.iter().filter(|at| !stop.contains(at)) {
                if taken.contains(&at) || !reached(at, taken, false) {
                    continue;
                }
                let (_, sure, other, linked) = stands(at, taken);
                if reached(at, taken, true) || sure || (!other && !linked) {
                    taken.insert(at);
                }
            }
            if taken.len() == before {
                break;
            }
        };
        grow(&mut taken, &BTreeSet::new());
        let mut verdict = Verdict::default();
        for &at in all.iter().filter(|at| !taken.contains(at)) {
            if reached(at, &taken, false) {
                let (own, _, other, _) = stands(at, &taken);
                if !other || own {
                    verdict.undecided.insert(at);
                }
            }
        }
        let closure = taken.clone();
        let in_doubt = verdict.undecided.clone();
        // Parts, all of them at first; then without those that something else refers to.
        let fate = |at: At, kept: &BTreeSet<At>| {
            if kept.contains(&at) { 2 } else { i32::from(self.tables[at.0].masked) }
        };
        let kept_of = |taken: &BTreeSet<At>| {
            let mut kept: BTreeSet<At> = taken
                .iter()
                .copied()
                .filter(|at| {
                    let table = &self.tables[at.0];
                    table.kept_since.is_some_and(|since| table.rows[&at.1].day >= since)
                })
                .collect();
            loop {
                let more: Vec<At> = taken
                    .iter()
                    .copied()
                    .filter(|at| !kept.contains(at) && reached(*at, &kept, false))
                    .collect();
                if more.is_empty() {
                    return kept;
                }
                kept.extend(more);
            }
        };
        let with_parts = |shared: &BTreeSet<At>| {
            let mut taken = closure.clone();
            // What was undecided, or another's, before parts stays so.
            loop {
                let before = taken.len();
                let parts: Vec<At> = taken
                    .iter()
                    .flat_map(|&at| {
                        let rules = &rules;
                        (0..self.relations.len())
                            .filter(move |&p| rules[p] == Rule::Part)
                            .filter_map(move |p| self.target(p, at))
                    })
                    .filter(|at| !shared.contains(at))
                    .collect();
                taken.extend(parts);
                let mut stop = verdict.undecided.clone();
                stop.extend(shared.iter().copied());
                grow(&mut taken, &stop);
                if taken.len() == before {
                    return taken;
                }
            }
        };
        let mut shown = with_parts(&BTreeSet::new());
        loop {
            let taken_now = with_parts(&verdict.shared);
            let kept = kept_of(&taken_now);
            let goes = |at: At| taken_now.contains(&at) && fate(at, &kept) == 0;
            let mut more = BTreeSet::new();
            for &at in taken_now.iter().filter(|at| !closure.contains(at)) {
                let is_part = (0..self.relations.len())
                    .any(|p| rules[p] == Rule::Part && self.relations[p].parent == at.0);
                if !is_part || !goes(at) {
                    continue;
                }
                let referred = all.iter().any(|&from| {
                    !goes(from)
                        && (0..self.relations.len()).any(|p| self.target(p, from) == Some(at))
                });
                if referred {
                    more.insert(at);
                }
            }
            if more.is_empty() {
                taken = taken_now;
                break;
            }
            verdict.shared.extend(more);
        }
        // What a part's own rows lead to can be in doubt as well.
        let doubtful: Vec<At> = all
            .iter()
            .copied()
            .filter(|at| !taken.contains(at) && !verdict.shared.contains(at))
            .filter(|at| reached(*at, &taken, false) && !reached(*at, &closure, false))
            .filter(|at| {
                let (own, _, other, _) = stands(*at, &taken);
                !other || own
            })
            .collect();
        verdict.undecided.extend(doubtful);
        let kept = kept_of(&taken);
        for &at in &taken {
            match fate(at, &kept) {
                0 => verdict.delete.insert(at),
                1 => verdict.mask.insert(at),
                _ => verdict.keep.insert(at),
            };
        }
        for &at in all.iter().filter(|at| !verdict.delete.contains(at)) {
            if verdict.undecided.contains(&at) {
                continue;
            }
            for (place, r) in self.relations.iter().enumerate() {
                let Some(to) = self.target(place, at) else { continue };
                if !verdict.delete.contains(&to) {
                    continue;
                }
                let cannot = match (r.on_delete, r.default) {
                    // It would be set to what goes itself.
                    (OnDelete::SetDefault, Some(id)) => verdict.delete.contains(&(r.parent, id)),
                    _ => !r.nullable || r.in_key,
                };
                if verdict.keep.contains(&at) || cannot {
                    verdict.blocked.insert((place, at));
                } else {
                    verdict.null.insert((place, at));
                }
            }
        }
        for &at in all.iter().filter(|at| !taken.contains(at)) {
            if !self.tables[at.0].personal || persons[at.0] {
                continue;
            }
            let by = |from: &At, place: usize| self.target(place, *from) == Some(at);
            let was = verdict.delete.iter().any(|from| {
                (0..self.relations.len()).any(|place| {
                    let r = &self.relations[place];
                    r.by_hand.is_none() && r.child != r.parent && by(from, place)
                })
            });
            let is = all.iter().any(|from| {
                !verdict.delete.contains(from)
                    && (0..self.relations.len()).any(|place| by(from, place))
            });
            if was && !is {
                verdict.left.insert(at);
            }
        }
        // A review: what is undecided and what that owns, but never another person.
        let stranger = |at: &At| persons[at.0] || looks[at.0];
        let mut review: BTreeSet<At> =
            in_doubt.iter().copied().filter(|at| !stranger(at)).collect();
        loop {
            let more: Vec<At> = all
                .iter()
                .copied()
                .filter(|at| !shown.contains(at) && !review.contains(at) && !stranger(at))
                .filter(|at| reached(*at, &review, false))
                .filter(|at| {
                    let mut known = shown.clone();
                    known.extend(review.iter().copied());
                    let (own, sure, other, _) = stands(*at, &known);
                    reached(*at, &review, true) || sure || !other || own
                })
                .collect();
            if more.is_empty() {
                break;
            }
            review.extend(more);
        }
        shown.extend(review);
        verdict.shown = shown;
        verdict
    }
}
