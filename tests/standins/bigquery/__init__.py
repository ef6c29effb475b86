"""A BigQuery for the tests, strict where it can be, that Google's own clients talk to without knowing.

Over REST (`rest`) and gRPC (`storage`) on loopback. What lies in it are Arrow tables with all their versions
(`catalog`); a statement is analysed by GoogleSQL itself (`googlesql`, `analysis`), so that what BigQuery refuses is
refused with its message and position, weighed by the columns that it reads (`scanning`), translated by sqlglot
(`translation`) and computed by DuckDB (`execution`, `options`). `jobs`, `loads` and `limits` are what the service does
around statements.

What it cannot show:

- Values that DuckDB computes otherwise: TO_JSON_STRING of floats, large integers, bytes and timestamps is spelt in
  DuckDB's way; FARM_FINGERPRINT is another hash; ARRAY_AGG(… LIMIT n),
  GEOGRAPHY functions and everything that sqlglot cannot translate fail as invalidQuery though BigQuery has them.
  BIGNUMERIC is computed to 18 decimal places, and left out of queries when it has more digits than 38; INTERVAL and
  RANGE can be stored and read, not queried. Collations are analysed and not applied. `judged` says for one statement
  whether that matters.
- Functions that GoogleSQL has and BigQuery does not; the features of the language are those that BigQuery describes.
- Scripts, transactions, MERGE, UPDATE, row access policies, INFORMATION_SCHEMA, sessions, copies, snapshots, slots,
  the query cache and reservations; statements run one at a time, so none is ever in another's way.
- How the service cuts a table into streams, prunes partitions and clusters (bytes are those of whole columns, an
  upper bound), and what it calls its errors where no document says so.
- Rights: everybody may do everything that `switches.denied` does not name. Limits are off until they get a number.
"""

from tests.standins.bigquery.catalog import Refused, Stored
from tests.standins.bigquery.execution import Warehouse
from tests.standins.bigquery.jobs import MIB
from tests.standins.bigquery.rest import BigQueryStandIn, error
from tests.standins.bigquery.storage import Fault, Storage

__all__ = ["MIB", "BigQueryStandIn", "Fault", "Refused", "Storage", "Stored", "Warehouse", "error"]
