"""An Airbyte source, wrapped: every record is handed on as it was printed, and states are taken up again."""

import json
import sys
from pathlib import Path

import wrapped

task = json.load(open(sys.argv[1]))
settings = task["settings"]
if "url" in settings:
    file = Path(task["folder"]) / "people.csv"
    file.write_text("id,name\n" + "".join(f'{n},"Zoë ""{n}"""\n' for n in range(1, 501)))
    settings["url"] = str(file)
source = wrapped.Wrapped(task["connector"], [task["program"]], settings, task["folder"])
source.run("validate")
(line,) = source.run("discover")
stores = json.loads(line)["schema_msg"]["schemas"]
catalogs = [json.loads(line) for line in source.theirs() if '"CATALOG"' in line]
assert [s["name"] for s in stores] == [s["name"] for s in catalogs[0]["catalog"]["streams"]]

lines = source.run("read")
first, printed = wrapped.ours(lines), wrapped.theirs(source.theirs(), "data")
assert sorted(first) == sorted(printed) == sorted(s["name"] for s in stores), (first.keys(), printed.keys())
for store, records in first.items():
    wrapped.same(records, printed[store])
total = sum(map(len, first.values()))

states = "\n".join(line for line in lines if line.startswith('{"type":"STATE"'))
with_state = {json.loads(line)["state"]["schema_name"] for line in states.splitlines()}
again = wrapped.ours(source.run("read", state=states))
for store, records in first.items():
    if store in with_state:
        assert len(again[store]) < len(records), (store, len(again[store]))
    else:
        assert len(again[store]) == len(records), (store, len(again[store]))

schemas = {"schemas": stores}
sample = wrapped.ours(source.run("scan", "--limit", "3", s=schemas))
assert all(len(records) <= 3 for records in sample.values()), sample
store = stores[0]["name"]
key = task["key"]
value = json.loads(first[store][-1])[key]
status, handle = source.query("query", store, stores[0].get("group"), key, value)
assert handle["data"]["full_read"] is True, handle
found = [json.loads(r)[key] for r in source.results(handle)]
assert found == [each for each in (json.loads(r)[key] for r in first[store]) if each == value], found
print(f"{total} records of {len(stores)} stores as they were printed; {len(with_state)} went on from a state")
