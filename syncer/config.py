"""`config.toml` and its mapping files as values, or every mistake in all of them at once."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from syncer import files, mapping_files
from syncer.alerts.settings import Alert
from syncer.config_file import (
    BigQuerySource,
    ConfigFile,
    DatasetState,
    DeliveredLog,
    Delivery,
    DuckDBSource,
    History,
    LocalState,
    Log,
    Plans,
    Service,
)
from syncer.destination import Destination, DestinationSettings
from syncer.errors import Problem, Stopping, UserError
from syncer.files import Document, Spot
from syncer.mapping import Brakes, Sync
from syncer.mapping_files import Mappings, Written, check_name
from syncer.mistakes import did_you_mean, one_of, problems_of, shown
from syncer.ownership import refuse_shared_fields
from syncer.schedule import Schedule
from syncer.transport import Gate, Transport, is_loopback

Adapters = Callable[[str], type[Destination]]
"""Kind → adapter class; raises KeyError for an unknown kind."""
Kinds = Callable[[], Sequence[str]]
"""Every kind of destination that there is."""


@dataclass(frozen=True, slots=True)
class Configured:
    """One `[destinations.NAME]`."""

    name: str
    kind: str
    settings: DestinationSettings
    """Of the adapter's own `settings_type`."""


@dataclass(frozen=True, slots=True)
class Config:
    """All that the files say, validated; every path is absolute."""

    file: Path
    folder: Path
    source: DuckDBSource | BigQuerySource
    state: LocalState | DatasetState
    destinations: Mapping[str, Configured]
    syncs: tuple[Sync, ...]
    """Sorted by file, then as they stand in it."""
    schedule: Schedule
    """For syncs without their own."""
    brakes: Brakes
    service: Service
    delivery: Delivery
    plans: Plans = field(default_factory=Plans)
    written: tuple[Written, ...] = ()
    """Where each sync stands in its file."""
    document: Document | None = field(default=None, repr=False)
    """The config file itself."""
    history: History = field(default_factory=History)
    log: Log = field(default_factory=Log)
    alerts: tuple[Alert, ...] = ()
    delivered: DeliveredLog | None = None

    def shared_fields(self) -> list[Problem]:
        """Fields that two syncs write. `check` refuses them; a run goes on, because whose they are is for people."""
        return list(refuse_shared_fields(self.written))

    def problem(self, sync: Sync, place: str, sentence: str) -> Problem:
        """A problem at a path inside a sync (`fields.score`, `match`) or at a setting (`destinations.NAME.api_key`,
        `source.path`), with the file and line of it."""
        if self.document and place.startswith(("destinations.", "source.")):
            return self.document.problem(tuple(place.split(".", 2)), sentence)
        for written in self.written:
            if written.sync.name == sync.name:
                return written.problem(place, sentence)
        return Problem(f"sync {sync.name}, {place}" if place else f"sync {sync.name}", sentence)

    def setting_problem(self, place: str, sentence: str) -> Problem:
        """A problem at a setting of the config file (`state.control`), with its file and line."""
        return self.document.problem(tuple(place.split(".")), sentence) if self.document else Problem(place, sentence)

    def choose(self, names: Sequence[str]) -> tuple[Sync, ...]:
        """The syncs of these names, each whole (`salesforce.contacts`) or a destination's; no name means all.

        Raises UserError for all names that fit nothing. Their order is that of the files.
        """
        known = {sync.name for sync in self.syncs} | {sync.destination for sync in self.syncs}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise UserError([Problem("", self._nothing_called(name, known)) for name in unknown])
        return tuple(sync for sync in self.syncs if not names or {sync.name, sync.destination} & set(names))

    def _nothing_called(self, name: str, known: set[str]) -> str:
        if name in self.destinations:
            return f"The destination {name} has no syncs; write a mapping file for it."
        guess = did_you_mean(name, known)
        return f"There is no sync {name!r}." + (
            guess or f" The syncs are {', '.join(sync.name for sync in self.syncs)}."
        )


def load(file: Path, adapters: Adapters, kinds: Kinds) -> Config:
    """Read a config and its mapping files. Raises UserError with the problems of all of them.

    Asks nothing of any service; `adapters` and `kinds` find the classes that know what a destination takes.
    """
    file = file.absolute()
    folder = file.parent
    problems: list[Problem] = []
    try:
        document = files.read(file, "Run `syncer init` to write one to start from, or name another with --config.")
    except UserError as error:
        if not file.is_file():
            raise
        problems += error.problems
        document = None

    settings, destinations = None, dict[str, Configured | None]()
    if document is not None and not document.data:
        sentence = "It is empty. Run `syncer init DIR` in an empty folder to see what belongs into it."
        problems.append(Problem(files.shown_path(file), sentence))
        document = None
    if document is not None:
        document, told = files.resolved(document)
        told |= _addresses(document, told)
        settings, found = _settings(document, told)
        destinations, more = _destinations(document, told, adapters, kinds)
        problems += [*told.values(), *found, *more]

    mappings = mapping_files.read_all(
        folder / (settings.mappings if settings else _mappings_of(document)),
        settings.brakes if settings else Brakes(),
        settings.schedule if settings else Schedule(),
        folder,
        approve=settings.plans.approve if settings else False,
    )
    problems += mappings.problems
    if document is not None and settings is not None:
        problems += _nobody(settings.alerts, document, mappings)
    problems += _out_of_order(mappings, settings.schedule if settings else Schedule(), document)
    if document is not None:
        problems += _refusals(mappings, document, destinations, adapters)
    if problems or settings is None:
        raise UserError(files.in_order(problems))
    return Config(
        file=file,
        folder=folder,
        source=settings.source,
        state=settings.state.model_copy(update={"path": folder / settings.state.path}),
        destinations={name: configured for name, configured in destinations.items() if configured},
        syncs=tuple(written.sync for written in mappings.written),
        schedule=settings.schedule,
        brakes=settings.brakes,
        service=settings.service,
        delivery=settings.delivery,
        plans=settings.plans,
        history=settings.history,
        log=settings.log,
        alerts=settings.alerts,
        delivered=settings.delivered,
        written=mappings.written,
        document=document,
    )


def _settings(document: Document, told: Mapping[Spot, Problem]) -> tuple[ConfigFile | None, list[Problem]]:
    """All sections but what is inside a destination's."""
    try:
        return ConfigFile.model_validate(document.data, context={"folder": document.file.parent}), []
    except ValidationError as error:
        return None, problems_of(error, ConfigFile, document, told=told)


def _mappings_of(document: Document | None) -> str:
    """The folder of the mapping files when something else in the config is wrong: they are read all the same."""
    name = document.data.get("mappings") if document else None
    return name if isinstance(name, str) and name else "mappings"


def _destinations(
    document: Document, told: Mapping[Spot, Problem], adapters: Adapters, kinds: Kinds
) -> tuple[dict[str, Configured | None], list[Problem]]:
    """Every `[destinations.NAME]`; None for one that has problems."""
    configured: dict[str, Configured | None] = {}
    problems: list[Problem] = []
    sections = document.data.get("destinations")
    for name, section in sections.items() if isinstance(sections, dict) else []:
        spot: Spot = ("destinations", name)
        configured[name] = None
        if not isinstance(section, dict):
            continue  # The validation of the whole has said that it has to be a table.
        try:
            check_name(name)
        except ValueError as error:
            problems.append(document.problem(spot, str(error)))
        kind = section.get("type", name)
        if not isinstance(kind, str):
            problems.append(document.problem((*spot, "type"), f"has to be a text, not {shown(kind)}"))
            continue
        try:
            adapter = adapters(kind)
        except KeyError:
            at = (*spot, "type") if "type" in section else spot
            problems.append(document.problem(at, _unknown_kind(kind, kinds(), is_written="type" in section)))
            continue
        except (ImportError, TypeError) as error:
            sentence = f"the adapter {kind!r} cannot be used ({error}); ask whoever made its package"
            problems.append(document.problem(spot, sentence))
            continue
        try:
            settings = adapter.settings_type.model_validate(section)
        except ValidationError as error:
            problems += problems_of(error, adapter.settings_type, document, spot, told)
            continue
        configured[name] = Configured(name, kind, settings.model_copy(update={"type": kind}))
    return configured, problems


def _unknown_kind(kind: str, kinds: Sequence[str], *, is_written: bool) -> str:
    guess = did_you_mean(kind, kinds) or f" There are {one_of(list(kinds)).replace(' or ', ' and ')}."
    if is_written:
        return f"{kind!r} is not a kind of destination.{guess}"
    return f"{kind!r} is not a kind of destination, so the section needs a `type`.{guess}"


def _addresses(document: Document, told: Mapping[Spot, Problem]) -> dict[Spot, Problem]:
    """What is wrong with addresses, wherever they are: settings called `endpoint`, or whose names end in `_url`."""
    return {
        spot: document.problem(spot, sentence)
        for spot, text in _texts(document.data, ())
        if re.search(r"(^|_)(url|endpoint)$", str(spot[-1]))
        and spot not in (("service", "url"), *told)
        and (sentence := _wrong_address(text))
    }


def _texts(value: Any, spot: Spot) -> Iterator[tuple[Spot, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*spot, key))
    elif isinstance(value, str):
        yield spot, value


def _wrong_address(text: str) -> str:
    """What is wrong with an address; empty when nothing is. Says the host at most: the rest may be a secret."""
    try:
        address = urlsplit(text)
        host, _ = address.hostname or "", address.port
    except ValueError:
        return "is not an address; write one as https://host.example.com"
    if address.scheme not in ("https", "http") or not host or re.search(r"\s", text):
        return "is not a whole address; write one as https://host.example.com"
    if "@" in address.netloc:
        return "has a user name or password in it; take it out, there are settings for it"
    if address.scheme == "http" and not is_loopback(host):
        return f"plain http is allowed for this machine only (localhost, 127.0.0.1) and not for {host}; write https"
    return ""


def _nobody(alerts: Sequence[Alert], document: Document, mappings: Mappings) -> Iterator[Problem]:
    """Alerts for syncs that are not there."""
    names = {written.sync.name for written in mappings.written}
    known = names | {name.partition(".")[0] for name in names}
    for number, alert in enumerate(alerts):
        for name in alert.syncs if known else ():
            if name not in known:
                guess = did_you_mean(name, known) or f" There are {', '.join(sorted(known))}."
                yield document.problem(("alerts", number, "syncs"), f"there is no sync {name!r}.{guess}")


def _refusals(
    mappings: Mappings, document: Document, destinations: Mapping[str, Configured | None], adapters: Adapters
) -> Iterator[Problem]:
    """What is wrong between the files: destinations that are not configured, and what adapters refuse."""
    for mapping, name in mappings.destinations:
        if destinations and name not in destinations:
            guess = did_you_mean(name, destinations) or f" Add the section [destinations.{name}] to it."
            place = files.shown_path(document.file)
            yield mapping.problem(("destination",), f"{place} has no destination {name!r}.{guess}")
    silent = {
        name: _silent(adapters(configured.kind), configured) for name, configured in destinations.items() if configured
    }
    for written in mappings.written:
        destination = silent.get(written.sync.destination)
        if destination is None:
            continue
        for problem in (*_refused_of_all(written.sync, destination), *destination.refuse(written.sync)):
            # A setting's secret may have found its way into an adapter's sentence; the config knows them all.
            sentence = document.without_secrets(problem.sentence)
            yield written.problem(problem.place, sentence)


def _out_of_order(mappings: Mappings, general: Schedule, document: Document | None) -> Iterator[Problem]:
    """Schedules that wait for a sync that is not there, or for themselves by way of others."""
    parents = {one.sync.name: (one.sync.schedule or general).after or () for one in mappings.written}
    for written in mappings.written:
        name, own = written.sync.name, written.sync.schedule

        def problem(sentence: str, written: Written = written, *, is_own: bool = own is not None) -> Problem:
            if is_own or document is None:
                return written.problem("schedule.after", sentence)
            return document.problem(("schedule", "after"), sentence)

        for parent in parents[name]:
            if parent not in parents:
                guess = did_you_mean(parent, parents) or f" The syncs are {', '.join(parents)}."
                yield problem(f"there is no sync {parent!r}.{guess}")
        if circle := _circle(name, parents):
            sentence = f"{name} would wait for itself ({' after '.join(circle)}); take one of them out"
            yield problem(f"{sentence}, or give it a schedule of its own" if own is None else sentence)


def _circle(name: str, parents: Mapping[str, Sequence[str]]) -> list[str]:
    """The way from a sync back to itself; empty when there is none."""
    ways = [[name, parent] for parent in parents[name]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        if way[-1] == name:
            return way
        if way[-1] not in seen:
            seen.add(way[-1])
            ways += [[*way, parent] for parent in parents.get(way[-1], ())]
    return []


def _refused_of_all(sync: Sync, destination: Destination) -> Iterator[Problem]:
    """What a mapping may ask of some destinations only."""
    if sync.also and not destination.takes_several_objects:
        yield Problem("object", f"a record at {destination.title} is of one object; name one, and make a sync for each")
    if sync.relate and not destination.relates:
        yield Problem("relate", f"{destination.title} relates no records to each other; take it out")


class _Shut(Gate):
    """A gate that lets nothing through."""

    def __init__(self) -> None:
        """No pace is kept, and so no thread is started that would watch over it."""

    def pass_through(self, stop: threading.Event) -> bool:
        raise Stopping


def _silent(adapter: type[Destination], configured: Configured) -> Destination:
    """A destination that can judge a mapping and cannot ask its service anything."""
    transport = Transport(_Shut(), title=adapter.title, stop=threading.Event())
    return adapter(configured.name, configured.settings, transport)
