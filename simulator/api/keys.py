"""Who may call: HTTP Basic with the private key as user name."""

import base64
import binascii

from simulator.api.answers import DISABLED_ACCOUNT, EXPIRED_KEY, NO_KEY, WRONG_KEY, Answer

STATES: dict[str, Answer | None] = {
    "good": None,
    "wrong": WRONG_KEY,
    "expired": EXPIRED_KEY,
    "disabled": DISABLED_ACCOUNT,
}


class KeyCheck:
    """Compares keys with `private_key`; None accepts any.

    `state` is good, or wrong, expired or disabled for every key.
    """

    def __init__(self, private_key: str | None) -> None:
        self.private_key = private_key
        self.state = "good"

    def refuse(self, authorization: str | None) -> Answer | None:
        """Give the 401 or 403 for an Authorization header, or None where it is good."""
        key = _user_name(authorization)
        if not key:
            return NO_KEY
        if self.private_key not in {None, key}:
            return WRONG_KEY
        return STATES[self.state]


def _user_name(authorization: str | None) -> str:
    scheme, _, credentials = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
