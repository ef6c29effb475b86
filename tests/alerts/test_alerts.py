"""Who is told of what: once when it begins, once when it is over, one message for one cause."""

from __future__ import annotations

import datetime
import os
import time

from destinations.standins.server import Answer
from tests.alerts.town import KEY, NAMES, ROWS, VALUE, Town

DAY = 86400.0


def test_three_syncs_of_one_cause_are_one_message(town: Town) -> None:
    """Refused credentials hit three syncs and are told once, and once more when they are taken again."""
    with town.open() as process:
        key, town.customerio.api_key = town.customerio.api_key, "another"
        process.run_unseen("customerio")
        process.look()
        process.run("customerio")
        begun = list(town.slack.texts)
        town.customerio.api_key = key
        process.run("customerio")
        process.look()

    assert 1 == len(begun)
    assert "Syncer: customerio refused the credentials" in begun[0]
    assert all(f"customerio.{name}" in begun[0] for name in NAMES)
    assert ["Syncer: Over: customerio refused the credentials"] == [
        text.splitlines()[0].strip("*") for text in town.slack.texts[1:]
    ]


def test_a_destination_is_well_when_all_its_syncs_are(town: Town) -> None:
    """A trouble of three syncs is not over when the first of them is well again."""
    with town.open() as process:
        key, town.customerio.api_key = town.customerio.api_key, "another"
        process.run("customerio")
        town.customerio.api_key = key
        process.run("customerio.people")
        after_one = len(town.slack.texts)
        process.run("customerio.readers", "customerio.writers")

    assert (1, 2) == (after_one, len(town.slack.texts))


def test_held_plans_are_told_together_and_over_apart(town: Town) -> None:
    """Plans of three syncs that one thing holds are one message; whoever is released last ends it, sync by sync."""
    with town.open() as process:
        process.run("customerio")
        town.sql("UPDATE people SET score = score + 1000")
        held = process.run_unseen("customerio")
        process.look()
        process.run("customerio")
        told = list(town.slack.texts)
        process.run("customerio.people", release=True)
        process.run("customerio.readers", "customerio.writers", release=True)

    assert ["held"] * 3 == [report.result for report in held]
    assert 1 == len(told)
    assert "customerio.people is held, and 2 more of the same kind" in told[0]
    assert "changed_max: 1, and the limit is 0.3" in told[0]
    assert 3 == len(town.slack.texts)
    assert "Over: customerio.people is held" in town.slack.texts[1]
    assert "and 1 more" in town.slack.texts[2]


def test_a_message_holds_no_key_and_no_value(town: Town) -> None:
    """Neither keys nor values nor secrets are in any message, also where a brake's own sentence tells a quantile."""
    with town.open() as process:
        process.run("customerio")
        town.sql(f"UPDATE people SET score = 987654, plan = '{VALUE}-other'")
        process.run("customerio")
        town.customerio.api_key = "another"
        process.run("customerio", release=True)
        town.orbit.trouble("status", times=None, answer=Answer(422, {"errors": {"name": [f"{KEY}-1 is bad"]}}))
        process.run("orbit")
    text = "\n".join(town.slack.texts)

    assert 3 <= len(town.slack.texts)
    for secret in (KEY, VALUE, "987654", "canary", "standin-track-key", "orbit-api-key"):
        assert secret not in text


def test_a_restart_tells_nothing_twice(town: Town) -> None:
    """What was told is remembered by the store: another process knows it, and tells of the end."""
    with town.open() as process:
        process.run("customerio")
        town.sql("UPDATE people SET score = score + 1000")
        process.run("customerio.people")
    with town.open() as process:
        process.look()
        after_restart = len(town.slack.texts)
    with town.open() as process:
        process.run("customerio.people", release=True)

    assert (1, 2) == (after_restart, len(town.slack.texts))


def test_another_trouble_takes_the_place_of_the_first(town: Town) -> None:
    """A sync that was held and then fails is not told to be well in between."""
    with town.open() as process:
        process.run("customerio.people")
        town.sql("UPDATE people SET score = score + 1000")
        process.run("customerio.people")
        town.customerio.api_key = "another"
        process.run("customerio.people", release=True)

    assert ["customerio.people is held", "customerio refused the credentials"] == [
        text.splitlines()[0].strip("*").removeprefix("Syncer: ") for text in town.slack.texts
    ]


def test_rejected_records_count_from_the_limit_on(town: Town) -> None:
    """A share of rejected records is told when it is above the alert's limit, and over when a run has fewer."""
    url = f'type = "slack"\nurl = "{town.slack.address}"\nwait = "0s"\n'
    town.settle(f'[[alerts]]\nname = "many"\n{url}rejected_max = 0.5\n[[alerts]]\nname = "few"\n{url}')
    refused = {f"{KEY}-1@example.com", f"{KEY}-2@example.com"}
    town.orbit.trouble(
        "status",
        times=None,
        when=lambda request: request.method == "POST" and any(one.encode() in request.body for one in refused),
        answer=Answer(422, {"errors": {"name": ["is bad"]}}),
    )
    with town.open() as process:
        (report,) = process.run("orbit.members")
        told = list(process.results)
        town.orbit.troubles.clear()
        town.sql("UPDATE people SET user_id = user_id || 'x'")
        process.run("orbit.members", release=True)

    assert (ROWS - 2, 2) == (report.delivered.accepted, report.delivered.rejected)
    assert [("few", "delivered")] == told
    assert "orbit.members: 10.0% of the records were rejected" in town.slack.texts[0]
    assert "Over: orbit.members" in town.slack.texts[1]


def test_a_source_that_nobody_built_is_told_without_a_run(town: Town) -> None:
    """A table past its max_age is one message for all of its syncs; a source that cannot be asked ends nothing."""
    old = time.time() - 3 * DAY
    os.utime(town.warehouse, (old, old))
    with town.open() as process:
        process.look()
        town.warehouse.rename(town.folder / "elsewhere")
        process.look()
        unreachable = list(town.slack.texts)
        (town.folder / "elsewhere").rename(town.warehouse)
        os.utime(town.warehouse)
        process.look()

    assert 1 == len(unreachable)
    assert "people is stale" in unreachable[0]
    assert "It last changed 72 hours ago, and max_age is 36h." in unreachable[0]
    assert ["people is stale"] == [text.split("Over: ")[1].splitlines()[0].strip("*") for text in town.slack.texts[1:]]


def test_a_stale_source_that_holds_its_syncs_is_the_same_trouble(town: Town) -> None:
    """What the source says and what the brake says of it are one message."""
    old = time.time() - 3 * DAY
    with town.open() as process:
        process.run("customerio")
        town.sql("UPDATE people SET score = score + 1 WHERE score < 3")
        os.utime(town.warehouse, (old, old))
        process.look()
        (report, *_) = process.run("customerio")

    assert ["max_age"] == [hold.brake for hold in report.holds]
    assert 1 == len(town.slack.texts)


def test_a_source_out_of_reach_is_one_message_for_all_destinations(town: Town) -> None:
    """A warehouse that is not there fails every sync with one sentence, and is told once."""
    with town.open() as process:
        town.warehouse.rename(town.folder / "elsewhere")
        for sync in process.engine.config.syncs:
            try:
                process.engine.prepare(sync)
            except Exception as error:
                process.engine.refused(sync, error, "schedule")  # type: ignore[arg-type]
        process.look()

    assert 1 == len(town.slack.texts)
    assert "orbit.members" in town.slack.texts[0]
    assert "customerio.people" in town.slack.texts[0]


def test_credentials_that_end_are_told_before(town: Town) -> None:
    """`expires` of a destination is told so long before as the alert says, and over when it is a later day."""
    today = datetime.datetime.now(datetime.UTC).date()
    town.settle(settings=f"expires = {today + datetime.timedelta(days=20)}\n")
    with town.open() as process:
        process.look()
        early = len(town.slack.texts)
    soon = today + datetime.timedelta(days=10)
    town.settle(settings=f"expires = {soon}\n")
    with town.open() as process:
        process.look()
        process.look()
    town.settle(settings=f"expires = {today + datetime.timedelta(days=400)}\n")
    with town.open() as process:
        process.look()

    assert 0 == early
    assert [f"The credentials of customerio end on {soon}", f"Over: The credentials of customerio end on {soon}"] == [
        text.splitlines()[0].strip("*").removeprefix("Syncer: ") for text in town.slack.texts
    ]


def test_a_broken_config_is_told(town: Town) -> None:
    """A changed config that cannot be used is told, and that it is mended."""
    with town.open() as process:
        process.look("config.toml:3 source.path: is missing.")
        process.look("config.toml:3 source.path: is missing.")
        process.look()

    assert 2 == len(town.slack.texts)
    assert "goes on with what it read before. config.toml:3 source.path: is missing." in town.slack.texts[0]


def test_an_alert_hears_what_it_asks_for(town: Town) -> None:
    """`on` and `syncs` choose; what is not chosen is neither told nor told to be over."""
    url = f'type = "slack"\nurl = "{town.slack.address}"\nwait = "0s"\n'
    town.settle(
        f'[[alerts]]\nname = "holds"\n{url}on = ["held"]\n'
        f'[[alerts]]\nname = "orbit"\n{url}syncs = ["orbit"]\n'
        f'[[alerts]]\nname = "failures"\n{url}on = ["failed"]\nsyncs = ["customerio.readers"]\n'
    )
    with town.open() as process:
        town.customerio.api_key = "another"
        process.run("customerio.people")
        nobody = list(process.results)
        process.run("customerio.readers")

    assert [] == nobody
    assert [("failures", "delivered")] == process.results


def test_what_comes_together_is_told_together(town: Town) -> None:
    """With `wait` the first trouble waits for the next ones, and one that ends in time is nobody's business."""
    town.settle(f'[[alerts]]\ntype = "slack"\nurl = "{town.slack.address}"\nwait = "30s"\n')
    with town.open() as process:
        process.run("customerio")
        town.sql("UPDATE people SET score = score + 1000")
        process.run("customerio.people")
        again = process.look()
        town.clock += 20
        process.run("customerio.readers")
        process.run("customerio.people", release=True)
        town.clock += 20
        process.look()
        early = len(town.slack.texts)
        process.run("customerio.writers")
        town.clock += 31
        process.look()

    assert again is not None
    assert 0 == early
    assert 1 == len(town.slack.texts)
    assert "customerio.readers is held, and 1 more" in town.slack.texts[0]


def test_a_run_that_was_stopped_is_no_trouble(town: Town) -> None:
    """A process that is asked to stop fails its run, and nobody is woken for that."""
    with town.open() as process:
        town.orbit.trouble("slow", times=None, when=lambda _: town.orbit.count > 3 and process.engine.stop.set())
        (report,) = process.run("orbit")

    assert ("failed", "stopped") == (report.result, report.cause)
    assert [] == town.slack.texts


def test_a_link_leads_to_the_run(town: Town) -> None:
    """With `service.url` a message links to the run's page."""
    town.settle(more='[service]\nurl = "https://syncer.example.com/"\n')
    with town.open() as process:
        town.customerio.api_key = "another"
        (report,) = process.run("customerio.people")

    assert f"<https://syncer.example.com/#/runs/{report.run}|Look at it>" in town.slack.texts[0]
