"""A plan as people read it: only what differs, old → new, the signs that occur explained, one line of counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from syncer.report import words
from syncer.report.layout import hanging, indented

SIGNS = {
    "deleted": ("-", "red"),
    "new": ("+", "green"),
    "changed": ("~", "yellow"),
    "removed": ("-", "red"),
    "invalid": ("!", "magenta"),
}
LEGEND = {
    "deleted": "deleted there",
    "new": "new",
    "changed": "changed",
    "removed": "gone from the source",
    "invalid": "invalid, stays here",
}
PLANNED = ("deleted", "new", "changed", "rescored", "removed")
"""What may be sent; each record is counted once. What cannot be brought back stands first, and apart."""
COUNTS = (*PLANNED, "unchanged", "parked", "invalid")
WORDS = {"rescored": "re-scored"}

SAMPLES_MAX = 3
"""New records that are shown where there are more of them than the limit: the first night."""
INVALID_KEYS_MAX = 3

Document = Mapping[str, Any]


def diff(document: Document, console: Console, limit: int = 20) -> None:
    """Print the document of `diff --json`; at most `limit` changes and as many reasons a sync."""
    syncs = document["syncs"]
    legend = _legend(syncs)
    if legend:
        console.print(legend)
        console.print()
    for sync in syncs:
        _one(sync, console, limit)
        console.print()
    indented(console, _total(syncs), 0)


def _one(sync: Document, console: Console, limit: int) -> None:
    console.print(_heading(sync), no_wrap=True, overflow="ellipsis")
    if sync.get("error"):
        hanging(console, Text("failed", "bold red"), sync["error"])
        return
    changes = sync.get("changes", [])
    if changes:
        _changes(sync, changes, console, limit)
    if sync.get("invalid"):
        _invalid(sync, console)
    if sync.get("nonfinite"):
        many = words.counted(sync["nonfinite"], "number")
        verb = "is NaN or infinite and counts" if sync["nonfinite"] == 1 else "are NaN or infinite and count"
        console.print(Text(f"  {many} of the source {verb} as null.", "magenta"))
    if sync.get("waiting"):
        verb = "is" if sync["waiting"] == 1 else "are"
        many = f"{words.counted(sync['waiting'], 'record')} {verb} gone from the source"
        console.print(Text(f"  {many}, not for so many runs as it takes (grace).", "dim"))
    if sync.get("later"):
        verb = "waits" if sync["later"] == 1 else "wait"
        many = f"{words.number(sync['later'])} of the re-scored records {verb}"
        console.print(Text(f"  {many} for the next runs (rescore_rate).", "dim"))
    for hold in sync.get("holds", []):
        hanging(console, Text(f"HELD by {words.printable(hold['brake'])}", "bold red"), hold["sentence"])
    if sync.get("holds"):
        console.print("  Nothing of this plan is sent. If it is what you want, release it, this once:")
        command = f"undo {sync['undoes']}" if sync.get("undoes") else f"sync {words.printable(sync['sync'])}"
        console.print(Text(f"    syncer {command} --release", "bold"))
    console.print(_counts(sync))
    if spent := words.expense(sync):
        console.print(Text(f"  read: {spent}", "dim"))


def _heading(sync: Document) -> Text:
    text = Text.assemble((words.printable(sync["sync"]), "bold"))
    place = " in ".join(words.printable(str(sync[part])) for part in ("object", "destination_title") if sync.get(part))
    if sync.get("source") and place:
        text.append(f"   {words.printable(sync['source'])} → {place}", "dim")
    return text


def _changes(sync: Document, changes: Sequence[Document], console: Console, limit: int) -> None:
    shown = _shown(sync, changes, limit)
    lines = [_line(change) for change in shown]
    # One form for all records of a sync: a line each when every line fits, otherwise a line per field.
    roomy = all(
        cell_len(line.plain) <= console.width - 2
        for change, line in zip(shown, lines, strict=True)
        if change["kind"] != "new"
    )
    for change, line in zip(shown, lines, strict=True):
        if roomy or change["kind"] == "new":
            console.print(Text("  ").append_text(line), no_wrap=True, overflow="ellipsis")
        else:
            _block(change, console)
    counts = _told(sync)
    rest = {kind: counts[kind] - sum(_counted_as(change) == kind for change in shown) for kind in PLANNED}
    if any(rest.values()):
        console.print(Text(f"    … and {', '.join(_parts(rest))} that are not shown", "dim"))


def _kind(change: Document) -> str:
    # A record whose fields are cleared has fields.
    return "deleted" if change["kind"] == "removed" and not change["fields"] else str(change["kind"])


def _counted_as(change: Document) -> str:
    return "rescored" if change.get("rescored") else _kind(change)


def _told(sync: Document) -> Document:
    """The counts as people are told them: what is removed by deleting it is deleted."""
    counts = {"deleted": 0, **sync["counts"]}
    if sync.get("removal") == "delete":
        counts |= {"deleted": counts["removed"], "removed": 0}
    return counts


def _shown(sync: Document, changes: Sequence[Document], limit: int) -> list[Document]:
    """Deleted records on top, then as the plan has them. Changed and removed ones are first in line for the places;
    thousands of new ones look much alike."""
    changes = sorted(changes, key=lambda change: _kind(change) != "deleted")
    others = [change for change in changes if change["kind"] != "new"][:limit]
    places = limit - len(others)
    if sync["counts"]["new"] > limit:
        places = min(places, SAMPLES_MAX)
    chosen = {id(change) for change in others}
    new = [change for change in changes if change["kind"] == "new"][: max(0, places)]
    chosen |= {id(change) for change in new}
    return [change for change in changes if id(change) in chosen]


def _sign(kind: str) -> Text:
    sign, style = SIGNS[kind]
    return Text.assemble((sign, f"bold {style}"))


def _head(change: Document) -> Text:
    head = _sign(_kind(change)).append(" " + words.key(change["key"]))
    if change.get("rescored"):
        head.append(" re-scored", "dim")
    return head


def _line(change: Document) -> Text:
    line = _head(change)
    return line.append("   ").append_text(fields_line(change)) if change["fields"] else line


def fields_line(change: Document) -> Text:
    """What changes of a record: `score 41 → 44, band "warm" → "hot"`."""
    line = Text()
    for number, (name, field) in enumerate(change["fields"].items()):
        line.append(", " if number else "")
        line.append(words.printable(name) + " ", "dim")
        line.append_text(_field(change, field))
    return line


def _block(change: Document, console: Console) -> None:
    console.print(Text("  ").append_text(_head(change)), no_wrap=True, overflow="ellipsis")
    names = {name: words.printable(name) for name in change["fields"]}
    width = max((cell_len(name) for name in names.values()), default=0)
    for name, field in change["fields"].items():
        pad = " " * (width - cell_len(names[name]) + 2)
        line = Text("      ").append(names[name] + pad, "dim").append_text(_field(change, field))
        console.print(line, no_wrap=True, overflow="ellipsis")


def _field(change: Document, field: Document) -> Text:
    after = words.value(field.get("after")) if "after" in field else Text("(deleted)", "dim")
    if change["kind"] == "new" and field.get("before") is None:
        return Text().append_text(after)
    is_known = field.get("known", "before" in field)
    before = words.value(field["before"]) if is_known else Text("(not known)", "dim")
    return Text().append_text(before).append(" → ", "dim").append_text(after)


def _invalid(sync: Document, console: Console) -> None:
    """Grouped by reason and sentence, with a few of the keys: one cause is usually behind many rows."""
    more = sync["counts"]["invalid"] - len(sync["invalid"])
    groups: dict[str, list[Document]] = {}
    for row in sync["invalid"]:
        groups.setdefault(row["reason"], []).append(row)
    for reason, rows in groups.items():
        keys = [words.key(key) for key in dict.fromkeys(row["key"] for row in rows) if key is not None]
        some = ", ".join(keys[:INVALID_KEYS_MAX]) + (", …" if len(keys) > INVALID_KEYS_MAX else "")
        label = Text("  ").append_text(_sign("invalid"))
        label.append(f" {words.printable(reason.replace('_', ' '))}")
        # Where the document lists only some of the rows, nobody knows how many have this reason.
        label.append("" if more > 0 else f": {words.counted(len(rows), 'row')}")
        if some:
            label.append(f" ({some})", "dim")
        console.print(label, no_wrap=True, overflow="ellipsis")
        indented(console, Text(words.sentence(rows[0]["sentence"]), "dim"), 4)
    if more > 0:
        console.print(Text(f"  … and {words.number(more)} more invalid rows", "dim"))


def _counts(sync: Document) -> Text:
    counts = _told(sync)
    if not any(counts[kind] for kind in PLANNED):
        text = Text.assemble(("  No changes.", "bold green"))
        text.append(
            f" All {words.counted(sync['rows'], 'row')} of {words.printable(str(sync.get('source') or 'the source'))} "
            f"were compared with {words.counted(sync['known'], 'known record')}.",
            "not bold default",
        )
        rest = [f"{words.number(counts[kind])} {kind}" for kind in ("parked", "invalid") if counts[kind]]
        return text.append(f" {', '.join(rest)}." if rest else "")
    text = Text("  " + ", ".join(_parts(counts)))
    way = f" by {words.printable(sync['way'])}" if sync.get("way") else ""
    return text.append(f" · {words.counted(sync['requests'], 'request')}{way}", "bold")


def _parts(counts: Document) -> Iterator[str]:
    for kind in COUNTS:
        if counts.get(kind):
            yield f"{words.number(counts[kind])} {WORDS.get(kind, kind)}"


def _legend(syncs: Sequence[Document]) -> Text | None:
    occurring = {_kind(change) for sync in syncs for change in sync.get("changes", [])}
    if any(sync.get("invalid") for sync in syncs):
        occurring.add("invalid")
    legend = Text()
    for kind, meaning in LEGEND.items():
        if kind in occurring:
            legend.append("   " if legend else "").append_text(_sign(kind)).append(f" {meaning}", "dim")
    return legend or None


def _total(syncs: Sequence[Document]) -> Text:
    """The last line: what all syncs together would do, or that there is nothing to do."""
    if not syncs:
        return Text("No syncs, so nothing was compared.")
    compared = [sync for sync in syncs if not sync.get("error")]
    counts = [_told(sync) for sync in compared]
    sums = {kind: sum(one.get(kind, 0) for one in counts) for kind in COUNTS}
    over = words.counted(len(syncs), "sync")
    spent = words.expense(words.together(compared))
    read = Text(f" Read: {spent}." if spent else "", "dim")
    if not any(sums[kind] for kind in PLANNED) and len(compared) == len(syncs):
        rows = words.counted(sum(sync["rows"] for sync in compared), "row")
        nothing = f"No changes. {rows} of {over} were compared with what the destinations last accepted."
        return Text.assemble((nothing, "bold"), read)
    parts = ", ".join(_parts({**sums, "unchanged": 0})) or "no changes"
    requests = words.counted(sum(sync["requests"] for sync in compared), "request")
    text = Text.assemble((f"Plan of {over}: {parts} · {requests}.", "bold"))
    text.append_text(read)
    held = sum(bool(sync.get("holds")) for sync in compared)
    if held:
        text.append(f" {held} held.", "bold red")
    if len(compared) < len(syncs):
        text.append(f" {len(syncs) - len(compared)} failed.", "bold red")
    return text.append(" Nothing was sent.", "dim")
