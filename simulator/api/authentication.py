"""Authentication: HTTP Basic with the private key as user name."""

import base64
import binascii

from simulator.api.responses import DISABLED_ACCOUNT, EXPIRED_KEY, NO_KEY, WRONG_KEY, Response

KEY_STATES: dict[str, Response | None] = {
    "good": None,
    "wrong": WRONG_KEY,
    "expired": EXPIRED_KEY,
    "disabled": DISABLED_ACCOUNT,
}


class KeyCheck:
    """Checks keys against `private_key` (None accepts any). `state`: good, or wrong, expired or disabled for all."""

    def __init__(self, private_key: str | None) -> None:
        self.private_key = private_key
        self.state = "good"

    def refuse(self, authorization: str) -> Response | None:
        """Return the 401 or 403 for an Authorization header, or None if the key is good."""
        key = _user_name(authorization)
        if not key:
            return NO_KEY
        if self.private_key not in {None, key}:
            return WRONG_KEY
        return KEY_STATES[self.state]


def _user_name(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
