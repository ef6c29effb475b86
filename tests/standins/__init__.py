"""Stand-ins that only the tests need."""
