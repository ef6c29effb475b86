"""What a night costs where tables are large: bytes, dollars, hours. Worked out, and written into docs/scale.md.

`python -m benchmarks.scale` writes the tables of that page anew. Sizes and prices are BigQuery's list, US:
https://cloud.google.com/bigquery/pricing. A test holds the bytes to what the statements scan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
ROWS = (10_000_000, 100_000_000, 1_000_000_000)
CHANGES = (100_000, 1_000_000, 10_000_000)

# --- sizes: docs.cloud.google.com/bigquery, "data type sizes" --------------------------------------------------------

KEY = 2 + 19
NUMBER = MOMENT = 8
BOOLEAN = 1
NUMBERS, MOMENTS, TEXTS = 16, 2, 2
TEXT = 2 + 10
VALUES = NUMBERS * NUMBER + MOMENTS * MOMENT + TEXTS * TEXT
SOURCE = KEY + VALUES
"""A row of the source: a key of 19 characters and 20 fields."""
FIXED = 2 * KEY + 2 * NUMBER
"""Beside the values the state has key and match, which fields were sent, and which are in doubt."""
BASE = FIXED + VALUES
LOG = BASE + BOOLEAN + NUMBER
"""A row of the log says besides whether the record is gone, and of which load it is."""
SUMS_OF_BASE = KEY + NUMBERS * NUMBER
SUMS_OF_LOG = SUMS_OF_BASE + BOOLEAN + NUMBER
"""For the brakes on distributions, once a night: every number that changes anywhere."""

# --- prices and habits -----------------------------------------------------------------------------------------------

TIB, GIB, GB = 2**40, 2**30, 10**9
QUERY_PER_TIB = 6.25
STORAGE_PER_GIB_MONTH = 0.02
READ_FREE_TIB_MONTH = 300
CHANGED = 0.01
FOLD_SHARE = 0.10
NIGHTS_BETWEEN_FOLDS = round(FOLD_SHARE / CHANGED) + 1
"""The log is folded when it is larger than a tenth of the base, which is one night after it is as large."""
LOG_SHARE = FOLD_SHARE / 2
"""How large the log is on a night between."""

# --- what was measured -----------------------------------------------------------------------------------------------

COMPARED_PER_SECOND = 950_000
"""Rows of 16 fields, on two processors, with a state on disk: docs/performance.md."""
DISK = 435
"""Bytes a row that the state's folder holds at most in a run: state, rows of the night, plan."""
LINE_PER_SECOND = 125_000_000
"""A line of one gigabit."""


@dataclass(frozen=True, slots=True)
class Night:
    """Bytes of one night in which `CHANGED` of the rows have changed, with the state in BigQuery."""

    rows: int

    @property
    def compared(self) -> float:
        """What the comparison reads: the source's mapped columns once, the state once."""
        return self.rows * (SOURCE + BASE + LOG * LOG_SHARE)

    @property
    def summed(self) -> float:
        """What the sums for the brakes read."""
        return self.rows * (SUMS_OF_BASE + SUMS_OF_LOG * LOG_SHARE)

    @property
    def folded(self) -> float:
        """What making a new base reads, as a share of one night."""
        share = CHANGED * NIGHTS_BETWEEN_FOLDS
        return self.rows * (BASE + LOG * share) / NIGHTS_BETWEEN_FOLDS

    @property
    def billed(self) -> float:
        """All that is billed. Load jobs, and the Storage Read API below its free amount, cost nothing."""
        return self.compared + self.summed + self.folded

    @property
    def travelling(self) -> float:
        """What leaves BigQuery: both sides of the rows that changed."""
        return self.rows * CHANGED * (SOURCE + BASE)


def price(billed: float) -> float:
    """US dollars."""
    return billed / TIB * QUERY_PER_TIB


def border_per_gib() -> float:
    """The price of a GiB of network at which a night costs the same either way."""
    night = Night(1)
    return price(night.billed) / ((SOURCE - night.travelling) / GIB)


@dataclass(frozen=True, slots=True)
class Way:
    """How a destination takes changes. The slower counts: the pace that is declared, or the requests under way."""

    title: str
    records: float
    """Changes in a request."""
    pace: float
    """Requests that may start in a second."""
    in_flight: int
    answer_seconds: float = 1.0
    """How long a request is under way. Nobody promises it: a second for a batch, half of one for a single record."""
    daily_max: int | None = None
    """Changes that the service takes in 24 hours."""
    daily: str = "none"

    @property
    def per_second(self) -> float:
        """Changes."""
        return self.records * min(self.pace, self.in_flight / self.answer_seconds)

    def seconds(self, changes: int) -> float:
        """For so many changes; what does not fit into a day waits for the next."""
        days, rest = divmod(changes, self.daily_max or changes + 1)
        return days * 86_400 + rest / self.per_second


CHANGE_BYTES = 700
"""A change of 20 attributes as customer.io gets it, about."""
COLLECTIONS_MAX = 80_000 * 200
BULK_MAX = 150_000_000
WAYS = (
    Way("customer.io", 480_000 // CHANGE_BYTES, 1_000, 16),
    Way(
        "Salesforce, Collections", 200, 25, 4, 1.0, COLLECTIONS_MAX, "80,000 requests: 100,000 less a fifth for others"
    ),
    # How fast an org works on a job nobody promises, so the rate is that of the daily limit.
    Way("Salesforce, Bulk API 2.0", BULK_MAX / 86_400, 1, 1, 1.0, BULK_MAX, "150,000,000 records"),
    Way("Orbit, fields of a member", 1 / 2, 100 / 60, 1, 0.5),
    Way("Orbit, a tag that moves", 1 / 4, 100 / 60, 1, 0.5),
)


def tables() -> dict[str, str]:
    """The page's tables by name, as Markdown."""
    return {
        "bytes": "\n".join(_bytes()),
        "local": "\n".join(_local()),
        "months": "\n".join(_months()),
        "destinations": "\n".join(_destinations()),
        "border": f"**{border_per_gib():.3f} USD a GiB**",
    }


def written(page: str) -> str:
    """The page with its tables as they are worked out now."""
    for name, table in tables().items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        space = "" if name == "border" else "\n\n"
        page = f"{before}{begin}{space}{table}{space}{end}{after}"
    return page


def _bytes() -> Iterator[str]:
    yield "| one night, state in BigQuery | bytes a row | " + " | ".join(_million(rows) for rows in ROWS) + " |"
    yield "| --- | ---: |" + " ---: |" * len(ROWS)
    parts = (
        ("compare: source and state, once each", "compared"),
        ("sums for the brakes on distributions", "summed"),
        (f"fold the log, one night in {NIGHTS_BETWEEN_FOLDS}", "folded"),
        ("**together**", "billed"),
    )
    for title, part in parts:
        amounts = [getattr(Night(rows), part) for rows in ROWS]
        cells = " | ".join(f"{amount / GB:,.1f} GB, {_dollars(price(amount))}" for amount in amounts)
        yield f"| {title} | {amounts[0] / ROWS[0]:,.0f} | {cells} |"
    cells = " | ".join(f"{Night(rows).travelling / GB:,.2f} GB" for rows in ROWS)
    yield f"| what leaves BigQuery | {Night(ROWS[0]).travelling / ROWS[0]:,.1f} | {cells} |"


def _local() -> Iterator[str]:
    yield "| one night, state on disk | bytes a row | " + " | ".join(_million(rows) for rows in ROWS) + " |"
    yield "| --- | ---: |" + " ---: |" * len(ROWS)
    yield "| billed as queries | 0 | " + " | ".join("$0" for _ in ROWS) + " |"
    yield f"| what leaves BigQuery | {SOURCE} | " + " | ".join(f"{rows * SOURCE / GB:,.1f} GB" for rows in ROWS) + " |"
    line = [_span(rows * SOURCE / LINE_PER_SECOND) for rows in ROWS]
    yield "| over a line of one gigabit | | " + " | ".join(line) + " |"
    compared = [_span(rows / COMPARED_PER_SECOND) for rows in ROWS]
    yield "| comparing, at the measured pace | | " + " | ".join(compared) + " |"
    yield f"| disk | {DISK} | " + " | ".join(f"{rows * DISK / GB:,.0f} GB" for rows in ROWS) + " |"


def _months() -> Iterator[str]:
    yield "| 30 days | " + " | ".join(_million(rows) for rows in ROWS) + " |"
    yield "| --- |" + " ---: |" * len(ROWS)
    for title, runs in (("one run a night", 30), ("every hour", 720)):
        cells = " | ".join(_dollars(runs * price(Night(rows).billed)) for rows in ROWS)
        yield f"| state in BigQuery, {title} | {cells} |"
    kept = [rows * (BASE + LOG * LOG_SHARE) / GIB * STORAGE_PER_GIB_MONTH for rows in ROWS]
    yield "| keeping the state there | " + " | ".join(_dollars(one) for one in kept) + " |"
    read = [30 * rows * SOURCE / TIB for rows in ROWS]
    cells = " | ".join(f"{one:,.2f} of {READ_FREE_TIB_MONTH} free TiB" for one in read)
    yield f"| state on disk, one run a night: read through the Storage API | {cells} |"


def _destinations() -> Iterator[str]:
    titles = " | ".join(f"{number:,} changes" for number in CHANGES)
    yield f"| | changes a second | {titles} | in a night of 8 hours | a day's limit |"
    yield "| --- | ---: |" + " ---: |" * (len(CHANGES) + 1) + " --- |"
    for way in WAYS:
        cells = " | ".join(_span(way.seconds(number)) for number in CHANGES)
        night = min(8 * 3600 * way.per_second, way.daily_max or float("inf"))
        yield f"| {way.title} | {_rate(way.per_second)} | {cells} | {_rounded(night)} | {way.daily} |"


def _million(rows: int) -> str:
    return f"{rows // 10**9:,} G rows" if rows >= 10**9 else f"{rows // 10**6:,} M rows"


def _dollars(amount: float) -> str:
    return f"${amount:,.0f}" if amount >= 100 else f"${amount:,.2f}" if amount >= 0.1 else f"${amount:,.3f}"


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:,.2f}"


def _rounded(count: float) -> str:
    return f"{count / 1e6:,.0f} M" if count >= 10e6 else f"{round(count, -3):,.0f}"


def _span(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size or (name != "days" and seconds >= 1.5 * size):
            amount = seconds / size
            return f"{amount:,.0f} {name}" if amount >= 10 else f"{amount:,.1f} {name}"
    return f"{max(seconds, 1):,.0f} s"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
