"""A plan as a short summary in markdown, for a pull request: what would leave, what it costs, and what holds it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from syncer.report import words

Document = Mapping[str, Any]

CHANGES_SHOWN_MAX = 10
KINDS = ("new", "changed", "rescored", "removed", "invalid", "parked")


def markdown(document: Document) -> str:
    """The document of `diff --json` as markdown."""
    syncs = document["syncs"]
    lines = ["### Plan", ""]
    lines += ["| sync | " + " | ".join(KINDS) + " | requests | |", "|---|" + "---:|" * (len(KINDS) + 1) + "---|"]
    for one in syncs:
        counts = [words.number(one["counts"][kind]) for kind in KINDS]
        held = ", ".join(_code(hold["brake"]) for hold in one["holds"])
        cells = [
            _code(one["sync"]),
            *counts,
            words.number(one["requests"]),
            f"**held** by {held}" if held else "passes",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if spent := words.expense(words.together(syncs)):
        lines += ["", f"Read: {spent}."]
    for one in syncs:
        lines += _details(one)
    return "\n".join(lines)


def _details(one: Document) -> list[str]:
    lines = [f"- {_plain(hold['sentence'])}" for hold in one["holds"]]
    changes = one["changes"][:CHANGES_SHOWN_MAX]
    for change in changes:
        fields = ", ".join(
            f"{_code(name)} {_value(field.get('before'))} → {_value(field.get('after'))}"
            for name, field in change["fields"].items()
        )
        lines.append(f"- {change['kind']} {_code(change['key'])}: {fields or 'deleted'}")
    left = sum(one["counts"][kind] for kind in ("new", "changed", "rescored", "removed")) - len(changes)
    if left > 0:
        lines.append(f"- … and {words.number(left)} more")
    return ["", f"#### {_code(one['sync'])}", "", *lines] if lines else []


def _value(value: Any) -> str:
    return _code(json.dumps(value, ensure_ascii=False))


def _code(text: str) -> str:
    """Text that markdown leaves alone, whatever is in it; a backtick or a bar in it could end the cell."""
    shown = words.cut(words.printable(text), words.KEY_CELLS_MAX).replace("|", "\\|")
    ticks = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def _plain(text: str) -> str:
    return re.sub(r"([\\*_\[\]<>|])", r"\\\1", words.sentence(text))
