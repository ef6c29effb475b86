"""A sync as values: what `mappings/DESTINATION.toml` says, validated, with nothing of the file left in it."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic import Field as Setting

from syncer.schedule import Schedule
from syncer.spans import seconds_of

FieldType = Literal["text", "integer", "number", "boolean", "date", "timestamp"]
Scalar = bool | int | float | str | datetime.date | datetime.datetime
"""A value written in a mapping file; TOML says which type it has."""

RELATE = "relate:"
"""How the name of a relation begins where it stands among fields; no field's own name may."""
SLOTS_MAX = 62
"""Fields that a sync may ever have had: one bit each in a 64-bit integer, which is signed."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Brakes(_Strict):
    """Limits that hold a plan before anything is sent. Shares are of 1; `max_age` is text like `36h`.

    A spread is the standard deviation of a field's accepted values, or a tenth of their mean, or a twentieth of their
    range, whichever is most.
    """

    changed_max: float = Setting(default=0.30, ge=0, le=1, description="Share of known records that a run may change.")
    removed_max: float = Setting(default=0.05, ge=0, le=1, description="Share of known records that a run may remove.")
    deleted_max: float = Setting(
        default=0.05,
        ge=0,
        le=1,
        description='Share of known records that a run may delete (removed = "delete"); left out, `removed_max` holds '
        "deletions where it is set.",
    )
    cleared_max: float = Setting(
        default=0.05, ge=0, le=1, description="Share of a field's values that a run may turn null."
    )
    unmapped_max: float = Setting(
        default=0.05,
        ge=0,
        le=1,
        description="Share of a field's values that a run may replace by `default` because `map` does not know them.",
    )
    bands_moved_max: float = Setting(
        default=0.30, ge=0, le=1, description="Share of known records that a run may move to another band of a field."
    )
    mean_shift_max: float = Setting(
        default=0.5, ge=0, description="How far a run may move the mean of a field, in spreads of its accepted values."
    )
    quantile_shift_max: float = Setting(
        default=0.5,
        ge=0,
        description="How far a run may move the 10th percentile, the median or the 90th of a field, in such spreads.",
    )
    edge_share_max: float = Setting(
        default=0.20, ge=0, le=1, description="Growth of the share of exact 0, or of exact 100, among a field's values."
    )
    invalid_max: float = Setting(
        default=0.20, ge=0, le=1, description="Share of the source's rows that may be invalid."
    )
    known_min: int = Setting(
        default=100, ge=0, description="Known records (rows, for invalid_max) below which no share or shift applies."
    )
    max_age: str | None = Setting(
        default="36h", description="Age of the source table above which a run is held as stale."
    )

    @model_validator(mode="after")
    def _age(self) -> Brakes:
        if self.max_age is not None:
            seconds_of(self.max_age)
        return self

    @property
    def are_open(self) -> bool:
        """Whether everything may change, go and turn null: nobody wants amounts to be judged then, so of the brakes on
        values only those hold that were set themselves."""
        return self.changed_max == self.removed_max == self.cleared_max == 1

    def judges(self, brake: str) -> bool:
        """Whether a brake on values holds anything."""
        return not self.are_open or brake in self.model_fields_set

    @property
    def deletions_max(self) -> float:
        """The limit of deletions: who has set one for removals has meant them too, until they get one of their own."""
        is_meant = "removed_max" in self.model_fields_set and "deleted_max" not in self.model_fields_set
        return self.removed_max if is_meant else self.deleted_max


class BrakeChanges(_Strict):
    """The brakes that a sync sets for itself; what is left out comes from the config."""

    changed_max: float | None = Setting(default=None, ge=0, le=1)
    removed_max: float | None = Setting(default=None, ge=0, le=1)
    deleted_max: float | None = Setting(default=None, ge=0, le=1)
    cleared_max: float | None = Setting(default=None, ge=0, le=1)
    unmapped_max: float | None = Setting(default=None, ge=0, le=1)
    bands_moved_max: float | None = Setting(default=None, ge=0, le=1)
    mean_shift_max: float | None = Setting(default=None, ge=0)
    quantile_shift_max: float | None = Setting(default=None, ge=0)
    edge_share_max: float | None = Setting(default=None, ge=0, le=1)
    invalid_max: float | None = Setting(default=None, ge=0, le=1)
    known_min: int | None = Setting(default=None, ge=0)
    max_age: str | None = None

    @model_validator(mode="after")
    def _age(self) -> BrakeChanges:
        if self.max_age is not None:
            seconds_of(self.max_age)
        return self

    def over(self, brakes: Brakes) -> Brakes:
        """The config's brakes with this sync's own put over them."""
        return brakes.model_copy(update=self.model_dump(exclude_none=True))


def _bands(value: Any) -> Any:
    """`{ cold = 0, warm = 40 }` in rising order, as pairs."""
    if not isinstance(value, dict):
        return value
    if not value:
        raise ValueError("needs at least one band, as in { cold = 0, warm = 40 }")
    pairs = []
    for name, floor in value.items():
        if isinstance(floor, bool) or not isinstance(floor, int | float) or not math.isfinite(floor):
            raise ValueError(f"the floor of band {name!r} has to be a number, not {floor!r}")
        pairs.append((str(name), float(floor)))
    floors = [floor for _, floor in pairs]
    if floors != sorted(set(floors)):
        raise ValueError("the floors have to rise from band to band, each one higher than the one before")
    return tuple(pairs)


class Field(_Strict):
    """One destination field and what it is made of. Steps, in order: type, digits, bands, map, default."""

    name: str = Setting(exclude=True, default="", json_schema_extra={"hidden": True})
    column: str | None = Setting(default=None, min_length=1, description="Source column.")
    value: Scalar | None = Setting(default=None, description="A constant instead of a column.")
    type: FieldType | None = Setting(default=None, description="Type at the destination; else the column's own.")
    digits: int | None = Setting(default=None, ge=0, le=15, description="Decimal digits kept of a number.")
    min_change: float | None = Setting(default=None, gt=0, description="Smallest difference that is worth sending.")
    bands: Annotated[
        tuple[tuple[str, float], ...] | None, BeforeValidator(_bands, json_schema_input_type=dict[str, float])
    ] = Setting(
        default=None,
        description="Name of band = lowest number that belongs to it, rising.",
        json_schema_extra={"minProperties": 1},
    )
    hysteresis: float | None = Setting(default=None, ge=0, description="How far past a border a band is left.")
    map: dict[str, Scalar] | None = Setting(default=None, min_length=1, description="Value = replacement.")
    null: Literal["clear", "skip"] = Setting(default="clear", description="What a null does at the destination.")
    default: Scalar | None = Setting(default=None, description="Stands for null, and for a value not in `map`.")
    compare: bool = Setting(default=True, description="false: sent along, never the reason to send.")
    sensitive: bool = Setting(default=False, description="true: never shown or logged.")
    on_drift: Literal["ours", "theirs"] = Setting(
        default="ours",
        description="Whose value stays when somebody has changed it at the destination: `verify --repair` writes ours "
        "again, or leaves theirs until the source's value changes.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Field:
        if (self.column is None) == (self.value is None):
            raise ValueError("needs either `column` or `value`, and not both")
        if self.hysteresis is not None and self.bands is None:
            raise ValueError("`hysteresis` needs `bands`")
        if self.bands is not None and self.type not in (None, "number", "integer"):
            raise ValueError(f"`bands` need a number, and `type` says {self.type!r}")
        if self.min_change is not None and (self.bands is not None or self.map is not None):
            raise ValueError("`min_change` compares numbers, so it goes with neither `bands` nor `map`")
        if self.min_change is not None and self.type not in (None, "number", "integer"):
            raise ValueError(f"`min_change` needs a number, and `type` says {self.type!r}")
        if self.digits is not None and self.type not in (None, "number"):
            raise ValueError(f"`digits` needs a number, and `type` says {self.type!r}")
        if self.column is None and (self.bands or self.map or self.min_change or self.digits is not None):
            raise ValueError("a constant `value` takes no `digits`, `bands`, `map` or `min_change`")
        return self


class Sync(_Strict):
    """One mapping of one source table to one object. `name` is whole: `salesforce.contacts`."""

    name: str
    destination: str
    source: str | None = None
    query: str | None = None
    where: str | None = None
    key: str
    object: str
    also: tuple[str, ...] = ()
    """Further objects of which a record may be one; it is looked for in this order, `object` first."""
    match: dict[str, str]
    missing: Literal["skip", "create"] = "skip"
    create_as: str | None = None
    """The object that `missing = "create"` makes, where there are several."""
    relate: dict[str, str] = {}
    """Name of a related object (`person`) = source column of its identifiers."""
    removed: Literal["keep", "clear", "delete"] = "keep"
    grace: int = 1
    """Runs in a row in which a row has to be gone before it counts as removed."""
    version: str | None = None
    rescore_rate: int | None = None
    """Re-scored records that one run sends at most; None for all of them."""
    fields: tuple[Field, ...]
    schedule: Schedule | None = None
    """Its own; None for that of the config."""
    brakes: Brakes
    approve: bool | int = False
    """Whether each plan waits for somebody's approval; a number: those of at least so many changes."""
    file: Path
    """Where it was read from, for sentences."""

    @property
    def compared(self) -> tuple[Field, ...]:
        """Everything that has a place in the state: the fields, and each relation as a field of its own."""
        return (*self.fields, *(Field(name=f"{RELATE}{name}", column=one) for name, one in self.relate.items()))

    def field(self, name: str) -> Field:
        """The field or relation of that name; KeyError when there is none."""
        for field in self.compared:
            if field.name == name:
                return field
        raise KeyError(name)

    @property
    def waits_for_the_gone(self) -> bool:
        """Whether a row that is gone is left alone for a while before it counts as removed."""
        return self.removed != "keep" and self.grace > 1

    @property
    def objects(self) -> tuple[str, ...]:
        """Every object of which a record may be one, in the order in which it is looked for."""
        return (self.object, *self.also)

    @property
    def record(self) -> str:
        """What a record is called in sentences: `Contact`, `Contact or Lead`."""
        return " or ".join(self.objects)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every source column that is needed, each once, the key first."""
        names = [self.key, *self.match.values(), *(field.column for field in self.fields if field.column)]
        names += self.relate.values()
        if self.version:
            names.append(self.version)
        return tuple(dict.fromkeys(names))
