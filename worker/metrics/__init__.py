"""Metrics: what Redis knows of an account, in one look."""
