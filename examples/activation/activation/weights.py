"""Which events go with money, and what the milestones might weigh: `python -m activation.weights`.

The unit is a workspace: it is what pays. An event of the first order is that somebody in it did X; of the second order,
that X was done twice, or Y after X. Beside each stands how it correlates with what the workspace has paid so far.
"""

from __future__ import annotations

import argparse
import sys
from itertools import permutations
from pathlib import Path

import duckdb
import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("agg")

import matplotlib.pyplot as plt
import seaborn as sns

from activation.generate import WAREHOUSE
from activation.transform import HOME

PICTURES = Path("pictures")
SEED_FILE = HOME / "dbt" / "seeds" / "weights.csv"
POINTS = 50
"""What all milestones weigh together, of 100."""

STEPS = {
    "flow": "flow_created",
    "deployment": "deployment_created",
    "schedule": "scheduled_run",
    "queue": "work_queue_created",
    "automation": "automation_created",
    "collaborator": "collaborator_invited",
    "key": "api_key_created",
}
"""What a milestone is called in seeds/weights.csv → the event that it counts. The first queue comes with the first
deployment, so a queue is a step from the second on."""

WHAT_IT_DOES_NOT_SAY = """\
What this does not say. A correlation is not an effect: a large company invites more people and also pays more, and
making somebody invite a colleague makes nobody large. Old workspaces had more time for every step and for every bill
than young ones, so age alone makes both go together. Steps come in chains (nobody schedules without a deployment), so
most rows tell the same story again, and how it is shared out among them is a convention. In this invented world we know
better, because we made it: scheduled runs, automations and the second queue raise the odds of paying; invitations and
API keys do nothing, and the table suggests points for them all the same. Take the suggestion as a first guess, run an
experiment that moves one step, and look at `python -m activation.cohorts`."""


def steps_of_workspaces(warehouse: Path) -> tuple[pd.DataFrame, pd.Series]:
    """For each workspace the times of its steps, by order (`flow 1`, `flow 2`), and its lifetime spend.

    The index is the workspace; a step that was not taken is NaT. Raises duckdb.Error.
    """
    kinds = ", ".join(f"'{event}'" for event in STEPS.values())
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        taken = connection.sql(f"""
            SELECT workspace_id, event, occurred_at,
                   row_number() OVER (PARTITION BY workspace_id, event ORDER BY occurred_at, event_id) AS turn
            FROM activation_staging.stg_events
            WHERE event IN ({kinds}) AND workspace_id IS NOT NULL
            QUALIFY turn <= 3
        """).to_arrow_table().to_pandas()  # fmt: skip
        spent = connection.sql("""
            SELECT workspaces.workspace_id, coalesce(sum(amount_usd), 0)::DOUBLE AS spend
            FROM activation.workspaces AS workspaces
            LEFT JOIN activation_staging.stg_payments AS payments USING (workspace_id)
            GROUP BY ALL ORDER BY ALL
        """).to_arrow_table().to_pandas().set_index("workspace_id")["spend"]  # fmt: skip
    wide = taken.pivot_table(index="workspace_id", columns=["event", "turn"], values="occurred_at", aggfunc="first")
    times = pd.DataFrame(index=spent.index)
    never = pd.Series(pd.NaT, index=spent.index, dtype="datetime64[us, UTC]")
    for name, event in STEPS.items():
        begin = 2 if name == "queue" else 1
        for order in (1, 2):
            column = (event, begin + order - 1)
            times[f"{name} {order}"] = wide[column].reindex(spent.index) if column in wide else never
    return times, spent


def first_order(times: pd.DataFrame) -> pd.DataFrame:
    """Did X: one column of 0 and 1 for each step."""
    return pd.DataFrame({name: times[f"{name} 1"].notna().astype(float) for name in STEPS})


def second_order(times: pd.DataFrame) -> pd.DataFrame:
    """Did X at least twice, and did X after Y: one column of 0 and 1 for each."""
    twice = {f"{name} twice": times[f"{name} 2"].notna().astype(float) for name in STEPS}
    after = {
        f"{later} after {earlier}": (times[f"{later} 1"] > times[f"{earlier} 1"]).astype(float)
        for later, earlier in permutations(STEPS, 2)
    }
    once = first_order(times)
    # Y after X says nothing of its own where nobody does Y without having done X before.
    news = {name: column for name, column in after.items() if not column.equals(once[name.split(" ")[0]])}
    return pd.DataFrame(twice | news)


def correlations(events: pd.DataFrame, spend: pd.Series) -> pd.DataFrame:
    """For each event its share of workspaces and its correlation with spend, the largest first.

    Spend is taken by rank (Spearman), so that one large bill is not the whole story; `low` and `high` are the 95 %
    interval of Fisher's transformation. Events that everybody or nobody has are left away.
    """
    varied = events.loc[:, events.std() > 0]
    found = pd.DataFrame({"share": varied.mean(), "r": varied.rank().corrwith(spend.rank())})
    reach = 1.96 / np.sqrt(len(spend) - 3)
    found["low"], found["high"] = np.tanh(np.arctanh(found["r"]) - reach), np.tanh(np.arctanh(found["r"]) + reach)
    found["dollars"] = [spend[varied[name] == 1].mean() - spend[varied[name] == 0].mean() for name in varied]
    return found.sort_values("r", ascending=False)


def suggested(found: pd.DataFrame, current: pd.Series) -> pd.DataFrame:
    """Points for the milestones, in proportion to the correlation of their first-order events, rounded to `POINTS`.

    `current` has the points now, by milestone. A milestone that is not measured here keeps its own.
    """
    measured = found["r"].reindex([name for name in current.index if name in found.index]).clip(lower=0)
    left = POINTS - int(current.drop(measured.index).sum())
    exact = measured / measured.sum() * left
    points = np.floor(exact).astype(int)
    # What rounding took away goes to those that lost most by it, so that the points still add up.
    points[(exact - points).sort_values(ascending=False, kind="stable").index[: left - int(points.sum())]] += 1
    table = pd.DataFrame({"now": current, "r": measured, "suggested": points.reindex(current.index).fillna(current)})
    table = table.loc[current.index]
    return table.astype({"now": int, "suggested": int})


def current_points(seed_file: Path = SEED_FILE) -> pd.Series:
    """The points of the milestones in the seed, by name without `milestone_`."""
    seed = pd.read_csv(seed_file)
    milestones = seed[seed["half"] == "milestone"]
    return pd.Series(
        milestones["weight"].to_numpy(), milestones["component"].str.removeprefix("milestone_"), name="now"
    )


def write_points(points: pd.Series, seed_file: Path = SEED_FILE) -> None:
    """Put the points of the milestones into the seed; everything else in it stays as it is."""
    lines = seed_file.read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        component, half, _, *rest = line.split(",")
        if half == "milestone":
            lines[number] = ",".join((component, half, str(points[component.removeprefix("milestone_")]), *rest))
    seed_file.write_text("\n".join(lines) + "\n", "utf-8")


def heatmap(events: pd.DataFrame, spend: pd.Series, file: Path) -> None:
    """The pairwise correlations of first- and second-order events and spend, as a picture."""
    pairs = pd.concat([events, spend.rename("lifetime spend")], axis=1).rank().corr()
    # Each pair once, and nobody with itself.
    shown = pairs.iloc[1:, :-1]
    above = np.triu(np.ones_like(shown, dtype=bool), k=1)
    figure, axes = plt.subplots(figsize=(10, 8.2))
    sns.heatmap(
        shown, mask=above, vmin=min(0, shown.to_numpy().min()), vmax=1, cmap="YlGnBu", annot=True, fmt=".2f",
        annot_kws={"size": 8}, square=True, linewidths=0.8, ax=axes,
        cbar_kws={"label": "rank correlation (Spearman)", "shrink": 0.6},
    )  # fmt: skip
    axes.axhline(len(shown) - 1, color="black", linewidth=1.4)
    axes.set(xlabel="", ylabel="")
    axes.set_title(
        "What goes with what, and (last row) with money. Workspaces of half a year", loc="left", fontsize=13, pad=12
    )
    axes.tick_params(labelsize=9, length=0)
    axes.set_xticklabels(axes.get_xticklabels(), rotation=45, ha="right")
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m activation.weights", description=__doc__.splitlines()[0])
    parser.add_argument("--warehouse", type=Path, default=WAREHOUSE, help=f"a DuckDB file ({WAREHOUSE})")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help=f"the folder of the picture ({PICTURES})")
    parser.add_argument("--top", type=int, default=12, help="how many second-order events to list (12)")
    parser.add_argument("--write", action="store_true", help="put the suggested points into seeds/weights.csv")
    asked = parser.parse_args(arguments)
    try:
        times, spend = steps_of_workspaces(asked.warehouse)
    except duckdb.Error as error:
        print(f"{asked.warehouse} has no marts yet: generate raw tables, then `dbt build`. ({error})", file=sys.stderr)
        return 1
    one, two = first_order(times), second_order(times)
    first, second = correlations(one, spend), correlations(two, spend)
    paying = (spend > 0).mean()
    print(f"{len(spend):,} workspaces, {paying:.0%} of them have paid; together {spend.sum():,.0f} dollars.\n")
    print("First order: somebody in the workspace did it\n")
    print(_listed(first))
    print(f"\nSecond order: did it twice, or one thing after another (the first {asked.top} of {len(second)})\n")
    print(_listed(second.head(asked.top)))
    table = suggested(first, current_points())
    print(f"\nSuggested points for the milestones in seeds/weights.csv (they add up to {table['suggested'].sum()})\n")
    print(table.to_string(float_format=lambda value: f"{value:.2f}", na_rep="-", index_names=False))
    file = asked.pictures / "weights.png"
    heatmap(pd.concat([one, two[[name for name in two if name.endswith(" twice")]]], axis=1), spend, file)
    print(f"\nThe pairwise matrix is in {file}.\n")
    print(WHAT_IT_DOES_NOT_SAY)
    if asked.write:
        write_points(table["suggested"])
        print("\nThe suggested points are in dbt/seeds/weights.csv now; the next `dbt build` scores by them.")
    return 0


def _listed(found: pd.DataFrame) -> str:
    return pd.DataFrame({
        "share": found["share"].map("{:.0%}".format),
        "r": found["r"].map("{:+.2f}".format),
        "95 %": [f"{low:+.2f} to {high:+.2f}" for low, high in zip(found["low"], found["high"], strict=True)],
        "dollars more": found["dollars"].map("{:,.0f}".format),
    }).to_string()  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
