"""The suite; it mirrors the two packages."""
