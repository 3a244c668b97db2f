"""The drop-in: ImageKit's two calls that delete, in the vendor's shapes, carried out by the queue."""
