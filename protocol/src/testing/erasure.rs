//! What every database that can be erased from is held to: known schemas, generated ones against an
//! oracle, and Chinook where it is at hand.
//!
//! A connector's test says how a database of its own is made and looked at, in a [`Database`], and
//! calls [`erasure!`](crate::erasure). Schemas are written once, in the SQL that all of them
//! understand: a reference to a table that comes later, or of a circle, is an
//! `ALTER TABLE name ADD FOREIGN KEY …;` on a line of its own.

// A panic is how a test fails.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

pub mod chinook;
pub mod faults;
pub mod generated;
pub mod masked;
mod oracle;
pub mod parts;
pub mod proxy;
pub mod requests;
pub mod stories;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::message::{Action, Matching, Plan, Relation, Verify};
use crate::silo::{Access, Erasure, Known, Outcome, Silo, StoreId, Subject};

/// What a database is able to, where not all are.
#[derive(Debug, Clone, Copy)]
pub struct Can {
    /// Finds a row of a table whose columns tell none of its rows apart.
    pub find_keyless: bool,
    /// Lets the check of a reference wait for the commit.
    pub defer: bool,
    /// Sets a reference to its default when the row above goes.
    pub set_default: bool,
    /// Changes a key and the references to it in one statement.
    pub change_together: bool,
    /// Has references without an index.
    pub leave_unindexed: bool,
    /// Has tables in partitions, by the hash of a column, and references of one partition only.
    pub partition: bool,
    /// What it can keep a user from.
    pub denies: &'static [Denial],
}

/// What a user may not do with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// See it.
    See,
    /// See those of its rows that a rule hides.
    Hidden,
    /// Delete its rows.
    Delete,
    /// Change them.
    Update,
}

impl Denial {
    fn word(self) -> &'static str {
        match self {
            Denial::See => "a store that may not be seen",
            Denial::Hidden => "hidden rows",
            Denial::Delete => "a store that may not be deleted from",
            Denial::Update => "a store that may not be changed",
        }
    }
}

/// A database that no other test touches, gone when it is dropped.
pub trait Database: Sized {
    /// What connects to it.
    type Silo: Silo;

    /// Whether there is a server to make databases on.
    fn available() -> bool {
        true
    }

    /// What it is able to.
    fn can() -> Can {
        Can {
            find_keyless: true,
            defer: true,
            set_default: true,
            change_together: true,
            leave_unindexed: true,
            partition: false,
            denies: &[],
        }
    }

    /// The clauses that give a key of words its collation, and a reference to it another one.
    fn collations() -> (&'static str, &'static str) {
        ("", "")
    }

    /// Whether a reference to such a key may differ from it by case.
    fn caseless() -> bool {
        false
    }

    /// A new database with these statements in it, without a regard to references.
    fn new(sql: &str) -> Self;

    /// The same as a new one, made of this one where that costs less.
    fn anew(self, sql: &str) -> Self {
        Self::new(sql)
    }

    /// A new database with Chinook in it, from the folder with its files.
    fn chinook(folder: &Path) -> Self;

    /// How Chinook's names are spelled there; `InvoiceLine` is the given form.
    fn spelled(name: &str) -> String {
        name.to_owned()
    }

    /// Runs statements, without a regard to references.
    fn run(&self, sql: &str);

    /// The rows of a statement, each value as text; a null is `-`.
    fn rows(&self, sql: &str) -> Vec<Vec<String>>;

    /// The names of its tables.
    fn tables(&self) -> Vec<String>;

    /// The group of its stores.
    fn group(&self) -> Option<String> {
        None
    }

    /// A form that was filled in for it, with an evidence key.
    fn form(&self) -> Value;

    /// Statements for a trigger that keeps the row of a table with this id, named `keeps`.
    fn keeps(table: &str, id: i64) -> String;

    /// Statements that drop it.
    fn keeps_no_more(table: &str) -> String;

    /// Statements for a trigger that copies deleted rows' `id` of one table into that of another,
    /// named `copies`.
    fn copies(table: &str, into: &str) -> String;

    /// Its form, filled in for a user who may do everything but that with one table.
    fn deny(&self, _table: &str, _denial: Denial) -> Value {
        panic!("this database denies nothing")
    }

    /// That user is gone, and the table as it was.
    fn deny_no_more(&self, _table: &str) {}

    /// The one number a statement yields.
    fn count(&self, sql: &str) -> u64 {
        self.rows(sql)[0][0].parse().unwrap()
    }

    /// Every row of every table, in order.
    fn dump(&self) -> Dump {
        let rows = |name: String| {
            let all = self.rows(&format!("SELECT * FROM {}", quoted(&name)));
            let mut rows: Vec<String> = all.into_iter().map(|row| row.join("|")).collect();
            rows.sort();
            (name, rows)
        };
        self.tables().into_iter().map(rows).collect()
    }

    /// The id of a store.
    fn store(&self, name: &str) -> StoreId {
        StoreId::new(self.group(), name)
    }

    /// The request about one identifier, following relations.
    fn follow(&self, store: &str, column: &str, value: &str, policy: &Value) -> Erasure {
        let known = Known {
            property: column.to_owned(),
            value: value.to_owned(),
            matching: Matching::Exact,
        };
        Erasure {
            subjects: vec![(
                self.store(store),
                Subject { identifiers: vec![known], properties: None },
            )],
            follow: true,
            policy: policy.as_object().unwrap().clone(),
            ..Erasure::default()
        }
    }

    /// The plan of a request.
    fn plan(&self, request: &Erasure) -> anyhow::Result<Plan> {
        self.plan_by(&self.form(), request)
    }

    /// The same, with another form than its own.
    fn plan_by(&self, form: &Value, request: &Erasure) -> anyhow::Result<Plan> {
        block(async {
            let silo = connect::<Self>(form, Access::Read).await?;
            silo.eraser().unwrap().plan(request).await
        })
    }

    /// Carries a request out.
    fn erase(&self, request: &Erasure) -> anyhow::Result<Vec<Outcome>> {
        self.erase_by(&self.form(), request)
    }

    /// The same, with another form than its own.
    fn erase_by(&self, form: &Value, request: &Erasure) -> anyhow::Result<Vec<Outcome>> {
        block(async {
            let silo = connect::<Self>(form, Access::Write).await?;
            silo.eraser().unwrap().erase(request).await
        })
    }

    /// Looks afresh.
    fn verify(&self, request: &Erasure) -> anyhow::Result<Verify> {
        block(async {
            let silo = connect::<Self>(&self.form(), Access::Read).await?;
            silo.eraser().unwrap().verify(request).await
        })
    }

    /// The stores that a query would show something of.
    fn reach(&self, request: &Erasure) -> Vec<String> {
        let found = block(async {
            let silo = connect::<Self>(&self.form(), Access::Read).await?;
            silo.eraser().unwrap().reach(request).await
        });
        found.unwrap().into_iter().map(|id| id.name).collect()
    }

    /// The relations of a store, as `discover` says them.
    fn relations(&self, store: &str) -> Vec<Relation> {
        let id = self.store(store);
        block(async {
            let silo = connect::<Self>(&self.form(), Access::Read).await.unwrap();
            let stores = silo.stores().await.unwrap();
            let store = stores.iter().find(|store| store.id() == id).unwrap();
            store.schema().await.unwrap().relations
        })
    }
}

/// The rows of each table.
pub type Dump = BTreeMap<String, Vec<String>>;

async fn connect<D: Database>(form: &Value, access: Access) -> anyhow::Result<D::Silo> {
    D::Silo::connect(serde_json::from_value(form.clone()).unwrap(), access).await
}

fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// A name as standard SQL quotes it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `delete Invoice 7`, one a step; a step whose columns matter names them.
pub fn steps(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|step| {
            let word = serde_json::to_value(step.action).unwrap();
            let columns = match step.action {
                Action::Delete | Action::Keep | Action::Left | Action::Denied => String::new(),
                _ => format!("({})", step.columns.join(",")),
            };
            format!("{} {}{columns} {}", word.as_str().unwrap(), step.schema_name, step.rows)
        })
        .collect()
}

/// How many rows of each store were deleted, by outcomes that are all well.
pub fn deleted(outcomes: &[Outcome]) -> BTreeMap<String, u64> {
    outcomes
        .iter()
        .map(|outcome| {
            assert_eq!(outcome.error, None);
            assert_eq!(outcome.remaining, 0, "{}", outcome.store);
            assert_eq!(outcome.unverifiable, None);
            (outcome.store.name.clone(), outcome.deleted)
        })
        .collect()
}

/// Makes a test of each story, of the generated schemas and of Chinook. `$database` is the
/// [`Database`](crate::testing::erasure::Database) of a connector; `$generated` is how many schemas.
#[macro_export]
macro_rules! erasure {
    ($database:ty, $generated:expr) => {
        $crate::erasure! { @each $database: stories:
            two_references_to_persons_in_one_row_are_undecided_until_the_policy_says_whose_it_is
            a_profile_that_is_the_same_person_goes_and_a_friend_stays
            another_persons_row_below_the_subjects_makes_it_undecided
            every_action_on_delete_is_foreseen_and_counted
            circles_are_opened_by_nulling_or_wait_for_the_commit
            of_a_composite_reference_only_what_may_be_null_is_nulled
            a_relation_that_only_the_policy_knows_is_followed
            masks_hold_and_a_second_run_leaves_them
            a_strategy_that_cannot_hold_fails_the_plan_by_name
            kept_rows_keep_what_they_own_and_what_is_above_them_must_be_masked
            a_kept_column_keeps_its_row_and_the_rest_of_it_is_masked
            a_reference_that_cannot_be_null_can_be_set_to_a_constant
            a_default_or_constant_that_would_go_itself_blocks_the_plan
        }
        $crate::erasure! { @each $database: parts:
            a_part_goes_unless_a_row_that_stays_refers_to_it
            a_shared_part_that_is_a_child_as_well_loses_its_reference
            what_a_parts_kept_rows_own_is_kept_no_longer_than_the_part_is_taken
        }
        $crate::erasure! { @each $database: masked:
            a_masked_key_takes_the_references_to_it_along
            a_masked_key_that_cannot_be_followed_fails_the_plan_by_name
            of_a_composite_key_only_the_masked_column_is_followed
            a_row_that_is_masked_under_a_new_key_may_lose_a_reference_too
            a_masked_key_that_its_own_row_refers_to_is_followed
            masks_that_would_make_rows_the_same_fail_the_plan_by_name
            a_mask_that_a_check_refuses_fails_the_plan_before_any_write
        }
        $crate::erasure! { @each $database: requests:
            a_plan_is_refused_once_a_row_was_added_or_swapped_for_another
            a_trigger_that_keeps_a_row_undoes_everything_and_one_that_copies_is_named
            a_plan_names_each_child_that_has_no_index_for_its_reference
            identifiers_of_several_rows_of_persons_need_an_approved_plan
            rows_that_only_resemble_an_identifier_stay_and_are_told
            without_follow_a_delete_that_would_go_on_into_another_store_is_refused
            without_follow_children_go_first_whatever_the_order_and_a_failure_is_alone
            values_that_no_relation_leads_to_are_found_in_texts_on_request
            the_subjects_own_residue_is_told_from_rows_of_other_persons
            evidence_is_written_before_the_first_write_and_after_the_last_look
            deletes_at_the_same_time_write_their_evidence_one_after_the_other
            a_row_that_comes_back_is_found
            what_looks_like_a_relation_is_suggested_where_its_values_are_there
        }
        $crate::erasure! { @each $database: chinook:
            a_customer_goes_with_invoices_and_lines_and_every_other_byte_stays
            an_employees_customers_are_undecided_until_the_policy_says_who_is_a_person
            a_manager_goes_and_who_reports_to_them_stays
            kept_invoices_keep_their_lines_and_the_customer_above_them_is_masked
            the_closures_of_all_customers_are_disjoint_and_are_all_invoices_and_lines
        }
        #[test]
        fn generated_schemas_are_erased_from_as_the_rules_say() {
            $crate::testing::erasure::tell::<$database>(
                || $crate::testing::erasure::generated::check::<$database>($generated),
                env!("CARGO_PKG_NAME"),
            );
        }
    };
    (@each $database:ty: $module:ident: $($story:ident)*) => {$(
        #[test]
        fn $story() {
            $crate::testing::erasure::tell::<$database>(
                || $crate::testing::erasure::$module::$story::<$database>(),
                env!("CARGO_PKG_NAME"),
            );
        }
    )*};
}

/// Makes a test of each way in which connections and processes end. `$database` is a database behind a
/// port, [`Served`](crate::testing::erasure::faults::Served).
#[macro_export]
macro_rules! erasure_faults {
    ($database:ty) => {
        $crate::erasure! { @each $database: faults:
            a_connection_cut_at_any_statement_leaves_all_or_nothing_and_evidence_that_fits
            a_process_killed_at_any_statement_leaves_all_or_nothing
            a_lost_answer_to_the_commit_is_settled_by_looking
            a_lost_answer_to_the_commit_that_cannot_be_settled_is_unknown
            a_child_that_is_added_at_any_statement_is_erased_too_or_refused
        }
    };
}

/// Runs one story where there is a server; what [`erasure!`](crate::erasure) makes tests of.
pub fn tell<D: Database>(story: fn(), package: &str) {
    match D::available() {
        true => story(),
        false => super::skip(package),
    }
}
