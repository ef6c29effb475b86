"""One record's life, for people to read: what is known now, what happened, and what comes next."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from syncer.report import words
from syncer.report.layout import hanging
from syncer.report.plan import fields_line

Document = Mapping[str, Any]

ENTRIES_SHOWN_MAX = 30
"""The newest of them; `--json` has all."""
RESULTS = {"accepted": "green", "rejected": "red", "found": "cyan"}


def explained(document: Document, console: Console, *, now: datetime.datetime | None = None) -> None:
    """Print the document of `explain --json`; `now` is for ages, the present unless given."""
    now = now or datetime.datetime.now(datetime.UTC)
    for number, one in enumerate(document["syncs"]):
        if number:
            console.print()
        _one(one, console, now)


def _one(one: Document, console: Console, now: datetime.datetime) -> None:
    heading = Text(words.key(one["key"]), "bold")
    heading.append(f"   {words.printable(one['sync'])}", "bold")
    found_by = ", ".join(f"{words.printable(name)} {words.key(value)}" for name, value in one["match"].items())
    place = f"{words.printable(one['object'])} in {words.printable(one['destination_title'])}"
    heading.append(f"   {place}" + (f", found by {found_by}" if found_by else ""), "dim")
    console.print(heading, no_wrap=True, overflow="ellipsis")
    _present(one, console, now)
    if one["parked"]:
        _parked(one["parked"], console, now)
    _history(one, console)
    _next(one["next"], console)


def _present(one: Document, console: Console, now: datetime.datetime) -> None:
    if not one["fields"]:
        console.print(Text("  Nothing was accepted for it, as far as is known.", "dim"))
    width = max((cell_len(words.printable(field["field"])) for field in one["fields"]), default=0)
    for field in one["fields"]:
        name = words.printable(field["field"])
        line = Text("  ").append(name + " " * (width - cell_len(name) + 2), "dim").append_text(_value(field["value"]))
        if field["state"] == "in doubt":
            line.append("   in doubt: it left, and no answer came; the next run sends it again", "yellow")
        elif field["run"]:
            line.append(f"   {words.distance(field['since'], now)} by run {field['run']}", "dim")
        if not field["mapped"]:
            line.append("   not mapped any more", "dim")
        console.print(line, no_wrap=True, overflow="ellipsis")


def _value(value: Any) -> Text:
    return words.value(", ".join(value) if isinstance(value, list) else value)


def _parked(parked: Document, console: Console, now: datetime.datetime) -> None:
    again = words.distance(parked["next_try"], now)
    tries = "1 try" if parked["attempts"] == 1 else f"{parked['attempts']} tries"
    label = Text(f"parked, {words.printable(parked['code'] or 'no code')}", "red")
    sentence = f"{words.sentence(parked['message'])} ({tries}; next {again or 'on request'})".strip()
    hanging(console, label, sentence)


def _history(one: Document, console: Console) -> None:
    entries = one["history"]
    if not entries:
        return
    console.print()
    if len(entries) > ENTRIES_SHOWN_MAX:
        more = words.counted(len(entries) - ENTRIES_SHOWN_MAX, "older entry").replace("entrys", "entries")
        console.print(Text(f"  … {more}", "dim"))
    for entry in entries[-ENTRIES_SHOWN_MAX:]:
        head = Text("  ").append(entry["at"].replace("T", " ").removesuffix("Z"), "dim")
        head.append(f"  run {entry['run']}, {words.printable(entry['trigger'] or 'unknown')}", "dim")
        head.append("  ").append(entry["result"], RESULTS[entry["result"]])
        if entry["code"]:
            head.append(f" {words.printable(entry['code'])}", "red")
        if entry["request"]:
            head.append(f"  request {words.printable(entry['request'])}", "dim")
        console.print(head, no_wrap=True, overflow="ellipsis")
        if entry["message"]:
            hanging(console, Text(), entry["message"], indent=6, gap=0)
        if entry["fields"]:
            hanging(console, Text(), fields_line(entry), indent=6, gap=0)
        elif entry["kind"] == "removed":
            console.print(Text("      deleted" if entry["result"] != "found" else "      not there any more"))


def _next(coming: Document, console: Console) -> None:
    console.print()
    if coming["change"]:
        hanging(console, Text("next", "bold"), fields_line(coming["change"]))
    else:
        hanging(console, Text("next", "bold"), coming["sentence"])
