"""Meltano runs a tap of ours into target-jsonl, twice, and keeps its state between."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import silo

task = json.load(open(sys.argv[1]))
shop = silo.of(task["silo"], task["config"])
shop.run(shop.make)
project = Path(task["folder"]) / "project"
out = project / "out"
out.mkdir(parents=True)
tap = f"tap-{task['silo']}"
about = json.loads(
    subprocess.run([task["tap"], "--about", "--format=json"], capture_output=True, check=True).stdout
)
kinds = {"string": "string", "integer": "integer", "boolean": "boolean", "array": "array", "object": "object"}
settings = [
    {"name": name, "kind": kinds.get(of.get("type"), "string"), "sensitive": of.get("secret", False)}
    for name, of in about["settings"]["properties"].items()
]
orders = task["orders"]
(project / "meltano.yml").write_text(json.dumps({
    "version": 1,
    "default_environment": "dev",
    "send_anonymous_usage_stats": False,
    "environments": [{"name": "dev"}],
    "project_id": "4d1f3b0e-0000-4000-8000-000000000001",
    "plugins": {
        "extractors": [{
            "name": tap, "namespace": tap.replace("-", "_"), "executable": task["tap"],
            "capabilities": ["catalog", "discover", "state", "about", "structured-logging"],
            "settings": settings, "config": task["config"],
            "metadata": {orders: {"replication-method": "INCREMENTAL", "replication-key": "updated_at"}},
        }],
        "loaders": [{
            "name": "target-jsonl", "namespace": "target_jsonl", "executable": task["target"],
            "settings": [{"name": "destination_path", "kind": "string"}],
            "config": {"destination_path": str(out)},
        }],
    },
}))
environment = dict(os.environ, MELTANO_SEND_ANONYMOUS_USAGE_STATS="false", NO_COLOR="1")


def meltano(*arguments):
    done = subprocess.run(
        [task["meltano"], *arguments], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-4000:])
    return done


def loaded(stream):
    lines = []
    for path in out.glob(f"{stream}*.jsonl"):
        lines += [json.loads(line, parse_float=Decimal) for line in path.read_text().splitlines()]
        path.unlink()
    return lines


def compare(lines, rows):
    columns = list(shop.kinds)
    ours = silo.table(shop.kinds, [[line[name] for name in columns] for line in lines])
    silo.same(orders, ours, silo.table(shop.kinds, rows))


meltano("config", "test", tap)
meltano("run", tap, "target-jsonl")
first = loaded(orders)
compare(first, shop.rows("orders", shop.kinds))
state = json.loads(meltano("state", "get", f"dev:{tap}-to-target-jsonl").stdout)
bookmark = state["singer_state"]["bookmarks"][orders]
assert bookmark["replication_key"] == "updated_at", bookmark
loaded("")
shop.run(shop.later)
meltano("run", tap, "target-jsonl")
second = loaded(orders)
compare(second, [row for row in shop.rows("orders", shop.kinds) if row[0] in (7, 30000)])
print(f"{len(first)} records, then {len(second)}, and both times they equal the source's")
