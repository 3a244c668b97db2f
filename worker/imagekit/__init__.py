"""The client of the ImageKit API. It knows neither the queue nor the limiter."""
