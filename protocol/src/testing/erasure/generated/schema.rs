//! Generated schemas: the tables, references and rows of a world, and what a policy says of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::oracle::{OnDelete, Relation, Row, Rule, Table, World};
use super::super::{Can, Database, Dump, quoted};
use super::Random;

pub(super) fn world(random: &mut Random, can: Can) -> World {
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
            partitioned: can.partition && !rekeyed && random.one_in(3),
            ..Table::default()
        });
    }
    for _ in 0..n + random.place(n + 1) {
        let (child, parent) = (random.place(n), random.place(n));
        let rekeyed = world.tables[parent].rekeyed;
        // Where it does not, not every database can give a row that refers to itself a new key.
        let nullable = !random.one_in(3) || (rekeyed && child == parent);
        // What is unique in a partitioned table has the column in it that it is partitioned by.
        let partitioned = world.tables[child].partitioned;
        let whole_key = !nullable && random.one_in(6) && child != parent && !partitioned;
        let has_key = world.relations.iter().any(|r: &Relation| r.child == child && r.in_key);
        let in_key = !nullable && !has_key && child != parent && (whole_key || random.one_in(5));
        let whole_key = whole_key && in_key;
        let unique = whole_key || (!in_key && child != parent && !partitioned && random.one_in(6));
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
        let on_partition =
            partitioned && child != parent && on_delete != OnDelete::SetDefault && random.one_in(2);
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
            on_partition,
            by_hand,
        });
    }
    for place in 0..n {
        let referred = world.relations.iter().any(|r| r.parent == place);
        let in_key = world.relations.iter().any(|r| r.child == place && r.in_key);
        world.tables[place].keyless = !referred && !in_key && random.one_in(3) && can.find_keyless;
    }
    world.copies = random.one_in(2).then(|| random.place(n));
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

pub(super) fn sql<D: Database>(world: &World, random: &mut Random) -> String {
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
            let holder = match r.on_partition {
                true => format!("part{place}_0"),
                false => quoted(&table.name),
            };
            references.push(format!(
                "ALTER TABLE {holder} ADD FOREIGN KEY ({own}) REFERENCES {parent} ({other}){action}{update}{waits};\n"
            ));
        }
        let name = quoted(&table.name);
        let by = if table.partitioned { " PARTITION BY HASH (id)" } else { "" };
        sql.push_str(&format!("CREATE TABLE {name} ({}){by};\n", parts.join(", ")));
        for part in (0..PARTITIONS).filter(|_| table.partitioned) {
            sql.push_str(&format!(
                "CREATE TABLE part{place}_{part} PARTITION OF {name} \
                 FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {part});\n"
            ));
        }
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
    if let Some(place) = world.copies {
        let trigger = D::copies(&quoted(&world.tables[place].name), GRAVEYARD);
        sql.push_str(&format!("CREATE TABLE {GRAVEYARD} (id VARCHAR(40));\n{trigger};\n"));
    }
    sql
}

/// Where a trigger copies the ids of what goes.
const GRAVEYARD: &str = "graveyard";

/// How many partitions a table has that has any.
const PARTITIONS: usize = 2;

impl World {
    /// A row's id, as its own table has it.
    pub(super) fn spelled(&self, place: usize, id: i64) -> String {
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

pub(super) fn insert(world: &World, place: usize, id: i64, row: &Row) -> String {
    let values = values(world, place, id, row).into_iter();
    let values: Vec<String> =
        values.map(|value| value.map_or("NULL".to_owned(), |text| format!("'{text}'"))).collect();
    let name = quoted(&world.tables[place].name);
    format!("INSERT INTO {name} VALUES ({});\n", values.join(", "))
}

/// The world's rows, as a database has them.
pub(super) fn dump(world: &World) -> Dump {
    let rows = |(place, table): (usize, &Table)| {
        let row = |(id, row): (&i64, &Row)| {
            let values = values(world, place, *id, row).into_iter();
            values.map(|value| value.unwrap_or("-".to_owned())).collect::<Vec<_>>().join("|")
        };
        let mut rows: Vec<String> = table.rows.iter().map(row).collect();
        rows.sort();
        (table.name.clone(), rows)
    };
    let mut dump: Dump = world.tables.iter().enumerate().map(rows).collect();
    if world.copies.is_some() {
        dump.insert(GRAVEYARD.to_owned(), world.graveyard.iter().cloned().collect());
    }
    dump
}

pub(super) fn policy(world: &World) -> Value {
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
