//! The suite's promises can fail: each, against a connector that breaks it on purpose.

use std::panic::{AssertUnwindSafe, catch_unwind};

use protocol::silo::StoreId;
use protocol::testing::{Case, Setup, keep, promises};
use rusqlite::Connection;
use serde_json::json;

const PEOPLE: &str = "
    CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT COLLATE NOCASE, note TEXT);
    WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2000)
    INSERT INTO people SELECT n, 'person' || n || '@example.com', 'some text about ' || n FROM n;
    UPDATE people SET email = 'Ada@Example.com' WHERE id = 7;
    UPDATE people SET email = 'ada@example.com' WHERE id = 8;";

/// The connector as it is, in place of the shell.
const FAITHFUL: &str = r#"exec "$CONNECTOR" "$@""#;

/// What a promise is called, how it is broken, and a word of the complaint.
type Breach = (&'static str, fn(&mut Setup), &'static str, &'static str);

const BREACHES: &[Breach] = &[
    (
        "a record is lost",
        promises::a_read_gives_every_record_exactly_once,
        r#"if [ "$1" = read ]; then "$CONNECTOR" "$@" | sed '/"id":1003,/d'; else "$CONNECTOR" "$@"; fi"#,
        "records of people",
    ),
    (
        "a record comes twice",
        promises::a_read_gives_every_record_exactly_once,
        r#"if [ "$1" = read ]; then "$CONNECTOR" "$@" | sed '/"id":1003,/p'; else "$CONNECTOR" "$@"; fi"#,
        "records of people",
    ),
    (
        "a read on from a state passes over a record",
        promises::a_read_from_each_state_gives_exactly_the_rest,
        r#"case "$*" in *--state*) "$CONNECTOR" "$@" | sed 1d ;; *) "$CONNECTOR" "$@" ;; esac"#,
        "missing 1",
    ),
    (
        "a killed read goes on with a gap",
        promises::a_killed_read_goes_on_without_loss,
        r#"case "$*" in *--state*) "$CONNECTOR" "$@" | sed 1d ;; *) exec "$CONNECTOR" "$@" ;; esac"#,
        "missing 1",
    ),
    (
        "the state is not regarded",
        promises::a_read_from_the_last_state_gives_nothing_new,
        r#"case "$*" in *--state*) "$CONNECTOR" read -c "$3" ;; *) "$CONNECTOR" "$@" ;; esac"#,
        "too many",
    ),
    (
        "a state of another kind is taken for a beginning",
        promises::a_state_of_another_kind_is_refused_by_name,
        r#"case "$*" in *--state*) "$CONNECTOR" read -c "$3" ;; *) "$CONNECTOR" "$@" ;; esac"#,
        "the status should be 3",
    ),
    (
        "a sample is larger than its limit",
        promises::a_scan_gives_as_many_records_as_it_may,
        r#"if [ "$1" = scan ]; then "$CONNECTOR" scan -c "$3" -s "$5" --limit 50; else "$CONNECTOR" "$@"; fi"#,
        "a scan of 0",
    ),
    (
        "the seed is not regarded",
        promises::a_scan_is_a_sample_that_its_seed_repeats,
        r#"if [ "$1" = scan ]; then "$CONNECTOR" scan -c "$3" -s "$5" --limit 5 --seed "$$"; else "$CONNECTOR" "$@"; fi"#,
        "two samples",
    ),
    (
        "strangers are found by another case",
        promises::equality_is_exact,
        r#"if [ "$1" = query ]; then sed -i 's/"identifier":/"match":"collation","identifier":/' "$5"; fi
           "$CONNECTOR" "$@""#,
        "too many",
    ),
    (
        "a record is printed once for each handle",
        promises::each_identifier_has_its_result_and_each_handle_all_of_its_store,
        r#"if [ "$1" = request-results ]; then "$CONNECTOR" "$@" | sed p; else "$CONNECTOR" "$@"; fi"#,
        "too many",
    ),
    (
        "one unknown store fails all",
        promises::what_cannot_be_asked_is_a_failed_line_and_the_others_have_theirs,
        r#"if [ "$1" = query ] && grep -q no_such_store "$5"; then exit 1; fi; "$CONNECTOR" "$@""#,
        "the status should be 0",
    ),
    (
        "the value that is looked for is logged",
        promises::a_query_finds_the_subjects_records_and_no_others,
        r#"if [ "$1" = query ]; then
             echo '{"type":"LOG","log":{"message":"looking for ada@example.com","level":"INFO"}}' >&2
           fi; "$CONNECTOR" "$@""#,
        "must not be in a log line",
    ),
    (
        "a line on stdout is no message",
        promises::a_good_configuration_is_success,
        r#"echo connecting; "$CONNECTOR" "$@""#,
        "not JSON",
    ),
    (
        "a property may be of two types",
        promises::schema_prints_what_a_monoid_host_reads,
        r#""$CONNECTOR" "$@" | sed 's/"type":"string"/"type":["string","null"]/'"#,
        "one plain type",
    ),
    (
        "the spec claims what no store offers",
        promises::the_spec_claims_the_abilities_that_the_stores_offer,
        r#""$CONNECTOR" "$@" | sed 's/"abilities":\[[^]]*\]/"abilities":["read"]/'"#,
        "spec against stores",
    ),
    (
        "the form changed unseen",
        promises::the_spec_is_the_golden_one,
        r#""$CONNECTOR" "$@" | sed 's/"title":"Path"/"title":"File"/'"#,
        "UPDATE_GOLDEN=1",
    ),
    (
        "a configuration that does not work is called good",
        promises::a_broken_configuration_is_failure_and_says_what_to_correct,
        r#""$CONNECTOR" "$@" | sed 's/FAILURE/SUCCESS/'"#,
        "the status should be 1",
    ),
    (
        "what was skipped does not show in the status",
        promises::a_store_or_property_that_is_not_there_is_named_and_the_rest_goes_on,
        r#""$CONNECTOR" "$@" || true"#,
        "the status should be 3",
    ),
    (
        "wrong usage is an ordinary failure",
        promises::wrong_usage_and_unreadable_inputs_are_status_2_with_nothing_printed,
        r#""$CONNECTOR" "$@" || exit 1"#,
        "the status should be 2",
    ),
    (
        "sigterm is not regarded",
        promises::sigterm_ends_a_run_within_a_second_with_whole_lines,
        r#"trap '' TERM; "$CONNECTOR" "$@""#,
        "the status should be 143",
    ),
    (
        "a closed pipe is a failure",
        promises::a_reader_that_goes_away_ends_a_run_quietly,
        r#""$CONNECTOR" "$@" || exit 1"#,
        "the status should be 141",
    ),
    (
        "a run on a terminal is over at once",
        promises::on_a_terminal_everything_is_json_and_the_process_lives_300_ms,
        r#""$CONNECTOR" "$@" | cat"#,
        "it lived",
    ),
    (
        "a written record is lost",
        promises::what_is_read_and_written_reads_the_same,
        r#"if [ "$1" = write ]; then sed '$d' | "$CONNECTOR" "$@"; else "$CONNECTOR" "$@"; fi"#,
        "missing 1",
    ),
    (
        "states are echoed in another order",
        promises::states_are_echoed_unchanged_and_in_order,
        r#"if [ "$1" = write ]; then "$CONNECTOR" "$@" | sort -r; else "$CONNECTOR" "$@"; fi"#,
        "the states that were echoed",
    ),
];

fn setup() -> Setup {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("people.db");
    let people = Connection::open(&file).and_then(|file| file.execute_batch(PEOPLE));
    people.expect("a new database can be filled");
    let copy = folder.path().join("copy.db");
    let empty = Connection::open(&copy).and_then(|copy| copy.execute_batch("VACUUM"));
    empty.expect("a new database can be made");
    let case = Case::new(StoreId::named("people"), "email", "ada@example.com").finds(1, 2000);
    Setup::new(env!("CARGO_BIN_EXE_connector-sqlite"), json!({ "path": file }))
        .broken(json!({ "path": folder.path().join("nowhere.db") }), "nowhere.db")
        .empty(json!({ "path": copy }))
        .case(case)
        .keep(folder)
}

/// What a promise complains of when the connector is run through a script; `None` where it is kept.
fn complaint(promise: fn(&mut Setup), script: &str) -> Option<String> {
    let setup = setup().through(script);
    let folder = env!("CARGO_MANIFEST_DIR");
    let kept = catch_unwind(AssertUnwindSafe(|| keep(promise, Some(setup), "sqlite", folder)));
    let told = kept.err()?;
    let text = told.downcast_ref::<String>().cloned();
    Some(
        text.or_else(|| told.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default(),
    )
}

#[test]
fn a_promise_is_told_from_its_breach() {
    std::thread::scope(|scope| {
        for some in BREACHES.chunks(6) {
            scope.spawn(move || {
                for (name, promise, script, word) in some {
                    let told = complaint(*promise, FAITHFUL);
                    assert_eq!(told, None, "{name}: nothing was broken");
                    let told = complaint(*promise, script);
                    let told = told.unwrap_or_else(|| panic!("{name}: it was not seen"));
                    assert!(told.contains(word), "{name}: {told}");
                }
            });
        }
    });
}
