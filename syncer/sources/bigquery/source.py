"""The source itself: a plain table is read directly, a view or a query runs as a job whose result is read."""

# Google's libraries are typed in part only, and grpc not at all.
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import google.auth
import grpc
import pyarrow as pa
import structlog
from google.api_core import exceptions as api
from google.auth import impersonated_credentials
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from google.cloud.bigquery_storage_v1.types import ArrowSerializationOptions, DataFormat, ReadSession
from google.oauth2 import service_account

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
from syncer.sources.bigquery.jobs import Jobs, Parameter
from syncer.sources.bigquery.patience import Patience
from syncer.sources.bigquery.streams import Streams

log = structlog.get_logger(__name__)

PRICE_PER_TIB = 6.25
"""US dollars for 2**40 bytes billed on demand, the list price in the US: cloud.google.com/bigquery/pricing."""

STREAMS_MAX = 4
"""Streams of a session. Left to the server it may be 128, each with a thread and a message of up to 128 MB."""

PAGED_ROWS_MAX = 200_000
"""Rows that are read by pages at most; a million takes most of a minute of CPU that way."""
PAGE_ROWS = 10_000

CHANNEL = [
    ("grpc.max_receive_message_length", -1),
    # Left alone, gRPC measures the line and takes in whatever it can carry, on a fast one more than 100 MB that
    # nobody has asked for yet. Four a stream are a bound, and enough to keep a long line busy.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4 * 2**20),
]

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


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
        self.patience = self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._has_warned = False

    def schema(self, sync: Sync) -> pa.Schema:
        """All columns, parts of a STRUCT as `a.b` too. A query is only analysed, which costs nothing."""
        with self._client(sync) as client:
            table = self._table(client, sync)
            return arrow_schema(table.schema if table is not None else self._analysed(client, sync))

    def modified(self, sync: Sync) -> datetime.datetime | None:
        """When the table was last changed; None for views and queries, and while rows are being streamed in."""
        with self._client(sync) as client:
            table = self._table(client, sync)
        # The time lags behind rows that still lie in the streaming buffer, so it would say too much.
        if table is None or not _is_plain(table) or table.streaming_buffer is not None:
            return None
        modified: datetime.datetime | None = table.modified
        return modified

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
                after = client.get_table(table.reference, retry=self._patience.retry, timeout=self.settings.timeout)
                if after.etag == table.etag and after.streaming_buffer is None:
                    rows = after.num_rows
            reading = self._by_streams(stack, sync, transport, session, columns, rows)
        reading.bytes_read = session.estimated_total_bytes_scanned or None
        return reading

    def _read_query(
        self, client: bigquery.Client, sync: Sync, table: bigquery.Table | None, columns: list[Column]
    ) -> Reading:
        sql = statement(sync, columns, _name(table) if table is not None else None)
        jobs = self._jobs(client, sync)
        with in_sentences(self._scene(sync), sql):
            jobs.analyse(sql.text)
        job = jobs.run(sql.text, "read")
        found = job.result(retry=self._patience.retry, timeout=self.settings.timeout, job_retry=None)
        columns = renamed(columns)
        with ExitStack() as stack:
            opened = self._open(stack, sync, job.destination, columns, None)
            if opened is None:
                reading = self._by_pages(sync, job.destination, found.schema, columns, found.total_rows)
            else:
                reading = self._by_streams(stack, sync, *opened, columns, found.total_rows)
        reading.bytes_read = job.total_bytes_processed
        if job.total_bytes_billed is not None:
            reading.price = job.total_bytes_billed / 2**40 * PRICE_PER_TIB
        return reading

    # --- for the state that lies beside the source --------------------------------------------------------------

    def ask(self, sync: Sync, sql: str, step: str, parameters: Sequence[Parameter] = ()) -> Reading:
        """The rows of a statement of ours, which has run when this returns. Raises what `read` raises."""
        with self._client(sync) as client:
            jobs = self._jobs(client, sync)
            jobs.analyse(sql, parameters)
            job = jobs.run(sql, step, parameters)
            found = job.result(retry=self._patience.retry, timeout=self.settings.timeout, job_retry=None)
            columns = [Column(one.name, (one.name,), arrow_type(one)) for one in found.schema]
            with ExitStack() as stack:
                opened = self._open(stack, sync, job.destination, columns, None)
                if opened is None:
                    reading = self._by_pages(sync, job.destination, found.schema, columns, found.total_rows)
                else:
                    reading = self._by_streams(stack, sync, *opened, columns, found.total_rows)
            reading.bytes_read = job.total_bytes_processed
            if job.total_bytes_billed is not None:
                reading.price = job.total_bytes_billed / 2**40 * PRICE_PER_TIB
            return reading

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
                retry=self._patience.session_retry,
                timeout=self.settings.timeout,
            )
        except api.PermissionDenied:
            self._warn()
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
            patience=self._patience,
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
                rows = client.get_table(table, retry=self._patience.retry, timeout=self.settings.timeout).num_rows
            if rows is not None and rows > PAGED_ROWS_MAX:
                sentence = (
                    f"{title(sync)} has {rows:,} rows, and without the Storage Read API at most {PAGED_ROWS_MAX:,} "
                    "are read. Grant the role BigQuery Read Session User (roles/bigquery.readSessionUser) on the "
                    f"project {self.settings.project}."
                )
                raise UserError([Problem(place(sync), sentence)])
            tops = {column.path[0] for column in columns}
            pages = client.list_rows(
                table,
                selected_fields=[field for field in fields if field.name in tops],
                page_size=PAGE_ROWS,
                retry=self._patience.retry,
                timeout=self.settings.timeout,
            )
            return self._reading(
                sync, columns, pages.to_arrow_iterable(), stack.pop_all().close, lambda: pages.total_rows
            )

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
        return client.get_table(reference, retry=self._patience.retry, timeout=self.settings.timeout)

    def _analysed(self, client: bigquery.Client, sync: Sync) -> Sequence[bigquery.SchemaField]:
        """The columns of the sync's query, which is analysed and not run."""
        sql = query_of(sync)
        with in_sentences(self._scene(sync), Statement(sql, query_line=1)):
            job = self._jobs(client, sync).analyse(sql)
        if job.statement_type not in (None, "SELECT"):
            raise UserError(
                [Problem(place(sync), f"`query` is a {job.statement_type} statement. Write a single SELECT.")]
            )
        return job.schema or []

    def _jobs(self, client: bigquery.Client, sync: Sync) -> Jobs:
        return Jobs(
            client,
            sync.name,
            bytes_billed_max=self.settings.max_bytes_billed,
            timeout=self.settings.timeout,
            patience=self._patience,
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
            credentials=self._login(),
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )

    def _transport(self) -> BigQueryReadGrpcTransport:
        if self.settings.storage_endpoint:
            address = urlsplit(self.settings.storage_endpoint).netloc
            return BigQueryReadGrpcTransport(channel=grpc.insecure_channel(address, options=CHANNEL))
        channel = BigQueryReadGrpcTransport.create_channel(credentials=self._login(), options=CHANNEL)
        return BigQueryReadGrpcTransport(channel=channel)

    def _login(self) -> Credentials:
        """The credentials, found once. Raises google.auth's errors, and UserError for a key file that is none."""
        settings = self.settings
        if settings.endpoint:
            return AnonymousCredentials()
        with self._lock:
            if self._credentials is None:
                if settings.credentials is not None:
                    credentials = _from_key_file(settings.credentials)
                else:
                    credentials, _ = google.auth.default(scopes=SCOPES)
                if settings.impersonate:
                    credentials = impersonated_credentials.Credentials(
                        source_credentials=credentials,
                        target_principal=settings.impersonate,
                        target_scopes=SCOPES,
                        lifetime=3600,
                    )
                self._credentials = credentials
            return self._credentials

    def _scene(self, sync: Sync) -> Scene:
        return Scene(
            place(sync),
            self.settings.project,
            self.settings.location,
            self.settings.max_bytes_billed,
            self.settings.impersonate,
        )

    def _warn(self) -> None:
        with self._lock:
            if self._has_warned:
                return
            self._has_warned = True
        log.warning(
            "BigQuery's Storage Read API may not be used, so rows come by pages, which is many times slower. "
            "Grant the role BigQuery Read Session User (roles/bigquery.readSessionUser), which has the permission "
            "bigquery.readsessions.create.",
            project=self.settings.project,
        )


def _is_plain(table: bigquery.Table) -> bool:
    """Whether the Storage Read API reads it; views, materialized views and external tables need a query."""
    return bool(table.table_type == "TABLE")


def _name(table: bigquery.Table) -> str:
    return f"{table.project}.{table.dataset_id}.{table.table_id}"


def _from_key_file(path: Path) -> Credentials:
    try:
        credentials: Credentials = service_account.Credentials.from_service_account_file(str(path), scopes=SCOPES)
    except (OSError, ValueError):
        # The error's own text may quote the file.
        sentence = f"{path} is not a readable key file of a service account. Look at the path."
        raise UserError([Problem("source.credentials", sentence)]) from None
    return credentials


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
