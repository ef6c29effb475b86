"""The JSON form of plans and runs: the counts add up, and what is sensitive is never shown."""

from __future__ import annotations

import json

import pytest

from syncer import documents
from tests.engine.stage import Stage, deciding, field

TWO = "user_id VARCHAR, a DOUBLE, b TIMESTAMP"


def test_a_plan_as_json(stage: Stage) -> None:
    """`diff --json` has the counts, the cost, each field's before and after, and times in RFC 3339."""
    stage.map(field("a"), field("b"))
    stage.put(TWO, ("u_1", 1.0, "2026-03-01 06:00:00"), ("u_2", 2.0, None))
    stage.run()
    stage.put(TWO, ("u_1", 1.5, "2026-03-01 07:00:00.5"), ("u_2", 2.0, None), (None, 1.0, None))
    document = stage.plan().document

    assert document == json.loads(json.dumps(document))
    assert {
        "sync": "memory.people",
        "rows": 3,
        "known": 2,
        "counts": {
            "new": 0, "changed": 1, "removed": 0, "unchanged": 1, "parked": 0, "invalid": 1, "rescored": 0,
        },
        "requests": 1,
        "holds": [],
        "changes": [
            {
                "key": "u_1",
                "kind": "changed",
                "fields": {
                    "a": {"before": 1.0, "after": 1.5},
                    "b": {"before": "2026-03-01T06:00:00Z", "after": "2026-03-01T07:00:00.500000Z"},
                },
            }
        ],
        "invalid": [{"key": None, "reason": "null_key", "sentence": "The key column user_id is null."}],
    } == {
        name: document[name]
        for name in ("sync", "rows", "known", "counts", "requests", "holds", "changes", "invalid")
    }  # fmt: skip


@pytest.mark.parametrize("fate", ["accepted", "rejected", "deferred", "doubt-lost", "unusable"])
def test_a_run_as_json(stage: Stage, fate: str) -> None:
    """Whatever happens, planned = accepted + rejected + deferred + unsent."""
    stage.map(field("a"))
    stage.put(TWO, *((f"u_{number}", 1.0, None) for number in range(5)))
    stage.decide = deciding({"u_2": fate})  # type: ignore[dict-item] # one of the decisions
    document = documents.sync(stage.run())

    assert 5 == document["planned"]
    assert 5 == sum(document[name] for name in ("accepted", "rejected", "deferred", "unsent"))
    assert ("failed" if fate == "unusable" else "done") == document["result"]
    assert (document["error"] is None) == (fate != "unusable")


def test_sensitive_values_are_never_shown(stage: Stage) -> None:
    """A sensitive value is three dots in the plan, and nowhere in the run, the journal or the parked record."""
    stage.map(field("x", sensitive=True), field("y"))
    stage.put("user_id VARCHAR, x VARCHAR, y VARCHAR", ("u_1", "hush-1", "a"))
    stage.run()
    stage.put("user_id VARCHAR, x VARCHAR, y VARCHAR", ("u_1", "hush-2", "b"))
    document = stage.plan().document

    assert {"x": {"before": "•••", "after": "•••"}, "y": {"before": "a", "after": "b"}} == (
        document["changes"][0]["fields"]
    )

    stage.decide = lambda change: "rejected"
    report = stage.run()
    (parked,) = stage.engine.control().parked(stage.sync.name)
    told = json.dumps([documents.sync(report), documents.parked(stage.sync, parked)])

    assert "hush" not in told + json.dumps(document)


def test_deletions_are_in_a_document_that_is_cut(stage: Stage) -> None:
    """Where only some changes fit, those that would be deleted do first; the order is the plan's in any case."""
    columns = "user_id VARCHAR, a DOUBLE"
    stage.map(field("a"), removed="delete")
    stage.put(columns, *((f"u_{number}", 1.0) for number in range(6)))
    stage.run()
    stage.put(columns, *((f"u_{number}", 2.0) for number in range(4)), ("u_9", 2.0))
    with stage.engine.diff(stage.prepare()) as plan:
        keys = {
            limit: [one["key"] for one in documents.diff(plan, "Memory", limit=limit)["changes"]]
            for limit in (0, 1, 3, None)
        }

    assert {
        0: [],
        1: ["u_4"],
        3: ["u_0", "u_4", "u_5"],
        None: ["u_0", "u_1", "u_2", "u_3", "u_4", "u_5", "u_9"],
    } == keys
