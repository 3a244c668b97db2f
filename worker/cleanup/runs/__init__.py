"""Carries out a rule: stored runs, one slice at a time, and the dry run."""
