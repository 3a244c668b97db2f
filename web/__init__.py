"""The web server: the drop-in for the ImageKit API, and the HTTP interface for operators and programs."""
