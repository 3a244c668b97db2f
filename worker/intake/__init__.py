"""The intake: takes messages from the broker in bulk and makes requests of them, atomically."""
