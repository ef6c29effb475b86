"""The gRPC half of the BigQuery stand-in: sessions and streams of the Storage Read API, with trouble on demand.

What it cannot show: how the service cuts a table into streams, when it reshapes or closes them, and what it
calls its errors; the codes are those that its documentation and the client's source name.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

from tests.standins.bigquery.catalog import Refused
from tests.standins.bigquery.execution import Warehouse

SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"


@dataclass
class Fault:
    """Something that goes wrong in a stream, `times` times (None: for ever), once it has sent `after_rows`.

    error: the stream breaks off with `code` · stall: it stays open and sends nothing · end: it ends as if it
    were complete.
    """

    kind: Literal["error", "stall", "end"]
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    details: str = "try again"
    after_rows: int = 0
    times: int | None = 1
    stream: int | None = None


COMPRESSIONS = {0: None, 1: "lz4", 2: "zstd"}
"""ArrowSerializationOptions.CompressionCodec → Arrow's word."""


@dataclass
class _Stream:
    """Rows of a session, and after which of them a message has ended: only there it can be read on."""

    rows: pa.Table
    compression: str | None
    borders: set[int] = field(default_factory=lambda: {0})


class Storage:
    """Serves the tables of a warehouse on a free port of 127.0.0.1. Use as a context manager."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.streams_max = 4
        self.batch_rows = 100
        self.denied: str | None = None
        """The permission that the caller does not have."""
        self.session_faults: list[grpc.StatusCode] = []
        self.faults: list[Fault] = []
        self.sessions: list[types.CreateReadSessionRequest] = []
        self.reads: list[tuple[str, int]] = []
        """Stream and offset of each ReadRows, in the order in which they came."""
        self.messages_sent = 0
        self.rows_sent = 0
        self.stalls = 0
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)]
        )
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    SERVICE,
                    {
                        "CreateReadSession": grpc.unary_unary_rpc_method_handler(
                            self._create,
                            request_deserializer=types.CreateReadSessionRequest.deserialize,
                            response_serializer=types.ReadSession.serialize,
                        ),
                        "ReadRows": grpc.unary_stream_rpc_method_handler(
                            self._read,
                            request_deserializer=types.ReadRowsRequest.deserialize,
                            response_serializer=types.ReadRowsResponse.serialize,
                        ),
                    },
                )
            ]
        )
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.url = f"http://127.0.0.1:{port}"

    def __enter__(self) -> Storage:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=0).wait()

    def _create(self, request: types.CreateReadSessionRequest, context: grpc.ServicerContext) -> types.ReadSession:
        wanted = request.read_session
        options = wanted.read_options
        with self._lock:
            self.sessions.append(request)
            number = len(self.sessions)
            fault = self.session_faults.pop(0) if self.session_faults else None
        if fault is not None:
            context.abort(fault, "the session could not be made")
        if self.denied == "bigquery.readsessions.create":
            context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                "request failed: the user does not have 'bigquery.readsessions.create' permission for "
                f"'{request.parent}'",
            )
        if request.parent != f"projects/{self.warehouse.project}":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, f"no such project: {request.parent}")
        if wanted.data_format != types.DataFormat.ARROW:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "only ARROW is spoken here")
        _, project, _, dataset, _, table = wanted.table.split("/")
        try:
            stored = self.warehouse.find(f"{project}.{dataset}.{table}")
            if stored.kind != "TABLE":
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"request failed: non-table entities cannot be read with the storage API: {stored.kind}",
                )
            moment = wanted.table_modifiers.snapshot_time if "snapshot_time" in wanted.table_modifiers else None
            rows = self.warehouse.restricted(stored, options.row_restriction, moment)
            _, rows = self.warehouse.cut(stored, rows, list(options.selected_fields))
        except Refused as refused:
            code = grpc.StatusCode.NOT_FOUND if refused.status == 404 else grpc.StatusCode.INVALID_ARGUMENT
            context.abort(code, refused.message)
        compression = COMPRESSIONS[options.arrow_serialization_options.buffer_compression]
        name = f"projects/{project}/locations/{self.warehouse.location}/sessions/s{number}"
        count = min(request.max_stream_count or 100, self.streams_max, max(1, rows.num_rows)) if rows.num_rows else 0
        names = [f"{name}/streams/{index}" for index in range(count)]
        with self._lock:
            for index, stream in enumerate(names):
                first, last = rows.num_rows * index // count, rows.num_rows * (index + 1) // count
                self._streams[stream] = _Stream(rows.slice(first, last - first), compression)
        return types.ReadSession(
            name=name,
            table=wanted.table,
            data_format=types.DataFormat.ARROW,
            arrow_schema=types.ArrowSchema(serialized_schema=rows.schema.serialize().to_pybytes()),
            streams=[types.ReadStream(name=stream) for stream in names],
            estimated_total_bytes_scanned=rows.nbytes,
            estimated_row_count=rows.num_rows,
            read_options=options,
        )

    def _read(self, request: types.ReadRowsRequest, context: grpc.ServicerContext) -> Iterator[types.ReadRowsResponse]:
        routing = dict(context.invocation_metadata()).get("x-goog-request-params", "")
        if not routing.startswith("read_stream="):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the header x-goog-request-params has to name the stream")
        with self._lock:
            self.reads.append((request.read_stream, request.offset))
            stream = self._streams.get(request.read_stream)
        if stream is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such stream")
        rows = stream.rows
        if request.offset not in stream.borders:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, f"no message of this stream ended at row {request.offset}")
        sent = request.offset
        while True:
            if self._fails(request.read_stream, sent, context):
                return
            if sent >= rows.num_rows:
                return
            batch = rows.slice(sent, self._size(request.read_stream, sent)).combine_chunks().to_batches()[0]
            begun = sent
            sent += batch.num_rows
            with self._lock:
                self.messages_sent += 1
                self.rows_sent += batch.num_rows
                stream.borders.add(sent)
            yield types.ReadRowsResponse(
                arrow_record_batch=types.ArrowRecordBatch(
                    serialized_record_batch=self._serialized(request.read_stream, begun, batch, stream.compression),
                    row_count=batch.num_rows,
                ),
                row_count=batch.num_rows,
            )

    def _serialized(self, name: str, sent: int, batch: pa.RecordBatch, compression: str | None) -> bytes:
        """The rows of a stream after those that are sent, alone without their schema, as the service sends them."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_batch(batch)
        messages = list(pa.ipc.MessageReader.open_stream(sink.getvalue()))
        return messages[1].serialize().to_pybytes()

    def _size(self, stream: str, sent: int) -> int:
        """Rows of the next message: fewer when a fault is due before a whole batch is out."""
        index = int(stream.rsplit("/", 1)[1])
        with self._lock:
            due = [
                fault.after_rows - sent
                for fault in self.faults
                if fault.times != 0 and fault.stream in (None, index) and fault.after_rows > sent
            ]
        return min([self.batch_rows, *due])

    def _fails(self, stream: str, sent: int, context: grpc.ServicerContext) -> bool:
        """Whether the stream ends here; does not return when it breaks off."""
        index = int(stream.rsplit("/", 1)[1])
        with self._lock:
            for fault in self.faults:
                if fault.times == 0 or fault.stream not in (None, index) or fault.after_rows > sent:
                    continue
                if fault.times is not None:
                    fault.times -= 1
                break
            else:
                return False
            self.stalls += fault.kind == "stall"
        if fault.kind == "error":
            context.abort(fault.code, fault.details)
        if fault.kind == "stall":
            gone = threading.Event()
            if context.add_callback(gone.set):
                gone.wait()
        return True
