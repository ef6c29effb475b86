"""The page of the daemon, in a real browser."""
