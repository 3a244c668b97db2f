"""Webhooks: signed POSTs that report final requests, with retries."""
