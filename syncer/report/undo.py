"""What undoing a run put back, or would, and what it left as it is, for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from syncer.report import words
from syncer.report.layout import hanging
from syncer.report.plan import diff
from syncer.report.results import sync

Document = Mapping[str, Any]

KEYS_SHOWN_MAX = 5


def undone(document: Document, console: Console, limit: int) -> None:
    """Print the document of `undo --json`, of a run or of a plan; at most `limit` changes of a plan."""
    for one in document["syncs"]:
        if "planned" in one:
            sync({"syncs": [one]}, console)
        else:
            diff({"syncs": [one]}, console, limit)
        _left(one, console)
        if one["next"] and not one.get("error"):
            hanging(console, Text("next", "bold"), one["next"])


def _left(one: Document, console: Console) -> None:
    """A line for each reason, with a few of the records."""
    if one["left"]["counts"]:
        console.print()
    for reason, number in one["left"]["counts"].items():
        listed = [record for record in one["left"]["records"] if record["reason"] == reason]
        some = [_name(record) for record in listed[:KEYS_SHOWN_MAX]]
        sentence = Text(listed[0]["sentence"] if listed else words.printable(reason))
        if some:
            more = ", …" if number > len(some) else ""
            sentence.append(f" ({', '.join(some)}{more})", "dim")
        hanging(console, Text(f"{words.number(number)} left", "yellow"), sentence)


def _name(record: Document) -> str:
    field = f" {words.printable(record['field'])}" if record["field"] else ""
    theirs = f" is now {words.value(record['theirs']).plain}" if "theirs" in record else ""
    return f"{words.key(record['key'])}{field}{theirs}"
