"""TOML files as values with places: which line a setting is on, and what its references to secrets stand for."""

from __future__ import annotations

import bisect
import contextlib
import contextvars
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from syncer.errors import Problem, UserError

Spot = tuple[str | int, ...]
"""Where a value is inside a file: table names, keys, and numbers of elements, from the outside in."""

DEPTH_MAX = 20
"""Tables and lists within each other; what a config needs is a third of it."""
SCRUBBED_MIN = 4
"""Characters from which on a resolved reference is looked for in sentences; shorter ones occur in any word."""


@dataclass(frozen=True, slots=True)
class Document:
    """A TOML file that was read: its values, the lines they are on, and which of them were references."""

    file: Path
    data: Mapping[str, Any]
    lines: Mapping[Spot, int] = field(repr=False)
    references: Mapping[Spot, str] = field(default_factory=dict)
    """Where a reference stood, and its text: `env:NAME` or `file:PATH`."""

    def value(self, spot: Spot) -> Any:
        """The value at a spot; None when there is nothing."""
        value: Any = self.data
        for part in spot:
            if isinstance(value, Mapping):
                value = value.get(str(part))
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def place(self, spot: Spot) -> str:
        """The spot for people: `config.toml:12 destinations.salesforce.login_url`."""
        line = next((self.lines[spot[:end]] for end in range(len(spot), 0, -1) if spot[:end] in self.lines), None)
        label = shown_path(self.file) + (f":{line}" if line else "")
        words = self._words(spot)
        return f"{label} {words}" if words else label

    def problem(self, spot: Spot, sentence: str) -> Problem:
        """What is wrong at a spot. The sentence gets its capital letter and full stop, and loses any secret."""
        return Problem(self.place(spot), as_sentence(self.without_secrets(sentence)))

    def _words(self, spot: Spot) -> str:
        """Dotted keys; an element of `[[sync]]` is called by its name, as in `sync contacts, fields.Score__c`."""
        words = ""
        for end, part in enumerate(spot, start=1):
            if isinstance(part, str):
                words += part if not words or words.endswith(", ") else f".{part}"
            elif isinstance(self.value(spot[:end]), Mapping):
                name = self.value((*spot[:end], "name"))
                words += f" {name if isinstance(name, str) and name else part + 1}, "
            else:
                words += f"[{part + 1}]"
        return words.removesuffix(", ")

    def without_secrets(self, sentence: str) -> str:
        """The sentence, with the reference wherever what it stands for had come into the text."""
        # Line by line, because a key of several lines may stand in a sentence in another form than in its file.
        lines = [
            (line, reference)
            for spot, reference in self.references.items()
            for line in str(self.value(spot)).splitlines()
            if len(line) >= SCRUBBED_MIN
        ]
        for line, reference in sorted(lines, key=lambda pair: -len(pair[0])):
            sentence = sentence.replace(line, reference)
        return sentence


def shown_path(file: Path) -> str:
    """A path for people: relative when it is below the folder they are in."""
    try:
        return str(file.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def as_sentence(text: str) -> str:
    """With a capital letter, where it begins with a plain word, and a full stop."""
    text = text.strip()
    if re.match(r"[a-z]+[\s,;]", text):
        text = text[0].upper() + text[1:]
    return text + ("" if text.endswith((".", "?", "!")) else ".")


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once, file by file as they came, and from the top of a file to its end."""

    def file_and_line(problem: Problem) -> tuple[str, int]:
        found = re.match(r"(.*?):(\d+)(?: |$)", problem.place)
        return (found[1], int(found[2])) if found else (problem.place, 0)

    each = list(dict.fromkeys(problems))
    files = list(dict.fromkeys(file_and_line(problem)[0] for problem in each))
    return sorted(each, key=lambda problem: (files.index(file_and_line(problem)[0]), file_and_line(problem)[1]))


_read: contextvars.ContextVar[set[Path] | None] = contextvars.ContextVar("read", default=None)


@contextlib.contextmanager
def noting() -> Iterator[set[Path]]:
    """Collect which files are read inside, also those that cannot be: what a config depends on."""
    read = set[Path]()
    token = _read.set(read)
    try:
        yield read
    finally:
        _read.reset(token)


def read_text(file: Path, missing: str) -> str:
    """The text of a file. Raises UserError with one problem; `missing` is the next step when it is not there."""
    read = _read.get()
    if read is not None:
        read.add(file)
    try:
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        sentence = f"There is no such file. {missing}"
    except IsADirectoryError:
        sentence = "It is a folder, and has to be a file."
    except PermissionError:
        sentence = "It cannot be read: permission denied. Give the user that runs Syncer the right to read it."
    except UnicodeDecodeError as error:
        sentence = f"It is not UTF-8 text (byte {error.start + 1} is the first that is not). Save it as UTF-8."
    except OSError as error:
        sentence = f"It cannot be read: {error.strerror or type(error).__name__}. Check the file and its disk."
    raise UserError([Problem(shown_path(file), sentence)])


def read(file: Path, missing: str) -> Document:
    """A TOML file with its lines. Raises UserError with one problem when it cannot be read or is not TOML."""
    text = read_text(file, missing)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError([_syntax_problem(file, text, str(error))]) from None
    except ValueError:
        raise UserError([_number_problem(file, text)]) from None
    except RecursionError:
        data = None
    if data is None or _is_deep(data):
        raise UserError([Problem(shown_path(file), "Its values are nested too deeply. Write them flat.")])
    return Document(file, data, _Scanner(text.replace("\r\n", "\n")).scan())


def _is_deep(data: Any) -> bool:
    """Whether there are tables and lists in each other deeper than in any file of ours; dotted names make them too."""
    level = [data]
    for _ in range(DEPTH_MAX):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [value for values in inner for value in values]
    return bool(level)


def resolved(document: Document) -> tuple[Document, dict[Spot, Problem]]:
    """The document with its references replaced by what they stand for, which is always text.

    `env:NAME` is an environment variable, `file:PATH` a file, relative to the document's folder, without its
    trailing line break. A reference that stands for nothing is a problem of its spot and stays as it is.
    """
    references: dict[Spot, str] = {}
    problems: dict[Spot, Problem] = {}

    def replaced(value: Any, spot: Spot) -> Any:
        if isinstance(value, dict):
            return {key: replaced(inner, (*spot, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [replaced(inner, (*spot, number)) for number, inner in enumerate(value)]
        if not isinstance(value, str) or not value.startswith(("env:", "file:")):
            return value
        references[spot] = value
        try:
            return _referenced(value, document.file.parent)
        except UserError as error:
            problems[spot] = document.problem(spot, str(error))
            return value

    data = replaced(document.data, ())
    return replace(document, data=data, references=references), problems


def _referenced(reference: str, folder: Path) -> str:
    """What a reference stands for. Raises UserError."""
    sort, _, name = reference.partition(":")
    if not name:
        raise UserError(f"{reference!r} names nothing. Write env:NAME or file:PATH.")
    if sort == "env":
        text = os.environ.get(name)
        if text is None:
            raise UserError(f"The environment variable {name} is not set. Set it and start again.")
        if not text:
            raise UserError(f"The environment variable {name} is empty. Give it its value.")
        return text
    file = folder / Path(name).expanduser()
    try:
        text = read_text(file, "Write it, or correct the path.")
    except UserError as error:
        raise UserError(f"The file {shown_path(file)} is needed. {error.problems[0].sentence}") from None
    text = text.rstrip("\r\n")
    if not text:
        raise UserError(f"The file {shown_path(file)} is empty. Write the value into it.")
    return text


_SYNTAX: tuple[tuple[str, str], ...] = (
    (r"Duplicate inline table key '(?P<name>.*)'", "{name} is named twice. Keep one of them."),
    (r"Cannot overwrite a value", "{name} is named twice. Keep one of them."),
    (
        r"Cannot (?:declare|mutate immutable namespace|redefine namespace) \((?P<section>.*)\)",
        "[{section}] is there twice. Keep one.",
    ),
    (r"Invalid value", 'what stands after `=` is not a value. Text needs quotes, as in "text".'),
    (r"Expected '=' after a key", "a setting is written as name = value, and the `=` is missing."),
    (r"Expected '\]", "the name of this section has no closing bracket."),
    (r"Expected newline or end of document", "something stands after the value. Write one setting per line."),
    (r"Unclosed array", "a list is not closed. Add the `]`."),
    (r"Unclosed inline table", "a table is not closed. Write { a = 1, b = 2 } on one line, with its `}`."),
    (r"Unterminated string|Illegal character '\\n'", "a text is not closed. Add the quote at its end."),
    (r"Unescaped '\\' in a string", "a backslash in double quotes has a meaning. Use single quotes, or write \\\\."),
    (r"Invalid hex value|Escaped character", "this \\u escape is no character. Write the character itself."),
    (r"Illegal character|Found invalid character", "a control character stands in the text. Take it out."),
    (r"Invalid statement|Invalid initial character", "this is neither a setting nor a section. Write name = value."),
    (r"Invalid date or datetime", "there is no such day or time. Correct it."),
)
"""What tomllib says → our sentence. `{name}` is the key on that line."""


def _syntax_problem(file: Path, text: str, message: str) -> Problem:
    found = re.fullmatch(
        r"(?P<what>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", message
    )
    what = found["what"] if found else message
    lines = text.splitlines()
    number = int(found["line"]) if found and found["line"] else max(1, len(lines))
    line = lines[number - 1] if number <= len(lines) else ""
    key = re.match(r"\s*([\w.-]+|\"[^\"]*\"|'[^']*')\s*=", line)
    for pattern, sentence in _SYNTAX:
        if told := re.match(pattern, what):
            parts = told.groupdict()
            name = parts.get("name") or (key[1].strip("\"'") if key else "")
            section = re.sub(r"', '", ".", parts.get("section") or "").strip("',")
            sentence = sentence.replace("{name}", f"`{name}`" if name else "a setting").replace("{section}", section)
            break
    else:
        sentence = "this is not TOML."
    where = f"At column {found['column']}" if found and found["column"] else "At the end of the file"
    return Problem(f"{shown_path(file)}:{number}", f"{where}, {sentence}")


def _number_problem(file: Path, text: str) -> Problem:
    """Python makes no number of thousands of digits, and tomllib does not say where it met one."""
    found = re.search(rf"[0-9_]{{{sys.get_int_max_str_digits()},}}", text)
    number = text.count("\n", 0, found.start()) + 1 if found else 1
    return Problem(f"{shown_path(file)}:{number}", "A number has more digits than can be read. Write a smaller one.")


class _Scanner:
    """Line numbers of all tables, keys and elements of a text that tomllib has accepted.

    tomllib keeps no positions. Because the text is known to be right, this needs no errors of its own: it only
    has to know where keys, strings and brackets end.
    """

    _BLANK = re.compile(r"(?:\s|#[^\n]*)*")
    _STRING = re.compile(
        r"""
        "{3} (?: \\[\s\S] | [^\\] )*? "{3} (?!")    # Several lines in double quotes,
        | '{3} [\s\S]*? '{3} (?!')                  # or in single ones, which know no escapes,
        | " (?: \\. | [^"\\] )* "                   # and the same on one line.
        | ' [^']* '
        """,
        re.VERBOSE,
    )
    _BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
    _OTHER = re.compile(r"[^,\]}#\n]*")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._elements: dict[Spot, int] = {}
        self._lines: dict[Spot, int] = {}

    def scan(self) -> dict[Spot, int]:
        """Spot → line, counted from 1."""
        table: Spot = ()
        self._skip_blank()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip_blank()
        return self._lines

    def _header(self) -> Spot:
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        line = self._line()
        self._at += brackets
        names = list(self._key())
        self._skip_blank()
        self._at += brackets
        spot: Spot = ()
        for name in names[:-1]:
            spot = self._newest((*spot, name))
            self._lines.setdefault(spot, line)
        spot = (*spot, names[-1])
        if brackets == 2:
            self._lines.setdefault(spot, line)
            self._elements[spot] = self._elements.get(spot, 0) + 1
            spot = self._newest(spot)
        self._lines[spot] = line
        return spot

    def _newest(self, spot: Spot) -> Spot:
        """A name inside a header means the newest element, where it is an array of tables."""
        return (*spot, self._elements[spot] - 1) if spot in self._elements else spot

    def _pair(self, table: Spot) -> None:
        spot = table
        line = self._line()
        for name in self._key():
            spot = (*spot, name)
            self._lines.setdefault(spot, line)
        self._skip_blank()
        self._at += 1  # The equals sign.
        self._value(spot)

    def _key(self) -> Iterator[str]:
        while True:
            self._skip_blank()
            if quoted := self._STRING.match(self._text, self._at):
                self._at = quoted.end()
                yield tomllib.loads(f"text = {quoted[0]}")["text"]
            else:
                bare = self._BARE_KEY.match(self._text, self._at)
                assert bare is not None  # noqa: S101 - tomllib has accepted this text.
                self._at = bare.end()
                yield bare[0]
            self._skip_blank()
            if not self._text.startswith(".", self._at):
                return
            self._at += 1

    def _value(self, spot: Spot) -> None:
        self._skip_blank()
        opening = self._text[self._at]
        if opening not in "[{":
            value = self._STRING.match(self._text, self._at) or self._OTHER.match(self._text, self._at)
            self._at = value.end() if value else self._at
            return
        closing = "]" if opening == "[" else "}"
        self._at += 1
        number = 0
        self._skip_blank()
        while self._text[self._at] != closing:
            if opening == "[":
                self._lines[(*spot, number)] = self._line()
                self._value((*spot, number))
            else:
                self._pair(spot)
            number += 1
            self._skip_blank()
            if self._text[self._at] == ",":
                self._at += 1
                self._skip_blank()
        self._at += 1

    def _skip_blank(self) -> None:
        blank = self._BLANK.match(self._text, self._at)
        self._at = blank.end() if blank else self._at

    def _line(self) -> int:
        return bisect.bisect_right(self._starts, self._at)
