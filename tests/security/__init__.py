"""The threat model, line by line: docs/security.md names each test of this folder beside what it shows."""
