"""A Singer tap, wrapped: the same record bytes as the tap alone, and on from its bookmarks."""

import json
import subprocess
import sys
from pathlib import Path

import silo
import wrapped

task = json.load(open(sys.argv[1]))
folder = Path(task["folder"])
shop = silo.of(task["silo"], task["config"])
shop.run(shop.make.replace("25000", "2000"))
settings = silo.settings(task["maker"], task["config"])
tap = wrapped.Wrapped(task["connector"], [task["program"]], settings, folder)
tap.run("validate")

config = folder / "alone.json"
config.write_text(json.dumps(settings))
alone = [task["program"], "--config", str(config)]
discovered = subprocess.run([*alone, "--discover"], capture_output=True, text=True, check=True).stdout
catalog = json.loads(discovered)
for stream in catalog["streams"]:
    stream["selected"] = True
    stream["replication_method"] = "FULL_TABLE"
    for entry in stream["metadata"]:
        entry["metadata"]["selected"] = entry["metadata"].get("inclusion") != "unsupported"
        if not entry["breadcrumb"]:
            entry["metadata"]["replication-method"] = "FULL_TABLE"
path = folder / "alone.catalog.json"
path.write_text(json.dumps(catalog))
read = subprocess.run([*alone, "--catalog", str(path)], capture_output=True, text=True)
assert read.returncode == 0, read.stderr[-2000:]
expected = wrapped.theirs(read.stdout.splitlines(), "record")

(line,) = tap.run("discover")
stores = json.loads(line)["schema_msg"]["schemas"]
orders = next(store for store in stores if store["name"].endswith("orders"))
# By the column that changes, where the tap does not choose one itself.
chosen = [{"name": s["name"], **({"cursor": "updated_at"} if s is orders else {})} for s in stores]
lines = tap.run("read", s={"schemas": chosen})
first, printed = wrapped.ours(lines), wrapped.theirs(tap.theirs(), "record")
assert sorted(first) == sorted(expected) == sorted(printed), (first.keys(), expected.keys())
for store, records in first.items():
    wrapped.same(records, printed[store])
    assert sorted(records) == sorted(expected[store]), f"{store}: not what the tap alone prints"
states = "\n".join(line for line in lines if line.startswith('{"type":"STATE"'))
shop.run(shop.later)
again = wrapped.ours(tap.run("read", s={"schemas": chosen}, state=states))[orders["name"]]
ids = {json.loads(record)["id"] for record in again}
assert {7, 30000} <= ids and len(again) < len(first[orders["name"]]), (len(again), ids)
print(
    f"{sum(map(len, first.values()))} records with the bytes of the tap alone, "
    f"then {len(again)} on from its bookmark"
)
