"""The engine of Syncer: it compares, plans, judges, delivers and remembers. It names no vendor."""

__version__ = "0.1.0"
