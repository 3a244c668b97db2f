"""How the command line writes: words, tables, progress."""
