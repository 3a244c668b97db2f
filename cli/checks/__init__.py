"""What `kitsweep check` looks at."""
