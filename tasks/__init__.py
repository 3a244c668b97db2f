"""The interface for callers: Celery tasks, `client` and `admin`."""
