"""Finds the files that a rule matches: the search, its pages, and our own check of each object."""
