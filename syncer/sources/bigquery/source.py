"""The source itself: a plain table is read directly, a view or a query runs as a job whose result is read."""

# Google's libraries are typed in part only, and grpc not at all.
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import grpc
import pyarrow as pa
import structlog
from google.api_core import exceptions as api
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from google.cloud.bigquery_storage_v1.types import ArrowSerializationOptions, DataFormat, ReadSession

from syncer.config_file import BigQuerySource
from syncer.errors import Problem, ServiceUnavailable, SyncerError, UserError
from syncer.mapping import Sync
from syncer.source import Reading, Source
from syncer.sources.bigquery.columns import (
    Column,
    Statement,
    arrow_schema,
    arrow_type,
    chosen,
    paths,
    picked,
    place,
    query_of,
    quoted,
    renamed,
    statement,
    title,
)
from syncer.sources.bigquery.faults import Scene, in_sentences, translated
from syncer.sources.bigquery.freshness import LOOKED_THROUGH, Changed, Freshness, of_table
from syncer.sources.bigquery.jobs import Jobs, Parameter
from syncer.sources.bigquery.login import Login
from syncer.sources.bigquery.patience import Patience
from syncer.sources.bigquery.streams import Streams

log = structlog.get_logger(__name__)

STREAMS_MAX = 4
"""Streams of a session. Left to the server it may be 128, each with a thread and a message of up to 128 MB."""

PAGE_ROWS = 10_000
PAGED_ROWS_PER_SECOND = 20_000
"""What one core makes of pages of 16 columns, for the warning; docs/bigquery.md has the measurement."""

CHANNEL = [
    ("grpc.max_receive_message_length", -1),
    # Left alone, gRPC measures the line and takes in whatever it can carry, on a fast one more than 100 MB that
    # nobody has asked for yet. Four a stream are a bound, and enough to keep a long line busy.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4 * 2**20),
]


@dataclass(frozen=True, slots=True)
class Described:
    """What a sync reads: its mapped columns, the type of every column as BigQuery calls it, and the whole name of the
    table or view, None for a query."""

    columns: list[Column]
    kinds: dict[str, str]
    table: str | None
    is_plain: bool


class BigQuery(Source):
    """Scores in BigQuery. Safe to use from several threads; each call makes clients of its own and closes them."""

    def __init__(self, settings: BigQuerySource, *, patience: Patience | None = None) -> None:
        self.settings = settings
        self.title = f"BigQuery project {settings.project}"
        self.patience = patience or Patience()
        self._login = Login(settings)
        self._freshness = Freshness()
        self._lock = threading.Lock()
        self._has_warned = False

    def schema(self, sync: Sync) -> pa.Schema:
        """All columns, parts of a STRUCT as `a.b` too. A query is only analysed, which costs nothing."""
        with self._client(sync) as client:
            table = self._table(client, sync)
            return arrow_schema(table.schema if table is not None else self._analysed(client, sync))

    def modified(self, sync: Sync) -> datetime.datetime | None:
        """When the table, or the last of those behind a view or query, changed; None while rows are being streamed
        in, and for what BigQuery cannot tell of. No query runs, and nothing is billed."""
        return self._changed(sync).at

    def untold(self, sync: Sync) -> str | None:
        """Why BigQuery will never tell; see `Source.untold`."""
        changed = self._changed(sync)
        if changed.at is not None or changed.is_passing:
            return None
        return f"It cannot be told when {title(sync)} changes: {changed.reason}."

    def read(self, sync: Sync, columns: Sequence[str]) -> Reading:
        """The rows as Arrow batches. A view or query has run when this returns; a table costs no query.

        Raises UserError as `schema` does, and ServiceUnavailable when BigQuery fails however often it is asked;
        both also while the batches are taken.
        """
        with self._client(sync) as client:
            table = self._table(client, sync)
            wanted = chosen(table.schema if table is not None else self._analysed(client, sync), columns, sync)
            if table is not None and _is_plain(table):
                reading = self._read_table(client, sync, table, wanted)
                if reading is not None:
                    return reading
            return self._read_query(client, sync, table, wanted)

    def _read_table(
        self, client: bigquery.Client, sync: Sync, table: bigquery.Table, columns: list[Column]
    ) -> Reading | None:
        """The table's rows without a query; None when only a query can filter them."""
        with ExitStack() as stack:
            opened = self._open(stack, sync, table.reference, columns, sync.where)
            if opened is None:
                return None if sync.where else self._by_pages(sync, table.reference, table.schema, columns)
            transport, session = opened
            rows = None
            if not sync.where:
                # The table's count holds for the session when the table is the same after it was opened as before.
                after = client.get_table(table.reference, retry=self.patience.retry, timeout=self.settings.timeout)
                if after.etag == table.etag and after.streaming_buffer is None:
                    rows = after.num_rows
            reading = self._by_streams(stack, sync, transport, session, columns, rows)
        # No query ran, so none is billed.
        self._tell_cost(reading, session.estimated_total_bytes_scanned or None, 0)
        return reading

    def _read_query(
        self,
        client: bigquery.Client,
        sync: Sync,
        table: bigquery.Table | None,
        columns: list[Column],
    ) -> Reading:
        sql = statement(sync, columns, _name(table) if table is not None else None)
        jobs = self._jobs(client, sync)
        with in_sentences(self._scene(sync), sql):
            analysed = jobs.analyse(sql.text)
        self._stay_below(analysed.total_bytes_processed or 0, sync)
        return self._result_of(sync, jobs.run(sql.text, "read"), renamed(columns))

    def _result_of(self, sync: Sync, job: bigquery.QueryJob, columns: list[Column] | None = None) -> Reading:
        """The rows of a query that has run: these columns, or all that it has."""
        found = job.result(retry=self.patience.retry, timeout=self.settings.timeout, job_retry=None)
        if job.destination is None:
            raise ServiceUnavailable(
                "BigQuery does not say where the result of the query lies. The next run tries again.", doubt=False
            )
        if columns is None:
            columns = [Column(one.name, (one.name,), arrow_type(one)) for one in found.schema]
        elif {column.path[0] for column in columns} - {one.name for one in found.schema}:
            raise ServiceUnavailable(
                "BigQuery's result has other columns than it said before. The next run tries again.", doubt=False
            )
        with ExitStack() as stack:
            opened = self._open(stack, sync, job.destination, columns, None)
            if opened is None:
                reading = self._by_pages(sync, job.destination, found.schema, columns, found.total_rows)
            else:
                reading = self._by_streams(stack, sync, *opened, columns, found.total_rows)
        self._tell_cost(reading, job.total_bytes_processed, job.total_bytes_billed)
        return reading

    def _stay_below(self, estimate: int, sync: Sync) -> None:
        """Refuse a query that a dry run expects to be dearer than the cap, before there is a job."""
        cap = self.settings.max_bytes_billed
        if estimate > cap:
            sentence = (
                f"Reading {title(sync)} would bill about {estimate:,} bytes ({self._priced(estimate)}), and "
                f"`source.max_bytes_billed` allows {cap:,} ({self._priced(cap)}). Nothing was read. Raise the cap, or "
                "read fewer columns."
            )
            raise UserError([Problem(place(sync), sentence)])

    def _priced(self, billed: int) -> str:
        return f"{billed / 2**40 * self.settings.price_per_tib:,.2f} {self.settings.currency}"

    def _tell_cost(self, reading: Reading, processed: int | None, billed: int | None) -> None:
        reading.bytes_read = processed
        reading.currency = self.settings.currency
        if billed is not None:
            reading.price = billed / 2**40 * self.settings.price_per_tib

    # --- for the state that lies beside the source --------------------------------------------------------------

    def ask(self, sync: Sync, sql: str, step: str, parameters: Sequence[Parameter] = ()) -> Reading:
        """The rows of a statement of ours, which has run when this returns. Raises what `read` raises."""
        with self._client(sync) as client:
            jobs = self._jobs(client, sync)
            self._stay_below(jobs.analyse(sql, parameters).total_bytes_processed or 0, sync)
            return self._result_of(sync, jobs.run(sql, step, parameters))

    def told(self, error: BaseException) -> SyncerError:
        """The sentence for an error of Google's libraries that comes from the login."""
        settings = self.settings
        scene = Scene("", settings.project, settings.location, settings.max_bytes_billed, settings.impersonate)
        return translated(error, scene)

    def do(self, sync: Sync, sql: str, step: str, parameters: Sequence[Parameter] = ()) -> None:
        """Run a statement of ours that returns nothing. Raises what `read` raises."""
        with self._client(sync) as client:
            self._jobs(client, sync).run(sql, step, parameters)

    def described(self, sync: Sync, columns: Sequence[str]) -> Described:
        """What a statement of ours has to know of a sync's rows. Raises what `schema` raises."""
        with self._client(sync) as client:
            table = self._table(client, sync)
            fields = table.schema if table is not None else self._analysed(client, sync)
            kinds = {".".join(path): one.field_type for path, one in paths(fields)}
            is_plain = table is not None and _is_plain(table)
            return Described(
                chosen(fields, columns, sync), kinds, _name(table) if table is not None else None, is_plain
            )

    def _open(
        self,
        stack: ExitStack,
        sync: Sync,
        table: bigquery.TableReference,
        columns: Sequence[Column],
        where: str | None,
    ) -> tuple[BigQueryReadGrpcTransport, ReadSession] | None:
        """A connection, which the stack closes, and a session on it; None, after one warning, without the right."""
        transport = self._transport()
        stack.callback(transport.close)
        try:
            session = BigQueryReadClient(transport=transport).create_read_session(
                parent=f"projects/{self.settings.project}",
                read_session=ReadSession(
                    table=table.path.removeprefix("/"),
                    data_format=DataFormat.ARROW,
                    read_options=ReadSession.TableReadOptions(
                        selected_fields=[".".join(column.path) for column in columns],
                        row_restriction=where or "",
                        arrow_serialization_options=ArrowSerializationOptions(
                            buffer_compression=ArrowSerializationOptions.CompressionCodec.LZ4_FRAME
                        ),
                    ),
                ),
                max_stream_count=STREAMS_MAX,
                retry=self.patience.session_retry,
                timeout=self.settings.timeout,
            )
        except api.PermissionDenied:
            return None
        except api.InvalidArgument as error:
            if not where:
                raise
            raise UserError([Problem("where", _unfiltered(error))]) from None
        return transport, session

    def _by_streams(
        self,
        stack: ExitStack,
        sync: Sync,
        transport: BigQueryReadGrpcTransport,
        session: ReadSession,
        columns: list[Column],
        rows: int | None,
    ) -> Reading:
        streams = Streams(
            transport,
            [stream.name for stream in session.streams],
            pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema)),
            silence_seconds=self.settings.timeout,
            patience=self.patience,
        )
        stack.callback(streams.close)
        return self._reading(sync, columns, iter(streams), stack.pop_all().close, lambda: rows)

    def _by_pages(
        self,
        sync: Sync,
        table: bigquery.TableReference,
        fields: Sequence[bigquery.SchemaField],
        columns: list[Column],
        rows: int | None = None,
    ) -> Reading:
        """The slow way, for those who may not use the Storage Read API."""
        with ExitStack() as stack:
            client = self.new_client()
            stack.callback(client.close)
            if rows is None:
                rows = client.get_table(table, retry=self.patience.retry, timeout=self.settings.timeout).num_rows
            self._warn(sync, rows or 0)
            tops = {column.path[0] for column in columns}
            pages = client.list_rows(
                table,
                selected_fields=[field for field in fields if field.name in tops],
                page_size=PAGE_ROWS,
                retry=self.patience.retry,
                timeout=self.settings.timeout,
            )
            reading = self._reading(
                sync, columns, pages.to_arrow_iterable(), stack.pop_all().close, lambda: pages.total_rows
            )
        self._tell_cost(reading, None, 0)
        return reading

    def _reading(
        self,
        sync: Sync,
        columns: list[Column],
        batches: Iterator[pa.RecordBatch],
        close: Callable[[], None],
        rows: Callable[[], int | None],
    ) -> Reading:
        """The reading of these batches, which end with an error unless there are as many rows as `rows` says."""
        schema = pa.schema([(column.name, column.type) for column in columns])

        def checked() -> Iterator[pa.RecordBatch]:
            seen = 0
            try:
                with in_sentences(self._scene(sync)):
                    for batch in batches:
                        seen += batch.num_rows
                        yield picked(batch, columns, schema)
                _count(sync, seen, rows())
            finally:
                close()

        # The generator may not know its reading: Arrow would hide the circle from Python's garbage collector, and a
        # reading that was forgotten would keep its threads for ever.
        return Reading(pa.RecordBatchReader.from_batches(schema, checked()), ending=close)

    def _table(self, client: bigquery.Client, sync: Sync) -> bigquery.Table | None:
        """The metadata of the sync's table or view; None when it has a query."""
        if sync.source is None:
            return None
        quoted(sync.source, sync)
        try:
            reference = bigquery.TableReference.from_string(sync.source, default_project=self.settings.project)
        except ValueError:
            raise UserError(
                [Problem(place(sync), f"`source` is {sync.source!r}. Write DATASET.TABLE or PROJECT.DATASET.TABLE.")]
            ) from None
        return self._look(client, reference)

    def _look(self, client: bigquery.Client, reference: bigquery.TableReference) -> bigquery.Table:
        return client.get_table(reference, retry=self.patience.retry, timeout=self.settings.timeout)

    def _changed(self, sync: Sync) -> Changed:
        with self._client(sync) as client:
            table = self._table(client, sync)
            if table is not None and table.table_type not in LOOKED_THROUGH:
                return of_table(table)
            # The etag is another one when somebody has made the view anew.
            text = query_of(sync) if table is None else f"SELECT * FROM {quoted(_name(table), sync)} -- {table.etag}"
            return self._freshness.behind(
                sync.name,
                text,
                lambda: self._analysis(client, sync, text).referenced_tables,
                lambda one: self._look(client, one),
            )

    def _analysed(self, client: bigquery.Client, sync: Sync) -> Sequence[bigquery.SchemaField]:
        """The columns of the sync's query, which is analysed and not run."""
        job = self._analysis(client, sync, query_of(sync))
        if job.statement_type not in (None, "SELECT"):
            raise UserError(
                [Problem(place(sync), f"`query` is a {job.statement_type} statement. Write a single SELECT.")]
            )
        return job.schema or []

    def _analysis(self, client: bigquery.Client, sync: Sync, sql: str) -> bigquery.QueryJob:
        with in_sentences(self._scene(sync), Statement(sql, query_line=1)):
            return self._jobs(client, sync).analyse(sql)

    def _jobs(self, client: bigquery.Client, sync: Sync) -> Jobs:
        return Jobs(
            client,
            sync.name,
            bytes_billed_max=self.settings.max_bytes_billed,
            timeout=self.settings.timeout,
            patience=self.patience,
        )

    @contextmanager
    def _client(self, sync: Sync) -> Iterator[bigquery.Client]:
        with in_sentences(self._scene(sync)):
            client = self.new_client()
            try:
                yield client
            finally:
                client.close()

    def new_client(self) -> bigquery.Client:
        """A client of the REST interface, which whoever asks for it closes. Raises google.auth's errors."""
        endpoint = self.settings.endpoint
        return bigquery.Client(
            project=self.settings.project,
            location=self.settings.location,
            credentials=self._login.credentials(),
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )

    def _transport(self) -> BigQueryReadGrpcTransport:
        if self.settings.storage_endpoint:
            address = urlsplit(self.settings.storage_endpoint).netloc
            return BigQueryReadGrpcTransport(channel=grpc.insecure_channel(address, options=CHANNEL))
        channel = BigQueryReadGrpcTransport.create_channel(credentials=self._login.credentials(), options=CHANNEL)
        return BigQueryReadGrpcTransport(channel=channel)

    def _scene(self, sync: Sync) -> Scene:
        return Scene(
            place(sync),
            self.settings.project,
            self.settings.location,
            self.settings.max_bytes_billed,
            self.settings.impersonate,
        )

    def _warn(self, sync: Sync, rows: int) -> None:
        with self._lock:
            if self._has_warned:
                return
            self._has_warned = True
        log.warning(
            "BigQuery's Storage Read API may not be used, so rows come by pages, which is many times slower. "
            "Grant the role BigQuery Read Session User (roles/bigquery.readSessionUser), which has the permission "
            "bigquery.readsessions.create.",
            project=self.settings.project,
            sync=sync.name,
            rows=rows,
            minutes=round(rows / PAGED_ROWS_PER_SECOND / 60, 1),
        )


def _is_plain(table: bigquery.Table) -> bool:
    """Whether the Storage Read API reads it; views, materialized views and external tables need a query."""
    return bool(table.table_type == "TABLE")


def _name(table: bigquery.Table) -> str:
    return f"{table.project}.{table.dataset_id}.{table.table_id}"


def _unfiltered(error: api.InvalidArgument) -> str:
    return (
        f"BigQuery cannot filter the table's rows by `where`: {error.message.splitlines()[0]} "
        "Mend it, or write a `query` with this condition."
    )


def _count(sync: Sync, seen: int, rows: int | None) -> None:
    if rows is not None and seen != rows:
        raise ServiceUnavailable(
            f"BigQuery sent {seen:,} rows of {title(sync)} and says that there are {rows:,}. The next run reads again; "
            "a table with row access policies is to be read through a view.",
            doubt=False,
        )
