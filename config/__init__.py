"""The settings of Kitsweep."""
