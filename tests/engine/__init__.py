"""The run, from plan to outcome."""
