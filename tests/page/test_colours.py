"""The colours of the page: every pair that is read together has contrast enough, in the light and in the dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import syncer

SHEET = (Path(syncer.__file__).parent / "service" / "page" / "page.css").read_text()
READ = [
    *((ink, paper) for ink in ("ink", "soft", "accent", "bad", "warn", "good", "busy") for paper in ("card", "paper")),
    *((tone, f"{tone}-back") for tone in ("good", "bad", "warn", "busy")),
    *(("soft", "idle-back"), ("soft", "hover"), ("ink", "hover")),
    *(("on-accent", "accent"), ("card", "bad"), ("paper", "ink")),
]
SEEN = [(ink, "card") for ink in ("accepted", "rejected", "deferred", "unsent", "before", "accent")]


def tokens(scheme: str) -> dict[str, str]:
    """Name → colour."""
    light, dark = re.findall(r":root \{(.*?)\}", SHEET, re.DOTALL)
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+);", light))
    return found if scheme == "light" else found | dict(re.findall(r"--([\w-]+): (#[0-9a-f]+);", dark))


def luminance(colour: str) -> float:
    """Relative luminance, as https://www.w3.org/TR/WCAG22/#dfn-relative-luminance has it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """From 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_apart(scheme: str) -> None:
    """Words stand out by 4.5 to 1, and what plots are drawn with by 3 to 1."""
    named = tokens(scheme)
    weak = {
        f"{ink} on {paper}": round(contrast(named[ink], named[paper]), 2)
        for pairs, least in ((READ, 4.5), (SEEN, 3.0))
        for ink, paper in pairs
        if contrast(named[ink], named[paper]) < least
    }

    assert {} == weak
