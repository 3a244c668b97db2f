"""A listening socket that can refuse connections for a while and keep its port."""

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
        """Accept connections, for the first time or again. Raises OSError if the port is taken."""
        bound = self._placeholder or self._bound()
        self._placeholder = None
        self._server = await asyncio.get_running_loop().create_server(protocol, sock=bound, backlog=_BACKLOG)

    def refuse(self) -> None:
        """Refuse new connections. The port stays bound, without a listener."""
        if self._server is not None:
            self.close()
            self._placeholder = self._bound()

    def close(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None

    def _bound(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # asyncio sets TCP_NODELAY only on sockets whose protocol is named. Without it a response, which is written in
        # two parts, takes 40 ms: Nagle's algorithm waits for the caller's delayed acknowledgement.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((self.host, self.port))
        except OSError:
            bound.close()
            raise
        self.port = bound.getsockname()[1]
        return bound
