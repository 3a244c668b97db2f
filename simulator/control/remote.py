"""Control of a simulator in another process, through its control endpoint."""

import requests

from simulator.control.interface import ControlInterface
from simulator.json_value import Json

_TIMEOUT_SECONDS = (5.0, 60.0)


class ControlError(Exception):
    """The simulator could not carry out an operation."""


class Control(ControlInterface):
    """Controls the simulator at `url` (its base URL, or that of its control port).

    Methods raise requests' errors if it cannot be reached, ValueError for bad arguments, and ControlError otherwise.
    """

    def __init__(self, url: str) -> None:
        self._session = requests.Session()
        self._session.trust_env = False
        urls = self._session.get(f"{url.rstrip('/')}/_simulator", timeout=_TIMEOUT_SECONDS).json()
        self.url: str = urls["url"]
        self.control_url: str = urls["control_url"]

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
