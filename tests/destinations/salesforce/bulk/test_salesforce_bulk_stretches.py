"""Files of batches that are too large to be held: by columns the same is written, and found again, as one by one."""

from __future__ import annotations

import datetime
import io
from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest

from destinations import salesforce
from destinations.salesforce_parts import bulk_query, lines, seeking
from destinations.salesforce_parts.collections import Row
from destinations.salesforce_parts.csv_rows import UnreadableFile, encoded, header_bytes
from destinations.salesforce_parts.ingest import Task
from destinations.salesforce_parts.soql import Identifier
from destinations.salesforce_parts.stretches import Keyed, loaded
from destinations.standins.salesforce import SalesforceStandIn
from syncer.change import Change, Outcome, Value
from syncer.mapping import Field
from syncer.scratch import Scratch
from syncer.testing.stretches import stretch
from tests.destinations.salesforce.bulk.rig import (
    BOTH,
    CREATING,
    Pushed,
    Stretched,
    accepted,
    is_step,
    people,
    steps,
    uploads,
)
from tests.destinations.salesforce.rig import BY_EMAIL, BY_USER_ID, Open, a_change, a_sync, for_user, openings, sent

MOMENT = datetime.datetime(2026, 2, 28, 23, 59, 58, 500_000, tzinfo=datetime.UTC)
VALUES: dict[str, Sequence[Value]] = {
    "Text": [
        "",
        "plain",
        "two words",
        "a,b",
        'say "no"',
        "one\ntwo",
        "a\rb",
        " a",
        "a ",
        "Zoë",
        "\u00a0a",
        "a\u2003",
        "\t",
    ],
    "Number": [0.0, -0.0, 41.0, 0.1, 1e-7, 1e-5, 1e15, 1e16, 123456789.125, -2.5e20, 5e-324, 1.7e308],
    "Whole": [0, -1, 2**53 + 1],
    "Flag": [True, False],
    "Moment": [MOMENT, MOMENT.replace(microsecond=0), datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)],
    "Day": [datetime.date(2026, 2, 28), datetime.date(33, 1, 1)],
}
"""Field → values of its type."""
MATCHES = ["plain", " a b ", "A,B", 'say "no"', "Straße", "ÅNGSTRÖM", "#N/A?", "x" * 200]
SYNC = a_sync(fields=tuple(Field(name=name, column=name) for name in VALUES), missing="create")
IDENTIFIER = Identifier("Product_User_Id__c")


@pytest.fixture
def open_destination(standin: SalesforceStandIn) -> Iterator[Open]:
    yield from openings(standin, Stretched, pace=10_000)


def strange() -> list[Change]:
    """Changes of every value, in one field, beside a null, and alone."""
    changes = []
    for name, values in VALUES.items():
        for number, value in enumerate(values):
            for fields in ({name: value}, {name: value, "Text": "t", "Number": 1.5}, {name: value, "Whole": None}):
                match = f"{MATCHES[len(changes) % len(MATCHES)]} {len(changes)}"
                changes.append(Change(f"{name} {number}", "new", {IDENTIFIER.name: match}, fields, {}))
    return changes


def row(change: Change) -> Row:
    return Row(change, "Contact", change.fields, dict(change.match))


def test_a_file_by_columns_is_the_file_row_by_row() -> None:
    """Whatever the values are, and whichever of the fields leave, the bytes are the same, and so many were weighed."""
    changes = strange()
    # Both files have the columns in the order in which they are met first.
    changes.insert(
        0, Change("all", "new", {IDENTIFIER.name: "all"}, {name: ones[0] for name, ones in VALUES.items()}, {})
    )
    with stretch(SYNC, changes) as large:
        load = loaded(Task("upsert", "Contact", IDENTIFIER.name), Keyed.of(SYNC, IDENTIFIER, large)).load
        content = b"".join(load.content(Scratch()))
        texts = [text for piece in large.pieces() for text in lines.texts(IDENTIFIER, piece, 0).to_pylist()]

    assert encoded(IDENTIFIER.name, [row(change) for change in changes]).decode() == content.decode()
    assert len(content) == header_bytes(SYNC) + sum(len(text.encode()) for text in texts)


@pytest.mark.parametrize(
    "identifier",
    [Identifier("K"), Identifier("K", is_case_sensitive=True), Identifier("K", is_number=True), Identifier("Id")],
    ids=["text", "case", "number", "Id"],
)
@pytest.mark.parametrize(
    "texts",
    [
        ["Abc", "abc", "x.Y"],
        ["Abc ", "É", "ß", "a\tb"],
        ["5", "5.0", "05", "1e3", "no"],
        ["003000000000Abc"],
        ["003000000000AbcAAA", ""],
    ],
    ids=["plain", "strange", "numbers", "a short Id", "Ids"],
)
def test_keys_are_folded_as_one_by_one(identifier: Identifier, texts: list[str]) -> None:
    """By columns, the form in which two keys are equal is the same."""
    assert [identifier.fold(text) for text in texts] == lines.folded(identifier, pa.array(texts)).to_pylist()


@pytest.mark.parametrize("keys", ["abcdefgh", "abcabc", "aabbcdda", "zaaaaaaz", ""])
def test_keys_are_sought_piece_by_piece(monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    """Where a key is, and which are there twice, does not depend on how many are looked at at once."""
    monkeypatch.setattr(lines, "SEGMENT_KEYS", 3)
    column = pa.chunked_array([pa.array(list(keys[:2]), pa.string()), pa.array(list(keys[2:]), pa.string())])
    texts = pa.chunked_array([pa.array(["D", "nobody"]), pa.array(["a", "h"])])
    counts = Counter(keys)

    assert [place for place, key in enumerate(keys) if counts[key] > 1] == lines.repeated(column)
    found = lines.places(Identifier("K"), texts, column)
    assert [key if key in keys else None for key in ("d", "-", "a", "h")] == [
        None if place is None else keys[place] for place in found
    ]


def test_a_broken_file_of_results_is_read_up_to_where_it_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands before the fault is told, and then the fault; a row that is not whole is passed over."""
    monkeypatch.setattr(lines, "READ_BYTES", 64)
    whole = b'\xef\xbb\xbf"sf__Id","K"\n' + b'"003","a ""b"", \n c"\n"003"\n' + b'"003","d"\n' * 20
    told: list[str] = []

    def read() -> None:
        for part in lines.table(io.BytesIO(whole + b'"003","\xff"\n' * 30), ("K",)):
            told.extend(part["K"].to_pylist())

    with pytest.raises(UnreadableFile):
        read()

    assert ['a "b", \n c', *["d"] * (len(told) - 1)] == told
    assert 10 < len(told) <= 21


def test_a_stretch_is_halved_by_its_rows(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A file that is too large goes in pieces that have each row once, whatever rows were left out of it before."""
    standin.ingest.upload_bytes_max = 100
    changes = [for_user(number, LastName="#N/A" if number % 3 == 0 else f"N {number}") for number in range(20)]
    found = Pushed(open_destination().push(a_sync(**CREATING), changes))
    sent = [line.partition(",")[0] for file in uploads(standin) for line in file.splitlines()[1:] if len(file) <= 100]

    assert {
        change.key: "rejected reserved_text" if number % 3 == 0 else "accepted" for number, change in enumerate(changes)
    } == found.results
    assert sorted(change.match["Product_User_Id__c"] for n, change in enumerate(changes) if n % 3) == sorted(sent)


def test_rows_for_one_record_are_refused_and_the_removed_are_looked_up(
    standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Of a large batch neither of two rows for one record goes, and a row that is gone makes none."""
    standin.put("Contact", LastName="Old", Product_User_Id__c="here", Title="boss")
    changes = [
        a_change("a", {"Product_User_Id__c": "Twin"}, "new", LastName="A"),
        a_change("b", {"Product_User_Id__c": "here"}, "removed", Title=None),
        a_change("c", {"Product_User_Id__c": "gone"}, "removed", Title=None),
        a_change("d", {"Product_User_Id__c": "tWIN"}, "new", LastName="D"),
        a_change("e", {"Product_User_Id__c": "new"}, "new", LastName="E"),
    ]
    found = Pushed(open_destination().push(a_sync(match=BY_USER_ID, fields=BOTH, missing="create"), changes))

    assert {
        "a": "rejected ambiguous",
        "b": "accepted",
        "c": "accepted",
        "d": "rejected ambiguous",
        "e": "accepted",
    } == found.results
    assert {("Old", None), ("E", None)} == {(one["LastName"], one["Title"]) for one in standin.records("Contact")}


def test_what_every_one_is_told_alike_is_told_at_once(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Thousands that are accepted, or that never left, are told by their places and not one by one."""
    sync, changes = a_sync(**CREATING), [for_user(number, LastName="N") for number in range(50)]
    with stretch(sync, changes) as large:
        destination = super(Stretched, open_destination())
        yielded = list(destination.push(sync, large))
        job = next(iter(destination.push(sync, large)))
        resumed = list(destination.resume(sync, job.text, large))  # type: ignore[union-attr]  # The first is a job.

    assert [] == [one for one in (*yielded, *resumed) if isinstance(one, Outcome)]
    assert 2 == len(yielded)
    assert 1 == len(resumed)


# Look-ups


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query job is worth it for any number of look-ups."""
    monkeypatch.setattr(bulk_query, "QUERIES_WORTH", 0)
    monkeypatch.setattr(bulk_query, "LOOKS", -2)
    monkeypatch.setattr(bulk_query, "PAGE_ROWS", 3)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("missing", ["skip", "create"])
def test_records_of_a_stretch_are_looked_up_by_one_query(
    standin: SalesforceStandIn, open_destination: Open, missing: str
) -> None:
    """Of a large batch each change finds its record, none of two that could be meant is guessed at, and what is not
    there is made only where that is wanted, and never for a row that is gone."""
    for number in range(8):
        standin.put("Contact", LastName=f"Old {number}", Email=f"P{number}@Example.com")
    standin.put("Contact", LastName="Twin", Email="p3@example.com")
    standin.put("Contact", LastName="Stranger", Email="stranger@example.com")
    changes = [
        *people(5),
        a_change("gone", {"Email": "gone@example.com"}, "removed", Title=None),
        a_change("went", {"Email": "p6@example.com"}, "removed", LastName="Went"),
        a_change("new", {"Email": "new@example.com"}, "new", LastName="New"),
        a_change("one", {"Email": "two@example.com"}, "new", LastName="One"),
        a_change("two", {"Email": "TWO@example.com"}, "new", LastName="Two"),
        a_change("odd", {"Email": "p7@example.com"}, "new", LastName="#N/A"),
    ]
    found = Pushed(open_destination().push(a_sync(match=BY_EMAIL, fields=BOTH, missing=missing), changes))
    names = sorted(one["LastName"] for one in standin.records("Contact"))

    assert {
        **{f"u_{number}": "accepted" for number in range(5)},
        "u_3": "rejected ambiguous",
        "gone": "accepted",
        "went": "accepted",
        "new": "accepted" if missing == "create" else "rejected missing",
        "one": "rejected ambiguous",
        "two": "rejected ambiguous",
        "odd": "rejected reserved_text",
    } == found.results
    assert [] == sent(standin, "GET", "/query?")
    made = ["New"] if missing == "create" else []
    old = ["Old 3", "Old 5", "Old 7", "P 0", "P 1", "P 2", "P 4", "Stranger", "Twin", "Went"]
    assert sorted(old + made) == names
    assert ["create update", *(["create insert"] if made else [])] == [one for one in steps(standin) if "create" in one]


@pytest.mark.usefixtures("at_once")
def test_children_of_an_account_stand_side_by_side(standin: SalesforceStandIn, open_destination: Open) -> None:
    """The lines of a large file are in the order of the accounts, and of a locked row its account is told."""
    accounts = [standin.put("Account", Name=f"A {number}") for number in range(3)]
    for number in range(12):
        standin.put("Contact", LastName="N", Email=f"p{number}@example.com", AccountId=accounts[number % 3])
    first = standin.records("Contact")[0]["Id"]
    standin.org.locked[first] = 1
    found = Pushed(open_destination().push(a_sync(match=BY_EMAIL, fields=BOTH), people(12)))
    accounts_of = {one["Id"]: one["AccountId"] for one in standin.records("Contact")}
    (file,) = uploads(standin)
    order = [accounts_of[line.partition(",")[0]] for line in file.splitlines()[1:]]
    locked = [(one.key, one.code, one.again) for one in found.outcomes if one.result != "accepted"]

    assert sorted([*accounts] * 4) == order
    assert [("u_0", "UNABLE_TO_LOCK_ROW", accounts_of[first])] == locked


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("step", ["upload", "look"])
def test_a_stretch_that_was_looked_up_is_taken_up_again(
    standin: SalesforceStandIn, open_destination: Open, step: str
) -> None:
    """What another process began is found by the Ids, which are looked up once more, and nothing is sent twice."""
    for number in range(6):
        standin.put("Contact", LastName="Old", Email=f"p{number}@example.com")
    sync, changes = a_sync(match=BY_EMAIL, fields=BOTH, missing="create"), people(9)
    standin.trouble("close", when=is_step(step), times=None)
    first = Pushed(open_destination(attempts=1).push(sync, changes))
    standin.troubles.clear()
    again = Pushed(open_destination().resume(sync, first.jobs[-1], changes))
    there = {f"u_{number}": "accepted" for number in range(6)} if step == "look" else {}
    rest = [change for change in changes if change.key not in there]

    assert there == {key: result for key, result in again.results.items() if result == "accepted"}
    assert there == accepted([change for change in changes if change.key in there])
    assert accepted(rest) == Pushed(open_destination().push(sync, rest)).results
    assert sorted(f"P {number}" for number in range(9)) == sorted(one["LastName"] for one in standin.records("Contact"))


@pytest.mark.usefixtures("at_once")
def test_pages_that_are_not_whole_are_not_believed(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A record that a page lacks is not taken for one that does not exist: the values are asked for then."""
    for number in range(5):
        standin.put("Contact", LastName="Old", Email=f"p{number}@example.com")
    standin.bulk_query.results_cut = 1
    changes = people(5)
    found = Pushed(open_destination().push(a_sync(match=BY_EMAIL, **CREATING), changes))

    assert accepted(changes) == found.results
    assert 5 == len(standin.records("Contact"))


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("match", [BY_EMAIL, BY_USER_ID], ids=["looked up", "upsert"])
def test_requests_of_a_stretch_are_foretold(
    standin: SalesforceStandIn, open_destination: Open, match: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a large batch is said to cost, before anything was asked, is what it costs."""
    monkeypatch.setattr(bulk_query, "PAGE_ROWS", 200)
    for module in (salesforce, seeking, bulk_query):
        monkeypatch.setattr(module, "VALUES_MAX", 1)
    standin.ingest.delay = standin.bulk_query.delay = -1
    name = next(iter(match))
    changes = [a_change(f"u_{n}", {name: f"p{n}@example.com"}, "changed", Title="T") for n in range(9)]
    for number in range(9):
        standin.put("Contact", LastName="Old", **{name: f"p{number}@example.com"})
    destination, sync = open_destination(), a_sync(match=match, fields=BOTH, missing="create")
    Pushed(destination.push(sync, changes[:1]))
    before = standin.count
    with stretch(sync, changes) as large:
        foretold = destination.requests(sync, large)
    found = Pushed(destination.push(sync, changes))

    assert accepted(changes) == found.results
    assert foretold == standin.count - before
