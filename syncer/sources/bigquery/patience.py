"""How long and how often BigQuery is asked again."""

from __future__ import annotations

from dataclasses import dataclass

from google.api_core import exceptions as api
from google.api_core import retry as repeating
from google.cloud import bigquery


@dataclass(frozen=True, slots=True)
class Patience:
    """Times and numbers of tries, in one place so that a test can shorten them."""

    repeat_seconds: float = 600.0
    """One request is repeated for so long."""
    wait_first_seconds: float = 0.5
    """The first pause before repeating; it doubles from pause to pause, up to `wait_max_seconds`."""
    wait_max_seconds: float = 30.0
    conflict_seconds: float = 180.0
    """For so long a job that exists already may hide from the question for it."""
    job_seconds: float = 3600.0
    """A query that takes longer is cancelled."""
    job_attempts: int = 4
    """How often a query that failed for a passing reason is run, each time under a new id."""
    stream_resumes: int = 6
    """How often in a row a stream that broke off or fell silent is taken up again without a row between."""

    def pause(self, times: int) -> float:
        """Seconds before the next try, after so many that failed in a row."""
        return float(min(self.wait_first_seconds * 2 ** (times - 1), self.wait_max_seconds))

    @property
    def retry(self) -> repeating.Retry:
        """The library's own rule for what is repeated, with our times."""
        return bigquery.DEFAULT_RETRY.with_timeout(self.repeat_seconds).with_delay(
            initial=self.wait_first_seconds, maximum=self.wait_max_seconds
        )

    @property
    def session_retry(self) -> repeating.Retry:
        """The same for the gRPC interface, whose passing errors have no reason but a code."""
        return repeating.Retry(
            predicate=repeating.if_exception_type(
                api.DeadlineExceeded, api.InternalServerError, api.ServiceUnavailable, api.Unknown
            ),
            initial=self.wait_first_seconds,
            maximum=self.wait_max_seconds,
            timeout=self.repeat_seconds,
        )
