//! Whether masks would make two rows the same where the database lets no two be.

use std::collections::BTreeSet;

use anyhow::Result;

use super::engine::Engine;
use super::mask::Mask;
use super::work::{Fate, Work, key_table};
use crate::sql::catalog::Column;
use crate::sql::statement::Statement;

impl<E: Engine> Work<'_, E> {
    /// The columns that are unique together and would not be, and why; before any row is set aside.
    ///
    /// Only constants make different rows the same: what is null is the same as nothing, a surrogate
    /// is like no other, and hashes differ where their values do.
    pub(super) async fn clash(
        &mut self,
        place: usize,
        masks: &[(Column, Mask)],
        rows: u64,
    ) -> Result<Option<(Vec<String>, String)>> {
        let mask =
            |name: &str| masks.iter().find(|(column, _)| column.name == name).map(|(_, mask)| mask);
        let sets: BTreeSet<Vec<String>> = self.table(place).enforced().map(<[_]>::to_vec).collect();
        for set in sets {
            if set.iter().any(|name| matches!(mask(name), Some(Mask::Null | Mask::Surrogate))) {
                continue;
            }
            let (constants, rest): (Vec<&String>, Vec<&String>) =
                set.iter().partition(|name| matches!(mask(name), Some(Mask::Constant(_))));
            if constants.is_empty() {
                continue;
            }
            let like: Vec<String> = rest.iter().map(|name| format!("`{name}`")).collect();
            let with = match like.is_empty() {
                true => String::new(),
                false => format!(" with {}", like.join(", ")),
            };
            let why = if self.same_among_masked(place, &rest, rows).await? {
                match rest.is_empty() {
                    true => format!("it is unique, and there are {rows} rows"),
                    false => format!("it is unique{with}, which rows to be masked share"),
                }
            } else if rest.iter().any(|name| matches!(mask(name), Some(Mask::Hash | Mask::Hmac))) {
                // Such a hash is of a value that nobody else has.
                continue;
            } else {
                let fixed = masks.iter().filter(|(column, _)| constants.contains(&&column.name));
                if !self.same_as_another(place, &rest, fixed).await? {
                    continue;
                }
                match rest.is_empty() {
                    true => "it is unique, and another row has the constant".to_owned(),
                    false => format!("it is unique{with}, and another row has both"),
                }
            };
            return Ok(Some((constants.into_iter().cloned().collect(), why)));
        }
        Ok(None)
    }

    /// Whether two of the rows that are to be masked differ by nothing but what becomes a constant.
    async fn same_among_masked(
        &mut self,
        place: usize,
        rest: &[&String],
        rows: u64,
    ) -> Result<bool> {
        if rest.is_empty() {
            return Ok(rows > 1);
        }
        let names: Vec<String> = rest.iter().map(|name| format!("t.{}", self.name(name))).collect();
        let given: String = names.iter().map(|name| format!(" AND {name} IS NOT NULL")).collect();
        let shared = self
            .count(format!(
                "SELECT count(*) FROM (SELECT count(*) AS n FROM {} k {} {} t ON {} \
                 WHERE k.fate = {}{given} GROUP BY {} HAVING count(*) > 1) g",
                key_table(place),
                self.engine.join(),
                self.path(place),
                self.on_key(place, "t", "k")?,
                Fate::Mask as i64,
                names.join(", ")
            ))
            .await?;
        Ok(shared > 0)
    }

    /// Whether a row that is not to be masked has the constants, and beside them what one that is to be
    /// masked has.
    async fn same_as_another(
        &mut self,
        place: usize,
        rest: &[&String],
        constants: impl Iterator<Item = &(Column, Mask)>,
    ) -> Result<bool> {
        let (path, join) = (self.path(place), self.engine.join());
        let mask = Fate::Mask as i64;
        let mut statement = Statement::plain("");
        let mut conditions = Vec::new();
        for (column, text) in constants {
            let Mask::Constant(text) = text else { continue };
            let Some(value) = self.engine.convert(column, text) else { return Ok(false) };
            let parameter = statement.bind(self.engine.dialect(), value);
            let name = format!("c.{}", self.name(&column.name));
            conditions.push(self.engine.refers(column, &name, column, &parameter));
        }
        conditions.push(format!(
            "NOT EXISTS (SELECT 1 FROM {} o WHERE {} AND o.fate = {mask})",
            key_table(place),
            self.on_key(place, "c", "o")?
        ));
        let mut from = format!("{path} c");
        if !rest.is_empty() {
            let same = rest.iter().map(|name| {
                let name = self.name(name);
                format!("c.{name} = t.{name}")
            });
            let same = same.collect::<Vec<_>>().join(" AND ");
            let keys = self.copy_of_keys(place).await?;
            let on = self.on_key(place, "t", "k")?;
            from = format!("{keys} k {join} {path} t ON {on} {join} {path} c ON {same}");
            conditions.push(format!("k.fate = {mask}"));
        }
        statement.text = format!("SELECT count(*) FROM {from} WHERE {}", conditions.join(" AND "));
        Ok(self.number(&statement).await? > 0)
    }
}
