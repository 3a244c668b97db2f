"""Steering a simulator that runs in another process, through its control endpoint."""

import requests

from simulator.control.steering import Steering
from simulator.plain import Json

_TIMEOUT_SECONDS = (5.0, 60.0)


class ControlError(Exception):
    """The simulator could not carry out an operation."""


class Control(Steering):
    """The methods of `Simulator` for the one at `url` (its base URL, or that of its control port).

    Raises requests' errors where it cannot be reached, ValueError for arguments that make no sense,
    ControlError for the rest.
    """

    def __init__(self, url: str) -> None:
        self._session = requests.Session()
        self._session.trust_env = False
        places = self._session.get(f"{url.rstrip('/')}/_simulator", timeout=_TIMEOUT_SECONDS).json()
        self.url: str = places["url"]
        self.control_url: str = places["control_url"]

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _do(self, operation: str, **arguments: Json) -> Json:
        answer = self._session.post(
            f"{self.control_url}/_simulator/{operation}", json=arguments, timeout=_TIMEOUT_SECONDS
        )
        content = answer.json()
        if answer.status_code == 400:
            raise ValueError(content["error"])
        if answer.status_code != 200:
            raise ControlError(content.get("error", content))
        return content["result"]
