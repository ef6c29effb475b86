"""An invented company that sells a workflow orchestrator, and what its users did in half a year.

The world is made in chunks of users who have nothing to do with those of another chunk, each from a seed of its own:
the same seed gives the same rows, whatever the machine, and memory is that of one chunk. A chunk is made with arrays
over its users, and never with a loop over them. Times are days since `START`, as floating point numbers.

What pays is known here, which it never is in life: see `_payments`. That is what makes the example honest about
what `activation.weights` can find out and what it cannot.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

START = datetime.date(2026, 1, 5)
"""A Monday."""
DAYS = 182
END = START + datetime.timedelta(days=DAYS)

EXPERIMENT = "guided-deployment"
"""Half of those who signed up in the eight weeks before it are led to their first deployment."""
EXPERIMENT_START = datetime.date(2026, 5, 4)
ENROLLED_DAYS = 56
ARMS = ("control", "experiment")

EVENTS = (
    "logged_in",
    "flow_created",
    "flow_run",
    "scheduled_run",
    "deployment_created",
    "work_queue_created",
    "automation_created",
    "collaborator_invited",
    "api_key_created",
)
PLANS = ("starter", "team", "enterprise")
PRICES = np.array([49.0, 249.0, 990.0])

CHUNK_USERS = 10_000
USERS_PER_WORKSPACE, USERS_PER_ACCOUNT = 10 / 3, 12.5
EVENTS_OF_A_USER = 10_000
"""More than anybody has: numbers of events of different chunks never meet."""
REPEATS_MAX = 8
"""How often somebody creates a thing of one kind, at most."""
NEVER = np.inf

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of each raw table as columns. Numbers of users, workspaces and accounts count through all chunks."""

    accounts: Columns
    workspaces: Columns
    users: Columns
    memberships: Columns
    events: Columns
    payments: Columns
    experiments: Columns


def chunks_of(users: int) -> list[tuple[int, int]]:
    """The first user's number and the size of each chunk."""
    return [(first, min(CHUNK_USERS, users - first)) for first in range(0, users, CHUNK_USERS)]


def chunk(seed: int, first: int, size: int, until: float = DAYS) -> Chunk:
    """The chunk that begins with user number `first`: what had happened `until` days after `START`.

    A smaller `until` leaves away what came later, and changes nothing of what came before.
    """
    chance = np.random.default_rng([seed, first])
    accounts, workspaces = max(1, round(size / USERS_PER_ACCOUNT)), max(1, round(size / USERS_PER_WORKSPACE))
    # People count from one.
    first_account, first_workspace = 1 + round(first / USERS_PER_ACCOUNT), 1 + round(first / USERS_PER_WORKSPACE)

    # Many workspaces in few accounts, many users in few workspaces, and none without.
    account_of = _spread(chance, workspaces, accounts, 2.0)
    workspace_of = _spread(chance, size, workspaces, 1.5)
    wealth = chance.normal(size=accounts)
    user_wealth = wealth[account_of[workspace_of]]
    zeal = 0.6 * user_wealth + 0.8 * chance.normal(size=size)

    signed_up = np.floor(DAYS * chance.random(size) ** 0.75) + _office_hours(chance, size)
    is_owner = np.zeros(size, bool)
    is_owner[np.unique(workspace_of, return_index=True)[1]] = True
    arm = chance.integers(0, 2, size)
    experiment_day = float((EXPERIMENT_START - START).days)
    is_enrolled = (signed_up >= experiment_day - ENROLLED_DAYS) & (signed_up < experiment_day)
    is_led = is_enrolled & (arm == 1)

    stages = _funnel(chance, signed_up, zeal, user_wealth, is_owner, np.where(is_led, experiment_day, NEVER))
    gone = _gone(chance, stages, signed_up, zeal)
    made = {kind: _repeats(chance, stages[kind], zeal, gone) for kind in stages if kind != "joined"}
    # The first queue comes with the first deployment; the second is a step that somebody takes.
    made["work_queue_created"] = np.column_stack([stages["deployment_created"], made["work_queue_created"][:, :-1]])
    events = _events(chance, made, stages, signed_up, zeal, gone, until)

    created = np.full(workspaces, NEVER)
    np.minimum.at(created, workspace_of, stages["joined"])
    account_created = np.full(accounts, NEVER)
    np.minimum.at(account_created, account_of, created)
    payments = _payments(chance, made, gone, workspace_of, wealth[account_of], created, until)

    has_signed_up, exists, has_account = signed_up < until, created < until, account_created < until
    has_joined = stages["joined"] < until
    enrolled_now = is_enrolled & (experiment_day < until)
    return Chunk(
        accounts=_kept(
            has_account,
            account_no=np.arange(accounts) + first_account,
            company=chance.integers(0, 1 << 30, accounts),
            seats=np.clip(np.exp(1.8 + 0.9 * wealth), 3, 5_000).astype(np.int64),
            moment=account_created,
        ),
        workspaces=_kept(
            exists,
            workspace_no=np.arange(workspaces) + first_workspace,
            account_no=account_of + first_account,
            team=chance.integers(0, 1 << 30, workspaces),
            moment=created,
        ),
        users=_kept(
            has_signed_up,
            user_no=np.arange(size) + first + 1,
            account_no=account_of[workspace_of] + first_account,
            first=chance.integers(0, 1 << 30, size),
            last=chance.integers(0, 1 << 30, size),
            country=chance.integers(0, 1 << 30, size),
            spelling=chance.random(size),
            moment=signed_up,
        ),
        memberships=_kept(
            has_joined,
            workspace_no=workspace_of + first_workspace,
            user_no=np.arange(size) + first + 1,
            is_owner=is_owner,
            moment=stages["joined"],
        ),
        events={
            **events,
            "event_no": np.arange(events["moment"].size) + first * EVENTS_OF_A_USER + 1,
            "user_no": events["user"] + first + 1,
            # Before somebody has joined a workspace, what they do belongs to none.
            "workspace_no": np.where(
                events["moment"] >= stages["joined"][events["user"]],
                workspace_of[events["user"]] + first_workspace,
                0,
            ),
        },
        payments={
            **payments,
            "workspace_no": payments["workspace"] + first_workspace,
            "account_no": account_of[payments["workspace"]] + first_account,
        },
        experiments=_kept(
            enrolled_now, user_no=np.arange(size) + first + 1, arm=arm, moment=np.full(size, experiment_day)
        ),
    )


def _spread(chance: np.random.Generator, many: int, few: int, skew: float) -> Integers:
    """Puts `many` into `few`: one into each, and the others the more unevenly, the larger `skew` is."""
    rest = (few * chance.random(max(0, many - few)) ** skew).astype(np.int64)
    return chance.permutation(np.concatenate([np.arange(min(many, few)), rest]))


def _office_hours(chance: np.random.Generator, count: int) -> Floats:
    """A time of day between 7 and 20 o'clock UTC, as a share of the day."""
    return (7 + 13 * chance.beta(2.2, 2.2, count)) / 24


def _kept(mask: npt.NDArray[np.bool_], **columns: npt.NDArray[Any]) -> Columns:
    return {name: column[mask] for name, column in columns.items()}


def _funnel(
    chance: np.random.Generator,
    signed_up: Floats,
    zeal: Floats,
    wealth: Floats,
    is_owner: npt.NDArray[np.bool_],
    led_from: Floats,
) -> dict[str, Floats]:
    """When each user takes each step for the first time, or never. Each step has another one that comes before it."""

    def step(after: Floats, ease: Floats, days: float) -> Floats:
        takes_it = chance.random(after.size) < 1 / (1 + np.exp(-ease))
        return np.where(takes_it, after + chance.exponential(days, after.size), NEVER)

    joined = np.where(is_owner, signed_up + 0.01, step(signed_up, 1.6 + 0.3 * zeal, 0.5))
    flow = step(joined, 1.3 + 0.5 * zeal, 1.5)
    deployment = step(flow, 0.2 + 0.6 * zeal, 5)
    # The experiment: two in five of those who have a flow and no deployment yet come to one within some days.
    pushed = np.maximum(flow, led_from) + chance.exponential(5, flow.size)
    takes_it = (chance.random(flow.size) < 0.4) & (deployment > led_from)
    deployment = np.where(takes_it, np.minimum(deployment, pushed), deployment)
    scheduled = step(deployment, 0.9 + 0.5 * zeal, 3)
    return {
        "joined": joined,
        "flow_created": flow,
        "deployment_created": deployment,
        "scheduled_run": scheduled,
        "work_queue_created": step(deployment, -0.7 + 0.5 * zeal, 14),
        "automation_created": step(scheduled, -0.6 + 0.6 * zeal, 12),
        # Large companies invite more, and they also pay more: the invitation itself earns nothing.
        "collaborator_invited": step(flow, -0.8 + 0.3 * zeal + 0.9 * wealth, 9),
        "api_key_created": step(deployment, -0.4 + 0.5 * zeal, 8),
    }


def _gone(chance: np.random.Generator, stages: dict[str, Floats], signed_up: Floats, zeal: Floats) -> Floats:
    """When each user stops coming: the deeper somebody came, the later."""
    last, days = signed_up, np.full(signed_up.size, 6.0)
    for kind, stay in (("flow_created", 12.0), ("deployment_created", 30.0), ("scheduled_run", 80.0)):
        is_there = np.isfinite(stages[kind])
        last, days = np.where(is_there, stages[kind], last), np.where(is_there, stay, days)
    return last + chance.exponential(days * np.exp(0.2 * zeal))


def _repeats(chance: np.random.Generator, first: Floats, zeal: Floats, gone: Floats) -> Floats:
    """Users by `REPEATS_MAX`: the first time of a thing and its repetitions, never after somebody is gone."""
    size = first.size
    gaps = chance.exponential(16, (size, REPEATS_MAX - 1))
    times = np.column_stack([first, first[:, None] + np.cumsum(gaps, axis=1)])
    count = 1 + chance.poisson(0.9 * np.exp(0.4 * zeal))
    is_made = (np.arange(REPEATS_MAX) < count[:, None]) & (times < gone[:, None])
    return np.where(is_made, times, NEVER)


def _events(
    chance: np.random.Generator,
    made: dict[str, Floats],
    stages: dict[str, Floats],
    signed_up: Floats,
    zeal: Floats,
    gone: Floats,
    until: float,
) -> Columns:
    """All events of the chunk by time: user, kind, the number of the thing it is about, and task runs."""
    size = zeal.size
    day = np.arange(DAYS)
    weekday = np.where(day % 7 < 5, 1.0, 0.2)
    habit = 1 / (1 + np.exp(-(-1.2 + 0.6 * zeal + 0.8 * np.isfinite(stages["deployment_created"]))))
    first_day, last_day = np.floor(signed_up)[:, None], np.floor(gone)[:, None]
    is_here = (day >= first_day) & (day <= last_day)
    comes = is_here & ((chance.random((size, DAYS)) < habit[:, None] * weekday) | (day == first_day))

    visitor, visit_day = np.nonzero(comes)
    # Nobody logs in before having signed up.
    visit = np.maximum(visit_day + _office_hours(chance, visitor.size), signed_up[visitor] + 0.002)
    runs = chance.poisson(np.exp(0.5 + 0.4 * zeal)[visitor])
    runner = np.repeat(visitor, runs)
    run_at = np.repeat(visit, runs) + chance.exponential(0.04, runner.size)

    # A schedule knows no weekend.
    is_scheduled = (day > np.floor(np.minimum(stages["scheduled_run"], DAYS))[:, None]) & (day <= last_day)
    ticks = chance.poisson(np.where(is_scheduled, 2.2 * np.exp(0.3 * zeal)[:, None], 0.0))
    clock, clock_day = np.nonzero(ticks)
    owner = np.repeat(clock, ticks[clock, clock_day])
    tick_at = np.repeat(clock_day, ticks[clock, clock_day]) + chance.random(owner.size)

    found = [(np.full(visitor.size, 0), visitor, visit, np.zeros(visitor.size, np.int64))]
    for kind, who, when in (("flow_run", runner, run_at), ("scheduled_run", owner, tick_at)):
        # Somebody runs one of the flows that are there by then.
        there = (made["flow_created"][who] <= when[:, None]).sum(axis=1)
        thing = 1 + (there * chance.random(who.size)).astype(np.int64)
        is_possible = there > 0
        code = np.full(int(is_possible.sum()), EVENTS.index(kind))
        found.append((code, who[is_possible], when[is_possible], thing[is_possible]))
    first_tick = np.nonzero(np.isfinite(stages["scheduled_run"]))[0]
    found.append((
        np.full(first_tick.size, EVENTS.index("scheduled_run")),
        first_tick,
        stages["scheduled_run"][first_tick],
        np.ones(first_tick.size, np.int64),
    ))  # fmt: skip
    for kind, times in made.items():
        if kind != "scheduled_run":
            who, thing = np.nonzero(np.isfinite(times))
            found.append((np.full(who.size, EVENTS.index(kind)), who, times[who, thing], thing + 1))

    kind, user, at, thing = (np.concatenate(column) for column in zip(*found, strict=True))
    is_past = at < min(until, DAYS)
    kind, user, at, thing = kind[is_past], user[is_past], at[is_past], thing[is_past]
    is_run = (kind == EVENTS.index("flow_run")) | (kind == EVENTS.index("scheduled_run"))
    # Drawn for each event's own place in the world, so that a later `until` does not change them.
    tasks = np.where(is_run, 1 + (user * 7 + thing * 13) % 11, 0)
    order = np.argsort(at, kind="stable")
    return {"kind": kind[order], "user": user[order], "moment": at[order], "thing": thing[order], "tasks": tasks[order]}


def _payments(
    chance: np.random.Generator,
    made: dict[str, Floats],
    gone: Floats,
    workspace_of: Integers,
    wealth: Floats,
    created: Floats,
    until: float,
) -> Columns:
    """Monthly payments of workspaces.

    What makes a workspace pay: scheduled runs, automations, a second queue, and the company's wealth. What does not:
    inviting somebody, and an API key. They go with paying all the same, because others who do so pay.
    """
    workspaces = wealth.size

    def earliest(kind: str, order: int = 0) -> Floats:
        found = np.full(workspaces, NEVER)
        np.minimum.at(found, workspace_of, made[kind][:, order])
        return found

    scheduled, automation, queue = (
        earliest("scheduled_run"),
        earliest("automation_created"),
        earliest("work_queue_created", 1),
    )
    ease = -2.6 + 1.2 * np.isfinite(scheduled) + 1.0 * np.isfinite(automation) + 0.5 * np.isfinite(queue) + 0.8 * wealth
    pays = chance.random(workspaces) < 1 / (1 + np.exp(-ease))
    wait = chance.exponential(18, workspaces)
    begins = np.where(pays, np.where(np.isfinite(scheduled), scheduled, created) + wait, NEVER)
    ends = np.zeros(workspaces)
    np.maximum.at(ends, workspace_of, gone)
    plan = np.digitize(wealth, [0.2, 1.3])
    amount = np.round(
        PRICES[plan] * (1 + 0.35 * np.isfinite(automation)) * np.exp(0.15 * chance.normal(size=workspaces)), 2
    )
    times = begins[:, None] + 30 * np.arange(DAYS // 30 + 1)
    workspace, month = np.nonzero(times < np.minimum(ends, min(until, DAYS))[:, None])
    return {
        "workspace": workspace,
        "month_no": month + 1,
        "plan": plan[workspace],
        "amount": amount[workspace],
        "moment": times[workspace, month],
    }
