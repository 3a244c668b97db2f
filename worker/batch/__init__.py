"""Deletion: claim up to 100 ids, make one call, judge the response, settle."""
