"""Spans of a run: what took how long, without a key or a value; nothing at all where nobody asks for it."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from destinations.standins.server import Answer, Request, Server
from syncer import stages, tracing
from tests.alerts.town import KEY, VALUE, Town
from tests.engine.stage import Stage, field
from tests.standins.hearing import Ear
from tests.workplace import PROJECT

STAGES = ["read", "map", "compare", "judge", "push", "commit"]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What is exported in this process, by a provider that is gone afterwards."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(stages, "_tracer", lambda: provider.get_tracer("syncer"))
    yield exporter
    provider.shutdown()


def test_a_run_is_a_tree_of_spans(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    """Every stage is a span inside the run's, each batch one inside the push's, and the run's has its counts."""
    with Stage(tmp_path, batch=2) as stage:
        stage.put("user_id VARCHAR, score DOUBLE", *[(f"canary-{number}", 4711.0) for number in range(5)])
        stage.map(field("score"))
        stage.run()
    found = {span.name: span for span in spans.get_finished_spans()}
    run, push = found["run"], found["push"]
    batches = [span for span in spans.get_finished_spans() if span.name == "push batch"]

    assert {"run", "push batch", *STAGES} == found.keys()
    assert {run.context.span_id} == {parent(found[name]) for name in ("read", "map", "compare", "judge", "push")}
    assert {push.context.span_id} == {parent(span) for span in [found["commit"], *batches]}
    assert [2, 2, 1] == [span.attributes["syncer.changes"] for span in batches]
    assert ("memory.people", "memory", "done", 5, 5) == tuple(
        run.attributes[f"syncer.{name}"] for name in ("sync", "destination", "result", "planned", "accepted")
    )
    assert run.parent is None
    for span in spans.get_finished_spans():
        # Numbers of spans and times are made of digits too, so only what we say is looked at.
        said = repr((span.name, dict(span.attributes or {}), span.events))
        assert not any(word in said for word in ("canary", "4711"))


def test_a_run_that_fails_is_a_span_that_failed(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    """The kind of an error is in its span, and its text is not."""
    with Stage(tmp_path) as stage:
        stage.put("user_id VARCHAR, score DOUBLE", ("u1", 1.0))
        stage.map(field("score"))
        prepared = stage.prepare()

        def broken(*_: object) -> None:
            raise KeyError("canary")

        stage.warehouse.read = broken  # type: ignore[method-assign,assignment]
        with pytest.raises(KeyError):
            stage.engine.run(prepared)
    run = next(span for span in spans.get_finished_spans() if span.name == "run")

    assert (trace.StatusCode.ERROR, "KeyError") == (run.status.status_code, run.status.description)
    assert () == tuple(run.events)


def test_the_journal_has_the_stages_without_any_spans(tmp_path: Path) -> None:
    """Where the time went is in the run's facts, in the order of the run, also where nobody traces."""
    with Stage(tmp_path) as stage:
        stage.put("user_id VARCHAR, score DOUBLE", ("u1", 1.0))
        stage.map(field("score"))
        stage.run()
        (run,) = stage.engine.control().runs(stage.sync.name)

    assert STAGES == list(run.facts["stages"])


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """A town that nobody is told of."""
    with Town(tmp_path).served() as town:
        town.settle("# None.")
        yield town


class Collector(Ear):
    """Takes spans as OTLP over HTTP."""

    kind = "otlp"
    title = "OTLP"

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[str] = []
        self.texts: list[str] = []

    def handle(self, request: Request) -> Answer:
        if request.path != "/v1/traces" or request.headers.get("content-type") != "application/x-protobuf":
            return Answer(404, "nothing here")
        body = request.body
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        sent = ExportTraceServiceRequest.FromString(body)
        for resource in sent.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [span.name for span in scope.spans if scope.scope.name == "syncer"]
        self.texts.append(str(sent))
        return Answer(200, b"")


def test_spans_arrive_over_the_wire(town: Town) -> None:
    """With an endpoint in the environment a command sends its spans there as OTLP, and ends when they are there."""
    collector = Collector()
    with Server({"/otlp": collector}):
        result = town.run("sync", "customerio.people", env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})

    assert 0 == result.code, result.err
    assert {"run", "push batch", *STAGES} == set(collector.spans)
    assert 'string_value: "syncer"' in collector.texts[0]
    assert not any(word in text for text in collector.texts for word in (KEY, VALUE, "standin-track-key"))


def test_nothing_is_imported_where_nobody_asks() -> None:
    """Without an endpoint OpenTelemetry is not loaded by Syncer, though it is installed."""
    code = (
        "import sys; sys.modules['google.cloud.bigquery'] = None\n"
        "from syncer.tracing import traced\nfrom syncer.stages import Stages\n"
        "with traced(), Stages(sync='a.b').run() as span: print(span)\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)

    assert ["None", "[]"] == done.stdout.splitlines()


def test_an_endpoint_without_the_packages_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for spans and has not installed what makes them is told what to install."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(tracing, "NEEDED", ("opentelemetry_that_is_not_there",))
    with capture_logs() as logs, tracing.traced():
        pass

    assert [("warning", "Its packages are not installed: pip install 'syncer[otel]'.")] == [
        (line["log_level"], line["reason"]) for line in logs
    ]


def parent(span: ReadableSpan) -> int | None:
    """The number of the span around it."""
    return span.parent.span_id if span.parent else None
