"""Tokens: the credentials of HTTP callers."""
