"""A local ImageKit to run against: stateful files, exact answers, strict limits, latency and faults.

Written from the vendor's documents, never from the client that is tested with it.
"""

from simulator.control.remote import Control, ControlError
from simulator.faults import Fault
from simulator.ledger import Call
from simulator.library.records import generate_ids
from simulator.limits import Window
from simulator.serving.embedded import Simulator

__all__ = ["Call", "Control", "ControlError", "Fault", "Simulator", "Window", "generate_ids"]
