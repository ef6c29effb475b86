"""What becomes of a plan before anything of it leaves: is it the one that was meant, what holds it, who let it pass.

A plan passes when nothing holds it; when somebody approved exactly it; when it is the rest of a canary that passed; or
by `--release`, which lets the brakes pass, and not a plan that waits for approval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from syncer.brakes import APPROVAL, judge_approval
from syncer.control import Approval, Control, Refusal
from syncer.errors import UserError
from syncer.mapping import Sync
from syncer.plan import Hold, Plan, mapping_text

NOT_THE_PLAN = (
    "the plan is not the one that was saved; source, mapping or state have moved since. "
    "Nothing was sent. Make a new plan with `syncer diff --out`."
)
NOT_THE_REST = (
    "what is left is not the rest of the canary's plan; source, mapping or state have moved since, or a record of the "
    "canary was deferred. Nothing was sent. Look at it with `syncer diff`, and run `syncer sync` for all of it."
)


@dataclass(frozen=True, slots=True)
class Canary:
    """What the last run left of its plan."""

    rest: str
    """The digest of the plan that sends it, and nothing else."""
    has_passed: bool
    """Whether the canary went over a brake, or was approved: then its rest may too."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a plan may leave."""

    holds: Sequence[Hold]
    """Everything that holds it, whoever let it pass."""
    approval: Approval | None
    is_held: bool

    @property
    def released(self) -> list[str]:
        """What it passes, for the journal."""
        return [*(hold.brake for hold in self.holds), *([APPROVAL] if self.approval else [])]


def approve(control: Control, run_id: int, by: str, *, asks: bool = False) -> Approval:
    """Let the plan that this run held pass, once, and keep who said so; with `asks` also ask for the run that sends it.
    Raises UserError when none waits for it."""
    approval = control.approve(run_id, by, asks=asks)
    if approval is None:
        raise UserError(_NOTHING_WAITS.format(run_id))
    return approval


def refuse(control: Control, run_id: int, by: str, reason: str) -> Refusal:
    """Say that the plan which this run held is not to pass, and keep who said so, and why. Raises UserError when none
    waits for a word. It stays held, as it would without one."""
    refusal = control.refuse(run_id, by, reason)
    if refusal is None:
        raise UserError(_NOTHING_WAITS.format(run_id))
    return refusal


_NOTHING_WAITS = (
    "Run {} holds no plan that waits: it was not held, or its sync has run since. `syncer status` names the last run "
    "of each sync."
)


def waits(plan: Plan, control: Control | None, max_age_seconds: float) -> tuple[list[Hold], Approval | None]:
    """The hold of a plan that waits for approval; or the approval, if somebody gave it to this very plan."""
    approval = control.approval(plan.sync.name, plan.digest, max_age_seconds) if control and plan.sendable else None
    return ([] if approval else judge_approval(plan)), approval


def verdict(
    holds: Sequence[Hold],
    waiting: Sequence[Hold],
    approval: Approval | None,
    canary: Canary | None,
    *,
    is_released: bool,
) -> Verdict:
    """Weigh what holds a plan (`holds`, and `waiting` for approval) against who let it pass."""
    everything = [*holds, *waiting]
    has_passed = approval is not None or (canary is not None and canary.has_passed) or (is_released and not waiting)
    return Verdict(everything, approval, bool(everything) and not has_passed)


def refuse_another(plan: Plan, canary: Canary | None, digest: str | None) -> None:
    """Raises UserError when a plan is not the rest of the canary, or not the one that was saved."""
    expected = canary.rest if canary else digest
    if expected is not None and expected != plan.digest:
        plan.file.unlink()
        raise UserError(f"{plan.sync.name}: {NOT_THE_REST if canary else NOT_THE_PLAN}")


def canary_of(control: Control, sync: Sync, digest: str | None) -> Canary:
    """The canary that the run before this one was. Raises UserError when it was none, or not of the saved plan."""
    _, *before = control.runs(sync.name, 2)
    left = before[0].facts.get("canary") if before else None
    if not left:
        raise UserError(
            f"{sync.name}: the last run was no canary with a rest to send. Begin one with `syncer sync {sync.name} "
            "--max N`."
        )
    if digest is not None and digest != before[0].digest:
        raise UserError(f"{sync.name}: the last canary was not of this saved plan. {NOT_THE_PLAN}")
    return Canary(str(left["rest"]), bool(left["released"]))


def rest(plan: Plan, records_max: int | None, released: Sequence[str]) -> dict[str, Any]:
    """What the journal keeps of a canary, for `canary_of`; nothing when the plan was sent whole."""
    if records_max is None or records_max >= plan.sendable:
        return {}
    digest = plan.digest_of_file(mapping_text(plan.sync), records_max)
    return {"canary": {"sent": records_max, "rest": digest, "released": list(released)}}
