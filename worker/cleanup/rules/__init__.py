"""What a cleanup rule says: its file, its fields, its schedule."""
