"""Certificates of erasure: what became of each file of a request, signed."""
