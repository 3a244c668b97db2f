"""The dashboard: pages for operators, made by the server, under `/dashboard`."""
