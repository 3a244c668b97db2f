"""Starts, watches and stops the processes of a local run."""
