//! What `discover` says of relations: the declared ones with their rule and why, and those that are
//! not declared but look like it.
//!
//! A suggestion goes by names and types, and by how many of a sample's values are there; it is never
//! acted on unless a policy says so.

use anyhow::Result;
use tokio::sync::OnceCell;

use super::engine::{Cell, Engine, Mode, Session};
use super::persons::words;
use super::policy::Policy;
use super::relations::Graph;
use crate::log;
use crate::message::{Reference, Relation};
use crate::silo::Kind;
use crate::silo::StoreId;
use crate::sql::catalog::{Catalog, Column, Table};
use crate::sql::statement::Statement;

/// How many values of a column are looked at.
const SAMPLE: u32 = 1000;

/// What shares fewer of its values with a key is no reference to it.
const LEAST: f64 = 0.5;

/// The relations of a catalog's stores, once they were asked for.
#[derive(Default)]
pub struct Relations(OnceCell<Vec<Vec<Relation>>>);

impl Relations {
    /// What a store refers to, and what that means for erasure.
    pub async fn of<E: Engine>(
        &self,
        engine: &E,
        catalog: &Catalog,
        policy: impl FnOnce() -> Result<Policy>,
        id: &StoreId,
    ) -> Result<Vec<Relation>> {
        let all =
            self.0.get_or_try_init(async || compared(engine, catalog, &policy()?).await).await?;
        let place = catalog.tables.iter().position(|table| table.id == *id);
        Ok(place.and_then(|place| all.get(place)).cloned().unwrap_or_default())
    }
}

/// The relations of each store, in the order of the catalog. Those that are not declared are compared
/// by their values; where that cannot be, names and types have to do.
async fn compared<E: Engine>(
    engine: &E,
    catalog: &Catalog,
    policy: &Policy,
) -> Result<Vec<Vec<Relation>>> {
    // What it says of other databases' stores is theirs.
    let own = |id: &StoreId| id.group.is_none() || catalog.table(id).is_some();
    let mut all = relations(catalog, &policy.clone().only(own))?;
    if !all.iter().flatten().any(|relation| relation.score.is_some()) {
        return Ok(all);
    }
    let mut session = match engine.begin(Mode::Look).await {
        Ok(session) => session,
        Err(error) => {
            log::debug(format_args!("values are not compared: {error:#}"));
            return Ok(all);
        }
    };
    for (table, relations) in catalog.tables.iter().zip(&mut all) {
        let mut kept = Vec::new();
        for relation in relations.drain(..) {
            kept.extend(compare(engine, &mut session, catalog, table, relation).await?);
        }
        *relations = kept;
    }
    Ok(all)
}

/// A relation with its score by what the columns hold; `None` where they do not hold the same.
async fn compare<E: Engine>(
    engine: &E,
    session: &mut E::Session,
    catalog: &Catalog,
    table: &Table,
    mut relation: Relation,
) -> Result<Option<Relation>> {
    let Some(score) = relation.score else { return Ok(Some(relation)) };
    let target = &relation.references;
    let id = StoreId::new(target.schema_group.clone(), target.schema_name.clone());
    let parent = catalog.table(&id);
    let key = parent.zip(target.columns.first()).and_then(|(p, name)| p.column(name));
    let column = relation.columns.first().and_then(|name| table.column(name));
    let (Some(parent), Some(key), Some(column)) = (parent, key, column) else {
        return Ok(Some(relation));
    };
    let dialect = engine.dialect();
    let (key_sql, name) = (format!("p.{}", dialect.name(&key.name)), dialect.name(&column.name));
    let text = format!(
        "SELECT count(*), count({key_sql}) FROM (SELECT {name} AS v FROM {} \
         WHERE {name} IS NOT NULL LIMIT {SAMPLE}) s LEFT JOIN {} p ON {}",
        dialect.path(&table.path),
        dialect.path(&parent.path),
        engine.refers(key, &key_sql, column, "s.v")
    );
    session.run(&Statement::plain("SAVEPOINT manifold")).await?;
    let (mut values, mut found) = (0, 0);
    let mut each = |cells: &[Cell<'_>]| {
        if let [Cell::Integer(all), Cell::Integer(there)] = cells {
            (values, found) = (*all, *there);
        }
        Ok(())
    };
    if let Err(error) = session.rows(&Statement::plain(text), &mut each).await {
        log::debug(format_args!("{}: its values are not compared: {error:#}", table.id));
        session.run(&Statement::plain("ROLLBACK TO SAVEPOINT manifold")).await?;
        return Ok(Some(relation));
    }
    if values == 0 {
        return Ok(Some(relation));
    }
    let share = found as f64 / values as f64;
    if share < LEAST {
        return Ok(None);
    }
    // Two digits are more than it can mean.
    relation.score = Some(((score + share) * 50.0).round() / 100.0);
    relation.reason = relation
        .reason
        .map(|why| format!("{why}; of {values} values looked at, {found} are among its keys"));
    Ok(Some(relation))
}

/// The relations of each store, in the order of the catalog, by names and types.
pub fn relations(catalog: &Catalog, policy: &Policy) -> Result<Vec<Vec<Relation>>> {
    let graph = Graph::of(catalog, policy, &[])?;
    let mut all: Vec<Vec<Relation>> = Vec::new();
    for (place, table) in catalog.tables.iter().enumerate() {
        let mut relations: Vec<Relation> =
            graph.from[place].iter().map(|&edge| graph.edges[edge].message(catalog)).collect();
        if matches!(table.kind, Kind::Table | Kind::PartitionedTable) {
            for column in &table.columns {
                let declared = relations.iter().any(|known| known.columns.contains(&column.name));
                if !declared && table.key != [column.name.as_str()] {
                    relations.extend(suggestion(catalog, table, column));
                }
            }
        }
        all.push(relations);
    }
    Ok(all)
}

/// The store whose key a column looks like a reference to.
fn suggestion(catalog: &Catalog, table: &Table, column: &Column) -> Option<Relation> {
    let name = words(&column.name);
    let mut best: Option<(f64, &Table, &Column)> = None;
    for other in catalog.tables.iter().filter(|other| other.id.group == table.id.group) {
        let [key] = other.key.as_slice() else { continue };
        let Some(key) = other.column(key) else { continue };
        if key.of != column.of || (other.id == table.id && key.name == column.name) {
            continue;
        }
        let (store, key_words) = (singular(&words(&other.id.name)), words(&key.name));
        let plain = key_words == ["id"];
        let mut named = store.clone();
        named.push("id".to_owned());
        let score = if name == named {
            0.9
        } else if !plain && name == key_words && key_words.last().is_some_and(|w| w == "id") {
            0.85
        } else if plain && name.len() > named.len() && name.ends_with(&named) {
            // `billing_address_id`.
            0.6
        } else {
            continue;
        };
        if best.is_none_or(|(known, ..)| score > known) {
            best = Some((score, other, key));
        }
    }
    let (score, other, key) = best?;
    Some(Relation {
        child: None,
        columns: vec![column.name.clone()],
        references: Reference {
            schema_name: other.id.name.clone(),
            schema_group: other.id.group.clone(),
            columns: vec![key.name.clone()],
        },
        rule: None,
        reason: Some(format!(
            "no constraint says so, but its name and type are those of a reference to {}",
            other.id
        )),
        score: Some(score),
    })
}

/// The words of a store's name, the last of them for one of its rows.
fn singular(words: &[String]) -> Vec<String> {
    let mut words = words.to_vec();
    if let Some(last) = words.last_mut() {
        let one = match last.strip_suffix("ies") {
            Some(stem) => format!("{stem}y"),
            None if last.ends_with("sses") || last.ends_with("xes") => {
                last.strip_suffix("es").unwrap_or(last).to_owned()
            }
            None if last.ends_with('s') && !last.ends_with("ss") => {
                last.strip_suffix('s').unwrap_or(last).to_owned()
            }
            None => last.clone(),
        };
        *last = one;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::types::Type;

    fn table(name: &str, columns: &[&str]) -> Table {
        Table {
            columns: columns.iter().map(|name| Column::new(*name, "", Type::Integer)).collect(),
            key: vec![columns[0].to_owned()],
            ..Table::new(StoreId::named(name), vec![name.to_owned()], Kind::Table)
        }
    }

    #[test]
    fn a_column_that_is_named_like_a_reference_is_suggested_and_others_are_not() {
        let tables = vec![
            table("customers", &["id", "parent_id", "count"]),
            table("addresses", &["id"]),
            table("orders", &["id", "customer_id", "billing_address_id", "total"]),
            table("Artist", &["ArtistId"]),
            table("Album", &["AlbumId", "ArtistId"]),
        ];
        let found = relations(&Catalog { tables }, &Policy::default()).unwrap();
        let names: Vec<(usize, &str, &str)> = found
            .iter()
            .enumerate()
            .flat_map(|(i, all)| {
                all.iter()
                    .map(move |r| (i, r.columns[0].as_str(), r.references.schema_name.as_str()))
            })
            .collect();
        assert_eq!(
            names,
            [
                (2, "customer_id", "customers"),
                (2, "billing_address_id", "addresses"),
                (4, "ArtistId", "Artist")
            ]
        );
        assert!(found[2][0].score.is_some() && found[2][0].rule.is_none());
    }
}
