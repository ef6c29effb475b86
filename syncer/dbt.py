"""What dbt Core made of a sync's source: whether the models that feed it, and their tests, succeeded.

Read are `run_results.json` (schema 4 to 6) and `manifest.json` (7 to 12; Fusion's 20 is the same), as dbt leaves them
in `target/`. https://docs.getdbt.com/reference/artifacts/run-results-json says what is in them.

A model that a sync reads from has to be among the results, because otherwise dbt did not make it. So have its tests,
except those that look at models which were left out as well. Of what is further upstream only what was run counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from syncer.errors import Problem, UserError
from syncer.files import read_text, shown_path
from syncer.mapping import Sync

SUCCEEDED = frozenset({"success", "pass", "warn", "no-op", "reused"})
"""`warn` is a test whose severity says that it stops nothing."""
MAKERS = frozenset({"build", "run", "test", "retry", "snapshot", "seed", "clone"})
"""Commands that make tables or test them; `dbt compile` calls what it has only compiled a success as well."""
_MODELS = frozenset({"model", "seed", "snapshot"})
_SCHEMA = re.compile(r"/(?P<artifact>run-results|manifest)/v(?P<version>\d+)(?:\.json)?$")
_KNOWN = {"run-results": range(4, 7), "manifest": (*range(7, 13), 20)}
_FILES = {"run-results": "run_results.json", "manifest": "manifest.json"}


Shape = TypeVar("Shape", bound=BaseModel)


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Metadata(_Loose):
    dbt_schema_version: str


class _Result(_Loose):
    unique_id: str
    status: str


class RunResults(_Loose):
    """What is read of `run_results.json`."""

    metadata: _Metadata
    results: list[_Result]
    args: dict[str, Any] = {}


class _DependsOn(_Loose):
    nodes: list[str] = []


class _Node(_Loose):
    name: str
    resource_type: str
    database: str | None = None
    schema_name: str | None = Field(default=None, alias="schema")
    alias: str | None = None
    depends_on: _DependsOn = _DependsOn()


class Manifest(_Loose):
    """What is read of `manifest.json`."""

    metadata: _Metadata
    nodes: dict[str, _Node]
    unit_tests: dict[str, _Node] = {}


def read_json(file: Path) -> Any:
    """The JSON of one of dbt's files. Raises UserError."""
    text = read_text(file, "dbt writes it into its target folder; run dbt, or correct the path.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise UserError([Problem(shown_path(file), "It is not JSON. Let dbt write it again.")]) from None


def run_results(document: Any, place: str = "") -> RunResults:
    """`run_results.json` as far as it is needed. Raises UserError."""
    found = _parsed(RunResults, document, "run-results", place)
    command = found.args.get("which") or found.args.get("rpc_method")
    if command is not None and command not in MAKERS:
        sentence = f"It is of `dbt {command}`, which makes and tests nothing. Take that of `dbt build`."
        raise UserError([Problem(place, sentence)])
    if found.args.get("empty"):
        raise UserError([Problem(place, "It is of a dbt run with --empty, whose tables hold no rows.")])
    return found


def manifest(document: Any, place: str = "") -> Manifest:
    """`manifest.json` as far as it is needed. Raises UserError."""
    return _parsed(Manifest, document, "manifest", place)


def _parsed(shape: type[Shape], document: Any, artifact: str, place: str) -> Shape:
    try:
        found = shape.model_validate(document)
    except ValidationError:
        found = None
    schema = _SCHEMA.search(getattr(getattr(found, "metadata", None), "dbt_schema_version", ""))
    if found is None or schema is None or schema["artifact"] != artifact:
        sentence = f"It is no {_FILES[artifact]} of dbt Core. Take the one that dbt wrote into its target folder."
        raise UserError([Problem(place or _FILES[artifact], sentence)])
    if int(schema["version"]) not in _KNOWN[artifact]:
        known = _KNOWN[artifact]
        sentence = f"It is of schema {schema['version']}, and this Syncer reads {known[0]} to {known[-1]}."
        raise UserError([Problem(place or _FILES[artifact], sentence)])
    return found


SKIPPED_LISTED_MAX = 3
"""More skipped tests than that are counted, when something that failed says why."""


def refuse_failed(sync: Sync, results: Sequence[RunResults], manifest: Manifest, dialect: str) -> None:
    """Raises UserError with everything of dbt's that fed this sync and did not succeed, or when nothing did."""
    statuses = {one.unique_id: one.status for found in results for one in found.results}
    models = _models_of(sync, manifest, dialect)
    failures = list(_failures(models, statuses, manifest))
    skipped = [name for name, what in failures if what == "skipped" and "test" in _kind(manifest, name)]
    is_told_in_one = len(skipped) > SKIPPED_LISTED_MAX and any(what != "skipped" for _, what in failures)
    problems = [
        Problem(sync.name, f"dbt {_kind(manifest, name)} {_name(manifest, name)}: {what}.")
        for name, what in failures
        if not (is_told_in_one and name in skipped)
    ]
    if is_told_in_one:
        problems.append(Problem(sync.name, f"dbt skipped {len(skipped)} tests because of that."))
    if problems:
        raise UserError([*problems, Problem(sync.name, "Nothing was sent. Mend that in dbt, and run it again.")])


def _failures(models: Sequence[str], statuses: Mapping[str, str], manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(unique id, what is wrong with it), upstream first."""
    upstream = _upstream(models, manifest)
    nodes = manifest.nodes | manifest.unit_tests
    for name in [*(one for one in upstream if one not in models), *models]:
        if name not in statuses and name in models:
            yield name, "it was not part of the dbt run"
        elif (status := statuses.get(name)) and status not in SUCCEEDED:
            yield name, status
    for name, node in nodes.items():
        tested = set(node.depends_on.nodes)
        if name not in manifest.unit_tests and node.resource_type != "test":
            continue
        if not tested & {*upstream, *models}:
            continue
        status = statuses.get(name)
        if status is None:
            is_due = node.resource_type == "test" and tested & set(models) and tested <= statuses.keys()
            if is_due:
                yield name, "it was not run; use `dbt build`, or hand over what `dbt test` found as well"
        elif status not in SUCCEEDED:
            yield name, status


def _upstream(models: Iterable[str], manifest: Manifest) -> list[str]:
    """Every model that others are made of, those next to the source of all first."""
    found: dict[str, None] = {}
    waiting = list(models)
    while waiting:
        name = waiting.pop()
        node = manifest.nodes.get(name)
        if node is None or node.resource_type not in _MODELS:
            continue
        for parent in node.depends_on.nodes:
            if parent not in found:
                found[parent] = None
                waiting.append(parent)
    return [name for name in reversed(found) if name in manifest.nodes]


def _models_of(sync: Sync, manifest: Manifest, dialect: str) -> list[str]:
    """The models that make what a sync reads. Raises UserError when there are none, or nobody can tell which."""
    by_table: dict[tuple[str, ...], list[str]] = {}
    for name, node in manifest.nodes.items():
        if node.resource_type in _MODELS:
            whole = tuple(part.lower() for part in (node.database, node.schema_name, node.alias or node.name) if part)
            for length in range(1, len(whole) + 1):
                by_table.setdefault(whole[-length:], []).append(name)
    tables = _tables_of(sync, dialect)
    found: list[str] = []
    for table in tables:
        made = by_table.get(table, [])
        if len(made) > 1:
            many = ", ".join(_name(manifest, one) for one in made)
            sentence = f"Several dbt models make a table {'.'.join(table)} ({many}). Write it with its schema."
            raise UserError([Problem(sync.name, sentence)])
        found += made
    if not found:
        named = ", ".join(".".join(table) for table in tables) or "its query"
        sentence = f"No dbt model of the manifest makes {named}, so nobody knows whether it is whole. Nothing was sent."
        raise UserError([Problem(sync.name, sentence)])
    return found


def _tables_of(sync: Sync, dialect: str) -> list[tuple[str, ...]]:
    """The tables that a sync reads, each as its parts in lower case."""
    if sync.source is not None:
        return [tuple(part.strip('`"').lower() for part in sync.source.replace("`", "").split("."))]
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.scope import traverse_scope

    try:
        scopes = traverse_scope(sqlglot.parse_one(sync.query or "", dialect=dialect))
    except SqlglotError:
        sentence = "Its query cannot be read well enough to say which tables it is made of. Make it a model of dbt."
        raise UserError([Problem(sync.name, sentence)]) from None
    tables = (one for scope in scopes for one in scope.sources.values() if isinstance(one, exp.Table))
    return list(dict.fromkeys(tuple(part.name.lower() for part in one.parts) for one in tables))


def _kind(manifest: Manifest, name: str) -> str:
    node = manifest.nodes.get(name) or manifest.unit_tests.get(name)
    return (node.resource_type if node else "node").replace("_", " ")


def _name(manifest: Manifest, name: str) -> str:
    node = manifest.nodes.get(name) or manifest.unit_tests.get(name)
    return node.name if node else name
