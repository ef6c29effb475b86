"""The third step of a comparison as SQL: candidates and their old values in, the plan's rows out.

The query is a pipe of four relations, one per decision:

    joined     a candidate beside its state row: is it new (1), changed (2) or removed (3)?
    settled    the value that the destination should hold of each field
    judged     which fields are a reason to go (_own), and which leave in all (_mask)
    listed     the columns of the plan file, for the records that go

In these relations oN is what the state has of slot N, cN the canonical value of the source, rN the number below
its band, uN whether `map` did not know it, and nN the value that the destination should hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from syncer import sql
from syncer.canonical import Canon, Made, match_of
from syncer.destination import Limits
from syncer.digest import EXACT_MAX
from syncer.mapping import Field
from syncer.plan import CHANGED, NEW, REMOVED, Slot


@dataclass(frozen=True, slots=True)
class Differences:
    """What the query depends on; its relations `candidate`, `old`, `twice`, `taken`, `parked`, `absent`, `gone` and
    `only_keys` are the comparison's."""

    canon: Canon
    limits: Limits
    slots: Sequence[Slot]
    """One for each of the canon's fields, in their order."""
    retired: Sequence[Slot]
    """Of fields that are not mapped any more: what was written last is kept."""
    versions: Sequence[str]
    """Versions whose re-score has been delivered whole."""
    is_restricted: bool
    """Only the records of `only_keys` are wanted."""

    def gone(self) -> str:
        """The records that are gone from the source and not removed yet, and for how many runs, this one counted."""
        return (
            f"WITH joined AS ({self._joined()}), settled AS ({self._settled()}), judged AS ({self._judged()}) "
            "SELECT j.key, coalesce(a.runs, 0) + 1 AS runs FROM judged j LEFT JOIN absent a ON a.key = j.key "
            f"WHERE _op = {REMOVED} AND {self._goes}"
        )

    def query(self) -> str:
        """The plan's rows in the plan's order: the ordinary ones, the re-scored ones, the parked ones, each by key."""
        return (
            f"WITH joined AS ({self._joined()}), settled AS ({self._settled()}), "
            f"judged AS ({self._judged()}), listed AS ({self._listed()}) "
            # What is tried again was judged when it went first.
            "SELECT l.* REPLACE ((l._moved AND p.key IS NULL) AS _moved), "
            "(p.key IS NOT NULL AND NOT p.due) AS _parked FROM listed l "
            "LEFT JOIN parked p ON p.key = l.key AND p.payload = l._payload ORDER BY _parked, _rescored, l.key"
        )

    # --- the four relations ------------------------------------------------------------------------------------

    def _joined(self) -> str:
        matches = [
            f"CASE WHEN c.key IS NULL THEN o.m{number} ELSE c.m{number} END AS m{number}"
            for number in range(len(self.canon.match))
        ]
        moved = f"{match_of(self.canon.sync, self.limits, 'c.')} IS DISTINCT FROM {self._match('o.')}"
        # A record with another match is another record: nothing is known of what it holds.
        old = [
            f"CASE WHEN _op <> {NEW} THEN o.{sql.name(slot.column)} END AS o{slot.number}"
            for slot in [*self.slots, *self.retired]
        ]
        source = [f"c.f{place} AS c{slot.number}" for place, slot in enumerate(self.slots)]
        source += [f"c.r{place} AS r{slot.number}" for place, slot in enumerate(self.slots) if self._made(slot).raw]
        source += [
            f"c.u{place} AS u{slot.number}" for place, slot in enumerate(self.slots) if self._made(slot).unmapped
        ]
        columns = [
            f"CASE WHEN c.key IS NULL THEN {REMOVED} WHEN o.key IS NULL OR {moved} THEN {NEW} ELSE {CHANGED} END _op",
            "coalesce(c.key, o.key) AS key",
            *matches,
            f"CASE WHEN _op <> {NEW} THEN coalesce(o._sent, 0) ELSE 0 END AS _sent",
            f"CASE WHEN _op <> {NEW} THEN coalesce(o._doubt | o._foreign, 0) ELSE 0 END AS _doubt",
            "coalesce(o._foreign, 0) AS _foreign",
            "coalesce(c._version, o._version) AS _version",
            f"(o.key IS NOT NULL AND _op = {NEW}) AS _is_moved_match",
            f"({self._is_rescored()}) IS TRUE AS _rescored",
            *old,
            *source,
        ]
        wanted = ["(c.key IS NULL OR (c._bad = 0 AND c.key NOT IN (SELECT key FROM twice)))"]
        if self.canon.sync.removed == "keep":
            wanted.append("c.key IS NOT NULL")
        else:
            wanted.append(f"(c.key IS NOT NULL OR {self._match('o.')} NOT IN (SELECT value FROM taken))")
        if self.is_restricted:
            wanted.append("coalesce(c.key, o.key) IN (SELECT key FROM only_keys)")
        return (
            f"SELECT {', '.join(columns)} FROM candidate c LEFT JOIN old o ON o._rid = c._rid "
            f"WHERE {' AND '.join(wanted)}"
        )

    def _settled(self) -> str:
        return (
            "SELECT *, " + ", ".join(f"{self._wanted(slot)} AS n{slot.number}" for slot in self.slots) + " FROM joined"
        )

    def _judged(self) -> str:
        own = _bits((self._differs(slot), slot) for slot in self.slots)
        if self.canon.sync.removed == "delete":
            own = f"CASE WHEN _op = {REMOVED} THEN _sent ELSE {own} END"
        riders = _bits((self._rides(slot), slot) for slot in self.slots)
        return f"SELECT *, ({own})::BIGINT AS _own, (_own | {riders})::BIGINT AS _mask FROM settled"

    def _listed(self) -> str:
        matches = [f"m{number}" for number in range(len(self.canon.match))]
        after = [
            f"CASE WHEN _mask & {slot.bit} <> 0 THEN n{slot.number} ELSE o{slot.number} END AS {sql.name(slot.column)}"
            for slot in self.slots
        ]
        after += [f"o{slot.number} AS {sql.name(slot.column)}" for slot in self.retired]
        before = [f"CASE WHEN _mask & {slot.bit} <> 0 THEN o{slot.number} END AS b{slot.number}" for slot in self.slots]
        # What the brake on changes counts is an accepted value that differs now, and not a field that is sent for the
        # first time. One in doubt differs from nothing that is known for sure; it counts when it is not the value
        # that left last, which is then not sent again but replaced.
        replaced = _bits((f"(_doubt & {slot.bit} <> 0 AND {self._is_other(slot)})", slot) for slot in self.slots)
        sure = "_sent & (~_doubt | _foreign)"
        is_moved = f"_is_moved_match OR (_op = {CHANGED} AND (_own & (({sure}) | {replaced})) <> 0)"
        unmapped = _bits((f"u{slot.number}", slot) for slot in self.slots if self._made(slot).unmapped) or "0"
        columns = ["key", *matches, "_op::TINYINT AS _op", "_mask", "_sent", "_doubt", "_version", "_rescored"]
        columns += [
            f"({is_moved}) AS _moved",
            f"(_mask & ({unmapped}))::BIGINT AS _unmapped",
            *after,
            *before,
            f"{self._payload(matches)} AS _payload",
        ]
        goes = self._goes
        if self.canon.sync.waits_for_the_gone:
            waits = f"key IN (SELECT key FROM gone WHERE runs < {self.canon.sync.grace})"
            goes += f" AND NOT (_op = {REMOVED} AND {waits})"
        return f"SELECT {', '.join(columns)} FROM judged WHERE {goes}"

    @property
    def _goes(self) -> str:
        return "_own <> 0" if self.canon.sync.removed != "delete" else f"(_own <> 0 OR _op = {REMOVED})"

    # --- one field's part in them ------------------------------------------------------------------------------

    def _wanted(self, slot: Slot) -> str:
        """The value that the destination should hold: null for a row that is gone, held back inside a hysteresis."""
        value = f"c{slot.number}::{slot.sql_type}"
        if self._made(slot).raw:
            value = _held_back(self._field(slot), f"c{slot.number}", f"r{slot.number}", f"o{slot.number}")
        return f"CASE WHEN _op <> {REMOVED} THEN {value} END"

    def _differs(self, slot: Slot) -> str:
        """Whether this field is a reason for its record to go."""
        field = self._field(slot)
        if not field.compare:
            # It is cleared with the others when the row is gone, but is never the reason to go.
            return "FALSE"
        new, old = f"n{slot.number}", f"o{slot.number}"
        is_sent, is_doubtful = f"_sent & {slot.bit} <> 0", f"_doubt & {slot.bit} <> 0"
        is_other = self._is_other(slot)
        is_kept = f"{new} IS NOT NULL AND " if field.null == "skip" else ""
        is_to_clear = "FALSE" if field.null == "skip" else f"(({is_sent} AND {old} IS NOT NULL) OR {is_doubtful})"
        return (
            f"CASE WHEN _op = {REMOVED} THEN {is_to_clear} WHEN {is_doubtful} THEN {is_kept}TRUE "
            f"WHEN {is_sent} THEN {is_kept}{is_other} ELSE {new} IS NOT NULL END"
        )

    def _is_other(self, slot: Slot) -> str:
        """Whether the value differs from the one that left last, by the field's own measure."""
        new, old, least = f"n{slot.number}", f"o{slot.number}", self._field(slot).min_change
        if not least:
            return f"{new} IS DISTINCT FROM {old}"
        return f"(({new} IS NULL) <> ({old} IS NULL) OR coalesce({distance(new, old)} >= {least!r}, FALSE))"

    def _rides(self, slot: Slot) -> str:
        """Whether this field goes along when its record goes for another one."""
        field = self._field(slot)
        new, old = f"n{slot.number}", f"o{slot.number}"
        is_doubtful = f"_doubt & {slot.bit} <> 0"
        is_kept = f"{new} IS NOT NULL AND " if field.null == "skip" else ""
        if not field.compare:
            return f"{is_kept}({new} IS NOT NULL OR {old} IS NOT NULL OR {is_doubtful})"
        if field.min_change:
            return f"{is_kept}({new} IS DISTINCT FROM {old} OR {is_doubtful})"
        return "FALSE"

    # --- the record as a whole ---------------------------------------------------------------------------------

    def _is_rescored(self) -> str:
        """Whether the version moved, to one whose re-score is still being delivered."""
        moved = f"_op = {CHANGED} AND c._version <> o._version"
        if not self.versions:
            return moved
        return f"{moved} AND c._version NOT IN ({', '.join(sql.literal(version) for version in self.versions)})"

    def _payload(self, matches: Sequence[str]) -> str:
        """SQL of the digest of what made the record go, in whatever order the mapping is written.

        It is only compared with that of the same record in another run. Where two that should be equal are not, as
        when DuckDB hashes otherwise after an upgrade, a refused record is tried once more than it has to be.
        """
        reasons = []
        for slot in sorted(self.slots, key=lambda slot: slot.name):
            value, exact = f"n{slot.number}", "NULL"
            if slot.sql_type == "BIGINT":
                # By value, for the column may hold doubles tomorrow; what no double can tell apart counts once more.
                exact = f"CASE WHEN {value} NOT BETWEEN -{EXACT_MAX} AND {EXACT_MAX} THEN {value} END"
                value = f"{value}::DOUBLE"
            reasons += [f"CASE WHEN _own & {slot.bit} <> 0 THEN {one} END" for one in (value, exact)]
        return f"to_hex(hash(_op = {REMOVED}, _own, {', '.join([*matches, *reasons])}))"

    def _made(self, slot: Slot) -> Made:
        return next(made for made in self.canon.fields if made.field.name == slot.name)

    def _field(self, slot: Slot) -> Field:
        return self._made(slot).field

    def _match(self, prefix: str) -> str:
        return match_of(self.canon.sync, self.limits, prefix)


def distance(new: str, old: str) -> str:
    """SQL of how far apart two numbers are. Rounded, because 0.3 - 0.2 is a little less than 0.1 in binary, and must
    not miss a threshold of 0.1; as doubles, because the difference of two integers may not fit into one."""
    return f"round(abs(({new})::DOUBLE - ({old})::DOUBLE), 9)"


def _bits(conditions: Iterable[tuple[str, Slot]]) -> str:
    """SQL of the bits of the slots whose condition holds."""
    return " | ".join(
        f"CASE WHEN {condition} THEN {slot.bit}::BIGINT ELSE 0::BIGINT END" for condition, slot in conditions
    )


def _held_back(field: Field, plain: str, raw: str, old: str) -> str:
    """SQL of the band, where a border counts as passed only when the number is beyond it by the hysteresis."""
    bands = field.bands or ()
    margin = field.hysteresis or 0.0
    ceilings = [*(floor for _, floor in bands[1:]), None]
    cases = []
    for (band, floor), ceiling in zip(bands, ceilings, strict=True):
        replaced = field.map.get(band, field.default) if field.map else band
        if replaced is None:
            continue
        is_left = [f"({raw} < {floor!r} AND {distance(raw, repr(floor))} >= {margin!r})"]
        if ceiling is not None:
            is_left.append(f"({raw} >= {ceiling!r} AND {distance(raw, repr(ceiling))} >= {margin!r})")
        stays = f"{raw} IS NOT NULL AND NOT ({' OR '.join(is_left)})"
        cases.append(f"WHEN {old} = {sql.literal(replaced)} AND {stays} THEN {old}")
    return f"CASE {' '.join(cases)} ELSE {plain} END" if cases else plain
