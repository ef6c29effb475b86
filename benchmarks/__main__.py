"""`python -m benchmarks`: measure everything, print a table, keep the figures as JSON.

Each figure is measured in a process of its own, so that one's memory is not another's; ratios are between figures of
the same run on the same machine. `--rows` and `--records` set the sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import bigquery, inwarehouse, requests

RESULTS = Path(__file__).parent / "results"
MARK = "<!-- figures -->"


def main() -> None:
    """Parse, measure, tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the comparison")
    parser.add_argument("--read", type=int, default=1_000_000, help="rows that are read from BigQuery; --rows at most")
    parser.add_argument("--records", type=int, default=20_000, help="records of the delivery")
    parser.add_argument("--changes", type=int, default=100_000, help="changes whose requests are counted")
    parser.add_argument("--planned", type=int, default=200_000, help="rows that are planned out of BigQuery both ways")
    parser.add_argument("--entries", type=int, default=10_000_000, help="entries of the history")
    parser.add_argument("--out", type=Path, default=RESULTS / "latest.json")
    parser.add_argument("--page", type=Path, help=f"a page whose text after {MARK!r} is replaced by the tables")
    parser.add_argument("--only", choices=PARTS, help="measure this part again, and keep the others' figures")
    options = parser.parse_args()
    figures: dict[str, Any] = {"machine": _machine(), "rows": options.rows, "records": options.records}
    if options.only:
        figures = json.loads(options.out.read_text())
        options.rows, options.records = figures["rows"], figures["records"]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        _child("prepare", folder, options.rows)
        for part in [options.only] if options.only else PARTS:
            figures[part] = PARTS[part](folder, options)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    table = _table(figures)
    print(table)
    if options.page:
        before, mark, _ = options.page.read_text().partition(MARK)
        options.page.write_text(f"{before}{mark}\n\n{table}\n")


def _compare(folder: str, _: argparse.Namespace) -> dict[str, Any]:
    return {way: _child("compare", way, folder) for way in ("ours", "loop", "limit")}


def _deliver(folder: str, options: argparse.Namespace) -> dict[str, Any]:
    return {
        kind: {way: _child("deliver", kind, way, folder, options.records) for way in ("plain", "ours")}
        for kind in ("customerio", "salesforce")
    }


def _requests(folder: str, options: argparse.Namespace) -> dict[str, Any]:
    return {name: _child("requests", name, folder, options.changes) for name in requests.CASES}


def _bigquery(folder: str, options: argparse.Namespace) -> dict[str, Any]:
    rows = min(options.read, options.rows)
    return {"rows": rows} | {way: _child("bigquery", way, folder, rows) for way in bigquery.WAYS}


def _inwarehouse(_: str, options: argparse.Namespace) -> dict[str, Any]:
    return {way: _child("inwarehouse", way, options.planned) for way in inwarehouse.WAYS}


def _remember(folder: str, options: argparse.Namespace) -> dict[str, Any]:
    return {"note": _child("history", "note", folder), "life": _child("history", "life", folder, options.entries)}


PARTS = {
    "compare": _compare,
    "deliver": _deliver,
    "requests": _requests,
    "bigquery": _bigquery,
    "inwarehouse": _inwarehouse,
    "history": _remember,
}
"""Name in the figures → how they are measured, in a folder that has the two nights."""


def child(words: list[str]) -> None:
    """One measurement, printed as JSON."""
    from benchmarks import compare, deliver, history

    what, *rest = words
    if what == "prepare":
        compare.prepare(Path(rest[0]), int(rest[1]))
        print("{}")
    elif what == "compare":
        print(json.dumps(getattr(compare, rest[0])(Path(rest[1]))))
    elif what == "history":
        print(
            json.dumps(history.note(Path(rest[1])) if rest[0] == "note" else history.life(Path(rest[1]), int(rest[2])))
        )
    elif what == "deliver":
        kind, way, folder, records = rest
        small = Path(folder) / f"deliver-{records}"
        if not small.exists():
            from benchmarks import nights

            small.mkdir()
            nights.make(small / "warehouse.duckdb", int(records))
        print(json.dumps(deliver.with_standin(kind, way, small, int(records))))
    elif what == "bigquery":
        print(json.dumps(bigquery.read(rest[0], Path(rest[1]), int(rest[2]))))
    elif what == "serve-bigquery":
        bigquery.serve(rest[0], Path(rest[1]), Path(rest[2]), int(rest[3]))
    elif what == "inwarehouse":
        print(json.dumps(inwarehouse.plan(rest[0], int(rest[1]))))
    elif what == "serve-inwarehouse":
        inwarehouse.serve(Path(rest[0]), Path(rest[1]))
    elif what == "requests":
        print(json.dumps(requests.used(rest[0], Path(rest[1]), int(rest[2]))))
    elif what == "serve":
        deliver.serve(rest[0], Path(rest[1]))


def _child(*words: object) -> Any:
    command = [sys.executable, "-m", "benchmarks", *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _machine() -> dict[str, Any]:
    import duckdb
    import pyarrow

    return {
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
        "pyarrow": pyarrow.__version__,
    }


def _table(figures: dict[str, Any]) -> str:
    """The figures as Markdown: absolute ones to know the size of things, ratios to judge by."""
    compare, deliver = figures["compare"], figures["deliver"]
    ours, loop, limit = compare["ours"], compare["loop"], compare["limit"]
    lines = [
        f"Comparing {figures['rows']:,} rows x 16 fields, of which {ours['changed']:,} changed:",
        "",
        "| | wall s | CPU s | peak MiB | rows/s | time, as a ratio to ours |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    ways = (
        ("Syncer, durable plan included", ours),
        ("a loop over dictionaries", loop),
        ("one pass, columns in line", limit),
    )
    for name, one in ways:
        lines.append(
            f"| {name} | {one['wall_seconds']:.2f} | {one['cpu_seconds']:.2f} | {one['peak_mib']:,.0f} "
            f"| {figures['rows'] / one['wall_seconds']:,.0f} | {one['wall_seconds'] / ours['wall_seconds']:.2f} |"
        )
    lines += [
        "",
        f"Delivering {figures['records']:,} new records x 16 fields into a stand-in in a process of its own:",
        "",
        "| | wall s | CPU s | peak MiB | requests | records/s | rate, as a ratio to the plain sender |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind, measured in deliver.items():
        for name, way in ((f"{kind}, a plain sender", "plain"), (f"{kind}, Syncer: plan, intents, outcomes", "ours")):
            one = measured[way]
            ratio = one["records_per_second"] / measured["plain"]["records_per_second"]
            lines.append(
                f"| {name} | {one['wall_seconds']:.2f} | {one['cpu_seconds']:.2f} | {one['peak_mib']:,.0f} "
                f"| {one['requests']} | {one['records_per_second']:,.0f} | {ratio:.2f} |"
            )
    lines += ["", "Requests of a first run, counted by the stand-in:", "", *requests.table(figures["requests"])]
    # Parts that were never measured on this machine are left out.
    for part in (bigquery, inwarehouse):
        if measured := figures.get(part.__name__.partition(".")[2]):
            lines += ["", *part.table(measured)]
    lines += ["", *_history(figures["history"])]
    machine = ", ".join(f"{name} {value}" for name, value in figures["machine"].items())
    return "\n".join([*lines, "", f"Measured on: {machine}."])


def _history(figures: dict[str, Any]) -> list[str]:
    note, life = figures["note"], figures["life"]
    lines = [
        f"Remembering a first run of {note['records']:,} records x 16 fields, all of them new:",
        "",
        "| | wall s | CPU s |",
        "| --- | ---: | ---: |",
    ]
    steps = {
        "plan": "planning it",
        "remember": "remembering its outcomes, batch by batch",
        "note": f"writing its history, {note['bytes_per_record']:.0f} bytes a record",
    }
    for step, text in steps.items():
        lines.append(f"| {text} | {note[step]['wall_seconds']:.2f} | {note[step]['cpu_seconds']:.2f} |")
    lines.append("")
    lines.append(
        f"One record's life among {life['entries']:,} entries: {life['median_seconds'] * 1000:.0f} ms, at worst "
        f"{life['worst_seconds'] * 1000:.0f} ms; a key that nobody knows {life['unknown_key_seconds'] * 1000:.0f} ms."
    )
    return lines


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        child(sys.argv[1:])
    else:
        main()
