"""PyAirbyte reads a source of ours into its cache, twice, and the cache holds what the silo holds."""

import json
import os
import sys

import silo

os.environ["AIRBYTE_OFFLINE_MODE"] = "1"
os.environ["DO_NOT_TRACK"] = "1"

import airbyte
import duckdb
from airbyte.caches import DuckDBCache

task = json.load(open(sys.argv[1]))
shop = silo.of(task["silo"], task["config"])
shop.run(shop.make)
source = airbyte.get_source(
    f"source-{task['silo']}", config=task["config"], local_executable=task["source"]
)
source.check()
assert sorted(source.get_available_streams()) == ["orders", "visits"], source.get_available_streams()
source.select_all_streams()
path = os.path.join(task["folder"], "cache.duckdb")


def read():
    """Reads everything that is new; the cache's connection is closed before its file is looked at."""
    cache = DuckDBCache(db_path=path)
    count = source.read(cache=cache).processed_records
    cache.get_sql_engine().dispose()
    return count


def compare():
    connection = duckdb.connect(path)
    columns = ", ".join(shop.kinds)
    cached = connection.execute(f"SELECT {columns} FROM orders").fetchall()
    visits = connection.execute("SELECT page, seen FROM visits").fetchall()
    connection.close()
    truth = shop.rows("orders", shop.kinds)
    silo.same("orders", silo.table(shop.kinds, cached), silo.table(shop.kinds, truth))
    kinds = {"page": "text", "seen": "integer"}
    return silo.table(kinds, visits), silo.table(kinds, shop.rows("visits", kinds))


first = read()
cached, truth = compare()
silo.same("visits", cached, truth)
shop.run(shop.later)
second = read()
compare()
assert first == 25003, f"{first} records at first"
assert second == 2 + 3, f"{second} records in the second read"
print(f"{first} records, then {second}, and both times the cache equals the source")
