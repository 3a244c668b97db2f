"""Webhooks: tells the services that asked for it when their requests are final, by signed POSTs that are retried."""
