"""`python -m benchmarks`: measure every part, print its table, keep the figures as JSON.

A part is a module of this package with three functions:

- `measure(folder, options)`: its figures, ready for JSON. `folder` is there for all parts of one run; what is timed
  runs in child processes, through `children`. Its figures tell the sizes that they were measured at.
- `table(figures)`: those figures as lines of Markdown, with no need of anything else.
- `child(words)`: what one child process measures, or serves.

Ratios are between figures of one part, measured together; `--only` measures some parts again and keeps the others', so
each part's figures carry their own moment, commit and machine.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import machine

PARTS = ("compare", "deliver", "night", "commit", "start", "requests", "bigquery", "inwarehouse", "history")
"""Modules, in the order of the page."""
RESULTS = Path(__file__).parent / "results"
MARK = "<!-- figures -->"


def main() -> None:
    """Parse, measure, tell."""
    options = _options()
    results: dict[str, Any] = {}
    if (options.only or options.redraw) and options.out.exists():
        results = json.loads(options.out.read_text())
    if not options.redraw:
        _measure(options, results)
    text = page(results)
    print(text)
    if options.page:
        before, mark, _ = options.page.read_text().partition(MARK)
        options.page.write_text(f"{before}{mark}\n\n{text}\n")


def _measure(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Put the figures of each part into the results, and keep them at once: the next part may fail."""
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=options.folder) as name:
        folder = Path(name)
        described = machine.describe(folder)
        for part in [name for name in PARTS if name in (options.only or PARTS)]:
            print(f"{part} …", file=sys.stderr)
            moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
            at = {"measured": moment, "commit": machine.commit(), "sync_ms": machine.sync_ms(folder)}
            results[part] = at | {"machine": described, "figures": _part(part).measure(folder, options)}
            options.out.parent.mkdir(exist_ok=True)
            options.out.write_text(json.dumps(results, indent=2) + "\n")


def page(results: dict[str, Any]) -> str:
    """Every part that was ever measured, in its order: its table, and when, of which code and where it was measured."""
    lines: list[str] = []
    machines = list(dict.fromkeys(machine.told(one["machine"]) for one in results.values()))
    for name in PARTS:
        if name not in results:
            continue
        one = results[name]
        moment = one["measured"].replace("T", " ").replace("+00:00", " UTC")
        number = machines.index(machine.told(one["machine"])) + 1
        lines += [*_part(name).table(one["figures"]), ""]
        lines.append(
            f"*{moment}, commit {one['commit'] or 'unknown'}, machine {number}; 4 KiB were on its disk after "
            f"{one['sync_ms']:.2f} ms.*"
        )
        lines.append("")
    return "\n".join([*lines, *(f"Machine {number}: {told}." for number, told in enumerate(machines, 1))])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the largest comparison")
    parser.add_argument("--read", type=int, default=1_000_000, help="rows that are read from BigQuery")
    sizes = [100_000, 1_000_000]
    parser.add_argument("--records", type=int, nargs="+", default=sizes, help="records of the deliveries")
    parser.add_argument("--users", type=int, default=1_000_000, help="users of the whole night")
    parser.add_argument("--nights", type=int, default=3, help="nights of each way, of which the median counts")
    parser.add_argument("--commits", type=int, default=1_000, help="commits of a size of batch, in each way")
    parser.add_argument("--changes", type=int, default=100_000, help="changes whose requests are counted")
    parser.add_argument("--planned", type=int, default=200_000, help="rows that are planned out of BigQuery both ways")
    parser.add_argument("--noted", type=int, default=1_000_000, help="records of the run that is remembered")
    parser.add_argument("--entries", type=int, default=10_000_000, help="entries of the history")
    parser.add_argument("--starts", type=int, default=15, help="starts of each command")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds that the idle daemon is looked at")
    parser.add_argument("--out", type=Path, default=RESULTS / "latest.json", help="where the figures are kept")
    parser.add_argument("--page", type=Path, help=f"a page whose text after {MARK!r} is replaced by the tables")
    parser.add_argument("--folder", type=Path, help="where the parts work; a disk, for those that wait for one")
    parser.add_argument(
        "--only", choices=PARTS, action="append", help="measure this part again, and keep the others' figures"
    )
    parser.add_argument("--redraw", action="store_true", help="measure nothing: tell the figures that are kept")
    return parser.parse_args()


def _part(name: str) -> Any:
    return importlib.import_module(f"benchmarks.{name}")


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        print(json.dumps(_part(sys.argv[1]).child(sys.argv[2:])))
    else:
        main()
