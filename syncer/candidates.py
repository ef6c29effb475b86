"""The first step of a comparison: the source's rows come in, and those that may differ from the state are found.

It leaves these relations in its connection:

    state        the state as of now (`syncer.state.Relation`)
    desired      the source's rows again: canonical ones, or as far as they were kept
    candidate    rows that may differ, with the number of their state row; and state rows without a row
    old          the state rows of candidates
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from syncer import sql
from syncer.canonical import Canon, match_of
from syncer.destination import Limits
from syncer.differences import distance
from syncer.narrowed import Narrowed, Totals
from syncer.plan import Slot
from syncer.spool import ROW, Passage, Spool
from syncer.state import Inputs, Relation

KEYED = "key IS NOT NULL AND key <> ''"
"""SQL of whether a row has a key."""


class HashesCollide(Exception):
    """Two keys have one hash of 64 bits, so their rows cannot be told apart by it."""


class Candidates:
    """The rows of one reading that may differ from the state."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        canon: Canon,
        limits: Limits,
        inputs: Inputs,
        slots: Sequence[Slot],
        retired: Sequence[Slot],
        narrowed: Narrowed | None = None,
    ) -> None:
        self._db = connection
        self._canon = canon
        self._limits = limits
        self._inputs = inputs
        self._slots = slots
        self._retired = retired
        self._narrowed = narrowed
        self.has_state = False
        """Whether anything was ever accepted."""
        self.not_finite = 0
        """NaN and infinities in columns of floating-point numbers."""
        self.totals: Totals | None = None
        """What a warehouse that narrowed the rows has counted."""

    @contextlib.contextmanager
    def taken_in(self, batches: pa.RecordBatchReader, folder: Path, *, exact: bool) -> Iterator[None]:
        """Take the source's rows and find the candidates; inside, `desired` is what may be looked at again.

        Where there is a state the rows are held against it as they come, and only what tells them apart is kept. A
        first run needs all of them more than once, and so does what a warehouse has narrowed, which is little.
        """
        streams = not self._narrowed and bool(self._inputs.base or self._inputs.plans)
        kept = [*self._canon.identifying, ROW] if streams else batches.schema.names
        spool = Spool(folder, batches.schema, kept)
        arriving = self._counted(spool.passing(batches))
        if streams:
            self._attach()
            self._stream(Passage(spool.schema, arriving), exact=exact)
        else:
            for _ in arriving:
                pass
            if self._narrowed:
                self.totals = self._narrowed.finish()
        with spool.again() as rows:
            self._db.register("source_rows", rows)
            self._db.execute(f"CREATE OR REPLACE TEMP VIEW desired AS {self._desired(is_whole=not streams)}")
            try:
                if not streams:
                    self._look_back(exact=exact)
                yield
            finally:
                self._let_go("source_rows")

    def _attach(self) -> bool:
        """Make the relation `state`; says whether anything was ever accepted."""
        relation = Relation(self._db, len(self._canon.sync.match))
        self.has_state = relation.attach(self._inputs.base, self._inputs.plans, [*self._slots, *self._retired])
        return self.has_state

    def _counted(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.not_finite += self._canon.not_finite(batch)
            yield batch

    def _stream(self, passage: Passage, *, exact: bool) -> None:
        """Find the candidates among rows that pass by once."""
        self._db.register("arriving", passage)
        try:
            rows = self._canon.select("arriving", [f"src.{ROW}"])
            self._find(f"SELECT * FROM ({rows}) WHERE {KEYED}", exact=exact)
        except duckdb.Error:
            if passage.error is not None:
                raise passage.error from None
            raise
        finally:
            self._let_go("arriving")

    def _look_back(self, *, exact: bool) -> None:
        """Find the candidates among rows that were kept whole. Where nothing was ever accepted all of them are; they
        stream, and are never held."""
        if self._attach():
            self._find(f"SELECT * FROM desired WHERE {KEYED}", exact=exact)
            return
        self._db.execute(
            "CREATE OR REPLACE TEMP VIEW candidate AS "
            f"SELECT *, NULL::BIGINT AS _rid, FALSE AS _known FROM desired s WHERE {KEYED}"
        )
        self._db.execute("CREATE OR REPLACE TEMP TABLE old AS SELECT * FROM state")

    def _desired(self, *, is_whole: bool) -> str:
        """SQL of the rows of the spool, as far as they were kept."""
        if is_whole:
            return self._canon.select("source_rows", ["src._weight", "src._key"] if self._narrowed else [])
        # Why a row with a key cannot go out was found out as it came, when all of it was there.
        return (
            f"SELECT i.*, CASE WHEN key IS NULL THEN 1 WHEN key = '' THEN 2 ELSE coalesce(b._bad, 0) END AS _bad "
            f"FROM ({self._canon.identify('source_rows', [f'src.{ROW}'])}) AS i "
            f"LEFT JOIN (SELECT {ROW}, _bad FROM candidate WHERE _bad > 0) AS b ON b.{ROW} = i.{ROW}"
        )

    def _let_go(self, relation: str) -> None:
        # A query that failed may still hold the relation, and why it failed is what has to be told. The connection
        # lets go of everything in the end.
        with contextlib.suppress(duckdb.Error):
            self._db.unregister(relation)

    def _find(self, rows: str, *, exact: bool) -> None:
        """A row whose hash is that of its state row is unchanged and goes no further. Raises HashesCollide."""
        # The smaller side of a hash join is held in memory; the optimiser would sometimes hold the wide source.
        self._db.execute("SET disabled_optimizers = 'build_side_probe_side,join_order'")
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE candidate AS {self.query(rows, exact=exact)}")
        self._db.execute("SET disabled_optimizers = ''")
        self._db.execute(
            "CREATE OR REPLACE TEMP TABLE old AS SELECT * FROM state WHERE _rid IN (SELECT _rid FROM candidate)"
        )
        if self._collided():
            raise HashesCollide

    def query(self, rows: str, *, exact: bool) -> str:
        """SQL of those of the canonical `rows` that may differ, with the number of their state row. `exact` pairs by
        key beside its hash."""
        wanted, stored, near = ["s.key"], ["t.key"], []
        if match_is_own(self._canon, self._limits):
            wanted.append(match_of(self._canon.sync, self._limits, "s."))
            stored.append(match_of(self._canon.sync, self._limits, "t."))
        may_differ = ["s.rh IS DISTINCT FROM t.rh", "t.doubt", "s._bad > 0"]
        if self._canon.counts_not_finite:
            may_differ.append("s._not_finite > 0")
        for place, slot in enumerate(self._slots):
            field, column = self._canon.sync.field(slot.name), f"t.{sql.name(slot.column)}"
            if not field.compare:
                continue
            if field.min_change is None:
                wanted.append(f"s.f{place}::{slot.sql_type}")
                stored.append(column)
            else:
                # Compared by distance, so a column where every value trembles costs little.
                near.append(f"{column} AS d{slot.number}")
                may_differ.append(f"(s.f{place} IS NULL) <> (t.d{slot.number} IS NULL)")
                may_differ.append(f"{distance(f's.f{place}', f't.d{slot.number}')} >= {field.min_change!r}")
        kept = [
            "hash(t.key) AS kh",
            f"hash({', '.join(stored)}) AS rh",
            "t._rid",
            "(t._doubt | t._foreign) <> 0 AS doubt",
            *near,
            *(["t.key"] if exact else []),
        ]
        return (
            "SELECT s.* EXCLUDE (kh, rh), t._rid, t.kh IS NOT NULL AS _known "
            f"FROM (SELECT *, hash(s.key) AS kh, hash({', '.join(wanted)}) AS rh FROM ({rows}) AS s) AS s "
            f"FULL JOIN (SELECT {', '.join(kept)} FROM state t) AS t "
            f"ON s.kh = t.kh{' AND s.key = t.key' if exact else ''} WHERE {' OR '.join(may_differ)}"
        )

    def _collided(self) -> bool:
        """Whether two different keys share a hash, which would pair the wrong rows."""
        query = "SELECT count(*) FROM candidate c JOIN old o ON o._rid = c._rid WHERE c.key <> o.key"
        return self._db.execute(query).fetchall() != [(0,)]


def match_is_own(canon: Canon, limits: Limits) -> bool:
    """Whether equal matches are possible without equal keys."""
    return list(canon.match) != [canon.key] or not limits.caseless.isdisjoint(canon.sync.match)
