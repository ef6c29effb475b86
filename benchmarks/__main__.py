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

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Parse, measure, tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the comparison")
    parser.add_argument("--records", type=int, default=20_000, help="records of the delivery")
    parser.add_argument("--out", type=Path, default=RESULTS / "latest.json")
    options = parser.parse_args()
    figures: dict[str, Any] = {"machine": _machine(), "rows": options.rows, "records": options.records}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        _child("prepare", folder, options.rows)
        figures["compare"] = {way: _child("compare", way, folder) for way in ("ours", "loop", "limit")}
        figures["deliver"] = {
            kind: {way: _child("deliver", kind, way, folder, options.records) for way in ("plain", "ours")}
            for kind in ("customerio", "salesforce")
        }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    _tell(figures)


def child(words: list[str]) -> None:
    """One measurement, printed as JSON."""
    from benchmarks import compare, deliver

    what, *rest = words
    if what == "prepare":
        compare.prepare(Path(rest[0]), int(rest[1]))
        print("{}")
    elif what == "compare":
        print(json.dumps(getattr(compare, rest[0])(Path(rest[1]))))
    elif what == "deliver":
        kind, way, folder, records = rest
        small = Path(folder) / f"deliver-{records}"
        if not small.exists():
            from benchmarks import nights

            small.mkdir()
            nights.make(small / "warehouse.duckdb", int(records))
        print(json.dumps(deliver.with_standin(kind, way, small, int(records))))
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


def _tell(figures: dict[str, Any]) -> None:
    compare = figures["compare"]
    ours, loop, limit = compare["ours"], compare["loop"], compare["limit"]
    print(f"compare {figures['rows']:,} rows x 16 fields, {ours['changed']:,} changed")
    for name, one in (
        ("ours, with a durable plan", ours),
        ("loop over dictionaries", loop),
        ("one pass over aligned columns", limit),
    ):
        rate = figures["rows"] / one["wall_seconds"]
        print(
            f"  {name:32} {one['wall_seconds']:7.2f} s wall  {one['cpu_seconds']:7.2f} s CPU  {one['peak_mib']:7.0f} MiB peak"
            f"  {rate:12,.0f} rows/s"
        )
    print(
        f"  ours is {loop['wall_seconds'] / ours['wall_seconds']:.1f} x the speed of the loop and takes "
        f"{ours['wall_seconds'] / limit['wall_seconds']:.2f} x the time of the one pass"
    )
    for kind, ways in figures["deliver"].items():
        print(f"deliver {figures['records']:,} records x 16 fields into the stand-in of {kind}")
        for way, one in ways.items():
            print(
                f"  {way:32} {one['wall_seconds']:7.2f} s wall  {one['cpu_seconds']:7.2f} s CPU  {one['peak_mib']:7.0f} MiB peak"
                f"  {one['records_per_second']:12,.0f} records/s  {one['requests']} requests"
            )
        ratio = ways["ours"]["records_per_second"] / ways["plain"]["records_per_second"]
        print(f"  ours reaches {ratio:.2f} x the rate of the plain sender, planning and remembering included")


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        child(sys.argv[1:])
    else:
        main()
