"""State in BigQuery: what is particular to it; the rules are tested in tests/engine, in both places."""
