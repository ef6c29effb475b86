"""Benchmarks: every figure is measured beside its limit and a plain reference, in one run, and told as a ratio."""
