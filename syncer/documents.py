"""The JSON form of results. What people read is rendered from these same documents."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from syncer.change import MISSING, Change, LastWrite
from syncer.errors import Problem
from syncer.mapping import Sync
from syncer.plan import HIDDEN, Plan, change_document, shown
from syncer.relations import ids_of, is_relation
from syncer.relations import shown as shown_relation
from syncer.spans import seconds_of

if TYPE_CHECKING:
    # What is told of here was made by whoever calls, and who tells of something else need not load it.
    from syncer.account import Report
    from syncer.changes import Changes, Outcome
    from syncer.control import Act, Approval, Control, Parked, Pause, Refusal, Request, Run
    from syncer.explain import Life
    from syncer.history import Entry
    from syncer.readback import Adopted, Drift, Verified
    from syncer.undo import Kept, Undoing

Document = dict[str, Any]

EXPENSE = ("bytes_read", "price", "currency")
"""What reading the source came to, None where the warehouse says nothing."""


def moment(seconds: float | None) -> str | None:
    """RFC 3339 in UTC, of seconds since 1970."""
    if seconds is None:
        return None
    text = datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
    return text.replace("+00:00", "Z")


def diff(plan: Plan, title: str, *, limit: int | None = None, keys: Sequence[str] = ()) -> Document:
    """One sync of `diff --json`. `limit` cuts the list of changes; `keys` picks from changes and invalid rows."""
    listed = [change_document(plan.sync, change) for change in _listed(plan, limit, keys)]
    invalid = [one for one in plan.invalid_rows if not keys or one.key in keys]
    return {
        "sync": plan.sync.name,
        "destination_title": title,
        "object": plan.sync.record,
        "source": plan.sync.source or "query",
        "plan": plan.digest,
        "rows": plan.rows,
        "known": plan.known,
        "counts": plan.counts,
        "removal": plan.sync.removed,
        "waiting": plan.waiting,
        "nonfinite": plan.not_finite,
        "later": plan.later,
        "requests": plan.cost.requests,
        "way": plan.cost.way or None,
        **plan.expense,
        "holds": [asdict(one) for one in plan.holds],
        "changes": listed,
        "invalid": [{"key": one.key, "reason": one.reason, "sentence": one.sentence} for one in invalid],
        "error": None,
    }


def _listed(plan: Plan, limit: int | None, keys: Sequence[str]) -> Iterable[Change]:
    """The changes of a document in the plan's order. Where not all fit in, records that would be deleted do first."""
    if keys or limit is None:
        return itertools.islice(plan.changes_of(keys) if keys else plan.changes(), limit)
    deletions = plan.deletions(limit)
    others = (change for change in plan.changes() if not (deletions and change.kind == "removed"))
    chosen = [*deletions, *itertools.islice(others, limit - len(deletions))]
    return sorted(chosen, key=lambda change: (change.rescored, change.key))


def sync(report: Report) -> Document:
    """One sync of `sync --json`."""
    delivered = report.delivered
    return {
        "sync": report.sync.name,
        "run": None if report.run is None else str(report.run),
        "result": report.result,
        **delivered.counts,
        "requests": report.requests,
        "seconds": round(report.seconds, 3),
        "error": report.error,
        "holds": [asdict(one) for one in report.holds],
        "released": report.released,
        "warnings": report.warnings,
        **{name: report.expense.get(name) for name in EXPENSE},
        "reasons": [
            {
                "result": result,
                "code": code,
                "count": count,
                "sentence": _reason(report.sync, code, delivered.samples.get((result, code), "")),
            }
            for (result, code), count in delivered.reasons.most_common()
        ],
    }


def failed(name: str, error: str) -> Document:
    """One sync of `sync --json` whose run could not begin."""
    counts = dict.fromkeys(("planned", "accepted", "rejected", "deferred", "unsent", "requests"), 0)
    return {
        "sync": name, "run": None, "result": "failed", **counts, "seconds": 0.0, "error": error,
        "holds": [], "released": [], "warnings": [], **dict.fromkeys(EXPENSE), "reasons": [],
    }  # fmt: skip


def _reason(sync: Sync, code: str, sample: str) -> str:
    if code == MISSING:
        return f'No such {sync.record} at the destination, and missing = "skip".'
    return sample


KILLED = "The process was killed in this run; the next run goes on from what is known."


def run(one: Run, *, is_alive: bool) -> Document:
    """One line of the journal; a run that nobody runs any more was killed, also before the next one writes it down."""
    is_killed = one.result == "running" and not is_alive
    return {
        "run": str(one.id),
        "started": moment(one.started),
        "finished": moment(one.finished),
        "seconds": None if one.finished is None else round(one.finished - one.started, 3),
        "result": "failed" if is_killed else one.result,
        "planned": one.planned,
        "accepted": one.accepted,
        "rejected": one.rejected,
        "deferred": one.deferred,
        "unsent": one.unsent,
        "requests": one.requests,
        "plan": one.digest,
        "released": one.released,
        "trigger": one.facts.get("trigger"),
        "by": one.facts.get("by"),
        "undoes": None if one.facts.get("undoes") is None else str(one.facts["undoes"]),
        **{name: one.facts.get(name) for name in EXPENSE},
        "error": KILLED if is_killed else one.error,
    }


def status(
    sync: Sync,
    control: Control | None,
    *,
    title: str,
    known: int,
    holder: str | None,
    next_run: datetime.datetime | None,
    schedule: str,
    modified: datetime.datetime | None,
    pause: Pause | None = None,
    queued: int = 0,
    runs_max: int = 10,
) -> Document:
    """One sync of `status --json`."""
    found = control.runs(sync.name, runs_max) if control else []
    newest = found[0] if found else None
    runs = [run(one, is_alive=holder is not None) for one in found]
    last = runs[0] if runs else None
    state = {"done": "ok"}.get(last["result"], last["result"]) if last else "never run"
    is_held = state == "held"
    refusal = control.refusal(sync.name, last["plan"]) if control and last and is_held else None
    return {
        "sync": sync.name,
        "destination": sync.destination,
        "destination_title": title,
        "object": sync.record,
        "source": sync.source or "query",
        "state": state,
        "running": running(newest, holder) if newest and holder and newest.result == "running" else None,
        "paused": paused(pause) if pause else None,
        "queued": queued,
        "last_run": last,
        "next_run": _instant(next_run),
        "schedule": schedule,
        "source_modified": _instant(modified),
        "source_max_age_seconds": seconds_of(sync.brakes.max_age) if sync.brakes.max_age else None,
        "known": known,
        "parked": control.parked_count(sync.name) if control else 0,
        "counts": newest.facts.get("counts") if newest else None,
        "holds": newest.facts.get("holds", []) if newest and is_held else [],
        "refused": refused(refusal) if refusal else None,
        "runs": runs,
    }


def running(one: Run, holder: str) -> Document:
    """A run under way, and which process has it."""
    trigger, by = one.facts.get("trigger"), one.facts.get("by")
    return {"run": str(one.id), "since": moment(one.started), "trigger": trigger, "by": by, "holder": holder}


def paused(one: Pause) -> Document:
    """Who paused a sync, and when."""
    return {"by": one.by, "at": moment(one.at), "reason": one.reason or None}


def refused(one: Refusal) -> Document:
    """Somebody's word that a held plan is not to pass."""
    return {"run": str(one.run), "plan": one.digest, "by": one.by, "at": moment(one.at), "reason": one.reason}


def request(one: Request) -> Document:
    """A run that somebody asked for."""
    return {
        "request": one.id,
        "sync": one.sync,
        "state": one.state,
        "by": one.by,
        "at": moment(one.at),
        "release": one.options.get("release", False),
        "only": one.options.get("only"),
        "run": None if one.run is None else str(one.run),
        "ended": moment(one.ended),
        "error": one.error,
    }


def act(one: Act) -> Document:
    """What somebody did."""
    return {"id": one.id, "at": moment(one.at), "by": one.by, "what": one.what, "sync": one.sync, "facts": one.facts}


def changes(sync: Sync, found: Changes, offset: int) -> Document:
    """A page of a run's changes; sensitive fields are named and never shown."""
    hidden = {field.name for field in sync.fields if field.sensitive}
    listed = [_outcome(sync, one, hidden) for one in found.listed]
    fields = dict.fromkeys([*(one.name for one in sync.compared), *(name for one in listed for name in one["fields"])])
    return {"total": found.total, "offset": offset, "fields": list(fields), "changes": listed}


def _outcome(sync: Sync, one: Outcome, hidden: set[str]) -> Document:
    document: Document = dict.fromkeys(("kind", "at", "code", "message", "request"), None)
    document |= {"key": one.key, "outcome": one.outcome, "fields": {}}
    if one.entry is not None:
        sensitive = {name for name, step in one.entry.fields.items() if step.is_sensitive}
        document |= {name: value for name, value in _entry(one.entry, hidden | sensitive).items() if name in document}
    elif one.change is not None:
        document |= {name: value for name, value in change_document(sync, one.change).items() if name in document}
    return document


def _instant(value: datetime.datetime | None) -> str | None:
    return moment(value.timestamp()) if value else None


def parked(sync: Sync, one: Parked) -> Document:
    """One parked record."""
    return {
        "sync": sync.name,
        "key": one.key,
        "code": one.code,
        "message": one.message,
        "attempts": one.attempts,
        "since": moment(one.first_at),
        "last_try": moment(one.last_at),
        # One that goes with the next run, on request, was due at its last try.
        "next_try": moment(max(one.next_at, one.last_at) if one.next_at is not None else None),
    }


def adopted(one: Adopted) -> Document:
    """One sync of `adopt --json`."""
    return {
        "sync": one.sync.name,
        "read": one.read,
        "found": one.found,
        "absent": one.absent,
        "ambiguous": one.ambiguous,
        "fields": {"equal": one.equal, "other": one.other},
        "requests": one.requests,
    }


def verified(one: Verified, title: str) -> Document:
    """One sync of `verify --json`; sensitive fields are named and never shown."""
    hidden = {field.name for field in one.sync.fields if field.sensitive}

    def seen(drift: Drift, value: Any) -> Any:
        return HIDDEN if drift.field in hidden and value is not None else shown(value)

    return {
        "sync": one.sync.name,
        "destination_title": title,
        "known": one.known,
        "read": one.read,
        "gone": one.gone,
        "drifted": one.drifted,
        "fields": dict(one.fields.most_common()),
        "drifts": [
            {"key": drift.key, "gone": True, "code": drift.theirs}
            if not drift.field
            else {
                "key": drift.key,
                "field": drift.field,
                "ours": seen(drift, _related(drift, drift.ours)),
                "theirs": seen(drift, drift.theirs),
                "on_drift": one.sync.field(drift.field).on_drift,
                "last_write": _last_write(drift.last_write),
            }
            for drift in one.drifts
        ],
        "repaired": one.repaired,
        "requests": one.requests,
    }


def _last_write(one: LastWrite | None) -> Document | None:
    if one is None:
        return None
    at = moment(one.at.timestamp()) if one.at else None
    return {"by": one.by or None, "at": at, "of": "record" if one.is_of_record else "field"}


def _related(drift: Drift, value: Any) -> Any:
    return shown_relation(ids_of(value)) if is_relation(drift.field) else value


def approval(one: Approval) -> Document:
    """Somebody's word for a plan."""
    return {"run": str(one.run), "sync": one.sync, "plan": one.digest, "by": one.by, "at": moment(one.at)}


def explained(life: Life, title: str) -> Document:
    """One sync of `explain --json`: the record as it is known now, its history (the oldest entry first), and what
    the next plan would do; sensitive fields are named and never shown."""
    hidden = {field.name for field in life.sync.fields if field.sensitive}
    hidden |= {name for entry in life.entries for name, step in entry.fields.items() if step.is_sensitive}
    last: dict[str, Entry] = {}
    for entry in life.entries:
        if entry.result != "rejected":
            last |= dict.fromkeys(entry.fields, entry)
    return {
        "sync": life.sync.name,
        "destination_title": title,
        "object": life.sync.record,
        "key": life.key,
        "match": dict(life.match),
        "fields": [
            {
                "field": name,
                "value": _seen(name, one.value, hidden),
                "state": "in doubt" if one.is_doubtful else "accepted",
                "mapped": one.is_mapped,
                "since": _instant(last[name].answered_at) if name in last and not one.is_doubtful else None,
                "run": str(last[name].run) if name in last and not one.is_doubtful else None,
            }
            for name, one in life.fields.items()
        ],
        "parked": parked(life.sync, life.parked) if life.parked else None,
        "history": [_entry(one, hidden) for one in life.entries],
        "next": {
            "change": change_document(life.sync, life.change) if life.change else None,
            "sentence": life.sentence or None,
        },
    }


def _entry(entry: Entry, hidden: set[str]) -> Document:
    fields: Document = {}
    for name, step in entry.fields.items():
        before, after = (_seen(name, value, hidden) for value in (step.before, step.after))
        # As in a plan: a null before is a null that was accepted, unless nothing is known.
        fields[name] = {"before": before if step.is_known else None, "after": after}
        if not step.is_known and entry.kind != "new":
            fields[name]["known"] = False
    return {
        "at": _instant(entry.answered_at),
        "run": str(entry.run),
        "trigger": entry.trigger,
        "kind": entry.kind,
        "result": entry.result,
        "code": entry.code,
        "message": entry.message,
        "request": entry.request,
        "fields": fields,
    }


def _seen(name: str, value: Any, hidden: set[str]) -> Any:
    """A remembered value as it may be shown."""
    if name in hidden:
        return HIDDEN
    return shown_relation(ids_of(value)) if is_relation(name) else shown(value)


def undone(document: Document, sync: Sync, undoing: Undoing) -> Document:
    """One sync of `undo --json`: that of a run, or of a plan, with what is left as it is and what comes next."""
    hidden = {field.name for field in sync.fields if field.sensitive}
    left = undoing.left
    number = document["planned"] if "planned" in document else document["counts"]["changed"]
    coming = (
        f"The source still says what run {undoing.undoes} sent, so the next sync of {sync.name} sends it again: pause "
        "its schedule, or put the source right first."
    )
    return document | {
        "undoes": str(undoing.undoes),
        "left": {
            "counts": dict(left.counts.most_common()),
            "records": [
                {
                    "key": one.key,
                    "field": one.field or None,
                    "reason": one.reason,
                    "sentence": one.sentence,
                    **({"theirs": _theirs(one, hidden)} if one.reason == "theirs" else {}),
                }
                for one in left.listed
            ],
        },
        "next": coming if number else None,
    }


def _theirs(one: Kept, hidden: set[str]) -> Any:
    return HIDDEN if one.field in hidden and one.theirs is not None else shown(one.theirs)


def problem(one: Problem) -> Document:
    """Something that a person has to mend."""
    return {"place": one.place, "sentence": one.sentence}
