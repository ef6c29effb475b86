"""When the rows of a table, view or query last changed, from metadata and free dry runs alone.

A view or query has no such time of its own: it is that of the tables behind it, which a dry run names. The names are
kept for a while, so that who asks every few minutes asks for the metadata of these tables and nothing else.
"""

# Google's libraries are typed in part only.
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from google.api_core import exceptions as api
from google.cloud import bigquery

NAMES_SECONDS = 3600.0
"""So long the tables behind a view or query are believed to be the same: a view among them may be made anew."""

TIMED = ("TABLE", "SNAPSHOT", "CLONE")
"""Kinds of tables whose time of change is that of their rows."""
LOOKED_THROUGH = ("VIEW", "MATERIALIZED_VIEW")
"""Kinds whose rows are those of other tables, which a dry run names beside them."""


@dataclass(frozen=True, slots=True)
class Changed:
    """When rows last changed: a moment, or why there is none. Being streamed into is no lasting reason."""

    at: datetime.datetime | None = None
    reason: str = ""
    is_passing: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    text: str
    at: float
    names: list[bigquery.TableReference]


class Freshness:
    """Remembers which tables are behind each sync's view or query. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def behind(
        self,
        sync: str,
        text: str,
        named: Callable[[], list[bigquery.TableReference]],
        look: Callable[[bigquery.TableReference], bigquery.Table],
    ) -> Changed:
        """When what the sync's text reads last changed. `named` makes a dry run of it, `look` asks for the metadata
        of one table."""
        with self._lock:
            known = self._known.get(sync)
        if known is None or known.text != text or self._clock() - known.at > NAMES_SECONDS:
            known = _Known(text, self._clock(), named())
            with self._lock:
                self._known[sync] = known
        return latest(_looked_at(known.names, look))


def of_table(table: bigquery.Table) -> Changed:
    """When a table's rows last changed, from its metadata."""
    name = f"{table.dataset_id}.{table.table_id}"
    if table.table_type not in TIMED:
        kind = str(table.table_type).lower().replace("_", " ")
        return Changed(reason=f"{name} is of the kind {kind}, and BigQuery does not say when its rows change")
    # The time lags behind rows that still lie in the streaming buffer, so it would say too much.
    if table.streaming_buffer is not None:
        return Changed(reason=f"rows are being streamed into {name}", is_passing=True)
    return Changed(table.modified)


def latest(found: Iterable[Changed]) -> Changed:
    """The latest of several moments; the first reason when one of them has none."""
    moments = []
    for one in found:
        if one.at is None:
            return one
        moments.append(one.at)
    return Changed(max(moments)) if moments else Changed(reason="no table is behind it that could change")


def _looked_at(
    names: Iterable[bigquery.TableReference], look: Callable[[bigquery.TableReference], bigquery.Table]
) -> Iterable[Changed]:
    for name in names:
        try:
            table = look(name)
        except (api.Forbidden, api.NotFound, api.BadRequest):
            # The table of an authorised view, or all tables of a name with an asterisk.
            yield Changed(
                reason=f"the metadata of {name.dataset_id}.{name.table_id}, which is behind it, cannot be read; "
                "the role BigQuery Metadata Viewer (roles/bigquery.metadataViewer) on its dataset lets that be"
            )
            return
        if table.table_type not in LOOKED_THROUGH:
            yield of_table(table)
