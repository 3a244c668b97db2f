"""The output of the command line: text, tables, progress."""
