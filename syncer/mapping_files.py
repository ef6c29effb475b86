"""The mapping files: how a `[[sync]]` is written, and the syncs that they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator, model_validator
from pydantic import Field as Setting

from syncer import files
from syncer.errors import Problem, UserError
from syncer.files import Document, Spot
from syncer.mapping import RELATE, SLOTS_MAX, BrakeChanges, Brakes, Field, Sync
from syncer.mistakes import problems_of, shown
from syncer.schedule import Schedule, parse

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
"""Names of destinations and syncs: they become names of files and of metrics."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def check_name(name: str) -> str:
    """The name of a destination or sync as it is. Raises ValueError with a sentence."""
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{name!r} cannot be a name; use up to 64 letters, digits, `_` and `-`, as in contacts")
    return name


def _field_table(value: Any) -> Any:
    """A field that is only the name of a column, as the table it stands for."""
    if isinstance(value, str):
        return {"column": value}
    if not isinstance(value, dict):
        raise ValueError(f'has to be the name of a column or a table as {{ column = "score" }}, not {shown(value)}')
    if "name" in value:
        raise ValueError("`name` is not an option of a field; its name stands before the equals sign")
    return value


def _objects(value: Any) -> Any:
    """One object, or several of which a record may be one."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f'has to be a name as "Contact" or a list of names, not {shown(value)}')
    if not value or len(set(value)) < len(value):
        raise ValueError("has to name at least one object, and each only once")
    return tuple(value)


_Names = Annotated[list[str], Setting(min_length=1, json_schema_extra={"uniqueItems": True})]


def _schedule(value: Any) -> Any:
    """A schedule of one line, as what it means; a table goes on to its model."""
    if isinstance(value, str):
        return parse(value)
    if not isinstance(value, dict):
        raise ValueError(f'has to be a text as "15m" or "30 6 * * *", or a table, not {shown(value)}')
    if not {"every", "cron", "when", "after"} & value.keys():
        raise ValueError("needs `every`, `cron`, `when` or `after`")
    return value


class SyncTable(_Strict):
    """One `[[sync]]` as it is written."""

    name: str = Setting(
        description="Name of the sync; with the destination in front it is whole: salesforce.contacts.",
        json_schema_extra={"pattern": f"^{NAME}$"},
    )
    source: str | None = Setting(default=None, min_length=1, description="Table or view to read.")
    query: str | None = Setting(default=None, min_length=1, description="SQL to read instead of a table.")
    query_file: str | None = Setting(
        default=None, min_length=1, description="File that holds the query, relative to the config file."
    )
    where: str | None = Setting(default=None, min_length=1, description="SQL condition that a row has to meet.")
    key: str = Setting(min_length=1, description="Source column that identifies a row, unique and never null.")
    object: Annotated[
        tuple[Annotated[str, Setting(min_length=1)], ...],
        BeforeValidator(_objects, json_schema_input_type=str | _Names),
    ] = Setting(
        description="What kind of record at the destination, as Contact; several of which a record may be one, where "
        'the destination can look for it, as ["Contact", "Lead"].'
    )
    match: dict[str, Annotated[str, Setting(min_length=1)]] = Setting(
        description="How the record is found: destination identifier = source column.",
        json_schema_extra={"minProperties": 1},
    )
    missing: Literal["skip", "create"] = Setting(
        default="skip", description="What happens when there is no such record."
    )
    create_as: str | None = Setting(
        default=None, min_length=1, description="The object that is created, where `object` names several."
    )
    relate: dict[str, Annotated[str, Setting(min_length=1)]] = Setting(
        default={},
        description="Related object at the destination = source column of its identifier, or of a list of them.",
    )
    removed: Literal["keep", "clear", "delete"] = Setting(
        default="keep", description="What happens when the row is gone from the source; clear nulls our fields."
    )
    grace: int = Setting(
        default=1, ge=1, description="Runs in a row in which a row has to be gone before it counts as removed."
    )
    version: str | None = Setting(
        default=None, min_length=1, description="Source column; rows whose version moved are counted as re-scored."
    )
    rescore_rate: int | None = Setting(
        default=None,
        ge=1,
        description="Re-scored records that one run sends at most, after all others; the next runs send the rest.",
    )
    schedule: Annotated[Schedule | None, BeforeValidator(_schedule, json_schema_input_type=str | Schedule)] = Setting(
        default=None, description="When it runs: a span as 15m, a cron text, or a table as [schedule] in the config."
    )
    approve: bool | Annotated[int, Setting(ge=1)] | None = Setting(
        default=None,
        description="true: each plan waits until somebody approves it; a number: plans of at least so many changes.",
    )
    brakes: BrakeChanges = Setting(default=BrakeChanges(), description="Limits of its own over those of the config.")
    fields: dict[str, Annotated[Field, BeforeValidator(_field_table, json_schema_input_type=str | Field)]] = Setting(
        description="Destination field = source column, or a table of options.",
        json_schema_extra={
            "minProperties": 1,
            "maxProperties": SLOTS_MAX,
            "propertyNames": {"pattern": f"^(?!{RELATE})"},
        },
    )

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        return check_name(name)

    @field_validator("match")
    @classmethod
    def _match(cls, match: dict[str, str]) -> dict[str, str]:
        if not match or "" in match:
            raise ValueError('needs an identifier and its column, as in { email = "email" }')
        return match

    @field_validator("fields")
    @classmethod
    def _fields(cls, fields: dict[str, Field]) -> dict[str, Field]:
        if not fields:
            raise ValueError('is empty, so nothing would be sent; write destination field = "column"')
        if "" in fields:
            raise ValueError('has a field without a name; write destination field = "column"')
        if related := [name for name in fields if name.startswith(RELATE)]:
            raise ValueError(f"has a field {related[0]!r}, and such names belong to `relate`; choose another one")
        if len(fields) > SLOTS_MAX:
            raise ValueError(f"has {len(fields)} fields, and {SLOTS_MAX} is the most; make two syncs of it")
        return fields

    @model_validator(mode="after")
    def _created_as(self) -> SyncTable:
        if self.create_as is None:
            if len(self.object) > 1 and self.missing == "create":
                raise ValueError(f'needs `create_as`, one of {", ".join(self.object)}, because missing = "create"')
        elif len(self.object) == 1 or self.missing != "create":
            raise ValueError('`create_as` is for several objects and missing = "create"; take it out')
        elif self.create_as not in self.object:
            raise ValueError(f"`create_as` has to be one of {', '.join(self.object)}")
        return self

    @model_validator(mode="after")
    def _patient(self) -> SyncTable:
        if self.grace > 1 and self.removed == "keep":
            raise ValueError('`grace` is for rows that are gone, and nothing is done with them while removed = "keep"')
        return self

    @model_validator(mode="after")
    def _paced(self) -> SyncTable:
        if self.rescore_rate is not None and self.version is None:
            raise ValueError("`rescore_rate` needs `version`: without it no record is known to be re-scored")
        return self

    @model_validator(mode="after")
    def _slots(self) -> SyncTable:
        if len(self.fields) + len(self.relate) > SLOTS_MAX:
            raise ValueError(f"has more than {SLOTS_MAX} fields and relations; make two syncs of it")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> SyncTable:
        if sum(text is not None for text in (self.source, self.query, self.query_file)) != 1:
            raise ValueError("needs exactly one of `source`, `query` and `query_file`")
        return self


class MappingFile(_Strict):
    """A mapping file as it is written."""

    destination: str = Setting(min_length=1, description="Name of the destination in the config.")
    sync: list[SyncTable] = Setting(min_length=1, description="The syncs to this destination.")


@dataclass(frozen=True, slots=True)
class Written:
    """A sync and where it is written, for what is found wrong with it later."""

    sync: Sync
    document: Document
    spot: Spot

    def problem(self, place: str, sentence: str) -> Problem:
        """A problem at a path inside the sync, as an adapter tells it: `fields.Score__c`, `match`."""
        spot = self.spot
        while place:
            table = self.document.value(spot)
            # Names of fields may have dots in them, so the longest one that fits is meant.
            names = [str(name) for name in table] if isinstance(table, dict) else []
            fitting = [name for name in names if place == name or place.startswith(f"{name}.")]
            name = max(fitting, key=len, default=place)
            spot = (*spot, name)
            place = place[len(name) + 1 :]
        return self.document.problem(spot, sentence)


@dataclass(frozen=True, slots=True)
class Mappings:
    """Everything that the mapping files say, and everything that is wrong with them."""

    written: tuple[Written, ...]
    destinations: tuple[tuple[Document, str], ...]
    """Each file, and the destination that it names."""
    problems: tuple[Problem, ...]


def read_all(
    folder: Path, brakes: Brakes, schedule: Schedule, home: Path | None = None, *, approve: bool | int = False
) -> Mappings:
    """Every `*.toml` of a folder, sorted by name; `home` is the config file's folder, the one above when left out.

    `brakes`, `schedule` and `approve` are the config's, for syncs that say nothing else.
    Raises nothing for what people write: it is in `problems`.
    """
    written: list[Written] = []
    destinations: list[tuple[Document, str]] = []
    problems: list[Problem] = []
    # Hidden files are an editor's, who keeps its own notes about a file beside it.
    paths = sorted(path for path in folder.glob("*.toml") if not path.name.startswith("."))
    if not paths:
        what = "holds no *.toml file" if folder.is_dir() else "is not a folder"
        sentence = f"{what}; a mapping file says which columns go where, and `syncer init DIR` writes examples."
        problems.append(Problem(files.shown_path(folder), files.as_sentence(sentence)))
    for path in paths:
        try:
            document = files.read(path, "Write it.")
        except UserError as error:
            problems += error.problems
            continue
        if not document.data:
            problems.append(
                document.problem((), "it is empty; name its destination and write a [[sync]], or remove it")
            )
            continue
        try:
            MappingFile.model_validate(document.data)
        except ValidationError as error:
            problems += problems_of(error, MappingFile, document)
        destination = document.data.get("destination")
        if not isinstance(destination, str) or not destination:
            continue
        destinations.append((document, destination))
        for item in _syncs_of(document, destination, brakes, schedule, home or folder.parent, approve):
            if isinstance(item, Written):
                written.append(item)
            else:
                problems.append(item)
    return Mappings(tuple(written), tuple(destinations), (*problems, *_twice(written)))


def _syncs_of(
    document: Document, destination: str, brakes: Brakes, schedule: Schedule, home: Path, approve: bool | int
) -> Iterator[Written | Problem]:
    tables = document.data.get("sync")
    for number, data in enumerate(tables if isinstance(tables, list) else []):
        spot: Spot = ("sync", number)
        try:
            table = SyncTable.model_validate(data)
        except ValidationError:
            continue  # Told already; the other syncs of the file may have mistakes of another sort.
        query = table.query
        if table.query_file is not None:
            try:
                query = files.read_text(_query_file(document, home, table.query_file), "Write it, or correct the path.")
            except UserError as error:
                yield document.problem((*spot, "query_file"), str(error))
                continue
            if not query.strip():
                yield document.problem((*spot, "query_file"), f"the file {table.query_file} is empty; write the query")
                continue
        sync = Sync(
            name=f"{destination}.{table.name}",
            destination=destination,
            source=table.source,
            # What follows a semicolon is another statement, and nothing follows the last one.
            query=query.rstrip().rstrip(";") if query else None,
            where=table.where,
            key=table.key,
            object=table.object[0],
            also=table.object[1:],
            match=table.match,
            missing=table.missing,
            create_as=table.create_as,
            relate=table.relate,
            removed=table.removed,
            grace=table.grace,
            version=table.version,
            rescore_rate=table.rescore_rate,
            fields=tuple(field.model_copy(update={"name": name}) for name, field in table.fields.items()),
            schedule=_schedule_in(table.schedule, schedule),
            brakes=table.brakes.over(brakes),
            approve=approve if table.approve is None else table.approve,
            file=document.file,
        )
        yield Written(sync, document, spot)


def _query_file(document: Document, home: Path, name: str) -> Path:
    """Relative to the config file, as all paths are; beside the mapping file is where people put it as well."""
    folders = (home, document.file.parent)
    return next((folder / name for folder in folders if (folder / name).exists()), folders[0] / name)


def _schedule_in(schedule: Schedule | None, general: Schedule) -> Schedule | None:
    """A sync's own schedule, which takes over what goes for all: the time zone, quiet hours and jitter."""
    if schedule is None:
        return None
    inherited = {"timezone", "quiet", "jitter"} - schedule.model_fields_set
    return schedule.model_copy(update={name: getattr(general, name) for name in inherited})


def _twice(written: list[Written]) -> Iterator[Problem]:
    """Two syncs of one name. Case does not tell them apart, because it does not tell files apart everywhere."""
    first: dict[str, Written] = {}
    for one in written:
        other = first.setdefault(one.sync.name.casefold(), one)
        if other is not one:
            where = other.document.place(other.spot).split(" ")[0]
            yield one.document.problem(
                (*one.spot, "name"), f"there are two syncs of the name {one.sync.name}; the other is at {where}"
            )
