"""Runs of rules: stored, carried out one slice at a time, or dry."""
