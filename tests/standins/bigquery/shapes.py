"""Analyses that are remembered: a statement that is another only by numbers in it, as those in names of tables, and by
tables of the same columns, means the same. The analyser takes a tenth of a second, and tests ask much the same often.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.standins.bigquery.analysis import Analysed, analysed
from tests.standins.bigquery.catalog import Refused, Stored
from tests.standins.bigquery.columns import Column
from tests.standins.bigquery.scanning import Scan

NUMBERS = re.compile(r"[0-9a-f]{16}|\d{19}")
"""What differs from run to run: times in nanoseconds, as digits or in hexadecimal."""
KINDS = ("SELECT", "CREATE_TABLE_AS_SELECT")
"""Of other statements the resolved form is used, names and all."""
KEPT_MAX = 2_000


@dataclass(frozen=True)
class _Known:
    numbers: list[str]
    made: Analysed
    columns: str
    """Of its tables, as text."""


_known: dict[tuple[str, str], _Known] = {}
_lock = threading.Lock()


def analysed_once(
    sql: str,
    find: Callable[[str], Stored],
    project: str,
    parameters: Mapping[str, Column],
    altered: Sequence[list[str]] = (),
) -> Analysed:
    """See `analysis.analysed`."""
    numbers = list(dict.fromkeys(NUMBERS.findall(sql)))
    places = {number: f"{place:016x}" for place, number in enumerate(numbers)}
    shape = (NUMBERS.sub(lambda found: places[found[0]], sql), json.dumps(parameters, sort_keys=True))
    with _lock:
        known = _known.get(shape)
    if known is not None:
        made = _renamed(known, sql, numbers)
        if _columns(made, find) == known.columns:
            return made
    made = analysed(sql, find, project, parameters, altered)
    if made.kind in KINDS:
        with _lock:
            if len(_known) >= KEPT_MAX:
                _known.clear()
            _known[shape] = _Known(numbers, made, _columns(made, find))
    return made


def _renamed(known: _Known, sql: str, numbers: list[str]) -> Analysed:
    now = dict(zip(known.numbers, numbers, strict=True))

    def name(text: str) -> str:
        return NUMBERS.sub(lambda found: now.get(found[0], found[0]), text)

    made = known.made
    return replace(
        made,
        sql=sql,
        scans=tuple(Scan(name(one.table), one.columns) for one in made.scans),
        target=name(made.target) if made.target else None,
        tables={name(path): name(table) for path, table in made.tables.items()},
    )


def _columns(made: Analysed, find: Callable[[str], Stored]) -> str:
    """The columns of every table that a statement reads; empty when one is not there."""
    try:
        return json.dumps([find(name).fields for name in made.tables.values() if name != made.target])
    except Refused:
        return ""
