//! Generated schemas and rows: the engine and the oracle say the same, and what is done is what was
//! said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::oracle::{At, OnDelete, Relation, Row, Rule, Table, Verdict, World};
use super::{Can, Database, Dump, quoted};
use crate::silo::Erasure;

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

fn world(random: &mut Random, can: Can) -> World {
    let mut world = World::default();
    let n = 3 + random.place(4);
    for place in 0..n {
        let looks = random.one_in(3);
        let masked = random.one_in(6);
        let rekeyed = masked && !random.one_in(3);
        world.tables.push(Table {
            name: format!("order \"{place}\""),
            looks,
            personal: looks || random.one_in(2),
            listed: random.one_in(if looks { 2 } else { 8 }),
            natural: rekeyed || random.one_in(4),
            masked,
            rekeyed,
            kept_since: random.one_in(6).then_some(10),
            ..Table::default()
        });
    }
    for _ in 0..n + random.place(n + 1) {
        let (child, parent) = (random.place(n), random.place(n));
        let rekeyed = world.tables[parent].rekeyed;
        // Where it does not, not every database can give a row that refers to itself a new key.
        let nullable = !random.one_in(3) || (rekeyed && child == parent);
        let whole_key = !nullable && random.one_in(6) && child != parent;
        let has_key = world.relations.iter().any(|r: &Relation| r.child == child && r.in_key);
        let in_key = !nullable && !has_key && child != parent && (whole_key || random.one_in(5));
        let whole_key = whole_key && in_key;
        let unique = whole_key || (!in_key && child != parent && random.one_in(6));
        let composite = !in_key && !unique && random.one_in(6);
        let plain = !in_key && !unique && !composite;
        let on_delete = match random.below(7) {
            0 => OnDelete::Cascade,
            1 if nullable && !composite => OnDelete::SetNull,
            2 => OnDelete::Restrict,
            3..=5 if plain && child != parent && can.set_default && !rekeyed => {
                OnDelete::SetDefault
            }
            _ => OnDelete::NoAction,
        };
        let by_hand = match random.below(9) {
            0 => Some(Rule::Owns),
            1 if nullable => Some(Rule::Refers),
            2 => Some(Rule::Part),
            _ => None,
        };
        let column = world.tables[child].columns;
        world.tables[child].columns += 1;
        world.relations.push(Relation {
            child,
            parent,
            column,
            nullable,
            in_key,
            whole_key,
            unique,
            composite,
            on_delete,
            default: None,
            deferrable: can.defer && random.one_in(4),
            by_hand,
        });
    }
    for place in 0..n {
        let referred = world.relations.iter().any(|r| r.parent == place);
        let in_key = world.relations.iter().any(|r| r.child == place && r.in_key);
        world.tables[place].keyless = !referred && !in_key && random.one_in(3) && can.find_keyless;
    }
    rows(&mut world, random);
    for place in 0..world.relations.len() {
        let r = &world.relations[place];
        let ids: Vec<i64> = world.tables[r.parent].rows.keys().copied().collect();
        if r.on_delete == OnDelete::SetDefault && !ids.is_empty() {
            world.relations[place].default = Some(ids[random.place(ids.len())]);
        }
    }
    world
}

fn rows(world: &mut World, random: &mut Random) {
    let counts: Vec<i64> = world.tables.iter().map(|_| 2 + random.below(7) as i64).collect();
    for (place, count) in counts.iter().enumerate() {
        for id in 1..=*count {
            let row = Row {
                references: vec![None; world.tables[place].columns],
                day: 8 + random.below(4) as i64,
                note: true,
                renamed: false,
            };
            world.tables[place].rows.insert(id, row);
        }
    }
    for r in world.relations.clone() {
        let mut used = BTreeSet::new();
        let ids: Vec<i64> = world.tables[r.child].rows.keys().copied().collect();
        for id in ids {
            let to = 1 + random.below(counts[r.parent] as u64) as i64;
            let taken = r.unique && used.contains(&to);
            if r.nullable && (random.one_in(3) || taken) {
                continue;
            }
            if taken {
                // A row without a place for its reference cannot be.
                match (1..=counts[r.parent]).find(|free| !used.contains(free)) {
                    Some(free) => {
                        used.insert(free);
                        world.tables[r.child].rows.get_mut(&id).unwrap().references[r.column] =
                            Some(free);
                    }
                    None => {
                        world.tables[r.child].rows.remove(&id);
                    }
                }
                continue;
            }
            used.insert(to);
            world.tables[r.child].rows.get_mut(&id).unwrap().references[r.column] = Some(to);
        }
    }
    // What refers to a row that could not be goes too, until all references hold.
    loop {
        let mut gone: Vec<(usize, i64)> = Vec::new();
        for r in &world.relations {
            for (id, row) in &world.tables[r.child].rows {
                if let Some(to) = row.references[r.column]
                    && !world.tables[r.parent].rows.contains_key(&to)
                {
                    gone.push((r.child, *id));
                }
            }
        }
        if gone.is_empty() {
            return;
        }
        for (place, id) in gone {
            world.tables[place].rows.remove(&id);
        }
    }
}

fn sql<D: Database>(world: &World, random: &mut Random) -> String {
    let (upper, lower) = D::collations();
    let (mut sql, mut references) = (String::new(), Vec::new());
    for (place, table) in world.tables.iter().enumerate() {
        let relations: Vec<&Relation> =
            world.relations.iter().filter(|r| r.child == place).collect();
        let key = relations.iter().find(|r| r.in_key);
        let id = match table.natural {
            true => format!("id VARCHAR(40){upper} NOT NULL"),
            false => "id INTEGER NOT NULL".to_owned(),
        };
        let mut parts = vec![
            match (table.keyless, key) {
                (true, _) => id,
                (false, Some(_)) => format!("{id} UNIQUE"),
                (false, None) => format!("{id} PRIMARY KEY"),
            },
            "tenant INTEGER NOT NULL".to_owned(),
            "made TIMESTAMP".to_owned(),
            "note TEXT".to_owned(),
        ];
        if table.rekeyed {
            parts.push("was INTEGER".to_owned());
        }
        if table.looks {
            parts.extend(["email TEXT".to_owned(), "phone TEXT".to_owned()]);
        } else if table.personal {
            parts.push("street TEXT".to_owned());
        }
        for r in &relations {
            let not_null = if r.nullable { "" } else { " NOT NULL" };
            let unique = if r.unique && !r.whole_key { " UNIQUE" } else { "" };
            let of = match world.tables[r.parent].natural {
                true => format!("VARCHAR(40){lower}"),
                false => "INTEGER".to_owned(),
            };
            let default =
                r.default.map(|id| format!(" DEFAULT '{}'", world.referring(r.parent, id)));
            let default = default.unwrap_or_default();
            parts.push(format!("f{} {of}{default}{not_null}{unique}", r.column));
        }
        match key {
            Some(r) if r.whole_key => parts.push(format!("PRIMARY KEY (f{})", r.column)),
            Some(r) => parts.push(format!("PRIMARY KEY (f{}, id)", r.column)),
            None => {}
        }
        if !table.keyless {
            parts.push("UNIQUE (tenant, id)".to_owned());
        }
        for r in &relations {
            let action = match r.on_delete {
                OnDelete::NoAction => "",
                OnDelete::Restrict => " ON DELETE RESTRICT",
                OnDelete::Cascade => " ON DELETE CASCADE",
                OnDelete::SetNull => " ON DELETE SET NULL",
                OnDelete::SetDefault => " ON DELETE SET DEFAULT",
            };
            let update = match world.tables[r.parent].natural {
                _ if world.tables[r.parent].rekeyed => " ON UPDATE CASCADE",
                true => [" ON UPDATE CASCADE", " ON UPDATE RESTRICT", ""][random.place(3)],
                false => "",
            };
            let update = if r.on_delete == OnDelete::SetDefault { "" } else { update };
            let waits = match r.deferrable {
                true => [" DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED"][random.place(2)],
                false => "",
            };
            let parent = quoted(&world.tables[r.parent].name);
            let (own, other) = match r.composite {
                true => (format!("tenant, f{}", r.column), "tenant, id"),
                false => (format!("f{}", r.column), "id"),
            };
            references.push(format!(
                "ALTER TABLE {} ADD FOREIGN KEY ({own}) REFERENCES {parent} ({other}){action}{update}{waits};\n",
                quoted(&table.name)
            ));
        }
        sql.push_str(&format!("CREATE TABLE {} ({});\n", quoted(&table.name), parts.join(", ")));
        for r in &relations {
            if random.one_in(2) {
                sql.push_str(&format!(
                    "CREATE INDEX i{place}_{0} ON {1} (f{0});\n",
                    r.column,
                    quoted(&table.name)
                ));
            }
        }
    }
    sql.push_str(&references.concat());
    for (place, table) in world.tables.iter().enumerate() {
        for (id, row) in &table.rows {
            sql.push_str(&insert(world, place, *id, row));
        }
    }
    sql
}

impl World {
    /// A row's id, as its own table has it.
    fn spelled(&self, place: usize, id: i64) -> String {
        match self.tables[place].natural {
            _ if self.renamed(place, id) => format!("new {place}.{id}"),
            true => format!("n{id}"),
            false => id.to_string(),
        }
    }

    fn renamed(&self, place: usize, id: i64) -> bool {
        self.tables[place].rows.get(&id).is_some_and(|row| row.renamed)
    }

    /// The same, as a reference has it: in another case, where that makes no difference.
    fn referring(&self, place: usize, id: i64) -> String {
        let text = self.spelled(place, id);
        let other = self.caseless && !self.renamed(place, id);
        if other { text.to_uppercase() } else { text }
    }
}

/// A row's values, in the order in which the columns were declared; `None` for null.
fn values(world: &World, place: usize, id: i64, row: &Row) -> Vec<Option<String>> {
    let table = &world.tables[place];
    let mut values = vec![
        Some(world.spelled(place, id)),
        Some("1".to_owned()),
        Some(format!("2024-01-{:02} 10:00:00", row.day)),
        row.note.then(|| format!("note {id}")),
    ];
    if table.rekeyed {
        values.push(Some(id.to_string()));
    }
    if table.looks {
        values.extend([Some(format!("{place}.{id}@x.org")), Some("555".to_owned())]);
    } else if table.personal {
        values.push(Some("1 Main Street".to_owned()));
    }
    let relations = world.relations.iter().filter(|r| r.child == place);
    values.extend(relations.map(|r| {
        let to = row.references[r.column]?;
        Some(match r.child == r.parent {
            // SQLite refuses to change other references of a row that refers to itself in another case.
            true => world.spelled(r.parent, to),
            false => world.referring(r.parent, to),
        })
    }));
    values
}

fn insert(world: &World, place: usize, id: i64, row: &Row) -> String {
    let values = values(world, place, id, row).into_iter();
    let values: Vec<String> =
        values.map(|value| value.map_or("NULL".to_owned(), |text| format!("'{text}'"))).collect();
    let name = quoted(&world.tables[place].name);
    format!("INSERT INTO {name} VALUES ({});\n", values.join(", "))
}

/// The world's rows, as a database has them.
fn dump(world: &World) -> Dump {
    let rows = |(place, table): (usize, &Table)| {
        let row = |(id, row): (&i64, &Row)| {
            let values = values(world, place, *id, row).into_iter();
            values.map(|value| value.unwrap_or("-".to_owned())).collect::<Vec<_>>().join("|")
        };
        let mut rows: Vec<String> = table.rows.iter().map(row).collect();
        rows.sort();
        (table.name.clone(), rows)
    };
    world.tables.iter().enumerate().map(rows).collect()
}

fn policy(world: &World) -> Value {
    let persons: Vec<&str> =
        world.tables.iter().filter(|t| t.listed).map(|t| t.name.as_str()).collect();
    let relations: Vec<Value> = world
        .relations
        .iter()
        .filter_map(|r| {
            let rule = match r.by_hand? {
                Rule::Owns => "owns",
                Rule::Refers => "refers",
                Rule::Part => "part",
            };
            let (own, other) = match r.composite {
                true => (vec!["tenant".to_owned(), format!("f{}", r.column)], vec!["tenant", "id"]),
                false => (vec![format!("f{}", r.column)], vec!["id"]),
            };
            Some(json!({
                "schema_name": world.tables[r.child].name, "columns": own, "rule": rule,
                "references": {"schema_name": world.tables[r.parent].name, "columns": other},
            }))
        })
        .collect();
    let strategies: Vec<Value> = world
        .tables
        .iter()
        .filter(|t| t.masked)
        .map(|t| {
            let mut columns = json!({"note": "null"});
            if t.rekeyed {
                columns["id"] = json!("surrogate");
            }
            for column in ["email", "phone"] {
                if t.looks {
                    columns[column] = json!("keep");
                }
            }
            if t.personal && !t.looks {
                columns["street"] = json!("keep");
            }
            json!({"schema_name": t.name, "columns": columns})
        })
        .collect();
    let retain: Vec<Value> = world
        .tables
        .iter()
        .filter_map(|t| {
            let since = t.kept_since?;
            Some(json!({"schema_name": t.name, "reason": "law", "date": "made",
                        "since": format!("2024-01-{since:02}")}))
        })
        .collect();
    json!({"persons": persons, "relations": relations, "strategies": strategies, "retain": retain})
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
    verdict.delete.iter().copied().find(|at| *at != subject && own(at) && !referred(at))
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
        compare(&database, &world, subject, &format!("seed {seed}\n{text}"), seen);
    }
    database
}

fn compare<D: Database>(
    database: &D,
    world: &World,
    (place, id): At,
    story: &str,
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
    let wanted = dump(&apply(world, &verdict));
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
    ] {
        if !can {
            seen.0.remove(what);
        }
    }
    for (what, times) in &seen.0 {
        assert!(*times * 100 >= count, "{what} was rare: {:?}", seen.0);
    }
}
