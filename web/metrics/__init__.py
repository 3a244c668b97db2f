"""`/metrics`: the figures of the accounts in Prometheus' format."""
