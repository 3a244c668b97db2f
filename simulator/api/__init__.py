"""The API as the vendor documents it."""
