"""The HTTP server under the simulator."""
