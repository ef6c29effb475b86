"""How lines lie on the page: a label with a sentence that hangs beside it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from syncer.report import words

NARROWEST_CELLS = 24
"""A sentence never gets less room than this, however long its label and narrow the terminal."""


def hanging(console: Console, label: Text, sentence: str | Text, *, indent: int = 2, gap: int = 2) -> None:
    """Print a label and a sentence; the sentence's further lines start below its first word."""
    start = indent + label.cell_len + gap
    text = sentence if isinstance(sentence, Text) else Text(words.sentence(sentence))
    for number, line in enumerate(text.wrap(console, max(NARROWEST_CELLS, console.width - start))):
        line.rstrip()
        before = Text.assemble(" " * indent, label, " " * gap) if number == 0 else Text(" " * start)
        console.print(before.append_text(line))


def indented(console: Console, sentence: str | Text, indent: int) -> None:
    """Print a sentence whose every line starts at the same column."""
    hanging(console, Text(), sentence, indent=indent, gap=0)
