"""OpenTelemetry, where its packages are installed (`pip install 'syncer[otel]'`) and its environment says where to.

`OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) switches it on; headers, service name and sampling are its own
variables too. Nothing of it is imported otherwise. A program that has set OpenTelemetry up itself and runs Syncer in
its process gets the spans as well; see `syncer.stages`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator

import structlog

from syncer import __version__

log = structlog.get_logger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
NEEDED = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


@contextlib.contextmanager
def traced() -> Iterator[None]:
    """Send spans to where the environment says, and the last of them in the end; nothing where it says nothing."""
    if not _is_wanted():
        yield
        return
    if not _is_there():
        log.warning("tracing_unavailable", reason="Its packages are not installed: pip install 'syncer[otel]'.")
        yield
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", "syncer")
    provider = TracerProvider(resource=Resource.create({"service.name": name, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


def _is_wanted() -> bool:
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not is_off and os.environ.get("OTEL_TRACES_EXPORTER") != "none" and any(map(os.environ.get, ENDPOINTS))


def _is_there() -> bool:
    try:
        return all(importlib.util.find_spec(name) for name in NEEDED)
    except ModuleNotFoundError:
        return False
