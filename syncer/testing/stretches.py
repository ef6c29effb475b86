"""Batches that are no lists (see `syncer.stretch`), out of changes that a test has made."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from syncer.batches import Range, leaving
from syncer.change import Alike, Change, Job, Outcome, Value
from syncer.destination import Destination
from syncer.mapping import Sync
from syncer.plan import KINDS, Plan, Slot
from syncer.stretch import Stretch


@contextmanager
def stretch(sync: Sync, changes: Sequence[Change], destination: Destination | None = None) -> Iterator[Stretch]:
    """The changes in a plan's file, as a run has them; held as columns with texts, where a destination makes some."""
    names = list(dict.fromkeys(name for change in changes for name in change.fields))
    slots = tuple(Slot(number, name, "") for number, name in enumerate(names))
    columns: dict[str, list[Any]] = {
        "key": [change.key for change in changes],
        **{f"m{n}": [change.match[name] for change in changes] for n, name in enumerate(sync.match)},
        "_op": [next(op for op, kind in KINDS.items() if kind == change.kind) for change in changes],
        "_mask": [sum(slot.bit for slot in slots if slot.name in change.fields) for change in changes],
        "_sent": [0 for _ in changes],
        "_doubt": [0 for _ in changes],
        "_rescored": [change.rescored for change in changes],
        "_payload": ["" for _ in changes],
        **{slot.column: [_stored(change.fields.get(slot.name)) for change in changes] for slot in slots},
    }
    columns |= {f"b{slot.number}": columns[slot.column] for slot in slots}
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), file.name)
        plan = Plan(sync, Path(file.name), slots, total=len(changes), sendable=len(changes))
        whole = Range(plan, 0, len(changes), leaving(plan, 0, len(changes)))
        texts = [destination.texts(sync, piece) for piece in whole.pieces()] if destination is not None else []
        made = tuple(text for text in texts if text is not None)
        if made:
            whole = replace(whole, columns=tuple(rows for _, rows in plan.read(0, len(changes))), made=made)
        yield whole


def _stored(value: Value) -> Value:
    return value.replace(tzinfo=None) if isinstance(value, datetime.datetime) else value


def each(changes: Sequence[Change], found: Iterable[Outcome | Alike | Job]) -> Iterator[Outcome | Job]:
    """What was yielded, with an outcome for each change of which many are told alike."""
    for one in found:
        if isinstance(one, Alike):
            yield from (one.outcome._replace(key=changes[place].key) for place in one.places)
        else:
            yield one
