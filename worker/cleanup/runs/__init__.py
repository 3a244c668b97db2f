"""Runs of rules: their state in Redis, slices, dry runs, and the count of the library."""
