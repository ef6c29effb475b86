"""Signals of health: whether the daemon lives and is ready, and numbers that are those of the journal."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
import requests
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer, Server
from syncer.metrics import KINDS, OUTCOMES, RESULTS
from tests.service.town import LISTEN, NEVER, ROWS, VALUE, Face, Town, face_of
from tests.workplace import PROJECT, until

MONITORING = PROJECT / "examples" / "monitoring"
LEADS = """
[[sync]]
name = "leads"
source = "people"
key = "user_id"
object = "Lead"
match = { Email = "email" }
missing = "create"

[sync.fields]
LastName = "user_id"
Company = "plan"
"""
SYNCS = ("customerio.people", "customerio.people2", "customerio.people3", "orbit.members", "salesforce.leads")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt install prometheus)"
)
Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


class City(Town):
    """A town with Salesforce as well."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.salesforce = SalesforceStandIn()

    def write(self, destinations: Any, mappings: Any, more: str = "") -> None:
        super().write(
            {**destinations, "salesforce": self.salesforce.settings() + "\nexpires = 2030-01-31\n"},
            {**mappings, "salesforce": LEADS},
            more,
        )


class Scraped:
    """What a daemon's numbers were after runs of every kind, and what its journal says of these runs."""

    def __init__(self, text: str, journal: dict[str, list[Any]]) -> None:
        self.text = text
        self.journal = journal
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples: Samples = {}
        for family in self.families.values():
            for one in family.samples:
                self.samples.setdefault(one.name, {})[tuple(sorted(one.labels.items()))] = one.value

    def value(self, name: str, **labels: str) -> float:
        """One sample; 0 where there is none."""
        return self.samples.get(name, {}).get(tuple(sorted(labels.items())), 0.0)

    def names(self) -> set[str]:
        """Every name that a query may use."""
        return set(self.samples) | set(self.families)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """A daemon in which runs were done, held, refused in part, failed, and could not begin."""
    city = City(tmp_path_factory.mktemp("city"))
    alerts = '[[alerts]]\ntype = "slack"\nurl = "http://127.0.0.1:9/canary-slack"\nwait = "0s"\n'
    served = {"/customerio": city.customerio, "/orbit": city.orbit, "/salesforce": city.salesforce}
    with Server(served):
        city.settle(
            more=f"{LISTEN}{NEVER}[brakes]\nknown_min = 1\n[delivery]\nwait_first = 0.01\nwait_max = 0.02\n{alerts}"
        )
        with face_of(city, is_ticking=True) as face:
            for name in SYNCS:
                run(face, name)
            city.sql("UPDATE people SET score = score + 5000, plan = plan || 'x'")
            run(face, "customerio.people")
            run(face, "customerio.people2", release=True)
            city.customerio.trouble("status", answer=Answer(503, "later"))
            run(face, "customerio.people3", release=True)
            city.customerio.api_key = "another"
            city.sql("UPDATE people SET score = score + 1")
            run(face, "customerio.people2", release=True)
            city.warehouse.rename(city.folder / "elsewhere")
            run(face, "orbit.members")
            (city.folder / "elsewhere").rename(city.warehouse)
            put_off = re.compile(r'alert="slack",result="put off"} [1-9]')
            until(lambda: put_off.search(metrics(face).text), "an alert is put off")
            until(lambda: 'syncer_source_age_seconds{sync="orbit.members"}' in fresh(face), "the sources are asked")
            yield Scraped(fresh(face), {name: city.journal(name) for name in SYNCS})


def metrics(face: Face, **headers: str) -> requests.Response:
    """The numbers."""
    return requests.get(f"{face.url}/metrics", headers=headers, timeout=30)


def fresh(face: Face) -> str:
    """The numbers, with states as of now."""
    for collector in list(face.daemon.metrics.registry._collector_to_names):
        if hasattr(collector, "_kept_until"):
            collector._kept_until = 0.0
    return metrics(face).text


def run(face: Face, name: str, **options: Any) -> dict[str, Any]:
    """One run that is asked for, to its end."""
    return face.ended(face.ask(f"/api/syncs/{name}/runs", {"by": "Ada", **options})["request"])


# Numbers.


def test_counters_are_the_journal(scraped: Scraped) -> None:
    """Runs by result and changes by outcome are, sync by sync, what the journal has; so are the runs' durations."""
    for name, runs in scraped.journal.items():
        results = Counter(one.result for one in runs)
        assert [results[result] for result in RESULTS] == [
            scraped.value("syncer_runs_total", sync=name, result=result) for result in RESULTS
        ]
        for outcome in OUTCOMES:
            told = sum(
                scraped.value("syncer_changes_total", sync=name, kind=kind, outcome=outcome)
                for kind in (*KINDS, "unknown")
            )
            assert (name, outcome, sum(getattr(one, outcome) for one in runs)) == (name, outcome, told)
        assert len(runs) == scraped.value("syncer_run_duration_seconds_count", sync=name)
    results = Counter(one.result for runs in scraped.journal.values() for one in runs)
    assert all(results[result] for result in RESULTS)
    assert 0 < scraped.value("syncer_changes_total", sync="orbit.members", kind="new", outcome="rejected")


def test_changes_are_counted_by_kind(scraped: Scraped) -> None:
    """New ones and changed ones are told apart, also among what did not leave."""
    name = "customerio.people"

    assert ROWS == scraped.value("syncer_changes_total", sync=name, kind="new", outcome="accepted")
    assert ROWS == scraped.value("syncer_changes_total", sync=name, kind="changed", outcome="unsent")
    assert 0 == scraped.value("syncer_changes_total", sync=name, kind="unknown", outcome="unsent")


def test_requests_are_counted_by_what_they_came_to(scraped: Scraped) -> None:
    """Each request is in the class of its answer, and in the histogram of its destination."""
    by_status = {
        dict(labels)["status"]: value
        for labels, value in scraped.samples["syncer_requests_total"].items()
        if dict(labels)["destination"] == "customerio"
    }

    assert {"2xx", "4xx", "5xx"} == by_status.keys()
    assert sum(by_status.values()) == scraped.value("syncer_request_duration_seconds_count", destination="customerio")


def test_states_are_those_of_now(scraped: Scraped) -> None:
    """Holds by brake, failures, parked records, freshness, quota and the end of credentials are as they are."""
    held = {dict(labels)["brake"] for labels in scraped.samples["syncer_held_by"]}

    assert (1, 0) == tuple(scraped.value("syncer_held", sync=name) for name in ("customerio.people", "orbit.members"))
    assert "changed_max" in held
    assert (1, 1, 0) == tuple(
        scraped.value("syncer_last_run_failed", sync=name)
        for name in ("customerio.people2", "orbit.members", "salesforce.leads")
    )
    assert 1 == scraped.value("syncer_parked_records", sync="orbit.members")
    assert 0 <= scraped.value("syncer_source_age_seconds", sync="orbit.members") < 600
    left, allowed = (scraped.value(f"syncer_quota_{name}", destination="salesforce") for name in ("left", "allowed"))
    assert (True, 100_000) == (79_000 < left < 80_000, allowed)
    assert 1896134400 == scraped.value("syncer_credentials_expire_timestamp_seconds", destination="salesforce")
    assert time.time() - 600 < scraped.value("syncer_last_success_timestamp_seconds", sync="salesforce.leads")
    assert 1 <= scraped.value("syncer_alert_messages_waiting", alert="slack")
    assert 1 == scraped.value("syncer_control_up")


def test_stages_add_up_to_no_more_than_the_runs(scraped: Scraped) -> None:
    """Every stage has its seconds, in numbers and in the journal, and all together are no more than the run."""
    stages = {dict(labels)["stage"] for labels in scraped.samples["syncer_stage_seconds_total"]}
    done = [one for runs in scraped.journal.values() for one in runs if one.result == "done"]

    assert {"read", "map", "compare", "judge", "push", "commit"} == stages
    for one in done:
        assert stages == one.facts["stages"].keys()
        assert sum(one.facts["stages"].values()) <= one.finished - one.started + 0.01


def test_labels_are_words_of_the_config_and_ours(scraped: Scraped) -> None:
    """No label is a key, a value or an address: each is a name in the config, or one of few words."""
    words = {*SYNCS, "customerio", "orbit", "salesforce", "slack", *RESULTS, *KINDS, *OUTCOMES, "unknown"}
    words |= {"2xx", "4xx", "429", "5xx", "none", "delivered", "put off", "dropped"}
    words |= {"read", "map", "compare", "judge", "push", "commit"}
    found = {
        value
        for samples in scraped.samples.values()
        for labels in samples
        for name, value in labels
        if name not in ("le", "version", "brake")
    }

    assert found <= words
    for secret in (VALUE, "u1", "@example.com", "canary", "5000"):
        assert secret not in re.sub(r"[0-9.e+]+$", "", scraped.text, flags=re.MULTILINE)


def test_a_scrape_asks_no_source(town: Town, face: Face) -> None:
    """Neither rows nor metadata are asked for, and the store only once in a few seconds."""
    asked: list[str] = []
    engine = face.daemon.engine

    class Watched:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            raise AssertionError(name)

    source, engine.source = engine.source, Watched()  # type: ignore[assignment]
    answers = [metrics(face) for _ in range(5)]
    engine.source = source

    assert [200] * 5 == [answer.status_code for answer in answers]
    assert [] == asked


def test_numbers_are_for_who_brings_the_token(town: Town) -> None:
    """With a token a scrape needs it; whether the process lives and is ready is for everybody."""
    town.settle(more=LISTEN + 'token = "canary-token"\n' + NEVER)
    with face_of(town, is_ticking=True) as face:
        until(lambda: face.daemon.ticked_at, "the clock runs")
        refused, taken = metrics(face), metrics(face, Authorization="Bearer canary-token")
        open_metrics = metrics(face, Authorization="Bearer canary-token", Accept="application/openmetrics-text")
        others = [face(path).status_code for path in ("/healthz", "/readyz")]

    assert (401, 200, [200, 200]) == (refused.status_code, taken.status_code, others)
    assert taken.headers["Content-Type"].startswith("text/plain; version=")
    assert open_metrics.text.endswith("# EOF\n")
    assert "canary" not in taken.text


# Life.


def test_a_daemon_is_ready_when_its_clock_runs(town: Town, face: Face) -> None:
    """Before that it lives, and should not be asked."""
    waiting = face("/readyz")

    assert (503, ["The clock has not begun to run."]) == (waiting.status_code, waiting.json()["reasons"])
    assert 200 == face("/healthz").status_code


def test_a_store_that_does_not_answer(town: Town) -> None:
    """The daemon lives on, is not ready, and its counters can be read."""
    with face_of(town, is_ticking=True) as face:
        until(lambda: face("/readyz").status_code == 200, "it is ready")
        damage(face)
        ready, healthy, numbers = face("/readyz"), face("/healthz"), fresh(face)

    assert (503, 200) == (ready.status_code, healthy.status_code)
    assert "The control store does not answer" in ready.json()["error"]
    assert "syncer_control_up 0.0" in numbers
    assert "syncer_runs_total" in numbers


def damage(face: Face) -> None:
    """Overwrite the store under the daemon, and let it forget what it had read."""
    store: Any = face.daemon.engine.control()._connection
    with store._lock:
        store.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        file = Path(store.db.filename)
        file.write_bytes(b"no database at all. " * (file.stat().st_size // 20))
        store.db.pragma("shrink_memory")


def test_a_daemon_that_stands_still_does_not_live(town: Town) -> None:
    """A clock that nobody looks at, and threads that have ended, are told, and who keeps the process starts it anew."""
    with face_of(town) as face:
        face.daemon.ticked_at = time.monotonic() - 1000
        face.daemon.desk._threads["orbit"] = threading.Thread()
        answer = face("/healthz")
        del face.daemon.desk._threads["orbit"]

    assert 503 == answer.status_code
    assert ["The clock has not been looked at for 1000 s.", "The thread that runs orbit has ended."] == (
        answer.json()["reasons"]
    )


def test_a_config_that_is_refused_is_a_number(town: Town, face: Face) -> None:
    """A broken edit and its mending are told to Prometheus; the daemon stays ready for what it knows."""
    config = town.folder / "config.toml"
    good = config.read_text()
    config.write_text("[source\n")
    face.daemon.reload()
    broken = metrics(face).text
    config.write_text(good)
    face.daemon.reload()
    mended = metrics(face).text

    assert "syncer_config_broken 1.0" in broken
    assert "syncer_config_broken 0.0" in mended
    assert "syncer_config_last_load_failure_timestamp_seconds 0.0" not in mended


# The dashboard and the rules.


def queries() -> dict[str, str]:
    """Panel and reference → query of the dashboard, with Grafana's variables filled in."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    found = {}
    for panel in dashboard["panels"]:
        for one in panel.get("targets", []):
            query = one["expr"].replace("$__rate_interval", "5m")
            found[f"{panel['title']} {one['refId']}"] = re.sub(r"\$(sync|destination)\b", ".*", query)
    return found


def names_in(query: str) -> set[str]:
    """Names of metrics in a query."""
    bare = re.sub(r"\{[^}]*\}|\"[^\"]*\"|\[[^\]]*\]|\b(by|without)\s*\([^)]*\)", " ", query)
    return set(re.findall(r"\b(?:syncer|process)_\w+|\bup\b", bare))


def test_dashboard_and_rules_name_what_is_there(scraped: Scraped) -> None:
    """Every metric and every label value in the dashboard and the rules is one that a daemon shows."""
    rules = yaml.safe_load((MONITORING / "rules.yaml").read_text())
    told = [*queries().values(), *(rule["expr"] for group in rules["groups"] for rule in group["rules"])]
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    variables = [one["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    named = {name for query in told for name in names_in(query)}
    named |= {re.findall(r"label_values\((\w+),", query)[0] for query in variables}

    assert set() == named - scraped.names() - {"up"}
    assert len(queries()) == len(set(queries()))
    for metric in ("syncer_changes_total", "syncer_parked_records", "syncer_held", "syncer_quota_left"):
        assert metric in named


def test_the_page_names_every_number(scraped: Scraped) -> None:
    """docs/monitoring.md has every metric of ours that a daemon shows."""
    page = (PROJECT / "docs" / "monitoring.md").read_text()
    shown = {name for name in scraped.samples if name.startswith("syncer_")}
    shown = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in shown}

    assert set() == {name for name in shown if f"`{name}`" not in page} - {FAILURE}
    assert "_failure_timestamp_seconds`" in page


FAILURE = "syncer_config_last_load_failure_timestamp_seconds"


def test_the_dashboard_is_one_for_grafana() -> None:
    """Grafana's own models read it and lose nothing of it; no two panels overlap or share a number."""
    document = json.loads((MONITORING / "dashboard.json").read_text())
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(document)))
    cells: Counter[tuple[int, int]] = Counter()
    for panel in document["panels"]:
        at = panel["gridPos"]
        cells.update((at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"]))

    assert [] == list(lost(document, again, ""))
    assert 1 == max(cells.values())
    assert 24 > max(x for x, _ in cells)
    assert len(document["panels"]) == len({panel["id"] for panel in document["panels"]})


def lost(before: Any, after: Any, path: str) -> Iterator[str]:
    """Paths of what is in one document and not in the other."""
    if isinstance(before, dict):
        for key, value in before.items():
            if not isinstance(after, dict) or key not in after:
                # What is nothing need not be written.
                if value is not None:
                    yield f"{path}.{key}"
            else:
                yield from lost(value, after[key], f"{path}.{key}")
    elif isinstance(before, list):
        for number, value in enumerate(before):
            yield from lost(value, after[number] if number < len(after) else None, f"{path}[{number}]")
    elif before != after:
        yield f"{path}: {before!r}, {after!r}"


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt install prometheus)"
)
def test_promtool_takes_rules_and_queries(tmp_path: Path) -> None:
    """The rules, their own tests, the scrape config and every query of the dashboard pass Prometheus' own tool."""
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries().values())]
    (tmp_path / "queries.yaml").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    for words in (
        ("check", "rules", "rules.yaml"),
        ("test", "rules", "rules_test.yaml"),
        ("check", "config", "prometheus.yaml"),
        ("check", "rules", str(tmp_path / "queries.yaml")),
    ):
        done = subprocess.run(["promtool", *words], cwd=MONITORING, capture_output=True, text=True, check=False)
        assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt install prometheus)"
)
def test_promtool_takes_the_numbers(scraped: Scraped) -> None:
    """What a daemon shows keeps Prometheus' own rules on names, types and help."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=scraped.text, capture_output=True, text=True, check=False
    )

    assert "" == done.stdout + done.stderr
