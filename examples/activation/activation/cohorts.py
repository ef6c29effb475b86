"""Did the experiment move activation? Its arms by days since its start: `python -m activation.cohorts`.

Twice: as the history of the mart has it (what was computed), and as Syncer's log of delivered changes has it (what the
destination knew, and what campaigns could act upon). Bands are bootstrap percentiles over users.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import duckdb
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd

mpl.use("agg")

import matplotlib.pyplot as plt

from activation.generate import WAREHOUSE
from activation.world import ARMS, EXPERIMENT

PICTURES = Path("pictures")
DELIVERED = Path("delivered.duckdb")
SYNC, SCORE, MOMENT = "customerio.people", "activation_score", "activation_computed_at"
"""The sync whose log is read, its field with the score, and the field that says of which night the score is."""

RESAMPLES = 2_000
COLORS = {"control": "#6b7280", "experiment": "#0f766e", "difference": "#b45309"}

Floats = npt.NDArray[np.float64]


def from_history(warehouse: Path, experiment: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Users of the experiment with their arm, and scores as steps: user, from when, score. Raises duckdb.Error."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        users = connection.sql(
            "SELECT user_id, arm, assigned_at FROM activation_staging.stg_experiments WHERE experiment = $1 ORDER BY 1",
            params=[experiment],
        ).to_arrow_table().to_pandas()  # fmt: skip
        steps = connection.sql(
            'SELECT user_id, dbt_valid_from AS "from", score FROM activation_history.users_history'
        ).to_arrow_table().to_pandas()  # fmt: skip
    return users, steps


def from_delivered(delivered: Path) -> pd.DataFrame:
    """Scores that the destination accepted, as steps: user, from when, score. Raises duckdb.Error.

    The time is that of the night that the score is of, which the mapping sends along with every change.
    """
    with duckdb.connect(str(delivered), read_only=True) as connection:
        return connection.sql(
            """
            SELECT key AS user_id, max(after) FILTER (field = $moment)::TIMESTAMPTZ AS "from",
                   max(after) FILTER (field = $score)::DOUBLE AS score
            FROM syncer.delivered
            WHERE sync = $sync AND field IN ($score, $moment)
            GROUP BY key, run
            HAVING count(*) FILTER (field = $score) > 0
            """,
            params={"sync": SYNC, "score": SCORE, "moment": MOMENT},
        ).to_arrow_table().to_pandas()  # fmt: skip


def panel(users: pd.DataFrame, steps: pd.DataFrame, days: npt.NDArray[np.int64]) -> pd.DataFrame:
    """One row for each user, one column for each day since the start: the score that was valid then, else NaN."""
    start = users["assigned_at"].min()
    moments = pd.DataFrame({"day": days, "moment": start + pd.to_timedelta(days, "D")})
    asked = users[["user_id"]].merge(moments, how="cross").sort_values("moment", kind="stable")
    known = steps.sort_values("from", kind="stable")
    asked["moment"], known["from"] = (
        column.astype("datetime64[us, UTC]") for column in (asked["moment"], known["from"])
    )
    found = pd.merge_asof(asked, known, left_on="moment", right_on="from", by="user_id")
    return found.pivot_table(index="user_id", columns="day", values="score", dropna=False).reindex(users["user_id"])


def nights(steps: pd.DataFrame, start: pd.Timestamp) -> npt.NDArray[np.int64]:
    """The nights that something is known of, as days since the start."""
    return np.unique((steps["from"] - start) // pd.Timedelta(1, "D")).astype(np.int64)


def curves(users: pd.DataFrame, scores: pd.DataFrame, seed: int = 7) -> pd.DataFrame:
    """For each day: users, mean, and the 95 % band of each arm, and of experiment minus control.

    The band is that of a percentile bootstrap: the users of each arm are drawn again `RESAMPLES` times, each with all
    days, and of the means the middle 95 % are kept. A day on which an arm has nobody is left away.
    """
    chance = np.random.default_rng(seed)
    columns: dict[str, Floats] = {}
    means = {}
    for arm in ARMS:
        chosen = scores[(users["arm"] == arm).to_numpy()].to_numpy()
        is_known = ~np.isnan(chosen)
        columns[f"{arm} users"] = is_known.sum(axis=0)
        draws = chance.multinomial(len(chosen), np.full(len(chosen), 1 / len(chosen)), RESAMPLES).astype(float)
        with np.errstate(invalid="ignore"):
            mean = np.where(is_known, chosen, 0.0).sum(axis=0) / is_known.sum(axis=0)
            means[arm] = mean, (draws @ np.where(is_known, chosen, 0.0)) / (draws @ is_known.astype(float))
    control, experiment = (means[arm] for arm in ARMS)
    means["difference"] = experiment[0] - control[0], experiment[1] - control[1]
    for name, (mean, drawn) in means.items():
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        columns |= {name: mean, f"{name} low": low, f"{name} high": high}
    found = pd.DataFrame(columns, index=scores.columns)
    return found[(found[[f"{arm} users" for arm in ARMS]] > 0).all(axis=1)]


def plot(found: dict[str, pd.DataFrame], experiment: str, file: Path) -> None:
    """Both arms and their difference, with bands; one column for each place that the scores were taken from."""
    figure, panels = plt.subplots(
        2, len(found), figsize=(11, 6.6), sharey="row", sharex=True, squeeze=False, height_ratios=(3, 2)
    )
    for column, (title, table) in enumerate(found.items()):
        arms, difference = panels[:, column]
        for name, axes in (("control", arms), ("experiment", arms), ("difference", difference)):
            low, high = table[f"{name} low"], table[f"{name} high"]
            axes.fill_between(table.index, low, high, color=COLORS[name], alpha=0.16, lw=0)
            axes.plot(table.index, table[name], color=COLORS[name], marker="o", markersize=4, lw=1.8)
        for arm in ARMS:
            end = (table.index[-1], table[arm].iloc[-1])
            arms.annotate(arm, end, (7, 0), textcoords="offset points", color=COLORS[arm], va="center", fontsize=10)
        difference.axhline(0, color="#9ca3af", lw=0.9)
        difference.set_xlabel("days since the start of the experiment")
        difference.set_xticks(table.index)
        arms.set_title(title, loc="left", fontsize=11)
        for axes in (arms, difference):
            axes.axvline(0, color="black", lw=0.9, ls=(0, (4, 3)))
            axes.grid(axis="y", color="#e5e7eb", lw=0.8)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
    first, last = (pick(table.index[end] for table in found.values()) for pick, end in ((min, 0), (max, -1)))
    panels[0][0].set_xlim(first - 2, last + 0.26 * (last - first))
    panels[0][0].set_ylabel("mean activation score")
    panels[1][0].set_ylabel("experiment minus control")
    figure.suptitle(f"{experiment}: activation with 95 % bands (bootstrap over users)", x=0.012, ha="left", fontsize=13)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def listed(table: pd.DataFrame) -> str:
    """The curves as lines of text."""
    shown = pd.DataFrame(index=table.index)
    shown["users"] = [f"{one:.0f} + {other:.0f}" for one, other in table[[f"{arm} users" for arm in ARMS]].to_numpy()]
    for name, form in (*((arm, "{:.1f}") for arm in ARMS), ("difference", "{:+.1f}")):
        columns = table[[name, f"{name} low", f"{name} high"]].to_numpy()
        shown[name] = [f"{form} ({form} to {form})".format(*values) for values in columns]
    return shown.rename_axis("day").reset_index().to_string(index=False)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m activation.cohorts", description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", default=EXPERIMENT, help=f"its name in the raw table ({EXPERIMENT})")
    parser.add_argument("--warehouse", type=Path, default=WAREHOUSE, help=f"a DuckDB file ({WAREHOUSE})")
    parser.add_argument("--delivered", type=Path, default=DELIVERED, help=f"Syncer's log ({DELIVERED})")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help=f"the folder of the picture ({PICTURES})")
    asked = parser.parse_args(arguments)
    try:
        users, computed = from_history(asked.warehouse, asked.experiment)
        sources = {"computed: the history of the mart": computed}
        sources[f"delivered: Syncer's log of {SYNC}"] = from_delivered(asked.delivered)
    except duckdb.Error as error:
        print(f"There is nothing to compare yet: python -m activation.nights. ({error})", file=sys.stderr)
        return 1
    if set(users["arm"]) != set(ARMS):
        print(f"No user of {asked.experiment} is in both arms, {' and '.join(ARMS)}, by now.", file=sys.stderr)
        return 1
    start = users["assigned_at"].min()
    found = {title: curves(users, panel(users, steps, nights(steps, start))) for title, steps in sources.items()}
    print(
        f"{asked.experiment}, since {start:%Y-%m-%d}: mean activation score, with its 95 % band (bootstrap over users)"
    )
    for title, table in found.items():
        print(f"\n{title[0].upper()}{title[1:]}\n\n{listed(table)}")
    file = asked.pictures / "cohorts.png"
    plot(found, asked.experiment, file)
    print(f"\nThe curves are in {file}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
