"""The rate limit of one account, shared by all workers."""
