"""The brakes: what holds a plan before anything is sent. Pure: a plan and facts go in, holds come out."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from syncer.destination import Allowance
from syncer.mapping import Brakes, Sync
from syncer.plan import Hold, Plan, Shift
from syncer.spans import seconds_of

VALUES_MIN = 100
"""Values of a field, or rows, below which nothing is said of how they are distributed, whatever `known_min` says: a few
values have no distribution."""


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
    return [
        *holds,
        *_invalid(plan, brakes),
        *_records(plan, brakes),
        *_values(plan, brakes),
        *_distributions(plan, brakes),
    ]


def _invalid(plan: Plan, brakes: Brakes) -> Iterator[Hold]:
    """What says something also about a first run: how much of the source cannot go out at all."""
    if plan.rows >= max(brakes.known_min, VALUES_MIN) and (share := plan.invalid / plan.rows) > brakes.invalid_max:
        found = f"{plan.invalid:,} of the source's {plan.rows:,} rows are invalid"
        yield _share_hold(plan, "invalid_max", brakes.invalid_max, share, found)


def _records(plan: Plan, brakes: Brakes) -> Iterator[Hold]:
    """Shares of all known records."""
    if plan.known < max(brakes.known_min, 1):
        return
    deleted = plan.removed if plan.sync.removed == "delete" else 0
    for brake, limit, number, verb in (
        ("changed_max", brakes.changed_max, plan.moved, "would change"),
        ("removed_max", brakes.removed_max, plan.removed, "would be removed"),
        ("deleted_max", brakes.deletions_max, deleted, "would be deleted at the destination"),
    ):
        if (share := number / plan.known) > limit:
            noun = "record" if plan.known == 1 else "records"
            yield _share_hold(plan, brake, limit, share, f"{number:,} of {plan.known:,} known {noun} {verb}")


def _values(plan: Plan, brakes: Brakes) -> Iterator[Hold]:
    """Shares of one field's values."""
    if plan.known < max(brakes.known_min, 1):
        return
    for brake, limit, numbers, values_least, sentence in (
        ("cleared_max", brakes.cleared_max, plan.cleared, 1, "{:,} of {:,} values of {} would turn null"),
        (
            "unmapped_max", brakes.unmapped_max, plan.unmapped, max(brakes.known_min, VALUES_MIN),
            "`map` does not know what {:,} of {:,} values of {} have become, so `default` would stand for them",
        ),
        (
            "bands_moved_max", brakes.bands_moved_max, plan.bands_moved, max(brakes.known_min, VALUES_MIN),
            "{:,} of {:,} known records would move to another band of {}",
        ),
    ):  # fmt: skip
        for field, (number, total) in sorted(numbers.items() if brakes.judges(brake) else ()):
            if total >= max(values_least, 1) and (share := number / total) > limit:
                yield _share_hold(plan, brake, limit, share, sentence.format(number, total, field))


def _distributions(plan: Plan, brakes: Brakes) -> Iterator[Hold]:
    """How far the values of a field would move as a whole."""
    for field, shift in sorted(plan.shifts.items()):
        if shift.values < max(brakes.known_min, VALUES_MIN):
            continue
        for edge, before, after in shift.edges:
            growth = (after - before) / shift.values
            if brakes.judges("edge_share_max") and growth > brakes.edge_share_max:
                found = f"{after:,} of {shift.values:,} values of {field} would be exactly {edge}, {before:,} are now"
                yield _share_hold(plan, "edge_share_max", brakes.edge_share_max, growth, found, " more")
        if shift.spread:
            yield from _shifted(plan, brakes, field, shift)
        # Without a spread all values were 0: whatever comes is far away, and that says nothing.


def _shifted(plan: Plan, brakes: Brakes, field: str, shift: Shift) -> Iterator[Hold]:
    """Mean and quantiles of one field, of these only the one that moves farthest."""
    mean = ("mean", shift.mean_before, shift.mean_after, abs(shift.mean_after - shift.mean_before))
    quantiles = [(_QUANTILES[one.share], one.before, one.after, one.distance) for one in shift.quantiles]
    is_sensitive = plan.sync.field(field).sensitive
    for brake, limit, moves in (
        ("mean_shift_max", brakes.mean_shift_max, [mean]),
        ("quantile_shift_max", brakes.quantile_shift_max, quantiles),
    ):
        name, before, after, distance = max(moves, key=lambda one: one[3], default=mean)
        if moves and brakes.judges(brake) and (times := distance / shift.spread) > limit:
            # A quantile is somebody's value.
            numbers = "" if is_sensitive else f" from {_short(before)} to {_short(after)}"
            spread = "its spread" if is_sensitive else f"its spread of {_short(shift.spread)}"
            sentence = (
                f"The {name} of {field} would move{numbers}: {_short(times)} times {spread}, "
                f"and {brake} is {_short(limit)}. {_way_out(plan)}"
            )
            yield Hold(brake, limit, round(times, 6), sentence)


_QUANTILES = {0.1: "10th percentile", 0.5: "median", 0.9: "90th percentile"}


def _share_hold(plan: Plan, brake: str, limit: float, share: float, found: str, more: str = "") -> Hold:
    sentence = f"{found}: {_percent(share)}{more}, and {brake} is {_percent(limit)}. {_way_out(plan)}"
    return Hold(brake, limit, round(share, 6), sentence)


def _short(number: float) -> str:
    """Three digits of a number, or all of a large one's whole part."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


APPROVAL = "approval"


def judge_approval(plan: Plan) -> list[Hold]:
    """The hold of a plan that waits for somebody's word (`approve` of the sync)."""
    wanted = plan.sync.approve
    # True is an integer too, and means every plan.
    if not plan.sendable or not wanted or (wanted is not True and plan.sendable < wanted):
        return []
    which = "Each plan" if wanted is True else f"A plan of {wanted:,} changes and more"
    number = "1 change" if plan.sendable == 1 else f"{plan.sendable:,} changes"
    sentence = (
        f"{which} of this sync waits for approval, and this one has {number}. Look at it with `syncer diff "
        f"{plan.sync.name}`; after a held run, `syncer approve RUN` lets exactly it pass, once."
    )
    return [Hold(APPROVAL, None if wanted is True else wanted, plan.sendable, sentence)]


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
