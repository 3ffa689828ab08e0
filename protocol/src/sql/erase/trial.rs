//! Trying masks before anything is written: on a copy of the rows, with the store's own constraints.

use anyhow::Result;

use super::decide::Decision;
use super::engine::{Engine, Session};
use super::mask::Key;
use super::policy::Policy;
use super::strategies::{MASKED, masks};
use super::work::{Work, key_table};
use crate::fault::{self, Cause, Fault};
use crate::sql::statement::Statement;

/// So many rows are copied at most.
const MOST: u64 = 10_000;

impl<E: Engine> Work<'_, E> {
    /// Tries the masks of a store's rows. What the database refuses is a fault; what could not be tried
    /// is a warning.
    pub(super) async fn try_masks(
        &mut self,
        policy: &Policy,
        place: usize,
        rows: u64,
        key: Option<&Key>,
        decision: &mut Decision,
    ) -> Result<()> {
        let table = self.table(place).clone();
        let copy = format!("manifold_t{place}");
        let keyed = self.key_parts(place)?.iter().all(|part| part.column.is_some());
        let make = self.engine.alike(&copy, &table).filter(|_| keyed && rows <= MOST);
        let Some(make) = make else {
            if !table.checks.is_empty() {
                decision.warnings.push(format!(
                    "{}: its CHECK constraints are unchecked: whether its strategy can hold is up to \
                     the database",
                    table.id
                ));
            }
            return Ok(());
        };
        match self.tried(policy, place, &copy, make, key).await {
            Err(error) if Fault::cause_of(&error) != Cause::Transient => Err(Fault::config(
                format!("the strategy for {} cannot hold: {}", table.id, fault::line(&error)),
            )
            .into()),
            tried => tried,
        }
    }

    async fn tried(
        &mut self,
        policy: &Policy,
        place: usize,
        copy: &str,
        make: String,
        key: Option<&Key>,
    ) -> Result<()> {
        let table = self.table(place).clone();
        let written = table.columns.iter().filter(|column| !column.generated);
        let names: Vec<String> = written.map(|column| self.name(&column.name)).collect();
        let of_row: Vec<String> = names.iter().map(|name| format!("t.{name}")).collect();
        self.run(make).await?;
        let select = format!(
            "SELECT {} FROM {} k {} {} t ON {} WHERE k.fate = 1",
            of_row.join(", "),
            key_table(place),
            self.engine.join(),
            self.path(place),
            self.on_key(place, "t", "k")?
        );
        self.insert(copy, &names.join(", "), &select).await?;
        let masks = masks(policy, &table)?;
        while let Some(page) = self.new_values(place, copy, &masks, &[], key).await? {
            for change in page {
                if !change.sets.is_empty() {
                    let mut statement = Statement::plain("");
                    statement.text = self.update_at(place, copy, &change, &mut statement)?;
                    self.session.run(&statement).await?;
                }
                self.set_fate(place, &change.found, MASKED).await?;
            }
        }
        self.run(format!("UPDATE {} SET fate = 1 WHERE fate = {MASKED}", key_table(place))).await?;
        // What was copied is a person's.
        self.run(format!("DELETE FROM {copy}")).await?;
        Ok(())
    }
}
