"""The simulated media library and its search."""
