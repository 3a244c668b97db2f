"""The user of this process, as the audit trail records it."""

from __future__ import annotations

import getpass
import os
import socket
from functools import cache


@cache
def whoami() -> str:
    """Return `user@host` of this process; a user without a name is shown by number."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
