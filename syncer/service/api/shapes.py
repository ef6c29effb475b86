"""What goes in and comes out, for the description of the API. Answers are made by `syncer.documents`; tests hold the
two together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Moment = Annotated[str, Field(description="RFC 3339 in UTC.", examples=["2026-03-02T12:00:00Z"])]
By = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    Field(description="Who asks, as the journal keeps it.", examples=["Ada"]),
]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1_000)]
Result = Literal["running", "done", "held", "failed"]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Error(_Shape):
    """What is wrong, in one sentence or several."""

    error: str


class Health(_Shape):
    """The process lives."""

    status: Literal["ok"]
    version: str


class Unwell(_Shape):
    """The process had better be started anew, or is not ready."""

    error: str
    reasons: list[str]


# --- what is sent ----------------------------------------------------------------------------------------------------


class Login(_Shape):
    """The token of `[service]`."""

    token: str = Field(max_length=4_096)


class Word(_Shape):
    """Who says so."""

    by: By


class Refusing(Word):
    """Who refuses a plan, and why."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1_000)]


class Pausing(Word):
    """Who pauses a sync, and perhaps why."""

    reason: Reason = ""


class Retrying(Word):
    """Which parked records are to go with the next run; all of them when nothing is said."""

    keys: list[str] | None = Field(default=None, max_length=10_000)


class Trigger(_Shape):
    """A run that is asked for."""

    by: By = "the API"
    release: bool = Field(default=False, description="Over the brakes, this once.")
    only: list[str] | None = Field(default=None, min_length=1, max_length=1_000, description="Just these keys.")
    dbt_run_results: dict[str, Any] | list[dict[str, Any]] | None = Field(
        default=None,
        description="dbt's run_results.json, or several of them: run only if what feeds the sync succeeded.",
    )
    dbt_manifest: dict[str, Any] | None = Field(default=None, description="dbt's manifest.json, which goes with it.")


# --- what is answered ------------------------------------------------------------------------------------------------


class Accepted(_Shape):
    """A trigger that was accepted: it is durable, and leads to one run. `coalesced`: it joined one that waits."""

    request: int
    sync: str
    state: Literal["queued"]
    coalesced: bool


class Request(_Shape):
    """What became of a trigger."""

    request: int
    sync: str
    state: Literal["queued", "running", "done", "held", "failed", "refused"]
    by: str
    at: Moment
    release: bool
    only: list[str] | None
    run: str | None
    ended: Moment | None
    error: str | None


class Hold(_Shape):
    """A brake that holds a plan."""

    brake: str
    limit: float | str | None
    found: float | str | None
    sentence: str


class Run(_Shape):
    """One line of the journal. Planned is the sum of accepted, rejected, deferred and unsent."""

    run: str
    started: Moment
    finished: Moment | None
    seconds: float | None = Field(description="How long it took.")
    result: Result
    planned: int
    accepted: int
    rejected: int
    deferred: int
    unsent: int
    requests: int
    plan: str | None
    released: list[str]
    trigger: str | None
    by: str | None
    undoes: str | None
    bytes_read: int | None = Field(description="What reading the source came to, where the warehouse says it.")
    price: float | None = Field(description="Of what the query billed, in `currency`.")
    currency: str | None
    error: str | None


class RunOfSync(Run):
    """A run, with its sync and what its plan counted."""

    sync: str
    rows: int | None
    known: int | None
    counts: dict[str, int] | None
    holds: list[Hold]


class Runs(_Shape):
    """Runs of a sync, the newest first; `before` the last of them are the next ones."""

    runs: list[RunOfSync]


class Running(_Shape):
    """A run under way."""

    run: str
    since: Moment
    trigger: str | None
    by: str | None
    holder: str


class Paused(_Shape):
    """A sync that is left alone."""

    by: str
    at: Moment
    reason: str | None


class Refused(_Shape):
    """Somebody's word that a held plan is not to pass."""

    run: str
    plan: str
    by: str
    at: Moment
    reason: str


class Sync(_Shape):
    """Where a sync stands."""

    sync: str
    destination: str
    destination_title: str = Field(description="What people call the service.")
    object: str
    source: str = Field(description="The table or view; `query` for the sync's own query.")
    state: Literal["ok", "held", "failed", "running", "never run"]
    running: Running | None
    paused: Paused | None
    queued: int = Field(description="Triggers that wait.")
    last_run: Run | None
    next_run: Moment | None = Field(description="As far as the clock decides it; null while paused, or after others.")
    schedule: str
    source_modified: Moment | None
    source_max_age_seconds: float | None = Field(
        description="From which age on the source is stale, and runs are held."
    )
    known: int
    parked: int
    counts: dict[str, int] | None
    holds: list[Hold]
    refused: Refused | None
    runs: list[Run]
    error: str | None


class Standing(_Shape):
    """Which config the daemon runs by."""

    loaded_at: Moment
    error: str | None = Field(description="Why the files as they are now cannot be used; the old ones count.")
    restart: list[str] = Field(description="Settings that have changed and count from the next start on.")


class Syncs(_Shape):
    """Where every sync stands, and the config."""

    config: Standing
    syncs: list[Sync]


class Change(_Shape):
    """What became of one record. A sensitive value is never shown."""

    key: str
    kind: Literal["new", "changed", "removed"]
    outcome: Literal["accepted", "rejected", "deferred", "unsent", "found"]
    at: Moment | None
    code: str | None
    message: str | None
    request: str | None
    fields: dict[str, dict[str, Any]] = Field(description="Field → before, after; known: false where nobody knows.")


class Changes(_Shape):
    """A page of changes, sorted by key; `total` is how many fit."""

    total: int
    offset: int
    fields: list[str] = Field(description="Every field of the sync, and of these changes.")
    changes: list[Change]


class Side(_Shape):
    """Values before, or after."""

    counts: list[int]
    values: int
    mean: float | None


class Distribution(_Shape):
    """How the values of a field lie: a column has those from its left edge on, the last one its right edge too."""

    field: str
    edges: list[float]
    before: Side
    after: Side


class RunDistribution(_Shape):
    """The fields that can be looked at, and how one of them lay."""

    fields: list[str]
    distribution: Distribution | None


class Plan(BaseModel):
    """The document of `diff --json`, with so many changes as were asked for, and how the values of its fields move."""

    syncs: list[dict[str, Any]]
    distributions: list[Distribution]


class Parked(_Shape):
    """A rejected record that waits."""

    sync: str
    key: str
    code: str
    message: str
    attempts: int
    since: Moment
    last_try: Moment
    next_try: Moment | None


class ParkedPage(_Shape):
    """A page of parked records, sorted by key."""

    total: int
    offset: int
    parked: list[Parked]


class Retried(_Shape):
    """How many records go with the next run."""

    retried: int


class Held(_Shape):
    """A plan that waits for somebody."""

    sync: str
    run: str
    plan: str | None
    since: Moment
    planned: int
    holds: list[Hold]
    refused: Refused | None


class Holds(_Shape):
    """Every plan that waits for somebody."""

    holds: list[Held]


class Approval(_Shape):
    """Somebody's word for a plan."""

    run: str
    sync: str
    plan: str
    by: str
    at: Moment


class Approved(_Shape):
    """The approval, and the run that sends the plan: none while the sync is paused."""

    approved: Approval
    request: int | None


class RefusedPlan(_Shape):
    """The refusal."""

    refused: Refused


class PausedSync(_Shape):
    """The pause as it stands; the first word counts."""

    paused: Paused


class Resumed(_Shape):
    """Whether it had been paused."""

    resumed: bool


class Act(_Shape):
    """What somebody did."""

    id: int
    at: Moment
    by: str
    what: str
    sync: str
    facts: dict[str, Any]


class Journal(_Shape):
    """What people and programs did, the newest first."""

    acts: list[Act]
