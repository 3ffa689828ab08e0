//! Promises about `read`: everything once, and on from any state.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::silo::Ability;
use crate::testing::output::{Line, Record, by_store, difference, parse_cut, sorted};
use crate::testing::setup::Setup;
use crate::testing::view::{abilities, id, texts};

/// How many states of a run are read on from.
const STATES: usize = 24;

/// How often a read is killed.
const KILLS: u64 = 12;

/// A store as a read is asked for it.
struct Reading {
    /// The entry of `-s`.
    entry: Value,
    /// The properties the read goes by. A record in which one is null has no place in the order,
    /// and is read in every run.
    order: Vec<String>,
    /// Whether what came since a state can be told from what was there.
    resumes: bool,
    /// Whether the order tells all records apart: those that it does not come again with the last.
    exact: bool,
}

impl Reading {
    /// How what a read on from a state gave differs from what it should have given.
    fn difference(&self, expected: &[Record], found: &[Record]) -> Option<String> {
        if self.exact {
            return difference(expected, found);
        }
        let again = without(found, expected);
        let tie = |record: &Record| self.order.iter().map(|name| record.text(name)).collect();
        let mut ties: Vec<Vec<Option<String>>> = again.iter().map(tie).collect();
        ties.dedup();
        let mut all = expected.to_vec();
        all.extend(again);
        // Records that the last one is equal to, and no others.
        if ties.len() > 1 {
            Some("strangers came again".to_owned())
        } else {
            difference(&all, found)
        }
    }

    fn placed(&self, records: Vec<Record>) -> Vec<Record> {
        let mut records = records;
        records.retain(|record| {
            let value = record.value();
            self.order.iter().all(|property| !value[property].is_null())
        });
        records
    }
}

/// Each readable store in its own way, and by the cursor of each case that has one.
fn readings(setup: &Setup) -> Vec<Reading> {
    let mut readings = Vec::new();
    for entry in setup.offering(Ability::Read) {
        let key = texts(&entry["key"]);
        let resumes = !key.is_empty() || !texts(&entry["cursors"]).is_empty();
        for case in setup.cases.iter().filter(|case| case.store == id(&entry)) {
            let Some(cursor) = &case.cursor else { continue };
            let mut entry = entry.clone();
            entry["cursor"] = json!(cursor);
            let mut order = key.clone();
            order.push(cursor.clone());
            let exact = !key.is_empty();
            readings.push(Reading { entry, order, resumes: true, exact });
        }
        readings.push(Reading { entry, order: key, resumes, exact: true });
    }
    readings
}

/// A read gives each record of each store once, as many as the setup knows of, with no `-s` and
/// with one.
pub fn a_read_gives_every_record_exactly_once(setup: &mut Setup) {
    if !setup.can(Ability::Read) {
        return;
    }
    let every = by_store(setup.call("read").run().done().records());
    for case in &setup.cases {
        let records = every.get(&case.store).map_or(0, Vec::len);
        assert_eq!(records, case.records, "records of {}", case.store);
    }
    for Reading { entry, .. } in readings(setup) {
        let store = id(&entry);
        let run = setup.call("read").with("-s", &json!({ "schemas": [entry] })).run().done();
        let expected = every.get(&store).map_or(&[][..], Vec::as_slice);
        if let Some(difference) = difference(expected, &run.records()) {
            panic!("{store}: {difference}");
        }
        let key = texts(&entry["key"]);
        if !key.is_empty() {
            let mut keys: Vec<String> = expected
                .iter()
                .map(|record| record.value())
                .map(|value| key.iter().map(|name| value[name].to_string()).collect())
                .collect();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), expected.len(), "{store}: two records have one key");
        }
    }
    for parallel in [1, 4] {
        let run = setup.call("read").arg(format!("--parallel={parallel}")).run().done();
        assert_eq!(
            by_store(sorted(run.records())),
            by_store(sorted(every.clone().into_values().flatten().collect())),
            "--parallel={parallel}"
        );
    }
}

/// A read from any STATE line gives exactly the records that had not been printed before it.
pub fn a_read_from_each_state_gives_exactly_the_rest(setup: &mut Setup) {
    if !setup.can(Ability::Read) {
        return;
    }
    for reading in readings(setup) {
        let store = id(&reading.entry);
        let schemas = json!({ "schemas": [reading.entry] });
        let count = setup.call("read").with("-s", &schemas).run().done().records().len();
        let every = (count / STATES).max(1);
        let call = setup.call("read").with("-s", &schemas).arg(format!("--checkpoint={every}"));
        let run = call.run().done();
        let whole = run.records();
        let states = run.states();
        if reading.resumes && count > 0 {
            assert!(!states.is_empty(), "{store}: a read prints no STATE");
            if count > every * 2 {
                let inner = states.iter().any(|(before, _)| *before < count);
                assert!(
                    inner,
                    "{store}: {count} records with --checkpoint={every}, and no STATE between them"
                );
            }
        }
        for (before, state) in states.iter().take(2 * STATES) {
            let call = setup.call("read").with("-s", &schemas).with("--state", state.as_str());
            let rest = reading.placed(call.run().done().records());
            let expected = reading.placed(whole[*before..].to_vec());
            if let Some(difference) = reading.difference(&expected, &rest) {
                panic!(
                    "{store}, on from the state after {before} of {count} records: {difference}"
                );
            }
        }
    }
}

/// A read from the last state of a read gives nothing, as long as nothing changes, and its own
/// last state is as good.
pub fn a_read_from_the_last_state_gives_nothing_new(setup: &mut Setup) {
    if !setup.can(Ability::Read) {
        return;
    }
    for reading in readings(setup).into_iter().filter(|reading| reading.resumes) {
        let schemas = json!({ "schemas": [reading.entry] });
        let mut states = String::new();
        for round in 0..3 {
            let call = setup.call("read").with("-s", &schemas);
            let run = if states.is_empty() { call } else { call.with("--state", states.as_str()) };
            let run = run.run().done();
            let records = reading.placed(run.records());
            if round > 0
                && let Some(difference) = reading.difference(&[], &records)
            {
                panic!("{}, again in round {round}: {difference}", id(&reading.entry));
            }
            if let Some((_, state)) = run.states().pop() {
                states = format!("{state}\n");
            }
        }
    }
}

/// Records that were added after a read are what a read from its last state gives.
pub fn what_came_since_the_last_state_is_read(setup: &mut Setup) {
    for place in 0..setup.cases.len() {
        let Some(mut change) = setup.cases[place].change.take() else { continue };
        let case = &setup.cases[place];
        let mut entry = setup.entry(case);
        if let Some(cursor) = &case.cursor {
            entry["cursor"] = json!(cursor);
        }
        let schemas = json!({ "schemas": [entry] });
        let before = setup.call("read").with("-s", &schemas).run().done();
        let (_, state) = before.states().pop().expect("a read of this store prints a STATE");
        let added = change();
        let call = setup.call("read").with("-s", &schemas).with("--state", state.as_str());
        let new = call.run().done().records();
        let case = &setup.cases[place];
        assert_eq!(new.len(), added, "{}: what was added to it", case.store);
        let mut union = before.records();
        union.extend(new);
        if let Some(difference) = difference(&setup.records_of(case), &union) {
            panic!("{}: {difference}", case.store);
        }
    }
}

/// A read that is killed wherever it is, and goes on from what it printed, loses nothing and gives
/// nothing twice: what had come after the last STATE comes again.
pub fn a_killed_read_goes_on_without_loss(setup: &mut Setup) {
    if !setup.can(Ability::Read) {
        return;
    }
    let mut random = Random(0x5eed);
    for reading in readings(setup).into_iter().filter(|reading| reading.resumes) {
        let schemas = json!({ "schemas": [reading.entry] });
        let whole = reading.placed(setup.call("read").with("-s", &schemas).run().done().records());
        let size: usize = whole.iter().map(|record| record.data.len() + 100).sum();
        let every = (whole.len() / 50).max(1);
        for _ in 0..KILLS {
            let call = setup.call("read").with("-s", &schemas);
            let mut started = call.arg(format!("--checkpoint={every}")).start_stopped();
            let mut printed = started.read(random.below(size));
            started.kill();
            printed.extend(started.killed());
            let lines = parse_cut(&printed).expect("whole lines up to the kill");
            // What stands after the last state is not covered by it.
            let last = lines.iter().rposition(|line| matches!(line, Line::State(_)));
            let covered = lines[..last.unwrap_or(0)].iter().filter_map(|line| match line {
                Line::Record(record) => Some(record.clone()),
                _ => None,
            });
            let covered = reading.placed(covered.collect());
            let missing = without(&whole, &covered);
            let known = missing.len() + covered.len() == whole.len();
            assert!(known, "{}: a read printed what is not there", id(&reading.entry));
            let call = setup.call("read").with("-s", &schemas);
            let call = match last {
                Some(_) => call.with("--state", printed.as_slice()),
                None => call,
            };
            let rest = reading.placed(call.run().done().records());
            if let Some(difference) = reading.difference(&missing, &rest) {
                panic!(
                    "{}, killed after {} bytes: {difference}",
                    id(&reading.entry),
                    printed.len()
                );
            }
        }
    }
}

/// The records of `whole` that are left when those that were `taken` are gone from it.
fn without(whole: &[Record], taken: &[Record]) -> Vec<Record> {
    let mut counts: BTreeMap<&Record, i64> = BTreeMap::new();
    for record in taken {
        *counts.entry(record).or_default() += 1;
    }
    let mut left = whole.to_vec();
    left.retain(|record| match counts.get_mut(record) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    });
    left
}

/// A state that this connector did not write is refused, not guessed at.
pub fn a_state_of_another_kind_is_refused_by_name(setup: &mut Setup) {
    if !setup.can(Ability::Read) {
        return;
    }
    for reading in readings(setup).into_iter().filter(|reading| reading.resumes) {
        let store = id(&reading.entry);
        let mut state = crate::testing::program::named(&store);
        state["cursor"] = json!({"something": ["else"], "v": 99});
        let state = json!({"type": "STATE", "state": state});
        let schemas = json!({ "schemas": [reading.entry] });
        let run = setup.call("read").with("-s", &schemas).with("--state", &state).run();
        let run = run.status(3).complains_of(&store.to_string());
        assert!(run.records().is_empty(), "{run}: read in spite of a state that is not its own");
    }
}

/// A store that cannot go on from a state says so: it has neither key nor cursors in `discover`.
pub fn a_store_that_prints_states_has_a_key_or_cursors(setup: &mut Setup) {
    for entry in setup.entries() {
        if !abilities(&entry).contains(&Ability::Read.to_string()) {
            continue;
        }
        let run = setup.call("read").with("-s", &json!({ "schemas": [entry] })).run().done();
        let orders = texts(&entry["key"]).len() + texts(&entry["cursors"]).len();
        if orders == 0 {
            assert!(run.states().is_empty(), "{}: a STATE, and nothing to order by", id(&entry));
        }
    }
}

/// Numbers that are the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }
}
