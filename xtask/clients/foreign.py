"""Taps and targets of others at the other end of ours: what arrives is what the source holds."""

import json
import subprocess
import sys
from pathlib import Path

import silo

task = json.load(open(sys.argv[1]))
shop = silo.of(task["silo"], task["config"])
# The others are slow, and this is not about speed.
shop.run(shop.make.replace("25000", "2000"))
arrived = silo.of(task["target_silo"], task["target_config"])
folder = Path(task["folder"])
# What every one of them keeps as it is.
columns = [name for name in ("id", "name", "paid", "price", "updated_at") if name in shop.kinds]


def file(name, content):
    path = folder / name
    path.write_text(json.dumps(content))
    return str(path)


tap_config = file("tap.json", silo.settings(task["tap_kind"], task["config"]))
target_config = file("target.json", silo.settings(task["target_kind"], task["target_config"]))
tap = [task["tap"], "--config", tap_config]
discovered = subprocess.run(tap + ["--discover"], capture_output=True, text=True)
assert discovered.returncode == 0, discovered.stderr[-2000:]
catalog = json.loads(discovered.stdout)
for stream in catalog["streams"]:
    chosen = stream["tap_stream_id"].endswith("orders")
    stream["selected"] = chosen
    for entry in stream["metadata"]:
        if not entry["breadcrumb"]:
            entry["metadata"]["selected"] = chosen
            entry["metadata"]["replication-method"] = "FULL_TABLE"
            stream["replication_method"] = "FULL_TABLE"
        else:
            # What the others cannot say without a change is left to the others.
            entry["metadata"]["selected"] = chosen and entry["breadcrumb"][-1] in columns
catalog = file("catalog.json", catalog)
with open(folder / "singer.jsonl", "w") as lines:
    read = subprocess.run(tap + ["--catalog", catalog], stdout=lines, stderr=subprocess.PIPE, text=True)
assert read.returncode == 0, read.stderr[-2000:]
with open(folder / "singer.jsonl") as lines:
    target = subprocess.run(
        [task["target"], "--config", target_config], stdin=lines, capture_output=True, text=True
    )
assert target.returncode == 0, target.stderr[-3000:]
assert json.loads(target.stdout.splitlines()[-1]), "the target hands the state back"
kinds = {name: kind for name, kind in shop.kinds.items() if name in columns}
silo.same(
    "orders",
    silo.table(kinds, arrived.rows(task["arrived"], kinds)),
    silo.table(kinds, shop.rows("orders", kinds)),
)
print("what arrived equals the source")
