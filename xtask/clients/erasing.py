"""A Monoid connector, wrapped: what it says of its requests is looked at, and not believed."""

import json
import sys
from pathlib import Path

import wrapped

task = json.load(open(sys.argv[1]))
folder = Path(task["folder"])
people = folder / "people.jsonl"
rows = [
    {"id": 1, "email": "ada@example.com", "note": "first"},
    {"id": 2, "email": "ada@example.com", "note": "second"},
    {"id": 3, "email": "bob@example.com", "note": "never forgotten"},
]
people.write_text("".join(json.dumps(row) + "\n" for row in rows))
program = [task["python"], "-B", str(Path(__file__).parent / "people.py")]
connector = wrapped.Wrapped(task["connector"], program, {"path": str(people)}, folder)
(folder / "files").mkdir(exist_ok=True)
persist = {"p": {"temp_store": str(folder / "files")}}
connector.run("validate")
(line,) = connector.run("discover")
stores = json.loads(line)["schema_msg"]["schemas"]
assert [(s["group"], s["name"]) for s in stores] == [("crm", "people")]
scanned = wrapped.ours(connector.run("scan", s={"schemas": stores}, **persist))["people"]
assert [json.loads(record) for record in scanned] == rows


def ask(command, email):
    return connector.query(command, "people", "crm", "email", email, **persist)


_, handle = ask("query", "ada@example.com")
assert connector.status(handle, **persist) == "COMPLETE"
assert [json.loads(record)["id"] for record in connector.results(handle, **persist)] == [1, 2]
_, handle = ask("delete", "ada@example.com")
assert connector.status(handle, **persist) == "COMPLETE"
assert [json.loads(line)["id"] for line in people.read_text().splitlines()] == [3]
# The kit calls this complete too, and the person is still there.
_, handle = ask("delete", "bob@example.com")
assert connector.status(handle, **persist) == "FAILED"
print("scanned, found and erased; a deletion that left somebody is a failure")
