"""Periodic cleanup: lists the files that match a rule, checks each again, and enqueues them as one guarded request.

rules file ─▶ beat: is it due? ─▶ run: list, check, collect ─▶ guards ─▶ enqueued, or held for approval
"""
