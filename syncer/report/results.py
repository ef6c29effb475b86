"""What a run did, where each sync stands, what is parked, and what somebody has to mend, for people to read."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from syncer.errors import Problem
from syncer.report import words
from syncer.report.layout import hanging, indented

Document = Mapping[str, Any]

RESULTS = {
    "done": "green",
    "ok": "green",
    "held": "yellow",
    "failed": "bold red",
    "running": "cyan",
    "never run": "dim",
}
SUMS = ("planned", "accepted", "rejected", "deferred", "unsent", "requests")


def sync(document: Document, console: Console) -> None:
    """Print the document of `sync --json`: a line a sync, a total, and below them every reason."""
    syncs = document["syncs"]
    if not syncs:
        console.print("No syncs, so nothing was sent.")
        return
    table = _table("sync", "result", *(f">{name}" for name in SUMS), ">time")
    for one in syncs:
        numbers = [_amount(one[name], name) for name in SUMS]
        table.add_row(_name(one["sync"]), _result(one["result"]), *numbers, Text(_seconds(one["seconds"])))
    if len(syncs) > 1:
        sums = [_amount(sum(one[name] for one in syncs), name) for name in SUMS]
        table.add_section()
        table.add_row(Text("together"), Text(""), *sums, Text(_seconds(sum(one["seconds"] for one in syncs))))
    console.print(table)
    for one in syncs:
        _why(one, console)


def _why(one: Document, console: Console) -> None:
    lines: list[tuple[Text, str]] = []
    if one.get("error"):
        lines.append((Text("failed", "bold red"), one["error"]))
    lines += [(Text("moved", "yellow"), sentence) for sentence in one.get("moved", [])]
    lines += [(Text(f"held by {words.printable(hold['brake'])}", "yellow"), hold["sentence"]) for hold in one["holds"]]
    for reason in one.get("reasons", []):
        label = f"{words.number(reason['count'])} {reason['result']}, {words.printable(reason['code'] or 'no code')}"
        lines.append((Text(label, "red" if reason["result"] == "rejected" else "yellow"), reason["sentence"]))
    lines += [(Text("warning", "yellow"), sentence) for sentence in one.get("warnings", [])]
    if not lines:
        return
    console.print()
    console.print(_name(one["sync"]))
    for sign, sentence in lines:
        hanging(console, sign, sentence)
    if one["result"] == "held":
        _way_out(one, console)
    elif one["rejected"]:
        hanging(console, Text("next", "bold"), f"syncer rejected {words.printable(one['sync'])} lists the records")


def status(document: Document, console: Console, *, now: datetime.datetime | None = None) -> None:
    """Print the document of `status --json`; `now` is for ages, the present unless given."""
    now = now or datetime.datetime.now(datetime.UTC)
    syncs = document["syncs"]
    if not syncs:
        console.print("No syncs.")
        return
    table = _table("sync", "state", "last run", ">accepted", ">known", ">parked", "source", "next run")
    for one in syncs:
        last = one.get("last_run") or {}
        table.add_row(
            _name(one["sync"]),
            _result(one["state"]),
            Text(words.distance(last.get("finished") or last.get("started"), now) or "never"),
            _amount(last["accepted"], "accepted") if "accepted" in last else Text(""),
            Text(words.number(one["known"])),
            _amount(one["parked"], "rejected"),
            Text(words.distance(one.get("source_modified"), now) or "unknown"),
            Text(_next_run(one, now)),
        )
    console.print(table)
    _spent({one["sync"]: one.get("last_run") or {} for one in syncs}, console)
    for one in syncs:
        _standing(one, console)


def _spent(runs: Mapping[str, Document], console: Console) -> None:
    """What the last run of each sync read, where the source is one that tells; a file costs nothing."""
    told = {name: spent for name, run in runs.items() if (spent := words.expense(run))}
    if not told:
        return
    console.print()
    table = _table("sync", "the last run read")
    for name, spent in told.items():
        table.add_row(_name(name), Text(spent))
    if len(told) > 1:
        table.add_section()
        table.add_row(Text("together"), Text(words.expense(words.together(list(runs.values())))))
    console.print(table)


def _next_run(one: Document, now: datetime.datetime) -> str:
    """When the daemon runs it; a sync that waits for others has no time of its own."""
    if one.get("paused"):
        return "paused"
    return words.distance(one.get("next_run"), now) or words.printable(one.get("schedule") or "by hand")


def _standing(one: Document, console: Console) -> None:
    last = one.get("last_run") or {}
    lines = [(Text(f"held by {words.printable(hold['brake'])}", "yellow"), hold["sentence"]) for hold in one["holds"]]
    for error in (last.get("error"), one.get("error")):
        if error:
            lines.insert(0, (Text("failed", "bold red"), error))
    if last.get("released"):
        brakes = ", ".join(words.printable(str(name)) for name in last["released"])
        lines.append((Text("released", "yellow"), f"The last run went over {brakes}, because somebody said so."))
    if pause := one.get("paused"):
        why = f" ({words.printable(pause['reason'])})" if pause.get("reason") else ""
        sentence = f"By {words.printable(pause['by'])}{why}; syncer resume {words.printable(one['sync'])} ends it."
        lines.append((Text("paused", "yellow"), sentence))
    if refused := one.get("refused"):
        sentence = f"By {words.printable(refused['by'])}: {words.printable(refused['reason'])}"
        lines.append((Text("plan refused", "yellow"), words.sentence(sentence)))
    if not lines:
        return
    console.print()
    console.print(_name(one["sync"]))
    for label, sentence in lines:
        hanging(console, label, sentence)
    if one["holds"]:
        _way_out(one, console)


def _way_out(held: Document, console: Console) -> None:
    name = words.printable(held["sync"])
    look, release = f"syncer diff {name}", f"syncer sync {name} --release"
    if run := held.get("undoes") or (held.get("last_run") or {}).get("undoes"):
        look, release = f"syncer undo {run} --dry-run", f"syncer undo {run} --release"
    hanging(console, Text("next", "bold"), f"{look} shows the plan; {release} lets it pass")


def rejected(document: Document, console: Console, *, now: datetime.datetime | None = None) -> None:
    """Print the document of `rejected --json`: parked records by sync, each with the destination's reason."""
    now = now or datetime.datetime.now(datetime.UTC)
    parked = document["parked"]
    if not parked:
        console.print("Nothing is parked: no destination refuses a record.")
        return
    table = _table("sync", "key", "reason", ">tries", "since", "next try")
    for row in parked:
        reason = Text(words.printable(row["code"] or "no code"), "red")
        if row.get("message"):
            reason.append("  " + words.sentence(row["message"]), "default")
        table.add_row(
            _name(row["sync"]),
            Text(words.key(row["key"])),
            reason,
            Text(words.number(row["attempts"])),
            Text(words.distance(row["since"], now)),
            Text(words.distance(row.get("next_try"), now) or "on request"),
        )
    console.print(table)
    console.print()
    syncs = {row["sync"] for row in parked}
    name = words.printable(parked[0]["sync"]) if len(syncs) == 1 else "SYNC"
    many = words.counted(len(parked), "record")
    indented(
        console,
        f"{many} parked. Each goes again by itself when its values change; "
        f"syncer rejected {name} --retry tries it at the next run.",
        0,
    )


def check(document: Document, console: Console) -> None:
    """Print the document of `check --json`: what was looked at, then every problem at once."""
    for sentence in document["checked"]:
        hanging(console, Text("✓", "green"), sentence, indent=0, gap=1)
    found = [Problem(problem["place"], problem["sentence"]) for problem in document["problems"]]
    if found:
        if document["checked"]:
            console.print()
        problems(found, console)
    elif document["ok"]:
        console.print(Text("All is well.", "bold green"))


def problems(found: Iterable[Problem], console: Console) -> None:
    """Print what somebody has to mend: all of it, each with its place, and without a traceback."""
    found = list(found)
    for problem in found:
        if problem.place:
            console.print(Text.assemble(("✗ ", "bold red"), (words.sentence(problem.place), "bold")), soft_wrap=True)
            indented(console, problem.sentence, 2)
        else:
            hanging(console, Text("✗", "bold red"), problem.sentence, indent=0, gap=1)
    if len(found) > 1:
        console.print(Text(words.counted(len(found), "problem") + ".", "bold"))


def _table(*columns: str) -> Table:
    """A table of aligned words without lines; a heading that starts with `>` is a column of numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    for column in columns:
        if column.startswith(">"):
            table.add_column(column[1:], justify="right", no_wrap=True)
        else:
            table.add_column(column, no_wrap=column not in ("reason", "key"), overflow="fold")
    return table


def _name(sync_name: str) -> Text:
    return Text(words.printable(sync_name), "bold")


def _result(result: str) -> Text:
    return Text(words.printable(result), RESULTS.get(result, ""))


def _amount(count: int, name: str) -> Text:
    """Nothing is dim, and what went wrong has a colour, so that the eye finds what matters."""
    if count == 0:
        return Text("0", "dim")
    return Text(words.number(count), {"rejected": "red", "deferred": "yellow", "unsent": "yellow"}.get(name, ""))


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 90 else words.span(seconds)
