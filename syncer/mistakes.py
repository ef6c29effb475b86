"""What pydantic found wrong, told as sentences of ours: a table from its error types, and a guess at typos."""

from __future__ import annotations

import datetime
import difflib
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from syncer.errors import Problem
from syncer.files import Document, Spot

_SENTENCES: Mapping[str, str] = {
    "string_type": "has to be {kind}, not {found}",
    "int_type": "has to be {kind}, not {found}",
    "int_from_float": "has to be {kind}, not {found}",
    "float_type": "has to be {kind}, not {found}",
    "bool_type": "has to be {kind}, not {found}",
    "dict_type": "has to be {kind}, not {found}",
    "model_type": "has to be {kind}, not {found}",
    "model_attributes_type": "has to be {kind}, not {found}",
    "list_type": "has to be {kind}, not {found}",
    "tuple_type": "has to be {kind}, not {found}",
    "date_type": "has to be {kind}, not {found}",
    "datetime_type": "has to be {kind}, not {found}",
    "literal_error": "has to be {expected}, not {found}",
    "enum": "has to be {expected}, not {found}",
    "greater_than": "has to be more than {gt:g}, not {found}",
    "greater_than_equal": "has to be {ge:g} or more, not {found}",
    "less_than": "has to be less than {lt:g}, not {found}",
    "less_than_equal": "has to be {le:g} or less, not {found}",
    "finite_number": "has to be a finite number",
    "string_too_short": "is shorter than {min_length} characters",
    "string_too_long": "is longer than {max_length} characters",
    "string_pattern_mismatch": "is not written as this setting wants it (it has to match {pattern})",
    "too_short": "needs {min_length} entries at least, and has {actual_length}",
    "too_long": "takes {max_length} entries at most, and has {actual_length}",
    "union_tag_not_found": "the setting `type` is missing; write {tags}",
    "union_tag_invalid": "`type` has to be {tags}, not {tag!r}",
}
"""pydantic's error type → sentence. Named parts come from the error; `kind`, `found` and `tags` from here."""

_KINDS: Mapping[str, str] = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "list_type": "a list",
    "tuple_type": "a list",
    "date_type": "a date",
    "datetime_type": "a time",
}
"""Errors of the wrong type, which a union reports once for each of its members, and what each would have."""

FALLBACK = "is not what this setting takes; `syncer schema` describes it"


def nearest(word: str, known: Iterable[str]) -> str:
    """What was probably meant by a typo; empty when nothing is near."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A guess at a typo, as the end of a sentence; empty when nothing is near."""
    near = nearest(word, known)
    return f" Did you mean `{near}`?" if near else ""


def one_of(words: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def problems_of(
    error: ValidationError, model: Any, document: Document, spot: Spot = (), told: Collection[Spot] = ()
) -> list[Problem]:
    """Every error of a validation of `document`'s value at `spot` against `model`, each place once.

    Nothing is said about the spots in `told`: what is wrong there is known already.
    """
    problems: dict[Spot, Problem] = {}
    wrong_types: dict[Spot, list[str]] = {}
    absent: set[Spot] = set()
    misspelt: set[Spot] = set()
    for one in error.errors(include_url=False):
        inside, annotation, table = _followed(model, one["loc"], document.value(spot))
        whole = (*spot, *inside)
        if whole in told:
            continue
        if kind := _KINDS.get(one["type"]):
            wrong_types.setdefault(whole, [])
            wrong_types[whole] += [kind] if kind not in wrong_types[whole] else []
            one["ctx"] = {"kind": one_of(wrong_types[whole])}
        at = whole
        if one["type"] == "missing":
            # Several settings may be missing from one table, and each of them is a problem of its own.
            at = (*whole, str(one["loc"][-1]))
            absent.add(at)
            sentence = _missing(at, table, annotation)
        elif one["type"] == "extra_forbidden":
            misspelt.add((*whole[:-1], nearest(str(whole[-1]), _settings_of(table))))
            sentence = _unknown(str(whole[-1]), table)
        else:
            hidden = any(whole[:end] in document.references for end in range(1, len(whole) + 1))
            sentence = _sentence(one, str(whole[-1] if whole else ""), annotation, hidden=hidden)
        problems[at] = document.problem(whole, sentence)
    # What is missing is there in truth, under a name with a typo: one mistake, one sentence.
    return [problem for at, problem in problems.items() if at not in absent & misspelt]


def _sentence(error: Any, name: str, annotation: Any, *, hidden: bool) -> str:
    sort, found, context = error["type"], error["input"], dict(error.get("ctx") or {})
    hidden = hidden or any(member in (SecretStr, SecretBytes) for member in _members(annotation))
    if sort == "value_error":
        return str(context["error"])
    if sort in ("list_type", "tuple_type") and isinstance(found, dict) and _table_of(annotation):
        return f"has to be written [[{name}]], with two brackets on each side"
    if context.get("min_length") == 1:
        return "must not be empty"
    sentence = _SENTENCES.get(sort)
    if sentence is None:
        # An adapter of others may use rules that the table does not have; their wording is pydantic's.
        return FALLBACK
    sentence = sentence.format(**context, found=shown(found, hidden=hidden), tags=one_of(_tags_of(annotation)))
    if sort == "literal_error" and isinstance(found, str) and not hidden:
        guess = did_you_mean(found, [str(word) for word in get_args(annotation)])
        sentence += f".{guess}" if guess else ""
    return sentence


def _missing(spot: Spot, table: Any, annotation: Any) -> str:
    name = str(spot[-1])
    section = ".".join(part for part in spot if isinstance(part, str))
    what = f"setting `{name}`"
    if any(_is_model(member) or get_origin(member) is dict for member in _members(annotation)):
        what = f"section [{section}]"
    if _table_of(annotation):
        what = f"section [[{section}]]"
    description = table.model_fields[name].description if _is_model(table) and name in table.model_fields else ""
    return f"the {what} is missing; add it. {description or ''}"


def _unknown(name: str, table: Any) -> str:
    known = _settings_of(table)
    guess = did_you_mean(name, known)
    if not guess and known:
        guess = f" There {'are' if len(known) > 1 else 'is'} {', '.join(f'`{word}`' for word in known)}."
    return f"`{name}` is not a setting here." + guess


def shown(value: Any, *, hidden: bool = False) -> str:
    """A value for a sentence; when it may be a secret, only what sort of value it is."""
    if isinstance(value, bool):
        return "true or false" if hidden else str(value).lower()
    if isinstance(value, str):
        return "the text that stands there" if hidden or len(value) > 60 else f"the text {value!r}"
    if isinstance(value, int | float):
        return "a number" if hidden else f"the number {value}"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, datetime.date | datetime.time):
        return "a date or time without quotes"
    return "this"


def _followed(model: Any, location: Sequence[str | int], value: Any) -> tuple[Spot, Any, Any]:
    """An error's location as a spot of the file, and the annotations of what is there and of the table around it.

    pydantic puts names of union members and validators between the keys; what is not in the value is left out.
    """
    spot: Spot = ()
    annotation, table = _without_none(model), None
    for part in location:
        if _is_in(part, value):
            value = value[part]
            spot = (*spot, part)
        elif member := _member(annotation, part):
            annotation = member
            continue
        elif part != location[-1]:
            continue
        annotation, table = _inner(annotation, part), annotation
    return spot, annotation, table


def _is_in(part: str | int, value: Any) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, Mapping) and part in value


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _inner(annotation: Any, part: str | int) -> Any:
    """The annotation of a model's setting, a table's value or a list's element; None when it has none."""
    if _is_model(annotation):
        setting = annotation.model_fields.get(str(part))
        return _without_none(setting.annotation) if setting else None
    arguments = get_args(annotation)
    if get_origin(annotation) in (dict, Mapping) and len(arguments) == 2:
        return _without_none(arguments[1])
    if get_origin(annotation) in (list, tuple) and arguments:
        return _without_none(arguments[0])
    return None


def _member(annotation: Any, tag: str | int) -> Any:
    """The model of a union that is told apart by its `type`."""
    for member in _members(annotation):
        setting = member.model_fields.get("type") if _is_model(member) else None
        if setting is not None and tag in get_args(setting.annotation):
            return member
    return None


def _tags_of(annotation: Any) -> list[str]:
    """What `type` may be in a union that is told apart by it."""
    models = [member for member in _members(annotation) if _is_model(member) and "type" in member.model_fields]
    return [f"{tag!r}" for model in models for tag in get_args(model.model_fields["type"].annotation)]


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    members = [member for member in _members(annotation) if member is not type(None)]
    return _without_none(members[0]) if len(members) == 1 and members[0] is not annotation else annotation


def _table_of(annotation: Any) -> bool:
    """Whether this is an array of tables."""
    inside = [_without_none(inner) for inner in get_args(annotation) if inner is not ...]
    return get_origin(annotation) in (list, tuple) and any(
        _is_model(one) for inner in inside for one in _members(inner)
    )


def _settings_of(annotation: Any) -> list[str]:
    """The settings that a table may have."""
    if not _is_model(annotation):
        return []
    return [
        name
        for name, setting in annotation.model_fields.items()
        if not (isinstance(setting.json_schema_extra, dict) and setting.json_schema_extra.get("hidden"))
    ]
