"""The web server: the drop-in for the ImageKit API, and what operators and programs reach over HTTP."""
