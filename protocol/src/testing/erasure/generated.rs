//! Generated schemas and rows: the engine and the oracle say the same, and what is done is what was
//! said.

mod hindered;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::oracle::{At, OnDelete, Relation, Rule, Verdict, World};
use super::{Database, Dump, quoted};
use crate::silo::Erasure;
use hindered::hinder;
use schema::{dump, insert, policy, sql, world};

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn place(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap()
    }
}

/// How many rows of each store, for each action.
type Counts = BTreeMap<(String, String), u64>;

fn counted(world: &World, verdict: &Verdict) -> Counts {
    let mut counts = Counts::new();
    let mut add = |action: &str, place: usize| {
        let name = world.tables[place].name.clone();
        *counts.entry((action.to_owned(), name)).or_default() += 1;
    };
    verdict.delete.iter().for_each(|at| add("delete", at.0));
    verdict.mask.iter().for_each(|at| add("mask", at.0));
    let stay = |at: &At| !verdict.delete.contains(at);
    followers(world, verdict).filter(stay).for_each(|at| add("mask", at.0));
    verdict.keep.iter().chain(&verdict.shared).for_each(|at| add("keep", at.0));
    verdict.undecided.iter().for_each(|at| add("undecided", at.0));
    verdict.left.iter().for_each(|at| add("left", at.0));
    verdict.null.iter().for_each(|(_, at)| add("null", at.0));
    for (place, at) in &verdict.blocked {
        // Kept rows block what is above them; others are blocked themselves.
        let above = world.relations[*place].parent;
        add("blocked", if verdict.keep.contains(at) { above } else { at.0 });
    }
    counts
}

/// The rows that refer to one that gets a new id, once for each reference.
fn followers<'w>(world: &'w World, verdict: &'w Verdict) -> impl Iterator<Item = At> + 'w {
    let relations = world.relations.iter().enumerate();
    relations.filter(|(_, r)| world.tables[r.parent].rekeyed).flat_map(move |(place, r)| {
        let rows = world.tables[r.child].rows.keys().map(move |&id| (r.child, id));
        let to_masked = |to: At| verdict.mask.contains(&to);
        rows.filter(move |at| world.target(place, *at).is_some_and(to_masked))
    })
}

/// A row that goes, is not the subject's own, has a key that it shares with nobody, and that nothing
/// refers to.
fn leaf(world: &World, verdict: &Verdict, subject: At) -> Option<At> {
    let referred = |at: &At| {
        let relations = world.relations.iter().enumerate();
        relations.filter(|(_, r)| r.parent == at.0).any(|(place, r)| {
            let mut rows = world.tables[r.child].rows.keys();
            rows.any(|&id| world.target(place, (r.child, id)) == Some(*at))
        })
    };
    let own = |at: &At| !world.relations.iter().any(|r| r.child == at.0 && r.whole_key);
    // A swap is not to be copied.
    let copied = |at: &At| world.copies == Some(at.0);
    let mut goes = verdict.delete.iter().copied();
    goes.find(|at| *at != subject && own(at) && !referred(at) && !copied(at))
}

/// What a database holds, with each new id as the world has it.
fn known<D: Database>(database: &D, world: &World) -> Dump {
    let mut dump = database.dump();
    let mut new = BTreeMap::new();
    for (place, table) in world.tables.iter().enumerate().filter(|(_, table)| table.rekeyed) {
        let sql = format!("SELECT id, was FROM {} WHERE id LIKE 'erased-%'", quoted(&table.name));
        let rows = database.rows(&sql).into_iter();
        new.extend(rows.map(|row| (row[0].clone(), format!("new {place}.{}", row[1]))));
    }
    for rows in dump.values_mut() {
        for row in rows.iter_mut() {
            let fields = row.split('|').map(|field| new.get(field).map_or(field, String::as_str));
            *row = fields.collect::<Vec<_>>().join("|");
        }
        rows.sort();
    }
    dump
}

#[derive(Default, Debug)]
struct Seen(BTreeMap<&'static str, u64>);

impl Seen {
    fn note(&mut self, what: &'static str, is: bool) {
        *self.0.entry(what).or_default() += u64::from(is);
    }
}

/// Applies a verdict to the world.
fn apply(world: &World, verdict: &Verdict) -> World {
    let mut after = world.clone();
    for (relation, at) in &verdict.null {
        let column = world.relations[*relation].column;
        let default = world.relations[*relation].default;
        after.tables[at.0].rows.get_mut(&at.1).unwrap().references[column] = default;
    }
    for at in &verdict.mask {
        let renamed = after.tables[at.0].rekeyed;
        let row = after.tables[at.0].rows.get_mut(&at.1).unwrap();
        (row.note, row.renamed) = (false, renamed);
    }
    for at in &verdict.delete {
        if world.copies == Some(at.0) {
            after.graveyard.insert(world.spelled(at.0, at.1));
        }
        after.tables[at.0].rows.remove(&at.1);
    }
    after
}

/// Some row; often one that is a default, or is referred to by a key that is masked, so that it
/// matters what becomes of it.
fn subject(world: &World, random: &mut Random) -> Option<At> {
    let relations = || world.relations.iter();
    let defaults: Vec<At> = relations().filter_map(|r| Some((r.parent, r.default?))).collect();
    let rekeyed = relations().enumerate().filter(|(_, r)| world.tables[r.parent].rekeyed);
    let (mut referred, mut by_kept) = (Vec::new(), Vec::new());
    for (place, r) in rekeyed {
        let child = &world.tables[r.child];
        for (&id, row) in &child.rows {
            let kept = child.kept_since.is_some_and(|since| row.day >= since);
            let list = if kept { &mut by_kept } else { &mut referred };
            list.extend(world.target(place, (r.child, id)));
        }
    }
    for often in [defaults, referred, by_kept] {
        if !often.is_empty() && random.one_in(4) {
            return Some(often[random.place(often.len())]);
        }
    }
    let place = random.place(world.tables.len());
    let ids: Vec<i64> = world.tables[place].rows.keys().copied().collect();
    (!ids.is_empty()).then(|| (place, ids[random.place(ids.len())]))
}

fn one<D: Database>(seed: u64, database: D, seen: &mut Seen) -> D {
    let mut random = Random(seed);
    let mut world = world(&mut random, D::can());
    world.caseless = D::caseless();
    let text = sql::<D>(&world, &mut random);
    let database = database.anew(&text);
    if let Some(subject) = subject(&world, &mut random) {
        let story = format!("seed {seed}\n{text}");
        compare(&database, &world, subject, &story, &mut random, seen);
    }
    database
}

fn compare<D: Database>(
    database: &D,
    world: &World,
    (place, id): At,
    story: &str,
    random: &mut Random,
    seen: &mut Seen,
) {
    let verdict = world.judge((place, id));
    let policy = policy(world);
    let id_text = world.spelled(place, id);
    let request = database.follow(&world.tables[place].name, "id", &id_text, &policy);
    let story = || format!("{story}\nsubject {}.{id}\n{policy:#}", world.tables[place].name);

    let before = dump(world);
    assert_eq!(database.dump(), before, "{}", story());
    let stuck = followers(world, &verdict).any(|at| verdict.keep.contains(&at));
    if stuck {
        let refused = database.plan(&request).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("kept as they are"), "{refused}\n{}", story());
        assert!(database.erase(&request).is_err(), "{}", story());
        assert_eq!(database.dump(), before, "{}", story());
        return;
    }
    let plan = database.plan(&request).unwrap_or_else(|error| panic!("{error:#}\n{}", story()));
    let mut found = Counts::new();
    let mut circle = false;
    for step in &plan.steps {
        if step.reason.as_deref().is_some_and(|why| why.contains("in a circle")) {
            circle = true;
            continue;
        }
        let word = serde_json::to_value(step.action).unwrap().as_str().unwrap().to_owned();
        *found.entry((word, step.schema_name.clone())).or_default() += step.rows;
    }
    let expected = counted(world, &verdict);
    assert_eq!(found, expected, "{}", story());
    if let Some(copied) = world.copies {
        let named = plan.warnings.iter().any(|warning| warning.ends_with("copies"));
        let writes = |word: &&str| {
            found.contains_key(&((*word).to_owned(), world.tables[copied].name.clone()))
        };
        assert_eq!(named, ["delete", "mask", "null"].iter().any(writes), "{}", story());
    }

    // Whether such a relation leads to a row that goes.
    let concerned = |which: &dyn Fn(&Relation) -> bool| {
        let mut relations = world.relations.iter().filter(|r| which(r));
        relations.any(|r| {
            let mut rows = verdict.delete.iter().filter(|at| at.0 == r.child);
            rows.any(|at| {
                let to = world.tables[r.child].rows[&at.1].references[r.column];
                to.is_some_and(|to| verdict.delete.contains(&(r.parent, to)))
            })
        })
    };
    let mut shown: BTreeSet<String> =
        verdict.shown.iter().map(|at| world.tables[at.0].name.clone()).collect();
    shown.insert(world.tables[place].name.clone());
    let reached: BTreeSet<String> = database.reach(&request).into_iter().collect();
    assert_eq!(reached, shown, "{}", story());

    let nulled = |which: &dyn Fn(&Relation) -> bool| {
        verdict.null.iter().any(|(relation, _)| which(&world.relations[*relation]))
    };
    let many = |r: &Relation| {
        let twins = world.relations.iter();
        twins.filter(|o| (o.child, o.parent) == (r.child, r.parent)).count() > 1
    };
    for (what, is) in [
        ("undecided", !verdict.undecided.is_empty()),
        ("blocked", !verdict.blocked.is_empty()),
        ("null", !verdict.null.is_empty()),
        ("left", !verdict.left.is_empty()),
        ("shared part", !verdict.shared.is_empty()),
        ("kept", !verdict.keep.is_empty()),
        ("masked", !verdict.mask.is_empty()),
        ("several deleted", verdict.delete.len() > 3),
        ("set to a default", nulled(&|r| r.default.is_some())),
        ("a default that would go", {
            let mut blocked = verdict.blocked.iter();
            blocked.any(|(relation, _)| world.relations[*relation].default.is_some())
        }),
        ("ON DELETE SET NULL", nulled(&|r| r.on_delete == OnDelete::SetNull)),
        ("ON DELETE CASCADE", concerned(&|r| r.on_delete == OnDelete::Cascade)),
        ("ON DELETE RESTRICT", concerned(&|r| r.on_delete == OnDelete::Restrict)),
        ("a composite reference", concerned(&|r| r.composite) || nulled(&|r| r.composite)),
        ("a reference within a store", concerned(&|r| r.child == r.parent)),
        ("several between two stores", concerned(&many)),
        ("one to one", concerned(&|r| r.unique)),
        ("a reference in a key", concerned(&|r| r.in_key)),
        ("a part", concerned(&|r| r.by_hand == Some(Rule::Part))),
        ("a masked key", verdict.mask.iter().any(|at| world.tables[at.0].rekeyed)),
        ("a masked key that is referred to", followers(world, &verdict).next().is_some()),
        ("a deferrable relation", concerned(&|r| r.deferrable)),
        ("a partitioned table", verdict.delete.iter().any(|at| world.tables[at.0].partitioned)),
        ("a reference of one partition", {
            concerned(&|r| r.on_partition) || nulled(&|r| r.on_partition)
        }),
        ("a natural key", concerned(&|r| world.tables[r.parent].natural)),
        ("keyless", verdict.delete.iter().any(|at| world.tables[at.0].keyless)),
    ] {
        seen.note(what, is);
    }

    let stopped = circle || !verdict.undecided.is_empty() || !verdict.blocked.is_empty();
    if stopped {
        assert!(database.erase(&request).is_err(), "{}", story());
        assert_eq!(database.dump(), before, "{}", story());
        return;
    }
    seen.note("carried out", true);
    let copied = |at: &At| world.copies == Some(at.0);
    seen.note("a trigger that copies", verdict.delete.iter().any(copied));
    let wanted = dump(&apply(world, &verdict));
    if let Some(what) = hinder(database, world, &verdict, &request, &wanted, random, &story) {
        seen.note(what, true);
    }
    let mut dry = request.clone();
    dry.dry_run = true;
    database.erase(&dry).unwrap_or_else(|error| panic!("dry run: {error:#}\n{}", story()));
    assert_eq!(database.dump(), before, "{}", story());
    let approved = Erasure { approved: Some(plan.hash), ..request.clone() };
    if let Some((place, id)) = leaf(world, &verdict, (place, id)) {
        // Another row, where it was and like it.
        let swap = |old: i64, new: i64| {
            let (name, old) = (quoted(&world.tables[place].name), world.spelled(place, old));
            let insert = insert(world, place, new, &world.tables[place].rows[&id]);
            database.run(&format!("DELETE FROM {name} WHERE id = '{old}'; {insert}"));
        };
        swap(id, 100);
        let refused = database.erase(&approved).unwrap_err().to_string();
        assert!(refused.contains("another than the approved"), "{refused}\n{}", story());
        swap(100, id);
        assert_eq!(database.dump(), before, "{}", story());
        seen.note("swapped", true);
    }
    let outcomes =
        database.erase(&approved).unwrap_or_else(|error| panic!("{error:#}\n{}", story()));
    for outcome in &outcomes {
        assert_eq!((outcome.remaining, &outcome.unverifiable), (0, &None), "{}", story());
    }
    assert_eq!(known(database, world), wanted, "{}", story());
    let after = database.dump();

    // Twice is once, and there is nothing left to do.
    let again = database.erase(&request).unwrap_or_else(|e| panic!("again: {e:#}\n{}", story()));
    assert!(again.iter().all(|outcome| outcome.deleted == 0), "{}", story());
    assert_eq!(database.dump(), after, "{}", story());
    let verify = database.verify(&request).unwrap();
    assert_eq!(verify.remaining, 0, "{}", story());

    // One row that comes back is found, where the subject's own row is what comes back.
    if verdict.delete.contains(&(place, id)) {
        let row = &world.tables[place].rows[&id];
        let mut back = row.clone();
        back.references.iter_mut().for_each(|reference| *reference = None);
        let nullable = world.relations.iter().filter(|r| r.child == place).all(|r| r.nullable);
        if nullable {
            database.run(&insert(world, place, id, &back));
            assert!(database.verify(&request).unwrap().remaining >= 1, "{}", story());
            seen.note("resurrected", true);
        }
    }
}

/// Checks so many generated schemas; `MANIFOLD_GENERATED` says another number.
pub fn check<D: Database>(count: u64) {
    let chosen = std::env::var("MANIFOLD_GENERATED").ok().and_then(|n| n.parse().ok());
    let count = chosen.unwrap_or(count);
    let (next, all) = (AtomicU64::new(0), Mutex::new(Seen::default()));
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                let (mut database, mut seen) = (D::new(""), Seen::default());
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        break;
                    }
                    database = one(seed, database, &mut seen);
                }
                for (what, times) in seen.0 {
                    *all.lock().unwrap().0.entry(what).or_default() += times;
                }
            });
        }
    });
    let mut seen = all.into_inner().unwrap();
    for (what, can) in [
        ("keyless", D::can().find_keyless),
        ("set to a default", D::can().set_default),
        ("a default that would go", D::can().set_default),
        ("a deferrable relation", D::can().defer),
        ("a partitioned table", D::can().partition),
        ("a reference of one partition", D::can().partition),
    ] {
        if !can {
            seen.0.remove(what);
        }
    }
    // What is not known to have been there at all is rare, too.
    for &denial in D::can().denies {
        seen.note(denial.word(), false);
    }
    for what in ["a trigger that copies", "a trigger that keeps a row"] {
        seen.note(what, false);
    }
    for (what, times) in &seen.0 {
        assert!(*times * 100 >= count, "{what} was rare: {:?}", seen.0);
    }
}
