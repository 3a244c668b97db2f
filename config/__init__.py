"""Configuration: the settings of Kitsweep and their validation."""
