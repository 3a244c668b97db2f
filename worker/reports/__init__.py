"""What became of requests: reports, figures, and the audit trail. Reads only."""
