//! The suite's promises can fail: each, against a connector that breaks it on purpose.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// Tells of success, and leaves the file as it was: a delete of a copy, which is thrown away.
const DELETES_A_COPY: &str = r#"
    if [ "$1" != delete ]; then exec "$CONNECTOR" "$@"; fi
    file=$(sed 's/.*"path":"\([^"]*\)".*/\1/' "$3")
    cp "$file" "$file.copy"
    sed 's/people\.db/people.db.copy/' "$3" > "$3.copy"
    config=$3.copy; shift 3
    "$CONNECTOR" delete -c "$config" "$@""#;

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
    (
        "an ability is none of the protocol's",
        promises::spec_is_one_message_with_name_form_and_abilities,
        r#""$CONNECTOR" "$@" | sed 's/"abilities":\[/"abilities":["fly",/'"#,
        "an ability of the protocol",
    ),
    (
        "a field has no title",
        promises::every_field_of_the_form_can_be_drawn_and_is_explained,
        r#""$CONNECTOR" "$@" | sed 's/"title":"Path"/"name":"Path"/'"#,
        "the form: ",
    ),
    (
        "a wrong field is not named",
        promises::a_field_that_is_missing_or_of_another_type_is_named,
        r#"if [ "$1" != validate ]; then exec "$CONNECTOR" "$@"; fi
           "$CONNECTOR" "$@" > "$3.out"; status=$?; tr -d '`' < "$3.out"; exit $status"#,
        "should name",
    ),
    (
        "an empty text is taken for a value",
        promises::null_and_empty_text_stand_for_an_absent_field,
        r#"if [ "$1" = validate ] && grep -q '""' "$3"; then
             echo '{"type":"VALIDATE","validate_msg":{"status":"FAILURE","message":"empty"}}'; exit 1
           fi; exec "$CONNECTOR" "$@""#,
        "fields left alone",
    ),
    (
        "a member of a later version is refused",
        promises::unknown_members_of_inputs_are_ignored,
        r#"if grep -qs x_unknown "$5"; then exit 1; fi; exec "$CONNECTOR" "$@""#,
        "the status should be 0",
    ),
    (
        "a configuration that does not work passes for an empty silo",
        promises::a_broken_configuration_fails_every_command_and_prints_nothing,
        r#""$CONNECTOR" "$@" || exit 0"#,
        "the status should be 1 or 2",
    ),
    (
        "a store has lost its kind",
        promises::discover_prints_the_stores_of_schema_with_their_details,
        r#""$CONNECTOR" "$@" | sed 's/"kind":"table",//'"#,
        "has no `kind`",
    ),
    (
        "only entries with a schema are scanned",
        promises::scan_takes_what_schema_and_discover_print,
        r#"if [ "$1" = scan ] && ! grep -q json_schema "$5"; then exit 0; fi; exec "$CONNECTOR" "$@""#,
        "entries without a schema",
    ),
    (
        "a record has a property that its schema has not",
        promises::every_record_is_what_its_schema_says,
        r#"if [ "$1" = scan ]; then "$CONNECTOR" "$@" | sed 's/"note":/"notes":/'; else "$CONNECTOR" "$@"; fi"#,
        "a record of people",
    ),
    (
        "properties that nobody chose are read",
        promises::chosen_properties_are_what_a_record_has,
        r#"if [ "$1" = read ]; then "$CONNECTOR" read -c "$3"; else "$CONNECTOR" "$@"; fi"#,
        "was chosen",
    ),
    (
        "a store that is named twice is read twice",
        promises::a_store_that_is_named_twice_is_refused,
        r#""$CONNECTOR" "$@" || exit 0"#,
        "the status should be 2",
    ),
    (
        "what was added is not read",
        promises::what_came_since_the_last_state_is_read,
        r#"case "$*" in *--state*) exit 0 ;; *) exec "$CONNECTOR" "$@" ;; esac"#,
        "what was added to it",
    ),
    (
        "discover hides what a read goes by",
        promises::a_store_that_prints_states_has_a_key_or_cursors,
        r#"if [ "$1" = discover ]; then
             "$CONNECTOR" "$@" | sed 's/"key":\[[^]]*\]/"key":[]/; s/"cursors":\[[^]]*\]/"cursors":[]/'
           else "$CONNECTOR" "$@"; fi"#,
        "nothing to order by",
    ),
    (
        "a number is not found by its text",
        promises::a_number_is_found_by_its_text,
        r#"if [ "$1" = query ]; then sed -i 's/"identifier_query":"8"/"identifier_query":"08x"/' "$5"; fi
           exec "$CONNECTOR" "$@""#,
        "id is 8",
    ),
    (
        "a value is cast to what it begins with",
        promises::a_value_that_cannot_be_of_the_type_matches_nothing,
        r#"if [ "$1" = query ]; then sed -i 's/"identifier_query":"8[^"]*"/"identifier_query":"8"/' "$5"; fi
           exec "$CONNECTOR" "$@""#,
        "id is \"8x\"",
    ),
    (
        "an empty list is an error",
        promises::empty_lists_print_nothing,
        r#"if [ "$1" = query ]; then exit 1; fi; exec "$CONNECTOR" "$@""#,
        "the status should be 0",
    ),
    (
        "injected text finds somebody",
        promises::injected_text_finds_nothing_and_changes_nothing,
        r#"if [ "$1" = query ]; then sed -i "s/\"identifier_query\":\"' OR [^\"]*\"/\"identifier_query\":\"ada@example.com\"/" "$5"; fi
           exec "$CONNECTOR" "$@""#,
        "found 1",
    ),
    (
        "handles of another maker find nothing",
        promises::handles_of_the_python_kit_are_read,
        r#"if [ "$1" = request-results ] && ! grep -q identifiers "$5"; then exit 0; fi
           exec "$CONNECTOR" "$@""#,
        "missing 1",
    ),
    (
        "a failed request is complete by its status",
        promises::requests_stand_as_their_handles_say,
        r#"if [ "$1" = request-status ]; then "$CONNECTOR" "$@" | sed s/FAILED/COMPLETE/; else "$CONNECTOR" "$@"; fi"#,
        "as the query said",
    ),
    (
        "a delete is undone after it was counted",
        promises::deleted_records_are_gone_and_all_others_are_there,
        DELETES_A_COPY,
        "after the delete from people",
    ),
    (
        "one of several deletes has no result",
        promises::a_delete_of_several_identifiers_is_done_for_each,
        r#"if [ "$1" = delete ]; then "$CONNECTOR" "$@" | sed '$d'; else "$CONNECTOR" "$@"; fi"#,
        "one result an identifier",
    ),
    (
        "a delete counts what it did not delete",
        promises::a_second_delete_is_complete_with_nothing_deleted,
        r#"if [ "$1" = delete ]; then "$CONNECTOR" "$@" | sed 's/"deleted":0/"deleted":1/'; else "$CONNECTOR" "$@"; fi"#,
        "people: deleted again",
    ),
    (
        "a dry run deletes",
        promises::a_dry_run_changes_nothing_and_counts_the_same,
        r#"case "$*" in *--dry-run*) ;; *) exec "$CONNECTOR" "$@" ;; esac
           for word; do shift; [ "$word" = --dry-run ] || set -- "$@" "$word"; done
           "$CONNECTOR" "$@" | sed 's/"deleted":/"dry_run":true,"deleted":/'"#,
        "after a dry run",
    ),
    (
        "what is there verifies as gone",
        promises::verify_counts_what_is_there_before_a_delete_and_nothing_after,
        r#"if [ "$1" != verify ]; then exec "$CONNECTOR" "$@"; fi
           "$CONNECTOR" "$@" > "$3.out"; status=$?
           sed 's/"remaining":[0-9]*/"remaining":0/g' "$3.out"; exit $status"#,
        "people: before",
    ),
    (
        "strangers are deleted by another case",
        promises::a_delete_of_nobody_deletes_nothing,
        r#"if [ "$1" = delete ]; then sed -i 's/"identifier":/"match":"collation","identifier":/' "$5"; fi
           exec "$CONNECTOR" "$@""#,
        "people: ",
    ),
    (
        "a delete that fails deletes somebody else",
        promises::a_delete_that_fails_changes_nothing,
        r#"if [ "$1" = delete ]; then
             echo '{"identifiers":[{"schema_name":"people","identifier":"id","identifier_query":"9"}]}' > "$5.other"
             "$CONNECTOR" delete -c "$3" -q "$5.other" > /dev/null
           fi; exec "$CONNECTOR" "$@""#,
        "after deletes that failed",
    ),
    (
        "read-only is not regarded",
        promises::a_read_only_configuration_refuses_to_delete_and_to_write,
        r#"if [ -f "$3" ]; then sed -i 's/"read_only":true/"read_only":false/' "$3"; fi; exec "$CONNECTOR" "$@""#,
        "FAILED",
    ),
    (
        "a plan has another hash each time",
        promises::a_plan_has_the_same_hash_until_something_changes,
        r#"if [ "$1" = plan ]; then
             "$CONNECTOR" "$@" > "$3.out"; status=$?; sed "s/\"hash\":\"/\"hash\":\"$$/" "$3.out"; exit $status
           fi; exec "$CONNECTOR" "$@""#,
        "nothing changed",
    ),
    (
        "any plan is carried out",
        promises::an_approved_plan_is_carried_out_and_another_is_refused,
        r#"if [ "$1" = delete ]; then
             for word; do shift; case "$word" in --plan|p1.*|000*|!1.*) ;; *) set -- "$@" "$word" ;; esac; done
           fi; exec "$CONNECTOR" "$@""#,
        "a plan that nobody made was carried out",
    ),
    (
        "a state is echoed before anything is written",
        promises::a_state_is_echoed_before_the_end_of_the_input,
        r#"if [ "$1" = write ]; then exec grep --line-buffered STATE; fi; exec "$CONNECTOR" "$@""#,
        "after a kill",
    ),
    (
        "a wrong line is not named",
        promises::a_line_that_cannot_be_taken_is_named,
        r#"if [ "$1" != write ]; then exec "$CONNECTOR" "$@"; fi
           "$CONNECTOR" "$@" 2> "$3.err"; status=$?
           sed 's/line [0-9]*/a line/' "$3.err" >&2; exit $status"#,
        "line 4",
    ),
    (
        "a column is added against the order",
        promises::an_unknown_property_adds_a_column_or_is_refused_by_name,
        r#"for word; do shift; [ "$word" = --columns=fail ] || set -- "$@" "$word"; done
           exec "$CONNECTOR" "$@""#,
        "a column was added that was not to be",
    ),
    (
        "standard input is not read",
        promises::every_input_can_come_from_standard_input,
        r#"exec "$CONNECTOR" "$@" < /dev/null"#,
        "the status should be 0",
    ),
    (
        "a flag that hosts pass is refused",
        promises::flags_are_taken_as_hosts_write_them,
        r#"for word; do if [ "$word" = -p ]; then exit 2; fi; done; exec "$CONNECTOR" "$@""#,
        "the status should be 0",
    ),
    (
        "a log line at its most talkative names the subject",
        promises::no_secret_and_no_subjects_value_is_said,
        r#"case "$*" in *--verbose*)
             echo '{"type":"LOG","log":{"message":"query for ada@example.com","level":"DEBUG"}}' >&2 ;;
           esac; exec "$CONNECTOR" "$@""#,
        "must not be in a log line",
    ),
    (
        "a value is cut to what fits",
        promises::an_identifier_of_ten_megabytes_is_refused,
        r#"if [ "$1" = query ]; then sed -i 's/xxxxx*/xxxx/' "$5"; fi; exec "$CONNECTOR" "$@""#,
        "the status should be 2",
    ),
    (
        "what the spec does not claim is done all the same",
        promises::an_ability_that_is_lacking_is_refused_by_name,
        r#"if [ "$1" = spec ]; then "$CONNECTOR" "$@" | sed 's/,"write"\]/]/'; else exec "$CONNECTOR" "$@"; fi"#,
        "write",
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
    let case = Case::new(StoreId::named("people"), "email", "ada@example.com")
        .finds(1, 2000)
        .number("id", 8)
        .grows(growth(&file));
    Setup::new(env!("CARGO_BIN_EXE_connector-sqlite"), json!({ "path": file }))
        .broken(json!({ "path": folder.path().join("nowhere.db") }), "nowhere.db")
        .read_only(json!({ "path": file, "read_only": true }))
        .empty(json!({ "path": copy }))
        .case(case)
        .keep(folder)
}

fn growth(file: &Path) -> impl FnMut() -> usize + 'static {
    let file = file.to_owned();
    move || {
        let people = Connection::open(&file).expect("the database is there");
        let insert = "INSERT INTO people (email, note) VALUES ('new@example.com', 'came later')";
        people.execute(insert, []).expect("a row can be added")
    }
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
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let check = || {
        while let Some((name, promise, script, word)) =
            BREACHES.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let unbroken = complaint(*promise, FAITHFUL);
            let problem = match (unbroken, complaint(*promise, script)) {
                (Some(told), _) => format!("nothing was broken: {told}"),
                (None, None) => "it was not seen".to_owned(),
                (None, Some(told)) if !told.contains(word) => told,
                _ => continue,
            };
            wrong.lock().expect("no thread fails").push(format!("{name}: {problem}"));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(check);
        }
    });
    let wrong = wrong.into_inner().expect("no thread fails");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
