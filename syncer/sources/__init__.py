"""The sources, one module each; `syncer.source` has their contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from syncer.config_file import BigQuerySource, DuckDBSource
    from syncer.source import Source


def source_of(settings: DuckDBSource | BigQuerySource) -> Source:
    """The source that the config describes; only its own library is imported."""
    if settings.type == "duckdb":
        from syncer.sources.duckdb import DuckDB

        return DuckDB(settings.path)
    from syncer.sources.bigquery import BigQuery

    return BigQuery(settings)
