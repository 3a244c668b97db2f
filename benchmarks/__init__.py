"""Figures, beside the usual alternatives. Run with `make bench`."""
