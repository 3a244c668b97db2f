"""What can be set: the settings of Kitsweep, and Celery's, which follow from them."""
