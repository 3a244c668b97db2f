"""Figures, measured side by side with what one would use instead. Run with `make bench`."""
