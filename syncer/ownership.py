"""Whose a field is: two syncs that write the same field of the same object would overwrite each other for ever.

Each would remember its own value as accepted, find nothing to send, and never see what the other wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from syncer.errors import Problem
from syncer.mapping import RELATE
from syncer.mapping_files import Written

FIELDS_NAMED_MAX = 5


def refuse_shared_fields(syncs: Iterable[Written]) -> Iterator[Problem]:
    """For `check`: a problem for each two syncs that share fields, whatever rows they have: rows move between them.

    A destination is one account, so two destinations share nothing. Names are the same in any case, because some
    services do not tell case apart, and none is used well with fields that differ in nothing else.
    """
    owners: dict[tuple[str, ...], tuple[Written, str]] = {}
    shared: dict[tuple[str, str], list[tuple[Written, str, Written, str]]] = {}
    for written in syncs:
        sync = written.sync
        for one in sync.compared:
            for record in sync.objects:
                what = (sync.destination, record.casefold(), one.name.casefold())
                owner, name = owners.setdefault(what, (written, one.name))
                # Two syncs of one name are a mistake of their own.
                if owner.sync.name.casefold() != sync.name.casefold():
                    shared.setdefault((owner.sync.name, sync.name), []).append((owner, name, written, one.name))
    for found in shared.values():
        yield _problem(found)


def _problem(found: list[tuple[Written, str, Written, str]]) -> Problem:
    owner, theirs, written, ours = found[0]
    names = list(dict.fromkeys(name for *_, name in found))
    listed = ", ".join(names[:FIELDS_NAMED_MAX]) + (", …" if len(names) > FIELDS_NAMED_MAX else "")
    objects = {record.casefold() for record in owner.sync.objects}
    record = next(one for one in written.sync.objects if one.casefold() in objects)
    sentence = (
        f"The sync {owner.sync.name} writes {listed} of {record} too ({owner.problem(_place(theirs), '').place}), and "
        "each would overwrite the other's values. Leave what both write to one of them."
    )
    return written.problem(_place(ours), sentence)


def _place(name: str) -> str:
    """Where a field or a relation stands in its sync."""
    return f"relate.{name.removeprefix(RELATE)}" if name.startswith(RELATE) else f"fields.{name}"
