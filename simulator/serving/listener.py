"""A listening socket that can refuse connections for a while without giving up its port."""

import asyncio
import socket
from collections.abc import Callable

_BACKLOG = 1024


class Listener:
    """Accepts connections on `host`:`port` (0: any free port) for an asyncio protocol."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._placeholder: socket.socket | None = None

    async def open(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Start to accept, or accept again. Raises OSError where the port is taken."""
        held = self._placeholder or self._bound()
        self._placeholder = None
        self._server = await asyncio.get_running_loop().create_server(protocol, sock=held, backlog=_BACKLOG)

    def refuse(self) -> None:
        """Refuse new connections; the port stays ours, bound but not listened on."""
        if self._server is not None:
            self.close()
            self._placeholder = self._bound()

    def close(self) -> None:
        """Stop for good."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None

    def _bound(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((self.host, self.port))
        except OSError:
            bound.close()
            raise
        self.port = bound.getsockname()[1]
        return bound
