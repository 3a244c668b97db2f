"""The doors: what others call. Imports worker and config."""
