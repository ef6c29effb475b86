"""GoogleSQL's own evaluator and DuckDB agree about the statements that compare inside the warehouse."""

from __future__ import annotations

import datetime
import random
from typing import Any

import pyarrow as pa
import pytest

from tests.standins.bigquery.columns import Schema, arrow_schema
from tests.standins.bigquery.judged import judged
from tests.standins.bigquery.translation import Parameter

THEN = "FOR SYSTEM_TIME AS OF TIMESTAMP '2026-11-22 05:00:00.000000+00'"
PLAN = f"""
CREATE OR REPLACE TABLE `proj.st.s42_plan`
CLUSTER BY op
OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 3 DAY))
AS
WITH
src AS (
  SELECT *, COUNT(*) OVER (PARTITION BY `user_id`) AS _n
  FROM (SELECT `user_id`, `score`, `tier`, `tags`, `props` FROM `proj.scores.users` {THEN})
  WHERE `user_id` IS NOT NULL
  QUALIFY ROW_NUMBER() OVER (PARTITION BY `user_id`) = 1
),
delta AS (
  SELECT * FROM `proj.st.s42_log` WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (PARTITION BY `user_id` ORDER BY _seq DESC) = 1
),
st AS (
  SELECT `user_id`, `score`, `tier`, `tags`, `props` FROM `proj.st.s42_state` AS b
  WHERE NOT EXISTS (SELECT 1 FROM delta AS l WHERE l.`user_id` = b.`user_id`)
  UNION ALL
  SELECT `user_id`, `score`, `tier`, `tags`, `props` FROM delta WHERE NOT _deleted
),
cmp AS (
  SELECT
    COALESCE(s.`user_id`, t.`user_id`) AS `user_id`,
    CASE WHEN s._n > 1 THEN 'held' WHEN t.`user_id` IS NULL THEN 'added'
         WHEN s.`user_id` IS NULL THEN 'removed' ELSE 'changed' END AS op,
    IF(ROUND(s.`score`, 4) IS DISTINCT FROM ROUND(t.`score`, 4), 1, 0) |
    IF(s.`tier` IS DISTINCT FROM t.`tier`, 2, 0) |
    IF(IF(s.`tags` IS NULL, NULL, TO_JSON_STRING(s.`tags`)) IS DISTINCT FROM
       IF(t.`tags` IS NULL, NULL, TO_JSON_STRING(t.`tags`)), 4, 0) |
    IF(IF(s.`props` IS NULL, NULL, TO_JSON_STRING(s.`props`)) IS DISTINCT FROM
       IF(t.`props` IS NULL, NULL, TO_JSON_STRING(t.`props`)), 8, 0) AS mask,
    s.`score` AS `n_score`, s.`tier` AS `n_tier`, s.`tags` AS `n_tags`, s.`props` AS `n_props`,
    t.`score` AS `o_score`, t.`tier` AS `o_tier`, t.`tags` AS `o_tags`, t.`props` AS `o_props`
  FROM src AS s FULL OUTER JOIN st AS t ON s.`user_id` = t.`user_id`
)
SELECT * FROM cmp WHERE op IN ('added', 'removed') OR (op = 'changed' AND mask != 0)
"""
KEYS = f"""
SELECT SUM(n) AS source_rows,
  SUM(IF(`user_id` IS NULL, n, 0)) AS null_key_rows,
  COUNTIF(n > 1 AND NOT (`user_id` IS NULL)) AS duplicate_keys,
  SUM(IF(n > 1 AND NOT (`user_id` IS NULL), n, 0)) AS duplicate_rows,
  COUNTIF(n = 1 AND NOT (`user_id` IS NULL)) AS usable_rows
FROM (SELECT `user_id`, COUNT(*) AS n FROM `proj.scores.users` {THEN} GROUP BY `user_id`)
"""
TWICE = f"""
SELECT `user_id`, COUNT(*) AS n FROM `proj.scores.users` {THEN}
WHERE `user_id` IS NOT NULL GROUP BY `user_id` HAVING COUNT(*) > 1 ORDER BY n DESC, `user_id` LIMIT 20
"""
FOLD = """
CREATE OR REPLACE TABLE `proj.st.s42_state` CLUSTER BY `user_id` AS
WITH delta AS (SELECT * FROM `proj.st.s42_log` WHERE _seq <= @upto
               QUALIFY ROW_NUMBER() OVER (PARTITION BY `user_id` ORDER BY _seq DESC) = 1)
SELECT `user_id`, `score`, `tier`, `tags`, `props`, _run_id, _synced_at FROM `proj.st.s42_state` AS b
WHERE NOT EXISTS (SELECT 1 FROM delta AS l WHERE l.`user_id` = b.`user_id`)
UNION ALL
SELECT `user_id`, `score`, `tier`, `tags`, `props`, _run_id, _synced_at FROM delta WHERE NOT _deleted
"""
COMMIT = """
INSERT INTO `proj.st.s42_log` (`user_id`, `score`, `tier`, `tags`, `props`, _deleted, _seq, _run_id, _synced_at)
SELECT p.`user_id`, IF((a.ok_mask & 1) != 0, p.`n_score`, p.`o_score`) AS `score`,
  IF((a.ok_mask & 2) != 0, p.`n_tier`, p.`o_tier`) AS `tier`, p.`n_tags` AS `tags`, p.`n_props` AS `props`,
  p.op = 'removed' AS _deleted, @seq AS _seq, @run_id AS _run_id, @synced_at AS _synced_at
FROM `proj.st.s42_plan` AS p JOIN `proj.st.s42_ack_7` AS a ON p.`user_id` = a.`user_id`
WHERE a.ok AND a.batch BETWEEN @batch_from AND @batch_to
  AND NOT EXISTS (SELECT 1 FROM `proj.st.s42_log` AS l
                  WHERE l._synced_at = @synced_at AND l._seq = @seq AND l.`user_id` = p.`user_id`)
"""
COUNTS = """
SELECT COUNTIF(op = 'added') AS added, COUNTIF(op = 'changed') AS changed, COUNTIF(op = 'removed') AS removed,
  COUNTIF(op = 'changed' AND (mask & 1) != 0) AS `f_score`
FROM `proj.st.s42_plan`
"""
REPORT = """
SELECT `user_id`, op,
  ARRAY(SELECT AS STRUCT field, was, now FROM UNNEST([
    STRUCT('tier' AS field, TO_JSON_STRING(`o_tier`) AS was, TO_JSON_STRING(`n_tier`) AS now,
           (mask & 2) != 0 AS changed)
  ]) WHERE changed AND op = 'changed') AS changes
FROM `proj.st.s42_plan` ORDER BY `user_id` LIMIT 50
"""
PARAMETERS = {
    "upto": Parameter({"type": "INTEGER"}, "5"),
    "seq": Parameter({"type": "INTEGER"}, "3"),
    "run_id": Parameter({"type": "STRING"}, "r1"),
    "synced_at": Parameter({"type": "TIMESTAMP"}, "2026-11-22 06:00:00+00:00"),
    "batch_from": Parameter({"type": "INTEGER"}, "1"),
    "batch_to": Parameter({"type": "INTEGER"}, "2"),
}


def columns(**kinds: str) -> Schema:
    return [
        {"name": name, "type": kind.removesuffix("[]"), "mode": "REPEATED" if kind.endswith("[]") else "NULLABLE"}
        for name, kind in kinds.items()
    ]


VALUES = {"score": "FLOAT", "tier": "STRING", "tags": "STRING[]", "props": "JSON"}
WRITTEN = {"_run_id": "STRING", "_synced_at": "TIMESTAMP"}
PAIRS = {f"{when}_{name}": kind for when in "no" for name, kind in VALUES.items()}
FIELDS = {
    "proj.scores.users": columns(user_id="STRING", **VALUES),
    "proj.st.s42_state": columns(user_id="STRING", **VALUES, **WRITTEN),
    "proj.st.s42_log": columns(user_id="STRING", **VALUES, _deleted="BOOLEAN", _seq="INTEGER", **WRITTEN),
    "proj.st.s42_plan": columns(user_id="STRING", op="STRING", mask="INTEGER", **PAIRS),
    "proj.st.s42_ack_7": columns(user_id="STRING", ok="BOOLEAN", ok_mask="INTEGER", batch="INTEGER", error="STRING"),
}


def tables(seed: int, keys: int = 60) -> dict[str, pa.Table]:
    """Small random tables: keys missing, null or twice, NaN and both zeros, nulls everywhere else."""
    chance = random.Random(seed)

    def value(name: str) -> Any:
        match name.removeprefix("n_").removeprefix("o_"):
            case "score":
                return chance.choice([None, 0.0, -0.0, 1.0, 2.5, 2.500001, float("nan"), chance.random()])
            case "tier":
                return chance.choice([None, "", "gold", "Gold", "zé"])
            case "tags":
                return chance.choice([[], ["a"], ["a", "b"]])
            case "props":
                return chance.choice([None, "null", '{"a":1}', '{"a":1,"b":"x"}'])
            case "op":
                return chance.choice(["added", "changed", "removed"])
            case "_run_id" | "error":
                return "r0"
            case "_synced_at":
                return datetime.datetime(2026, 11, 22, chance.choice([5, 6]), tzinfo=datetime.UTC)
            case "_deleted" | "ok":
                return chance.random() < 0.7
        return chance.randrange(16) if name == "ok_mask" else chance.randrange(3)

    def filled(name: str) -> pa.Table:
        is_log, is_source = name.endswith("_log"), name == "proj.scores.users"
        ids = [chance.choice([None, *range(keys)]) for _ in range(keys)] if is_source else range(keys)
        pairs = [(one, seq) for one in ids for seq in (range(6) if is_log else [0]) if chance.random() < 0.6]
        rows = []
        for one, seq in pairs:
            row = {column["name"]: value(column["name"]) for column in FIELDS[name]}
            rows.append(row | {"user_id": None if one is None else f"u{one}"} | ({"_seq": seq} if is_log else {}))
        return pa.Table.from_pylist(rows, arrow_schema(FIELDS[name]))

    return {name: filled(name) for name in FIELDS}


STATEMENTS = {
    "plan": PLAN,
    "keys": KEYS,
    "twice": TWICE,
    "fold": FOLD,
    "commit": COMMIT,
    "counts": COUNTS,
    "report": REPORT,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sql", STATEMENTS.values(), ids=STATEMENTS)
def test_both_say_the_same(sql: str, seed: int) -> None:
    """Each statement of the comparison has the same rows by GoogleSQL and by DuckDB."""
    used = {name: rows for name, rows in tables(seed).items() if f"`{name}`" in sql}
    verdict = judged(sql, used, FIELDS, {name: one for name, one in PARAMETERS.items() if f"@{name}" in sql})

    assert verdict.is_equal, str(verdict)
    assert verdict.reference


def test_a_difference_is_seen() -> None:
    """Where DuckDB computes otherwise than GoogleSQL, the verdict says so and shows the row."""
    verdict = judged("SELECT TO_JSON_STRING(x) AS x FROM `proj.d.t`", {"proj.d.t": pa.table({"x": [1.0, 2.5]})})

    assert not verdict.is_equal
    assert [("1",), ("2.5",)] == verdict.reference
    assert "GoogleSQL ('1',)" in str(verdict)


def test_every_type_of_value_is_carried() -> None:
    """Values of all types reach both and come back alike, as columns and as parameters."""
    moment = datetime.datetime(2026, 11, 22, 1, 2, 3, 4, datetime.UTC)
    row = {
        "a": -(2**63),
        "b": "zé",
        "c": True,
        "d": moment.date(),
        "e": moment,
        "f": moment.replace(tzinfo=None),
        "g": moment.time(),
        "h": b"\x00\xff",
        "i": [1, 2],
        "j": {"x": 1, "y": "z"},
    }
    rows = pa.Table.from_pylist([row, dict.fromkeys(row) | {"i": []}])
    given = {
        "n": Parameter({"type": "NUMERIC"}, "-1.25"),
        "t": Parameter({"type": "TIMESTAMP"}, moment.isoformat(" ")),
        "d": Parameter({"type": "DATE"}, None),
        "k": Parameter({"type": "STRING", "mode": "REPEATED"}, ["zé"]),
    }

    verdict = judged(
        "SELECT *, @n AS n, @t AS t, @d AS dd, b IN UNNEST(@k) AS k FROM `proj.d.t`", {"proj.d.t": rows}, {}, given
    )

    assert verdict.is_equal, str(verdict)
    assert moment in verdict.reference[0] + verdict.reference[1]
