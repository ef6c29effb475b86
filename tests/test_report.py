"""Results as people read them."""

from __future__ import annotations

import datetime
import io
from typing import Any

import pytest

from syncer import report
from syncer.errors import Problem
from syncer.report import words

NOW = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)


class Terminal(io.StringIO):
    """A file that says of itself that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def rendered(render: Any, document: Any, *arguments: Any, **options: Any) -> str:
    """What a renderer prints where nobody looks at a terminal."""
    paper = io.StringIO()
    render(document, report.console(paper), *arguments, **options)
    return paper.getvalue()


def change(key: str, kind: str = "changed", **fields: Any) -> dict[str, Any]:
    """A change; a field is its value after, or a pair of before and after."""
    told = {
        name: {"before": value[0], "after": value[1]} if isinstance(value, tuple) else {"after": value}
        for name, value in fields.items()
    }
    return {"key": key, "kind": kind, "fields": told}


def plan(name: str = "shop.people", *, changes: list[dict[str, Any]] | None = None, **options: Any) -> dict[str, Any]:
    """One sync of a diff; counts follow the changes unless they are told."""
    changes = changes or []
    counts = dict.fromkeys(("new", "changed", "removed", "unchanged", "parked", "invalid", "rescored"), 0)
    for one in changes:
        counts["rescored" if one.get("rescored") else one["kind"]] += 1
    counts["invalid"] = len(options.get("invalid", []))
    return {
        "sync": name, "plan": "sha256:0", "rows": 10, "known": 10, "requests": 1, "nonfinite": 0, "holds": [],
        "destination_title": "the shop", "object": "person", "source": "activation.users", "invalid": [],
        "changes": changes, "error": None, **options, "counts": counts | options.get("counts", {}),
    }  # fmt: skip


def outcome(name: str = "shop.people", result: str = "done", **options: Any) -> dict[str, Any]:
    """One sync of a run."""
    numbers = dict.fromkeys(("planned", "accepted", "rejected", "deferred", "unsent", "requests"), 0)
    return {
        "sync": name, "run": "1", "result": result, **numbers, "seconds": 0.5, "error": None,
        "holds": [], "reasons": [], **options,
    }  # fmt: skip


HOLD = {
    "brake": "removed_max",
    "limit": 0.05,
    "found": 0.2,
    "sentence": "20 % of the known records are gone, and removed_max lets 5 % go.",
}


def test_a_change_is_old_arrow_new() -> None:
    """A changed field is shown as old → new, on one line when all of a sync's changes fit."""
    text = rendered(report.diff, {"syncs": [plan(changes=[change("u_1", score=(41.0, 44.5), band=("cold", "warm"))])]})

    assert '  ~ u_1   score 41.0 → 44.5, band "cold" → "warm"' in text.splitlines()


def test_fields_have_lines_of_their_own_when_they_do_not_fit() -> None:
    """As soon as one change is wider than the page, all changes of the sync have a line per field, aligned."""
    wide = change("u_1", **{f"a_rather_long_name_{number}": (1.0, 2.0) for number in range(5)})

    lines = rendered(report.diff, {"syncs": [plan(changes=[wide, change("u_2", score=(1, 2))])]}).splitlines()

    assert "      a_rather_long_name_0  1.0 → 2.0" in lines
    assert ["  ~ u_2", "      score  1 → 2"] == lines[lines.index("  ~ u_2") :][:2]


def test_null_never_sent_and_the_word_null_differ() -> None:
    """Null, a value of which nothing is known, and the text "null" look different."""
    changes = [change("u_1", a=(None, "null"), b=7, c=("7", None))]

    text = rendered(report.diff, {"syncs": [plan(changes=changes)]})

    assert 'a null → "null", b (not known) → 7, c "7" → null' in text


def test_new_records_show_values_only() -> None:
    """A new record has nothing before, so no arrow is shown, whether the document leaves it out or says null."""
    changes = [change("u_1", "new", score=41.0), change("u_2", "new", score=(None, 7.0))]

    lines = rendered(report.diff, {"syncs": [plan(changes=changes)]}).splitlines()

    assert ["  + u_1   score 41.0", "  + u_2   score 7.0"] == lines[3:5]


def test_records_that_wait_for_the_next_runs_are_told() -> None:
    """A re-score that is paced says how many of its records this run leaves to the next ones."""
    told = [plan(changes=[change("u_1", score=(1, 2))], later=later) for later in (0, 1, 4_000)]

    texts = [rendered(report.diff, {"syncs": [one]}) for one in told]

    assert "rescore_rate" not in texts[0]
    assert "  1 of the re-scored records waits for the next runs (rescore_rate)." in texts[1].splitlines()
    assert "  4,000 of the re-scored records wait for the next runs (rescore_rate)." in texts[2].splitlines()


def test_a_deleted_record_has_no_fields() -> None:
    """A removed record of a sync that deletes is a line with its key."""
    text = rendered(report.diff, {"syncs": [plan(changes=[change("u_1", "removed")])]})

    assert "  - u_1" in text.splitlines()


def test_deletions_stand_on_top_and_are_counted_apart() -> None:
    """What cannot be brought back is seen first, whatever its key, and is called by its name in every count."""
    changes = [change("u_1", score=(1, 2)), change("u_2", "removed", score=(2, None)), change("u_3", "removed")]
    told = plan(changes=[changes[0], changes[2]], removal="delete", counts={"removed": 9})

    lines = rendered(report.diff, {"syncs": [told, plan(changes=changes[:2], removal="clear")]}).splitlines()

    assert "- deleted there   ~ changed   - gone from the source" == lines[0]
    assert ["  - u_3", "  ~ u_1   score 1 → 2"] == lines[3:5]
    assert "    … and 8 deleted that are not shown" == lines[5]
    assert "  9 deleted, 1 changed · 1 request" == lines[6]
    assert "Plan of 2 syncs: 9 deleted, 2 changed, 1 removed · 2 requests. Nothing was sent." == lines[-1]


def test_rows_that_are_gone_and_wait_are_told() -> None:
    """A grace that is not over is told with the number of records."""
    told = [plan(changes=[], waiting=waiting) for waiting in (0, 1, 2)]

    texts = [rendered(report.diff, {"syncs": [one]}) for one in told]

    assert "grace" not in texts[0]
    assert "  1 record is gone from the source, not for so many runs as it takes (grace)." in texts[1].splitlines()
    assert "  2 records are gone from the source, not for so many runs as it takes (grace)." in texts[2].splitlines()


def test_the_legend_explains_only_the_signs_that_occur() -> None:
    """Signs that do not occur are not explained."""
    changes = [change("u_1", score=(1, 2)), change("u_2", "removed", score=(2, None))]

    text = rendered(report.diff, {"syncs": [plan(changes=changes)]})

    assert "~ changed   - gone from the source" == text.splitlines()[0]


def test_the_last_line_counts_all_syncs() -> None:
    """The last line sums what all syncs would do, and says that nothing was sent."""
    counts = {"new": 4_990, "changed": 41, "removed": 2, "unchanged": 30, "parked": 1, "rescored": 7}
    syncs = [plan(counts=counts, requests=5), plan("shop.orders", counts={"new": 10}, requests=1)]

    text = rendered(report.diff, {"syncs": syncs})

    assert (
        "Plan of 2 syncs: 5,000 new, 41 changed, 7 re-scored, 2 removed, 1 parked · 6 requests. Nothing was sent."
    ) == " ".join(text.splitlines()[-2:])


def test_no_changes_is_a_sentence_that_says_what_was_compared() -> None:
    """Without changes it says how many rows of what were compared, with how many records."""
    text = rendered(report.diff, {"syncs": [plan(rows=1_000, known=998)]})

    assert "  No changes. All 1,000 rows of activation.users were compared with 998 known records." in text.splitlines()
    assert "No changes. 1,000 rows of 1 sync were compared with what the destinations last accepted." in text


def test_a_plan_of_rescored_records_is_not_called_without_changes() -> None:
    """Records that were only re-scored are changes too, and each is marked."""
    one = change("u_1", score=(1, 2)) | {"rescored": True}

    text = rendered(report.diff, {"syncs": [plan(changes=[one])]})

    assert "No changes" not in text
    assert "  ~ u_1 re-scored   score 1 → 2" in text.splitlines()
    assert "  1 re-scored · 1 request" in text.splitlines()


def test_a_first_night_shows_a_few_samples() -> None:
    """Of more new records than the limit only three are shown, one line each that never wraps."""
    changes = [change(f"u_{number}", "new", text="x" * 30, more="y" * 30, last="z" * 30) for number in range(30)]

    text = rendered(report.diff, {"syncs": [plan(changes=changes, counts={"new": 5_000})]}, 20)

    assert 3 == text.count("  + ")
    assert "    … and 4,997 new that are not shown" in text.splitlines()
    assert all(len(line) <= report.WIDTH for line in text.splitlines())


def test_the_limit_is_kept_and_the_rest_is_counted() -> None:
    """No more than `limit` changes are shown, and how many more there are."""
    changes = [change(f"u_{number}", score=(1, 2)) for number in range(9)]

    text = rendered(report.diff, {"syncs": [plan(changes=changes)]}, 4)

    assert 4 == text.count("  ~ ")
    assert "    … and 5 changed that are not shown" in text.splitlines()


def test_a_limit_of_nothing_shows_counts_alone() -> None:
    """With a limit of 0 no record is shown at all, new or changed."""
    text = rendered(report.diff, {"syncs": [plan(changes=[change("u_1", "new", a=1), change("u_2", a=(1, 2))])]}, 0)

    assert "u_" not in text
    assert "1 new, 1 changed" in text


def test_invalid_rows_are_grouped_by_reason() -> None:
    """Invalid rows of one reason are one entry with a count, a few keys, and the sentence once."""
    invalid = [
        {"key": f"u_{number}", "reason": "duplicate_key", "sentence": "It is there twice."} for number in range(5)
    ]
    invalid.append({"key": None, "reason": "null_key", "sentence": "The key is null."})

    text = rendered(report.diff, {"syncs": [plan(invalid=invalid)]})

    assert "  ! duplicate key: 5 rows (u_0, u_1, u_2, …)" in text.splitlines()
    assert 1 == text.count("It is there twice.")
    assert "  ! null key: 1 row" in text.splitlines()


def test_reasons_are_not_counted_when_rows_are_missing_from_the_list() -> None:
    """Where only some invalid rows are listed, no count by reason is claimed, and the rest is counted."""
    invalid = [{"key": "u_1", "reason": "duplicate_key", "sentence": "Twice."}]

    lines = rendered(report.diff, {"syncs": [plan(invalid=invalid, counts={"invalid": 9})]}).splitlines()

    assert "  ! duplicate key (u_1)" in lines
    assert "  … and 8 more invalid rows" in lines


def test_a_hold_is_shown_with_the_way_out() -> None:
    """A held plan names the brake, says its sentence, and the command that releases it."""
    text = rendered(report.diff, {"syncs": [plan(changes=[change("u_1", a=(1, 2))], holds=[HOLD])]})

    assert "HELD by removed_max  20 % of the known records are gone" in text
    assert "    syncer sync shop.people --release" in text.splitlines()
    assert "1 held." in text.splitlines()[-1]


def test_a_sync_that_could_not_be_planned_says_why() -> None:
    """A sync with an error shows the sentence, and the last line does not say that there is nothing to do."""
    text = rendered(report.diff, {"syncs": [plan(error="The shop is closed.", counts={}), plan("shop.orders")]})

    assert "  failed  The shop is closed." in text.splitlines()
    assert "1 failed." in text.splitlines()[-1]


@pytest.mark.parametrize("evil", ["\x1b[31mred", "a\nb", "a\rb", "\u202eabc", "\x07", "\x9b31m", "a\u2028b", "\u200b"])
def test_nothing_untrusted_reaches_the_terminal_raw(evil: str) -> None:
    """Control characters, line breaks and reading-direction marks of keys, names and values are escaped."""
    document = {
        "syncs": [
            plan(
                changes=[change(evil, **{evil: (evil, evil + "!")})],
                invalid=[{"key": evil, "reason": evil, "sentence": evil}],
                holds=[HOLD | {"sentence": evil}],
                source=evil,
            )
        ]
    }
    parked = {"sync": "s", "key": evil, "code": evil, "message": evil, "attempts": 1, "since": None, "next_try": None}

    text = rendered(report.diff, document) + rendered(report.rejected, {"parked": [parked]})

    # A line break inside a sentence may become a blank, which is why only the harm is looked for.
    assert [] == [
        character for character in evil if not character.isprintable() and character != "\n" and character in text
    ]
    assert "\na\nb" not in text


def test_markup_in_values_is_text() -> None:
    """Square brackets and colons of a value are printed as they are."""
    text = rendered(report.diff, {"syncs": [plan(changes=[change("[red]u_1[/red]", a=("[bold]", ":smile:"))])]})

    assert '~ [red]u_1[/red]   a "[bold]" → ":smile:"' in text


def test_long_values_are_cut() -> None:
    """A value longer than the place for it ends in an ellipsis, measured in cells and not in characters."""
    shown = words.value("漢" * 500).plain

    assert shown.endswith('…"')
    assert words.VALUE_CELLS_MAX >= len(shown.encode("utf-16-le")) // 2 > words.VALUE_CELLS_MAX // 2 - 2


def test_sensitive_values_stay_dots() -> None:
    """What the document hides is shown as the same dots, without quotes."""
    text = rendered(report.diff, {"syncs": [plan(changes=[change("u_1", secret=("•••", "•••"))])]})

    assert "secret ••• → •••" in text


def test_keys_with_blanks_are_quoted() -> None:
    """A key that is empty, or has a blank in it, is quoted, so that one sees where it ends."""
    assert ['""', '" a"', "a"] == [words.key(""), words.key(" a"), words.key("a")]


def test_a_run_is_a_table_with_a_total() -> None:
    """Each sync has one line, and two or more have a sum."""
    syncs = [
        outcome(planned=5_000, accepted=4_990, rejected=10, requests=5),
        outcome("shop.orders", planned=7, accepted=7, requests=1),
    ]

    lines = [" ".join(line.split()) for line in rendered(report.sync, {"syncs": syncs}).splitlines()]

    assert "shop.people done 5,000 4,990 10 0 0 5 0.5 s" == lines[1]
    assert "together 5,007 4,997 10 0 0 6 1.0 s" == lines[3]


def test_reasons_stand_below_the_table_with_the_next_step() -> None:
    """Refusals are counted by reason, with the service's sentence and the command that lists the records."""
    reason = {"result": "rejected", "code": "missing", "count": 12, "sentence": "No such person."}

    lines = rendered(report.sync, {"syncs": [outcome(planned=12, rejected=12, reasons=[reason])]}).splitlines()

    assert "  12 rejected, missing  No such person." in lines
    assert "  next  syncer rejected shop.people lists the records" in lines


def test_a_held_run_says_how_to_go_on() -> None:
    """A held run shows the brake's sentence and both ways out."""
    text = rendered(report.sync, {"syncs": [outcome(result="held", planned=9, unsent=9, holds=[HOLD])]})

    assert "held by removed_max  20 % of the known records are gone" in text
    assert "syncer sync shop.people --release" in text


def test_a_failed_run_says_why() -> None:
    """The sentence of a failed run is below the table."""
    text = rendered(report.sync, {"syncs": [outcome(result="failed", error="The shop answered 401.")]})

    assert "  failed  The shop answered 401." in text.splitlines()


def test_ages_are_words() -> None:
    """Times of a status are told as distances from now, and what never was is called so."""
    last = {"run": "1", "started": "2026-03-01T11:56:00Z", "finished": "2026-03-01T11:57:00Z", "result": "done"}
    document = {
        "syncs": [
            {"sync": "a.a", "state": "ok", "last_run": last | {"accepted": 5, "error": None, "released": []},
             "next_run": "2026-03-01T12:12:00+00:00", "source_modified": "2026-03-01T04:00:00Z", "known": 5_000,
             "parked": 1, "holds": []},
            {"sync": "b.b", "state": "never run", "last_run": None, "next_run": None, "source_modified": None,
             "known": 0, "parked": 0, "holds": []},
        ]
    }  # fmt: skip

    lines = [" ".join(line.split()) for line in rendered(report.status, document, now=NOW).splitlines()]

    assert ["a.a ok 3 min ago 5 5,000 1 8 h ago in 12 min", "b.b never run never 0 0 unknown by hand"] == lines[1:3]


def test_a_status_tells_what_is_wrong() -> None:
    """Below the table: why the last run failed, what holds, and what somebody released."""
    last = {"finished": "2026-03-01T11:57:00Z", "error": "The shop is closed.", "released": ["changed_max"]}
    one = {"sync": "a.a", "state": "held", "last_run": last, "next_run": None, "source_modified": None,
           "known": 1, "parked": 0, "holds": [HOLD]}  # fmt: skip

    text = rendered(report.status, {"syncs": [one]}, now=NOW)

    assert "  failed  The shop is closed." in text.splitlines()
    assert "held by removed_max" in text
    assert "went over changed_max" in text


QUERY = {"bytes_read": 21_000_000, "price": 0.004, "currency": "EUR"}
TABLE = {"bytes_read": 900, "price": 0.0, "currency": "EUR"}
PAGES = {"bytes_read": None, "price": 0.0, "currency": "EUR"}


def test_a_plan_says_what_reading_came_to() -> None:
    """Each sync that the warehouse tells the bytes of has a line, and the last line has their sum."""
    syncs = [plan(f"shop.{number}", **spent) for number, spent in enumerate((QUERY, TABLE, PAGES, {}))]

    lines = rendered(report.diff, {"syncs": syncs}).splitlines()

    told = [line.removeprefix("  read: ") for line in lines if line.startswith("  read:")]
    assert ["21.0 MB, less than 0.01 EUR", "900 B, no query billed", "no query billed"] == told
    assert "Read: 21.0 MB, less than 0.01 EUR." in " ".join(lines[-2:])


def test_a_plan_in_markdown_says_what_reading_came_to() -> None:
    """Below the table, where the warehouse tells; of a file there is nothing."""
    told, untold = (report.markdown({"syncs": [plan(**spent)]}) for spent in (QUERY, {}))

    assert "\n\nRead: 21.0 MB, less than 0.01 EUR." in told
    assert "Read" not in untold


def test_a_status_says_what_the_last_runs_read() -> None:
    """Below the table: the bytes and the price of each sync's last run, and of all; of a file there is nothing."""
    common = {"state": "ok", "next_run": None, "source_modified": None, "known": 1, "parked": 0, "holds": []}
    runs = {"a.a": QUERY, "a.b": QUERY | {"price": 6.25}, "a.c": {}}
    syncs = [{"sync": name, "last_run": {"finished": None, **spent}, **common} for name, spent in runs.items()]

    lines = rendered(report.status, {"syncs": syncs}, now=NOW).splitlines()

    assert ["a.a 21.0 MB, less than 0.01 EUR", "a.b 21.0 MB, 6.25 EUR", "together 42.0 MB, 6.25 EUR"] == [
        " ".join(line.split()) for line in lines[-3:]
    ]
    assert "read" not in rendered(report.status, {"syncs": syncs[2:]}, now=NOW)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3_600, "60 min"), (7_200, "2 h"), (172_800, "2 days")],
)
def test_spans_are_coarse(seconds: float, expected: str) -> None:
    """A span of time is told as coarsely as one would say it."""
    assert expected == words.span(seconds)


def test_parked_records_are_listed_with_their_reason() -> None:
    """A parked record shows key, code, the service's words, and when it is tried again."""
    parked = {"sync": "a.a", "key": "u_1", "code": "missing", "message": "No such person.", "attempts": 2,
              "since": "2026-03-01T11:00:00Z", "next_try": None}  # fmt: skip

    lines = rendered(report.rejected, {"parked": [parked]}, now=NOW).splitlines()

    assert "a.a u_1 missing No such person. 2 60 min ago on request" == " ".join(lines[1].split())
    assert "syncer rejected a.a --retry" in " ".join(lines[2:])


def test_nothing_parked_is_a_sentence() -> None:
    """Without parked records there is a sentence and no empty table."""
    assert "Nothing is parked: no destination refuses a record.\n" == rendered(report.rejected, {"parked": []})


def test_check_lists_what_it_looked_at_and_every_problem() -> None:
    """All problems are printed at once, each with its place, after what was looked at."""
    problems = [{"place": f"mappings/{name}.toml", "sentence": f"Mend {name}."} for name in ("a", "b")]

    lines = rendered(report.check, {"ok": False, "checked": ["config.toml"], "problems": problems}).splitlines()

    assert [
        "✓ config.toml",
        "",
        "✗ mappings/a.toml",
        "  Mend a.",
        "✗ mappings/b.toml",
        "  Mend b.",
        "2 problems.",
    ] == lines


def test_check_says_when_all_is_well() -> None:
    """A check without problems ends with one calm sentence."""
    document = {"ok": True, "checked": ["config.toml"], "problems": []}

    assert ["✓ config.toml", "All is well."] == rendered(report.check, document).splitlines()


def test_a_problem_without_place_is_its_sentence() -> None:
    """A problem that has no place shows no empty line for one."""
    assert ["✗ Nothing there."] == rendered(report.problems, [Problem("", "Nothing there.")]).splitlines()


def test_paper_has_a_hundred_columns_and_no_colours() -> None:
    """What is no terminal gets 100 columns and not one escape sequence."""
    text = rendered(report.check, {"ok": False, "checked": [], "problems": [{"place": "a", "sentence": "word " * 99}]})

    assert "\x1b" not in text
    assert 90 < max(len(line) for line in text.splitlines()) <= 100


def test_a_terminal_has_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colours, unless NO_COLOR is set."""
    document = {"ok": True, "checked": ["config.toml"], "problems": []}
    bright, plain = Terminal(), Terminal()

    report.check(document, report.console(bright))
    monkeypatch.setenv("NO_COLOR", "1")
    report.check(document, report.console(plain))

    assert "\x1b[32m" in bright.getvalue()
    assert "\x1b[32m" not in plain.getvalue()


def test_columns_of_the_environment_count_on_paper_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """COLUMNS says how wide the page is where nothing else does."""
    monkeypatch.setenv("COLUMNS", "60")

    text = rendered(report.check, {"ok": False, "checked": [], "problems": [{"place": "a", "sentence": "word " * 99}]})

    assert 50 < max(len(line) for line in text.splitlines()) <= 60
