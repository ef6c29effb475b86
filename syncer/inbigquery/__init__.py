"""State in BigQuery: the values lie in a dataset beside the scores, and only rows that may differ travel.

`state` is the door; behind it `statement` (the comparison as one statement), `values` (what of a source value can be
said in GoogleSQL), `stock` (sums over the state, for the brakes), `tables` (the dataset) and `version` (which rows of
which tables are the state). The rules of the difference are not here: they are those of `syncer.compare`, which gets
every row that could matter and decides.
"""

from syncer.inbigquery.state import BigQueryState
from syncer.inbigquery.tables import Dataset

__all__ = ["BigQueryState", "Dataset"]
