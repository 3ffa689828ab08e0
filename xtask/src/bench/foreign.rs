//! What passing on a wrapped program's records costs: the program is a script that only prints them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Bench, Contest, Suite, Toll};

pub(super) const SUITE: Suite =
    Suite { name: "foreign", connector: "airbyte", programs: &[], services: &[], contests };

/// How many records the file holds that the scripts print once or several times.
const RECORDS: u32 = 100_000;

/// What a record may cost, so that the program that is wrapped is always slower.
const TOLL: Duration = Duration::from_micros(2);

/// What the relay may take, however many records pass.
const MEMORY: u64 = 24 << 20;

/// An Airbyte source. Its arguments: how often it prints the file, the file, and what it is told.
const SOURCE: &str = r#"
times=$1 file=$2
case $3 in
spec) echo '{"type":"SPEC","spec":{"connectionSpecification":{"type":"object","properties":{}}}}' ;;
discover) echo '{"type":"CATALOG","catalog":{"streams":[{"name":"users","json_schema":{"type":"object","properties":{PROPERTIES}},"supported_sync_modes":["full_refresh","incremental"],"source_defined_cursor":true,"source_defined_primary_key":[["id"]]}]}}' ;;
read)
    while [ "$times" -gt 0 ]; do
        cat "$file"
        echo '{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"users"},"stream_state":{"left":'"$times"'}}}}'
        times=$((times - 1))
    done
    echo '{"type":"TRACE","trace":{"type":"STREAM_STATUS","emitted_at":1,"stream_status":{"stream_descriptor":{"name":"users"},"status":"COMPLETE"}}}' ;;
esac
"#;

/// A Singer tap, with the same arguments.
const TAP: &str = r#"
times=$1 file=$2
case $* in
*--about*) exit 2 ;;
*--discover*) echo '{"streams":[{"tap_stream_id":"users","stream":"users","schema":{"type":"object","properties":{PROPERTIES}},"key_properties":["id"],"replication_key":"id","metadata":[]}]}' ;;
*)
    echo '{"type":"SCHEMA","stream":"users","schema":{"type":"object","properties":{PROPERTIES}},"key_properties":["id"]}'
    while [ "$times" -gt 0 ]; do
        cat "$file"
        echo '{"type":"STATE","value":{"bookmarks":{"users":{"left":'"$times"'}}}}'
        times=$((times - 1))
    done ;;
esac
"#;

const PROPERTIES: &str = r#""id":{"type":"integer"},"name":{"type":"string"},"email":{"type":["null","string"]},"balance":{"type":"number"},"active":{"type":"boolean"},"notes":{"type":["null","string"]}"#;

fn contests(bench: &Bench<'_>) -> Result<Vec<Contest>> {
    let mut contests = vec![];
    for (protocol, script, frame) in [
        (
            "airbyte",
            SOURCE,
            [
                r#"{"type":"RECORD","record":{"stream":"users","data":"#,
                r#","emitted_at":1700000000000}}"#,
            ],
        ),
        (
            "singer",
            TAP,
            [
                r#"{"type":"RECORD","stream":"users","record":"#,
                r#","time_extracted":"2026-01-01T00:00:00Z"}"#,
            ],
        ),
    ] {
        let path = bench.folder.join(format!("{protocol}.sh"));
        write(&path, &script.replace("PROPERTIES", PROPERTIES))?;
        let lines = bench.folder.join(format!("{protocol}.jsonl"));
        write_records(&lines, frame).with_context(|| format!("writing {}", lines.display()))?;
        let binary = bench.other(protocol)?;
        for (name, times) in match protocol {
            "airbyte" => [("Airbyte, 100,000 records", 1), ("Airbyte, 2,000,000 records", 20)],
            _ => [("Singer, 100,000 records", 1), ("Singer, 2,000,000 records", 20)],
        } {
            let words = ["/bin/sh".into(), path.clone(), times.to_string().into(), lines.clone()];
            let config = json!({"command": words, "config": {}});
            let config = bench.write(&format!("{protocol}-{times}"), &config)?;
            let mut ours = Command::new(&binary);
            ours.arg("read").arg("-c").arg(config);
            let mut alone = Command::new(&words[0]);
            alone.args(&words[1..]).arg("read");
            let toll = Toll { things: RECORDS * times, most: TOLL, memory: MEMORY };
            let peer = Some(("the program alone", alone));
            contests.push(Contest { toll: Some(toll), ..Contest::new(name, ours, peer, 5) });
        }
    }
    Ok(contests)
}

/// Writes messages with records of mixed members, some of which are not there; one by one, because
/// what this program ever held counts as the memory of those it starts.
fn write_records(path: &Path, [before, after]: [&str; 2]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for id in 0..RECORDS {
        let notes = if id % 3 == 0 { "" } else { r#","notes":"a word said \"twice\", a word""# };
        writeln!(
            file,
            r#"{before}{{"id":{id},"name":"Zoë {id}","email":"user{id}@example.com","balance":{id}.50,"active":{}{notes}}}{after}"#,
            id % 5 > 0,
        )?;
    }
    file.flush()
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
