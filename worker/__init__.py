"""What happens to a file id, from its acceptance to its outcome."""
