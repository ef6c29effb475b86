"""The brakes: what holds a plan before anything is sent. Pure: a plan and facts go in, holds come out."""

from __future__ import annotations

import datetime

from syncer.destination import Allowance
from syncer.mapping import Brakes, Sync, seconds_of
from syncer.plan import Hold, Plan


def judge(plan: Plan, brakes: Brakes, modified: datetime.datetime | None, now: datetime.datetime) -> list[Hold]:
    """Every brake that holds this plan, with the numbers and the way out. `modified` is the source's last change."""
    holds = []
    usable = plan.rows - plan.invalid
    if plan.known and not usable:
        rows = "1 row" if plan.rows == 1 else f"{plan.rows:,} rows"
        what = "no rows" if not plan.rows else f"{rows}, none usable"
        known = "1 record is" if plan.known == 1 else f"{plan.known:,} records are"
        sentence = f"The source has {what}, and {known} known. {_way_out(plan)}"
        holds.append(Hold("empty_source", 0, usable, sentence))
    if brakes.max_age is not None and modified is not None:
        age_seconds = (now - modified).total_seconds()
        if age_seconds > seconds_of(brakes.max_age):
            sentence = (
                f"The source last changed {_span(age_seconds)} ago, and max_age is {brakes.max_age}. "
                f"Look whether the models were built. {_way_out(plan)}"
            )
            holds.append(Hold("max_age", brakes.max_age, _span(age_seconds), sentence))
    if plan.known < max(brakes.known_min, 1):
        return holds
    shares = (
        ("changed_max", brakes.changed_max, plan.moved, "would change"),
        ("removed_max", brakes.removed_max, plan.removed, "would be removed"),
    )
    for brake, limit, number, verb in shares:
        if number / plan.known > limit:
            share = number / plan.known
            noun = "record" if plan.known == 1 else "records"
            sentence = (
                f"{number:,} of {plan.known:,} known {noun} {verb}: {_percent(share)}, "
                f"and {brake} is {_percent(limit)}. {_way_out(plan)}"
            )
            holds.append(Hold(brake, limit, round(share, 6), sentence))
    for field, (number, total) in sorted(plan.cleared.items()):
        if total and number / total > brakes.cleared_max:
            share = number / total
            sentence = (
                f"{number:,} of {total:,} values of {field} would turn null: {_percent(share)}, "
                f"and cleared_max is {_percent(brakes.cleared_max)}. {_way_out(plan)}"
            )
            holds.append(Hold("cleared_max", brakes.cleared_max, round(share, 6), sentence))
    return holds


def judge_allowance(sync: Sync, requests: int, allowance: Allowance) -> list[Hold]:
    """The hold of a plan that needs more requests than the account may still make; released, it sends what fits."""
    if requests <= allowance.left:
        return []
    sentence = (
        f"It needs {requests:,} requests, and {allowance.left:,} are left: {allowance.used:,} of {allowance.allowed:,} "
        f"were used in the last {allowance.period}, and {_percent(allowance.reserve)} are kept for others. Wait; send "
        f"a part of it with `syncer sync {sync.name} --max N`; or send as many as fit with `--release`."
    )
    return [Hold("quota", allowance.left, requests, sentence)]


def _way_out(plan: Plan) -> str:
    name = plan.sync.name
    if plan.undoes is not None:
        run = plan.undoes
        return f"Look at it with `syncer undo {run} --dry-run`; `syncer undo {run} --release` sends it this once."
    return f"Look at it with `syncer diff {name}`; if it is right, `syncer sync {name} --release` sends it this once."


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
