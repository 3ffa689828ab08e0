//! The conformance suite: the promises that every connector keeps, each a test through its binary.
//!
//! A connector's `tests/conformance.rs` is a function that makes a silo with known data, and one
//! line:
//!
//! ```text
//! //! The promises that every connector keeps.
//!
//! use protocol::silo::StoreId;
//! use protocol::testing::{Case, Setup};
//! use serde_json::json;
//!
//! fn setup() -> Option<Setup> {
//!     let config = json!({"names": ["Ada Lovelace", "ada lovelace"], "api_key": "not-to-be-seen"});
//!     let case = Case::new(StoreId::named("greetings"), "name", "Ada Lovelace").finds(1, 2);
//!     Some(Setup::new(env!("CARGO_BIN_EXE_connector-hello"), config).case(case))
//! }
//!
//! protocol::conformance!(setup);
//! ```
//!
//! Each promise is a test of its own with a setup of its own, so none sees what another did. A
//! setup that cannot be made because a service is missing is `None`: the test is skipped, which is
//! said, and fails where `CI=true`. What concerns an ability that the connector lacks passes, once
//! the spec and every store say that it is lacking.
//!
//! Beside its own subject, every promise holds for each run it makes: stdout is whole lines of
//! messages, stderr is LOG lines, nothing panics, and neither a secret of the configuration nor a
//! subject's value is in a log line or an error.
//!
//! # The promises
//!
//! `connectors/README.md` lists them; the text of each stands at its function in [`promises`].

#[cfg(feature = "sql")]
pub mod chinook;
pub mod erasure;
#[cfg(feature = "http")]
pub mod http;
mod output;
mod program;
pub mod promises;
mod rules;
#[cfg(feature = "sql")]
pub mod runs;
mod setup;
mod view;

use std::io::Write;
use std::path::Path;
use std::sync::Once;

pub use setup::{Case, Setup};

/// Names a file to which a test that cannot run appends a line that says why.
const SKIPS: &str = "MANIFOLD_SKIPS";

/// Makes a test of each promise. `$setup` is a function that returns `Option<Setup>`.
#[macro_export]
macro_rules! conformance {
    ($setup:path) => {
        $crate::conformance! { @each $setup:
            spec_is_one_message_with_name_form_and_abilities
            every_field_of_the_form_can_be_drawn_and_is_explained
            the_spec_is_the_golden_one
            the_spec_claims_the_abilities_that_the_stores_offer
            a_good_configuration_is_success
            a_broken_configuration_is_failure_and_says_what_to_correct
            a_field_that_is_missing_or_of_another_type_is_named
            null_and_empty_text_stand_for_an_absent_field
            unknown_members_of_inputs_are_ignored
            a_broken_configuration_fails_every_command_and_prints_nothing
            schema_prints_what_a_monoid_host_reads
            discover_prints_the_stores_of_schema_with_their_details
            a_scan_gives_as_many_records_as_it_may
            a_scan_is_a_sample_that_its_seed_repeats
            scan_takes_what_schema_and_discover_print
            every_record_is_what_its_schema_says
            chosen_properties_are_what_a_record_has
            a_store_or_property_that_is_not_there_is_named_and_the_rest_goes_on
            a_store_that_is_named_twice_is_refused
            an_ability_that_is_lacking_is_refused_by_name
            a_read_gives_every_record_exactly_once
            a_read_from_each_state_gives_exactly_the_rest
            a_read_from_the_last_state_gives_nothing_new
            what_came_since_the_last_state_is_read
            a_killed_read_goes_on_without_loss
            a_state_of_another_kind_is_refused_by_name
            a_store_that_prints_states_has_a_key_or_cursors
            a_query_finds_the_subjects_records_and_no_others
            each_identifier_has_its_result_and_each_handle_all_of_its_store
            equality_is_exact
            a_number_is_found_by_its_text
            a_value_that_cannot_be_of_the_type_matches_nothing
            what_cannot_be_asked_is_a_failed_line_and_the_others_have_theirs
            empty_lists_print_nothing
            injected_text_finds_nothing_and_changes_nothing
            handles_of_the_python_kit_are_read
            requests_stand_as_their_handles_say
            deleted_records_are_gone_and_all_others_are_there
            a_delete_of_several_identifiers_is_done_for_each
            a_second_delete_is_complete_with_nothing_deleted
            a_dry_run_changes_nothing_and_counts_the_same
            verify_counts_what_is_there_before_a_delete_and_nothing_after
            a_delete_of_nobody_deletes_nothing
            a_delete_that_fails_changes_nothing
            a_read_only_configuration_refuses_to_delete_and_to_write
            a_plan_has_the_same_hash_until_something_changes
            an_approved_plan_is_carried_out_and_another_is_refused
            what_is_read_and_written_reads_the_same
            states_are_echoed_unchanged_and_in_order
            a_state_is_echoed_before_the_end_of_the_input
            a_line_that_cannot_be_taken_is_named
            an_unknown_property_adds_a_column_or_is_refused_by_name
            wrong_usage_and_unreadable_inputs_are_status_2_with_nothing_printed
            every_input_can_come_from_standard_input
            flags_are_taken_as_hosts_write_them
            sigterm_ends_a_run_within_a_second_with_whole_lines
            a_reader_that_goes_away_ends_a_run_quietly
            on_a_terminal_everything_is_json_and_the_process_lives_300_ms
            no_secret_and_no_subjects_value_is_said
            an_identifier_of_ten_megabytes_is_refused
        }
    };
    // What a connector that wraps a program keeps without it.
    ($setup:path, of the form) => {
        $crate::conformance! { @each $setup:
            spec_is_one_message_with_name_form_and_abilities
            every_field_of_the_form_can_be_drawn_and_is_explained
        }
    };
    (@each $setup:path: $($promise:ident)*) => {$(
        #[test]
        fn $promise() {
            $crate::testing::keep(
                $crate::testing::promises::$promise,
                $setup(),
                env!("CARGO_PKG_NAME"),
                env!("CARGO_MANIFEST_DIR"),
            );
        }
    )*};
}

/// Runs one promise; what [`conformance!`](crate::conformance) makes tests of.
pub fn keep(promise: fn(&mut Setup), setup: Option<Setup>, package: &str, folder: &str) {
    let Some(mut setup) = setup else { return skip(package) };
    setup.package = Path::new(folder).to_owned();
    setup.learn_secrets();
    promise(&mut setup);
}

/// Says, once a process, that the suite did not run, nor the connector's own tests that need its
/// service.
pub fn skip(package: &str) {
    static SAID: Once = Once::new();
    let why = format!("{package}: the conformance suite: its service is not there");
    assert!(
        !std::env::var("CI").is_ok_and(|value| value == "true"),
        "CI=true forbids to skip {why}"
    );
    SAID.call_once(|| {
        let told = std::env::var_os(SKIPS)
            .map(|path| std::fs::File::options().append(true).open(path))
            .transpose();
        // Not by a macro: the test harness would keep that to itself.
        match told {
            Ok(Some(mut file)) => writeln!(file, "{why}"),
            _ => writeln!(std::io::stderr(), "skipped: {why}"),
        }
        .expect("a skip can be said");
    });
}

#[cfg(test)]
mod tests {
    /// The names that stand first in each line of a text that has some, between `before` and `after`.
    fn names<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix(before));
        lines.filter_map(|rest| rest.split_once(after).map(|(name, _)| name)).collect()
    }

    #[test]
    fn every_promise_is_a_test_and_is_listed_for_readers() {
        let code = [
            include_str!("testing/promises/forms.rs"),
            include_str!("testing/promises/stores.rs"),
            include_str!("testing/promises/reading.rs"),
            include_str!("testing/promises/queries.rs"),
            include_str!("testing/promises/erasing.rs"),
            include_str!("testing/promises/writing.rs"),
            include_str!("testing/promises/processes.rs"),
        ]
        .concat();
        let written = names(&code, "pub fn ", "(setup: &mut Setup)");
        let list = include_str!("testing.rs").split_once("@each $setup:\n").map(|(_, list)| list);
        let list = list.and_then(|list| list.split_once('}')).map(|(list, _)| list);
        let tests: Vec<&str> = list.unwrap_or_default().split_whitespace().collect();
        assert_eq!(tests, written, "the tests that the macro makes");
        let readme = include_str!("../../connectors/README.md");
        let readme = readme.split_once("\n## The promises\n").map(|(_, list)| list);
        assert_eq!(
            names(readme.unwrap_or_default(), "| `", "` |"),
            written,
            "connectors/README.md"
        );
    }
}
