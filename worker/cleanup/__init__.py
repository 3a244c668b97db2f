"""Periodic cleanup: files that a rule means are listed, checked again, guarded, and enqueued as one request.

rules file ─▶ beat: is it due? ─▶ run: list, check, collect ─▶ guards ─▶ released, or held for approval
"""
