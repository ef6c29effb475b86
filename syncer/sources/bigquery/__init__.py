"""The source `bigquery`: tables through the Storage Read API, views and queries as jobs, all of it as Arrow.

`source` is the door; behind it `columns` (names, types and the SQL made of them), `jobs` (queries that run
once), `streams` (the rows of a read session), `patience` (how often is asked again) and `faults` (what went
wrong, in sentences).
"""

from syncer.sources.bigquery.patience import Patience
from syncer.sources.bigquery.source import BigQuery

__all__ = ["BigQuery", "Patience"]
