"""A program of somebody else's run by a connector of ours."""

import json
import shlex
import subprocess
from collections import defaultdict
from pathlib import Path


class Wrapped:
    """A program, whose every line in a run of ours is kept beside what we make of it."""

    def __init__(self, connector, command, settings, folder):
        self.connector = connector
        self.folder = Path(folder)
        self.printed = self.folder / "printed"
        keep = f'set -o pipefail; "$0" "$@" | tee "$(mktemp {shlex.quote(str(self.printed))}/XXXXXX)"'
        self.config = {"command": ["bash", "-c", keep, *command], "config": settings}

    def run(self, *words, status=0, **files):
        """Runs a command of ours; the lines that it prints."""
        self.printed.mkdir(exist_ok=True)
        for old in self.printed.iterdir():
            old.unlink()
        arguments = [self.connector, *words]
        files = {"c": self.config, **files}
        for flag, content in files.items():
            path = self.folder / f"{flag}.json"
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            arguments += [f"-{flag}" if len(flag) == 1 else f"--{flag}", str(path)]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert done.returncode == status, (words, done.returncode, done.stdout[-1000:], done.stderr[-2000:])
        return done.stdout.splitlines()

    def theirs(self):
        """What the program printed in the last run of ours."""
        return [line for path in self.printed.iterdir() for line in path.read_text().splitlines()]

    def query(self, command, store, group, name, value, **more):
        """A request about one identifier: its status, and its handle."""
        identifier = {"schema_name": store, "schema_group": group, "identifier": name, "identifier_query": str(value)}
        (line,) = self.run(command, q={"identifiers": [identifier]}, **more)
        request = json.loads(line)["request"]
        return request["status"]["request_status"], request["handle"]

    def status(self, handle, **more):
        (line,) = self.run("request-status", r={"handles": [handle]}, **more)
        return json.loads(line)["request_status"]["request_status"]

    def results(self, handle, **more):
        return [raw(line, "data") for line in self.run("request-results", r={"handles": [handle]}, **more)]


def raw(line, member):
    """The value of a line's first member of this name, as it is written."""
    start = line.index(f'"{member}":') + len(member) + 3
    while line[start] == " ":
        start += 1
    _, end = json.JSONDecoder().raw_decode(line, start)
    return line[start:end]


def ours(lines):
    """The records of each store that we print, as they are written."""
    stores = defaultdict(list)
    for line in lines:
        if line.startswith('{"type":"RECORD"'):
            stores[json.loads(line)["record"]["schema_name"]].append(raw(line, "data"))
    return stores


def theirs(lines, member):
    """The records of each stream that a program prints, as they are written."""
    streams = defaultdict(list)
    for line in lines:
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if message.get("type") == "RECORD":
            stream = message.get("stream") or message["record"]["stream"]
            streams[stream].append(raw(line, member))
    return streams


def same(ours, theirs):
    """Fails unless the records are the program's bytes, nulls that it leaves out put at their ends."""
    assert len(ours) == len(theirs), (len(ours), len(theirs))
    for our, their in zip(ours, theirs):
        if our != their:
            assert our.startswith(their[:-1]), (our, their)
            added = json.loads("{" + our[len(their) - 1:].lstrip(","))
            assert all(value is None for value in added.values()), (our, their)
