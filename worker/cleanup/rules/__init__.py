"""Cleanup rules: the file, its fields and the schedule."""
