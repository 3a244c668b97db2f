"""A local ImageKit for tests and demos: stateful files, exact responses, strict limits, latency and faults.

Written from the vendor's documentation, not from the client that is tested against it.
"""

from simulator.control.remote import Control, ControlError
from simulator.faults import Fault
from simulator.ledger import Call
from simulator.library.records import generate_ids
from simulator.limits import RateWindow
from simulator.serving.in_process import Simulator

__all__ = ["Call", "Control", "ControlError", "Fault", "RateWindow", "Simulator", "generate_ids"]
