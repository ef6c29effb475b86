"""Serve a BigQuery of its own process: `python -m tests.standins.bigquery [--port N] [DATASET.TABLE=FILE.parquet …]`.

The first line on stdout is JSON: `endpoint`, `storage_endpoint`, `project` and `location`, as `[source]` wants them.
Ends with the process that started it, when that closes our stdin.
"""

from __future__ import annotations

import argparse
import json
import sys

import pyarrow.parquet as pq

from destinations.standins.server import Server
from tests.standins.bigquery import BigQueryStandIn, Storage, Warehouse


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.standins.bigquery")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--project", default="acme")
    parser.add_argument("--location", default="EU")
    parser.add_argument("--dataset", action="append", default=[], help="an empty dataset; may be repeated")
    parser.add_argument("tables", nargs="*", metavar="DATASET.TABLE=FILE.parquet")
    options = parser.parse_args()
    warehouse = Warehouse(options.project, options.location)
    warehouse.datasets.update(options.dataset)
    for one in options.tables:
        name, _, file = one.partition("=")
        warehouse.put(name, pq.read_table(file))
    rest = BigQueryStandIn(warehouse)
    with Storage(warehouse) as storage, Server({"": rest}, port=options.port):
        told = {"endpoint": rest.url, "storage_endpoint": storage.url}
        print(json.dumps(told | {"project": options.project, "location": options.location}), flush=True)
        sys.stdin.read()
    warehouse.close()


if __name__ == "__main__":
    main()
