"""Reports on requests, statistics, and the audit trail."""
