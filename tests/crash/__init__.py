"""Processes that are killed, stopped, and starved of disk."""
