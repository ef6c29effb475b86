"""What is said of a table besides its columns: partitioning, clustering, and the OPTIONS of a CREATE TABLE."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from tests.standins.bigquery.catalog import Refused
from tests.standins.bigquery.columns import Schema

KEPT = ("enable_change_history", "friendly_name", "require_partition_filter")
"""Options that are taken, and change nothing here."""

DAY_MS = 86_400_000

CLUSTERING = "BIGNUMERIC BOOLEAN DATE DATETIME GEOGRAPHY INTEGER NUMERIC STRING TIMESTAMP RANGE"
PARTITIONING = "DATE DATETIME TIMESTAMP"
"""Types of columns that may be clustered and partitioned by: docs.cloud.google.com/bigquery/docs/clustered-tables."""


def options_of(
    tree: exp.Expression, moment: Callable[[exp.Expression], datetime.datetime]
) -> tuple[dict[str, Any], datetime.datetime | None]:
    """The table's resource, and when it expires; `moment` knows the time that an expression means. Raises Refused."""
    properties = tree.args.get("properties")
    resource: dict[str, Any] = {}
    options: dict[str, exp.Expression] = {}
    for one in properties.expressions if properties else []:
        if isinstance(one, exp.ClusterProperty):
            resource["clustering"] = {"fields": [column.name for column in one.expressions]}
        elif isinstance(one, exp.PartitionedByProperty):
            column = one.this.find(exp.Column)
            resource["timePartitioning"] = {"type": "DAY", "field": column.name if column else None}
        elif isinstance(one, exp.Property):
            options[one.name] = one.args["value"]
    expires = None
    for name, value in options.items():
        if name == "expiration_timestamp":
            expires = moment(value)
        elif name == "description":
            resource["description"] = value.name
        elif name == "labels":
            pairs = [pair.expressions for pair in value.expressions]
            resource["labels"] = {key.name: text.name for key, text in pairs}
        elif name == "partition_expiration_days" and "timePartitioning" in resource:
            resource["timePartitioning"]["expirationMs"] = str(round(float(value.name) * DAY_MS))
        elif name not in KEPT:
            raise Refused(400, "invalidQuery", f"Unknown option: {name}")
    return resource, expires


def look_at_layout(resource: dict[str, Any], fields: Schema, clustering_max: int) -> None:
    """Nothing, if a table of these columns may be laid out so. Raises Refused."""
    clustering = resource.get("clustering", {}).get("fields", [])
    if len(clustering) > clustering_max:
        raise Refused(400, "invalid", f"A table clusters by {clustering_max} columns at most.")
    partition = resource.get("timePartitioning", {}).get("field")
    columns = {column["name"]: column for column in fields}
    for name, kinds in [
        *((one, CLUSTERING) for one in clustering),
        *([(partition, PARTITIONING)] if partition else []),
    ]:
        column = columns.get(name)
        if column is None:
            raise Refused(400, "invalid", f"The field specified for partitioning or clustering is not there: {name}")
        if column["type"] not in kinds.split() or column.get("mode") == "REPEATED":
            raise Refused(
                400, "invalid", f"Nothing can be partitioned or clustered by {name}, of type {column['type']}."
            )


def layout(resource: dict[str, Any]) -> str:
    """Partitioning and clustering, as messages of the service write them."""
    said = []
    if "timePartitioning" in resource:
        said.append(f"interval(type:day,field:{resource['timePartitioning'].get('field')})")
    if "clustering" in resource:
        said.append(f"clustering({','.join(resource['clustering']['fields'])})")
    return " ".join(said) or "none"
