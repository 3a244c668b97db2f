"""The engine: what happens to a file id, from its acceptance to its outcome."""
