"""Everything that knows Celery: the app, the dispatcher, results, beat, stopping, logs."""
