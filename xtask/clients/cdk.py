"""The checks that the Airbyte CDK holds sources to, on a source of ours."""

import json
import subprocess
import sys
from pathlib import Path

import silo
from airbyte_cdk.models import ConfiguredAirbyteCatalogSerializer
from airbyte_cdk.test.entrypoint_wrapper import EntrypointOutput
from airbyte_cdk.test.models import ExpectedOutcome
from airbyte_cdk.test.standard_tests import _assertions, _catalog_checks, _read_assertions, _spec_lint

task = json.load(open(sys.argv[1]))
shop = silo.of(task["silo"], task["config"])
shop.run(shop.make)
folder = Path(task["folder"])
config = folder / "cdk.json"
config.write_text(json.dumps(task["config"]))
name = Path(task["source"]).name
checks = 0


def run(*arguments, status=0):
    done = subprocess.run([task["source"], *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == status, (arguments, done.returncode, done.stdout[-2000:], done.stderr)
    lines = done.stdout.splitlines()
    for line in lines:
        json.loads(line)
    return EntrypointOutput(messages=lines, stderr=done.stderr)


def passed():
    global checks
    checks += 1


spec_output = run("spec")
spec = _spec_lint.get_single_spec(spec_output, connector_name=name)
_spec_lint.assert_spec_is_valid(spec, connector_name=name)
passed()
_assertions.assert_config_matches_spec(
    config=task["config"], spec_result=spec_output, connector_name=name, scenario_id="shop"
)
passed()


def quiet(output, verb):
    _spec_lint.assert_no_secrets_in_output(
        output, spec=spec, config=task["config"], verb=verb, connector_name=name
    )
    passed()


checked = run("check", "--config", config)
_assertions.assert_check_outcome(
    check_result=checked, expected_outcome=ExpectedOutcome.EXPECT_SUCCESS, connector_name=name
)
passed()
quiet(checked, "check")
wrong = folder / "wrong.json"
wrong.write_text(json.dumps(task["wrong"]))
refused = run("check", "--config", wrong)
_assertions.assert_check_outcome(
    check_result=refused, expected_outcome=ExpectedOutcome.EXPECT_EXCEPTION, connector_name=name
)
passed()
discovered = run("discover", "--config", config)
quiet(discovered, "discover")
catalogs = [message.catalog for message in discovered._messages if message.catalog is not None]
assert len(catalogs) == 1
for check in _catalog_checks.CATALOG_CHECKS:
    problems = check.run(catalogs[0])
    assert not problems, (check.name, problems)
    passed()

raw = subprocess.run(
    [task["source"], "discover", "--config", str(config)], capture_output=True, text=True, check=True
)
streams = [
    line["catalog"]["streams"]
    for line in map(json.loads, raw.stdout.splitlines())
    if line["type"] == "CATALOG"
][0]


def configured(mode):
    entries = [
        {"stream": stream, "sync_mode": mode, "destination_sync_mode": "append"}
        for stream in streams
    ]
    path = folder / f"{mode}.catalog.json"
    path.write_text(json.dumps({"streams": entries}))
    return path, ConfiguredAirbyteCatalogSerializer.load({"streams": entries})


def statuses(output):
    found = {}
    for message in output.trace_messages:
        if message.trace.stream_status is not None:
            status = message.trace.stream_status
            found.setdefault(status.stream_descriptor.name, []).append(status.status.value)
    return found


def records(output):
    return sorted(json.dumps([r.record.stream, r.record.data], sort_keys=True) for r in output.records)


reads = {}
for mode in ["full_refresh", "incremental"]:
    path, catalog = configured(mode)
    output = run("read", "--config", config, "--catalog", path)
    quiet(output, "read")
    _read_assertions.assert_read_records(
        records=output.records,
        configured_catalog=catalog,
        require_records_per_stream=True,
        validate_schema=True,
    )
    passed()
    assert not output.errors
    for stream, said in statuses(output).items():
        assert said == ["STARTED", "RUNNING", "COMPLETE"], (stream, said)
    assert set(statuses(output)) == {stream["name"] for stream in streams}
    passed()
    stated = {m.state.stream.stream_descriptor.name for m in output.state_messages}
    assert stated == {stream["name"] for stream in streams}
    counted = sum(m.state.sourceStats.recordCount for m in output.state_messages)
    assert counted == len(output.records), (counted, len(output.records))
    passed()
    reads[mode] = (path, output)

path, first = reads["full_refresh"]
again = run("read", "--config", config, "--catalog", path)
assert records(first) == records(again), "two full reads give the same"
passed()

path, first = reads["incremental"]
keyed = {stream["name"] for stream in streams if stream.get("source_defined_primary_key")}
lines = [
    json.loads(line)
    for line in subprocess.run(
        [task["source"], "read", "--config", str(config), "--catalog", str(path)],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()
]
everything = [json.dumps(l["record"]["data"], sort_keys=True) for l in lines if l["type"] == "RECORD" and l["record"]["stream"] in keyed]
seen = 0
for line in lines:
    if line["type"] == "RECORD" and line["record"]["stream"] in keyed:
        seen += 1
    if line["type"] == "STATE" and line["state"]["stream"]["stream_descriptor"]["name"] in keyed:
        state = folder / "state.json"
        state.write_text(json.dumps([line["state"]]))
        rest = run("read", "--config", config, "--catalog", path, "--state", state)
        rest = [json.dumps(r.record.data, sort_keys=True) for r in rest.records if r.record.stream in keyed]
        assert rest == everything[seen:], "a read from a state gives what came after it"
        passed()
assert seen == len(everything)

broken = folder / "broken.catalog.json"
broken.write_text(json.dumps({"streams": [{"stream": {"name": "nobody", "json_schema": {}}, "sync_mode": "full_refresh"}]}))
unknown = run("read", "--config", config, "--catalog", broken, status=1)
assert [e.trace.error.failure_type.value for e in unknown.errors] == ["config_error"]
passed()
print(f"{checks} checks passed")
