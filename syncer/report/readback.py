"""What adopting and verifying came to, for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from syncer.report import words
from syncer.report.layout import hanging

Document = Mapping[str, Any]

DRIFTS_SHOWN_MAX = 20


def adopted(document: Document, console: Console) -> None:
    """Print the document of `adopt --json`."""
    for one in document["syncs"]:
        console.print(_name(one))
        if one.get("error"):
            hanging(console, Text("failed", "bold red"), one["error"])
            continue
        parts = [f"{words.number(one['found'])} of {words.counted(one['read'], 'record')} found"]
        parts += [f"{words.number(one[kind])} {kind}" for kind in ("absent", "ambiguous") if one[kind]]
        console.print(Text(f"  {', '.join(parts)} · {words.counted(one['requests'], 'request')}"))
        equal, other = one["fields"]["equal"], one["fields"]["other"]
        console.print(
            Text(f"  {words.counted(equal, 'field')} hold what the source says, {words.number(other)} something else.")
        )
        name = words.printable(one["sync"])
        hanging(console, Text("next", "bold"), f"syncer diff {name} shows what differs; nothing was sent")


def verified(document: Document, console: Console) -> None:
    """Print the document of `verify --json`."""
    for one in document["syncs"]:
        console.print(_name(one))
        if one.get("error"):
            hanging(console, Text("failed", "bold red"), one["error"])
            continue
        _drifts(one, console)


def _last_write(one: Document) -> Text:
    """Of the whole record where the service knows no better, and then it need not have been this field."""
    what = "the record was last written" if one["of"] == "record" else "last written"
    by = f" by {words.printable(one['by'])}" if one["by"] else ""
    at = f", {one['at']}" if one["at"] else ""
    return Text(f"    {what}{by}{at}", "dim")


def _drifts(one: Document, console: Console) -> None:
    looked = f"{words.number(one['read'])} of {words.counted(one['known'], 'known record')}"
    requests = words.counted(one["requests"], "request")
    if not (one["gone"] or one["drifted"]):
        text = Text("  No drift.", "bold green")
        console.print(text.append(f" {looked} hold what was accepted · {requests}", "not bold default"))
        return
    told: tuple[str, Document] | None = None
    for drift in one["drifts"][:DRIFTS_SHOWN_MAX]:
        line = Text("  ").append(words.key(drift["key"]) + "   ", "bold")
        if drift.get("gone"):
            line.append("is not there any more", "red")
        else:
            line.append(words.printable(drift["field"]) + " ", "dim").append_text(words.value(drift["ours"]))
            line.append(" is now ", "dim").append_text(words.value(drift["theirs"]))
            if drift["on_drift"] == "theirs":
                line.append('   stays, on_drift = "theirs"', "dim")
        console.print(line, no_wrap=True, overflow="ellipsis")
        if (last_write := drift.get("last_write")) and (drift["key"], last_write) != told:
            console.print(_last_write(last_write))
            told = drift["key"], last_write
    total = sum(one["fields"].values()) + one["gone"]
    if total > DRIFTS_SHOWN_MAX:
        console.print(Text(f"    … and {words.number(total - DRIFTS_SHOWN_MAX)} more", "dim"))
    fields = ", ".join(f"{words.printable(name)} {words.number(count)}" for name, count in one["fields"].items())
    parts = [f"{words.number(one['drifted'])} drifted ({fields})"] if one["drifted"] else []
    parts += [f"{words.number(one['gone'])} gone"] if one["gone"] else []
    console.print(Text(f"  {', '.join(parts)}, of {looked} · {requests}", "yellow"))
    name = words.printable(one["sync"])
    if one["repaired"]:
        next_step = (
            f"syncer diff {name} shows what puts {words.counted(one['repaired'], 'record')} right; sync sends it"
        )
    else:
        next_step = f"syncer verify {name} --repair plans to put ours back; nothing was sent"
    hanging(console, Text("next", "bold"), next_step)


def _name(one: Document) -> Text:
    return Text(words.printable(one["sync"]), "bold")
