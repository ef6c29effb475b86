"""The rows of a read session: a thread per stream, a bounded buffer, and a watch on streams that fall silent.

The library's own reader is not used: it reads a stream with a deadline of a day, takes it up again without an
end, cannot be cancelled before its first answer, and ends like a finished one when it is cancelled after.
"""

# Google's libraries are typed in part only, and grpc not at all.
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pyarrow as pa
from google.api_core.gapic_v1 import routing_header
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadTransport
from google.cloud.bigquery_storage_v1.types import ReadRowsRequest, ReadRowsResponse

from syncer.errors import ServiceUnavailable
from syncer.sources.bigquery.patience import Patience

SESSION_SECONDS = 6 * 3600.0
"""A session lives so long: docs.cloud.google.com/bigquery/docs/reference/storage. A stream is never read for longer."""

RESUMABLE = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)
"""After these a stream is read on from the row where it broke off."""


class _Stream:
    """How far one stream is, and since when it is waited for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = 0
        self.call: grpc.Call | None = None
        self.waited_for_since: float | None = None
        self.is_silent = False


class Streams:
    """Iterates the batches of all streams of a session, in the order in which they arrive.

    At most `buffer_max` batches, and one more a stream, are held while nobody takes them. `close` ends the
    threads; so does the end of the iteration.
    """

    def __init__(
        self,
        transport: BigQueryReadTransport,
        names: Sequence[str],
        schema: pa.Schema,
        *,
        silence_seconds: float,
        patience: Patience,
        buffer_max: int = 4,
    ) -> None:
        self._transport = transport
        self._schema = schema
        self._silence_seconds = silence_seconds
        self._patience = patience
        self._buffer_max = buffer_max
        self._streams = [_Stream(name) for name in names]
        self._condition = threading.Condition()
        self._buffer: deque[pa.RecordBatch] = deque()
        self._failure: Exception | None = None
        self._unfinished = len(self._streams)
        self._is_closed = False
        self._threads: list[threading.Thread] = []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for number, stream in enumerate(self._streams):
            # Daemons: a process that is told to leave at once must not wait for the network.
            thread = threading.Thread(target=self._work, args=(stream,), name=f"bigquery-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        try:
            while (batch := self._next()) is not None:
                yield batch
        finally:
            self.close()

    def close(self) -> None:
        """Stop reading and wait for the threads; harmless when repeated, and before the first batch."""
        with self._condition:
            self._is_closed = True
            self._buffer.clear()
            self._condition.notify_all()
            calls = [stream.call for stream in self._streams if stream.call is not None]
        for call in calls:
            call.cancel()
        for thread in self._threads:
            thread.join(timeout=self._silence_seconds)

    def _next(self) -> pa.RecordBatch | None:
        with self._condition:
            while True:
                self._cancel_silent()
                if self._failure is not None:
                    raise self._failure
                if self._buffer:
                    self._condition.notify_all()
                    return self._buffer.popleft()
                if self._unfinished == 0 or self._is_closed:
                    return None
                self._condition.wait(self._silence_seconds / 4)

    def _cancel_silent(self) -> None:
        now = time.monotonic()
        for stream in self._streams:
            since = stream.waited_for_since
            if since is not None and stream.call is not None and now - since > self._silence_seconds:
                # The mark comes first: a cancelled call may look like one that ended well.
                stream.is_silent = True
                stream.waited_for_since = None
                stream.call.cancel()

    def _work(self, stream: _Stream) -> None:
        try:
            self._read(stream)
        except Exception as error:  # noqa: BLE001 - Whatever ends a thread is raised where the batches are taken.
            with self._condition:
                if self._failure is None and not self._is_closed:
                    self._failure = error
        finally:
            with self._condition:
                self._unfinished -= 1
                self._condition.notify_all()

    def _read(self, stream: _Stream) -> None:
        """Read one stream to its end, taking it up again where it broke off."""
        failures = 0
        while not self._is_closed:
            before = stream.rows
            stream.is_silent = False
            said = "no rows for too long"
            try:
                self._read_from(stream)
                if not stream.is_silent:
                    return
            except grpc.RpcError as error:
                code = error.code()
                if not stream.is_silent:
                    if code not in RESUMABLE:
                        raise
                    said = code.name
            failures = 1 if stream.rows > before else failures + 1
            if failures > self._patience.stream_resumes:
                raise ServiceUnavailable(
                    f"BigQuery broke off sending rows {failures} times in a row ({said}). The next run tries again.",
                    doubt=False,
                )
            with self._condition:
                self._condition.wait_for(lambda: self._is_closed, self._patience.pause(failures))

    def _read_from(self, stream: _Stream) -> None:
        """Read one stream from the row that comes next until it ends, or breaks off with grpc.RpcError."""
        # The transport's own stub and not the client's method, which returns nothing to cancel before the first
        # answer is there. Its metadata is what the method would add.
        read_rows: Any = self._transport.read_rows
        call = read_rows(
            ReadRowsRequest(read_stream=stream.name, offset=stream.rows),
            timeout=SESSION_SECONDS,
            metadata=[routing_header.to_grpc_metadata({"read_stream": stream.name})],
        )
        with self._condition:
            stream.call = call
            stream.waited_for_since = time.monotonic()
            if self._is_closed:
                call.cancel()
        try:
            for answer in call:
                stream.waited_for_since = None
                self._put(stream, answer)
                if self._is_closed:
                    return
                stream.waited_for_since = time.monotonic()
        finally:
            stream.waited_for_since = None
            call.cancel()

    def _put(self, stream: _Stream, answer: ReadRowsResponse) -> None:
        rows = answer.row_count
        batch = pa.ipc.read_record_batch(pa.py_buffer(answer.arrow_record_batch.serialized_record_batch), self._schema)
        if rows != batch.num_rows:
            raise ServiceUnavailable(
                f"BigQuery announced {rows} rows and sent {batch.num_rows}. The next run tries again.", doubt=False
            )
        with self._condition:
            self._condition.wait_for(lambda: self._is_closed or len(self._buffer) < self._buffer_max)
            if not self._is_closed:
                self._buffer.append(batch)
                stream.rows += rows
                self._condition.notify_all()
