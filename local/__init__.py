"""Everything on one machine: `kitsweep up`, its servers and processes, and the demo."""
