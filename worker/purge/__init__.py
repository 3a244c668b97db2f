"""Purging: removes the cached copies of deleted files from the CDN, under a monthly quota."""
