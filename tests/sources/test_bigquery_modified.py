"""When a table, a view or a query of BigQuery last changed."""

from __future__ import annotations

from tests.sources.bigquery_here import BigQueryHere, query, sync, users
from tests.standins.bigquery import error

USER_ID = {"name": "user_id", "type": "STRING"}


class TestModified:
    def test_a_table_has_a_time(self, here: BigQueryHere) -> None:
        """The time is the table's last change, aware; asking for it reads no row and makes no job."""
        before = here.users(10)
        asked = here.source().modified(sync())
        here.users(11)

        assert before.modified == asked
        assert asked < here.source().modified(sync())
        assert ["GET /bigquery/v2/projects/acme/datasets/activation/tables/users"] * 2 == here.paths

    def test_a_view_or_query_is_as_new_as_the_newest_table_behind_it(self, here: BigQueryHere) -> None:
        """What lies behind, also behind views of views, is named by one dry run each; after it only metadata is asked
        for, and nothing is read."""
        here.users(10)
        here.warehouse.put("activation.accounts", users(3))
        here.warehouse.view("activation.active", "SELECT * FROM activation.users WHERE is_active")
        both = "SELECT * FROM activation.active UNION ALL SELECT * FROM activation.accounts"
        here.warehouse.view("activation.both", both)
        ones = (sync("activation.both", name="salesforce.leads"), query(both))
        source = here.source()
        newest = here.warehouse.put("activation.accounts", users(4)).modified

        assert [newest, newest] == [source.modified(one) for one in ones]
        newest = here.warehouse.put("activation.users", users(11)).modified
        newest = here.warehouse.put("activation.users", users(12)).modified
        before = len(here.paths)

        assert [newest, newest] == [source.modified(one) for one in ones]
        tables = "GET /bigquery/v2/projects/acme/datasets/activation/tables"
        assert sorted([f"{tables}/both", *[f"{tables}/users", f"{tables}/accounts"] * 2]) == sorted(here.paths[before:])
        assert (2, {}, []) == (len(here.rest.dry_runs), here.rest.jobs, here.storage.sessions)

    def test_the_tables_behind_a_view_that_is_made_anew_are_asked_for_again(self, here: BigQueryHere) -> None:
        """A view of other tables is as new as these."""
        here.users(10)
        here.warehouse.put("activation.accounts", users(3))
        newest = here.warehouse.put("activation.accounts", users(4)).modified
        made = here.warehouse.view("activation.active", "SELECT * FROM activation.users")
        source = here.source()
        before = source.modified(sync("activation.active"))
        here.warehouse.view("activation.active", "SELECT * FROM activation.accounts").version = made.version + 1

        assert before is not None
        assert before < newest == source.modified(sync("activation.active"))

    def test_where_it_cannot_be_told_a_sentence_says_why(self, here: BigQueryHere) -> None:
        """Where BigQuery does not say when rows change, nobody pretends to know; rows being streamed in pass."""
        here.users(10).is_streamed_into = True
        here.warehouse.put("activation.sheet", users(3), kind="EXTERNAL")
        here.warehouse.view("activation.active", "SELECT * FROM activation.sheet")
        ones = (sync(), sync("activation.sheet"), sync("activation.active"), query("SELECT 1 AS user_id"))
        source = here.source()
        external = "activation.sheet is of the kind external, and BigQuery does not say when its rows change."

        assert [None] * 4 == [source.modified(one) for one in ones]
        assert [
            None,
            f"It cannot be told when activation.sheet changes: {external}",
            f"It cannot be told when activation.active changes: {external}",
            "It cannot be told when the query's result changes: no table is behind it that could change.",
        ] == [source.untold(one) for one in ones]

    def test_a_table_behind_a_view_that_may_not_be_looked_at(self, here: BigQueryHere) -> None:
        """A view may be read by who may not even see its tables, and then the sentence names the role."""
        here.users(10)
        here.warehouse.view("activation.active", "SELECT * FROM activation.users")
        here.rest.trouble(
            "status",
            times=None,
            when=lambda request: request.path.endswith("/users"),
            answer=error(403, "accessDenied", "Access Denied"),
        )
        source = here.source()

        assert None is source.modified(sync("activation.active"))
        assert "Metadata Viewer (roles/bigquery.metadataViewer)" in (source.untold(sync("activation.active")) or "")
