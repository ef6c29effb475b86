"""What a CREATE TABLE says of its table besides the columns: partitioning, clustering, and the list of OPTIONS."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from tests.standins.bigquery.catalog import Refused

KEPT = ("enable_change_history", "friendly_name", "require_partition_filter")
"""Options that are taken, and change nothing here."""

DAY_MS = 86_400_000


def options_of(
    tree: exp.Expression, moment: Callable[[exp.Expression], datetime.datetime], clustering_max: int
) -> tuple[dict[str, Any], datetime.datetime | None]:
    """The table's resource, and when it expires; `moment` knows the time that an expression means. Raises Refused."""
    properties = tree.args.get("properties")
    resource: dict[str, Any] = {}
    options: dict[str, exp.Expression] = {}
    for one in properties.expressions if properties else []:
        if isinstance(one, exp.ClusterProperty):
            if len(one.expressions) > clustering_max:
                raise Refused(400, "invalidQuery", f"CLUSTER BY takes at most {clustering_max} columns.")
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
