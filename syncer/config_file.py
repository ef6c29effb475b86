"""The sections of `config.toml` as they are written: what each setting means, and which values it takes."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from syncer.alerts.settings import Alert
from syncer.mapping import Brakes
from syncer.schedule import Schedule
from syncer.spans import seconds_of
from syncer.transport import is_loopback


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _path(value: Any, info: ValidationInfo) -> Any:
    """A path, below the folder that the validation's context names when it is relative."""
    if not isinstance(value, str):
        return value
    if not value:
        raise ValueError("must not be empty; write a path")
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / Path(value).expanduser()


FilePath = Annotated[Path, BeforeValidator(_path, json_schema_input_type=str)]

_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def _bytes(value: Any) -> Any:
    """Bytes of a text like `20GB`; a number is bytes already."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B)\s*", value.upper())
    if not found or found[2] not in _BYTES:
        raise ValueError('has to be a number of bytes, or a text with a number and a unit, as "20GB"')
    return round(float(found[1]) * _BYTES[found[2]])


class DuckDBSource(_Strict):
    """`[source]` with `type = "duckdb"`: a DuckDB file on this machine."""

    type: Literal["duckdb"] = Field(description="Where the scores are: duckdb or bigquery.")
    path: FilePath = Field(description="The DuckDB file; it is opened for reading only.")


class BigQuerySource(_Strict):
    """`[source]` with `type = "bigquery"`: tables of a Google Cloud project."""

    type: Literal["bigquery"] = Field(description="Where the scores are: duckdb or bigquery.")
    project: str = Field(min_length=1, description="The project that queries are billed to.")
    location: str = Field(default="US", min_length=1, description="Where the data are, as US or europe-west3.")
    max_bytes_billed: Annotated[int, BeforeValidator(_bytes, json_schema_input_type=int | str)] = Field(
        default=20 * 10**9, gt=0, description='A query that would read more fails and costs nothing; as "20GB".'
    )
    price_per_tib: float = Field(
        default=6.25, ge=0, le=10_000, description="What 2**40 bytes that a query bills cost, for what is told of it."
    )
    currency: str = Field(default="USD", min_length=1, max_length=12, description="What that price is in.")
    credentials: FilePath | None = Field(
        default=None, description="Key file of a service account; left out, Google's own default is used."
    )
    impersonate: str | None = Field(
        default=None, min_length=1, description="Service account to act as, when the credentials are allowed to."
    )
    timeout: float = Field(default=60.0, gt=0, le=600, description="Seconds a request may stay silent.")
    endpoint: str | None = Field(default=None, description="Address of a stand-in of the BigQuery API.")
    storage_endpoint: str | None = Field(default=None, description="Address of a stand-in of the Storage API.")

    @field_validator("endpoint", "storage_endpoint")
    @classmethod
    def _is_here(cls, text: str | None) -> str | None:
        # A stand-in is spoken to without credentials, and its Storage API without encryption.
        if text is not None and not is_loopback(urlsplit(text).hostname or ""):
            raise ValueError("is for a stand-in on this machine, as http://127.0.0.1:9050; leave it out for BigQuery")
        return text

    @field_validator("credentials", mode="before")
    @classmethod
    def _is_a_path(cls, value: Any) -> Any:
        if isinstance(value, str) and value.lstrip().startswith("{"):
            raise ValueError("has to be the path of the key file and not what is in it; leave `file:` out")
        return value


class _Controlled(_Strict):
    """Where the control store is: runs, intents, outcomes, parked records, and who runs what."""

    control: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="URL of a PostgreSQL server for runs, intents, outcomes and locks, as postgresql://USER@HOST/NAME; "
        "left out, they are in a file in the folder.",
    )
    control_schema: str = Field(
        default="syncer", pattern=r"^[a-z_][a-z0-9_]{0,62}$", description="The schema of its tables on that server."
    )
    lease_seconds: float = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="Seconds without a sign of life after which another process takes over; on that server only.",
    )

    @field_validator("control")
    @classmethod
    def _is_a_url(cls, control: SecretStr | None) -> SecretStr | None:
        if control is None:
            return None
        from psycopg import ProgrammingError, conninfo  # It takes time to load, and few need it.

        text = control.get_secret_value()
        with contextlib.suppress(ProgrammingError):
            # The library's own text quotes what it does not understand, which may be the password.
            if re.match(r"postgres(ql)?://", text) and conninfo.conninfo_to_dict(text) is not None:
                return control
        raise ValueError(
            "is not the URL of a PostgreSQL server; write postgresql://USER:PASSWORD@HOST/NAME, with signs as % and @ "
            "in a password written as %25 and %40"
        )


class LocalState(_Controlled):
    """`[state]`: what each destination last accepted, on this machine's disk."""

    type: Literal["local"] = Field(default="local", description="Where the state is kept: local.")
    path: FilePath = Field(default=Path("state"), description="The folder of the state.")


class DatasetState(_Controlled):
    """`[state]` with `type = "bigquery"`: the values as tables beside the scores, compared by one query there."""

    type: Literal["bigquery"] = Field(description="Where the state is kept: local or bigquery.")
    dataset: str = Field(
        pattern=r"^([a-z][a-z0-9:.-]*\.)?[A-Za-z0-9_]+$",
        description='The dataset, as "syncer_state" or "PROJECT.DATASET"; it is made where the source is.',
    )
    path: FilePath = Field(
        default=Path("state"), description="A folder for the control store, and for copies that may be lost."
    )


class Service(_Strict):
    """`[service]`: the HTTP side of the daemon."""

    listen: str = Field(default="127.0.0.1:8080", description="Address and port; port 0 takes a free one.")
    token: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="What a request has to bring; needed for an address beyond this machine.",
    )
    log: FilePath | None = Field(
        default=None, description="File for the log of the daemon, one a day; left out, it is written to stderr."
    )
    keep_log: str = Field(default="14d", description="How long the files of the log are kept.")
    keep_runs: int = Field(default=1_000, ge=10, description="Runs of each sync that the journal keeps.")
    keep: str = Field(default="90d", description="How long the journal keeps who asked for what, and what came of it.")

    url: str | None = Field(
        default=None, min_length=1, description="Where people reach the page, for links in alerts; as https://…"
    )

    @field_validator("url")
    @classmethod
    def _url(cls, text: str | None) -> str | None:
        # It is shown to people and nothing is sent there, so it may be http.
        if text is not None and not re.fullmatch(r"https?://[^\s/@]+(/[^\s]*)?", text):
            raise ValueError("is not a whole address; write one as https://syncer.example.com")
        return text.rstrip("/") if text else text

    @field_validator("listen")
    @classmethod
    def _listen(cls, text: str) -> str:
        host, colon, port = text.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ValueError("has to be an address and a port from 0 to 65535, as 127.0.0.1:8080")
        return text

    @field_validator("keep", "keep_log")
    @classmethod
    def _keep(cls, text: str) -> str:
        seconds_of(text)
        return text

    @model_validator(mode="after")
    def _is_guarded(self) -> Service:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(
                f'an address that others can reach ({self.host}) needs a `token`; write token = "env:SYNCER_TOKEN", '
                "or listen on 127.0.0.1"
            )
        return self

    @property
    def host(self) -> str:
        """The address without the port."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port; 0 for a free one."""
        return int(self.listen.rpartition(":")[2])


class Log(_Strict):
    """`[log]`: lines on stderr."""

    format: Literal["auto", "json", "pretty"] = Field(
        default="auto", description="auto is pretty on a terminal, and JSON elsewhere."
    )


class Delivery(_Strict):
    """`[delivery]`: how requests are repeated, and when refused records are tried again."""

    retry_after_max: float = Field(
        default=60.0, gt=0, le=3600, description="Seconds that a service's Retry-After is obeyed at most."
    )
    wait_first: float = Field(default=0.5, gt=0, le=60, description="Seconds before the first repeat of a request.")
    wait_max: float = Field(default=30.0, gt=0, le=600, description="Seconds between two repeats at most.")
    failures_max: int = Field(
        default=3, ge=1, le=100, description="Requests given up in a row after which a service is left alone."
    )
    rest_seconds: float = Field(
        default=60.0, gt=0, le=86400, description="Seconds until a service that was left alone is asked again."
    )
    retry_delays: Annotated[
        tuple[str, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
    ] = Field(
        default=("1h", "4h", "1d", "3d", "7d"),
        description="When a refused record is tried again with the same values; then only on request.",
    )

    @field_validator("retry_delays")
    @classmethod
    def _delays(cls, delays: tuple[str, ...]) -> tuple[str, ...]:
        for delay in delays:
            seconds_of(delay)
        return delays

    @model_validator(mode="after")
    def _rises(self) -> Delivery:
        if self.wait_first > self.wait_max:
            raise ValueError("`wait_first` has to be `wait_max` or less")
        return self

    @property
    def retry_delays_seconds(self) -> tuple[float, ...]:
        """The delays in seconds."""
        return tuple(seconds_of(delay) for delay in self.retry_delays)


class Plans(_Strict):
    """`[plans]`: plans that wait for somebody, and how long a saved or approved one is good for."""

    approve: bool | Annotated[int, Field(ge=1)] = Field(
        default=False,
        description="true: each plan waits until somebody approves it; a number: plans of at least so many changes.",
    )
    max_age: str = Field(default="24h", description="How long a saved plan, or an approval, is good for.")

    @field_validator("max_age")
    @classmethod
    def _age(cls, text: str) -> str:
        seconds_of(text)
        return text


class History(_Strict):
    """`[history]`: what destinations accepted and refused over time."""

    keep: str | Literal[False] = Field(
        default="400d", description='How long each value is remembered, as 400d; false (or "0d") keeps no history.'
    )

    @field_validator("keep", mode="before")
    @classmethod
    def _keep(cls, keep: Any) -> Any:
        if isinstance(keep, str):
            if not _is_nothing(keep):
                seconds_of(keep)
        elif keep is not False:
            raise ValueError('has to be a span of time, as "400d", or false')
        return keep

    @property
    def keep_seconds(self) -> float:
        """How long, in seconds; 0 when no history is kept."""
        return seconds_of(self.keep) if self.keep and not _is_nothing(self.keep) else 0.0


def _is_nothing(span: str) -> bool:
    """Whether a span of time is none at all, as 0d."""
    return re.fullmatch(r"\s*0+(\.0+)?\s*[smhdw]?\s*", span) is not None


class DeliveredLog(_Strict):
    """`[delivered]`: a table of the warehouse to which every accepted change is appended."""

    table: str = Field(description='The table, as "syncer.delivered"; it is made when it is not there.')
    path: FilePath | None = Field(
        default=None, description="A DuckDB file for it; left out, it is in the warehouse of the source."
    )

    @field_validator("table")
    @classmethod
    def _table(cls, text: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,2}", text):
            raise ValueError('has to be the name of a table, as "syncer.delivered"')
        return text


def _with_type_of_state(value: Any) -> Any:
    return {"type": "local", **value} if isinstance(value, dict) else value


class ConfigFile(_Strict):
    """The config as it is written; what a destination takes is its adapter's own business."""

    source: Annotated[DuckDBSource | BigQuerySource, Field(discriminator="type")] = Field(
        description="Where the scores come from."
    )
    state: Annotated[
        Annotated[LocalState | DatasetState, Field(discriminator="type")], BeforeValidator(_with_type_of_state)
    ] = Field(default_factory=LocalState, description="What was accepted last.")
    destinations: dict[str, dict[str, Any]] = Field(description="The accounts to sync to, by name.")
    schedule: Schedule = Field(default_factory=Schedule, description="When syncs run that do not say it themselves.")
    brakes: Brakes = Field(default_factory=Brakes, description="Limits that hold a plan before anything is sent.")
    plans: Plans = Field(default_factory=Plans, description="Approval of plans, and how long they are good for.")
    service: Service = Field(default_factory=Service, description="The HTTP side of the daemon.")
    delivery: Delivery = Field(default_factory=Delivery, description="Repeats of requests and of refused records.")
    log: Log = Field(default_factory=Log, description="Lines on stderr.")
    alerts: Annotated[
        tuple[Annotated[Alert, Field(discriminator="type")], ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    ] = Field(default=(), description="Who is told when something needs somebody.")
    history: History = Field(default_factory=History, description="What was accepted and refused over time.")
    delivered: DeliveredLog | None = Field(default=None, description="Accepted changes, as a table of the warehouse.")
    mappings: str = Field(default="mappings", min_length=1, description="The folder of the mapping files.")

    @field_validator("destinations")
    @classmethod
    def _destinations(cls, destinations: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if not destinations:
            raise ValueError("is empty; write a section as [destinations.salesforce]")
        return destinations

    @field_validator("alerts")
    @classmethod
    def _alerts(cls, alerts: tuple[Alert, ...]) -> tuple[Alert, ...]:
        names = [alert.called for alert in alerts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"has {name!r} {names.count(name)} times; give each of them a `name` of its own")
        return alerts

    @field_validator("state")
    @classmethod
    def _state(cls, state: LocalState | DatasetState, info: ValidationInfo) -> LocalState | DatasetState:
        if isinstance(state, DatasetState) and isinstance(info.data.get("source"), DuckDBSource):
            raise ValueError('has type = "bigquery", and the source is no BigQuery; write type = "local" with a path')
        return state

    @field_validator("delivered")
    @classmethod
    def _delivered(cls, delivered: DeliveredLog | None, info: ValidationInfo) -> DeliveredLog | None:
        if delivered is None:
            return None
        history, source = info.data.get("history"), info.data.get("source")
        if isinstance(history, History) and not history.keep_seconds:
            raise ValueError("is made of the history, and `history.keep` says that none is kept; let it keep 30d")
        parts = delivered.table.count(".") + 1
        is_duckdb = delivered.path is not None or isinstance(source, DuckDBSource)
        if is_duckdb and parts == 3:
            raise ValueError(f"has a table {delivered.table!r}; in DuckDB it is SCHEMA.TABLE")
        if not is_duckdb and parts == 1:
            raise ValueError(f"has a table {delivered.table!r}; in BigQuery it is DATASET.TABLE")
        return delivered
