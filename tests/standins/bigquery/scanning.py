"""Which columns of which tables a statement reads, for what it costs.

The analyser itself leaves out only what the outermost SELECT does not want. BigQuery reads no column that nothing
uses, however many subqueries name it, so its way through WITH, UNION ALL and subqueries is followed here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scan:
    """One mention of a table, with the columns that are needed of it."""

    table: str
    columns: frozenset[str]


Table = tuple[str, tuple[str, ...]]
"""Whole name of a table, and its columns' names."""


def scans(statement: Any, known: Sequence[Table]) -> tuple[Scan, ...]:
    """Every mention of a table in a resolved statement; `known` are the tables by number, from 1."""
    nodes: dict[str, list[Any]] = defaultdict(list)
    _gather(statement, nodes)
    live = _live(statement, nodes)
    found = []
    for scan in nodes["ResolvedTableScanProto"]:
        full_name, columns = known[scan.table.serialization_id - 1]
        pairs = zip(scan.column_index_list, scan.parent.column_list, strict=True)
        found.append(Scan(full_name, frozenset(columns[index] for index, one in pairs if one.column_id in live)))
    return tuple(found)


def _gather(message: Any, nodes: dict[str, list[Any]]) -> None:
    """Every node of a statement by its type, in the order of the text."""
    nodes[message.DESCRIPTOR.name].append(message)
    for _, one in _parts(message):
        _gather(one, nodes)


def _live(statement: Any, nodes: Mapping[str, list[Any]]) -> set[int]:
    """The columns, by id, that something uses: passed on by a scan alone is not used."""
    passed: dict[int, set[int]] = defaultdict(set)
    """Column of a scan → columns of the scans that it is made of, under another id."""
    entries = {entry.with_query_name: entry.with_subquery for entry in nodes.get("ResolvedWithEntryProto", ())}
    for mention in nodes.get("ResolvedWithRefScanProto", ()):
        _pass(passed, mention.parent.column_list, _columns(entries[mention.with_query_name]))
    for union in nodes.get("ResolvedSetOperationScanProto", ()):
        if _is_union_all(union):
            for item in union.input_item_list:
                _pass(passed, union.parent.column_list, item.output_column_list)
    live = set(_used(statement))
    waiting = list(live)
    while waiting:
        for one in passed[waiting.pop()] - live:
            live.add(one)
            waiting.append(one)
    return live


def _pass(passed: dict[int, set[int]], outer: Any, inner: Any) -> None:
    for one, other in zip(outer, inner, strict=False):
        passed[one.column_id].add(other.column_id)


def _used(message: Any, *, is_passing: bool = False) -> Iterator[int]:
    kind = message.DESCRIPTOR.name
    if kind == "ResolvedColumnProto":
        yield message.column_id
    for field, one in _parts(message):
        if field == "column_list" and kind == "ResolvedScanProto":
            continue
        if field == "output_column_list" and is_passing:
            continue
        is_item = kind == "ResolvedSetOperationScanProto" and field == "input_item_list"
        yield from _used(one, is_passing=is_item and _is_union_all(message))


def _is_union_all(union: Any) -> bool:
    kinds = union.DESCRIPTOR.fields_by_name["op_type"].enum_type.values_by_name
    return bool(union.op_type == kinds["UNION_ALL"].number)


def _columns(scan: Any) -> Any:
    """The columns of a scan, below the wrappers that only say of which family it is."""
    while "column_list" not in scan.DESCRIPTOR.fields_by_name:
        scan = getattr(scan, scan.WhichOneof("node") if scan.DESCRIPTOR.name.startswith("Any") else "parent")
    return scan.column_list


def _parts(message: Any) -> Iterator[tuple[str, Any]]:
    """The nodes right below one; types and signatures are none."""
    for descriptor, value in message.ListFields():
        kind = descriptor.message_type
        if kind is not None and kind.name.startswith(("Resolved", "AnyResolved")):
            for one in value if descriptor.is_repeated else (value,):
                yield descriptor.name, one
