"""Parses the Redis URL that serves broker, results and queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

SCHEMES = ("redis", "rediss", "unix", "sentinel")
FORMS = (
    "redis://[user:password@]host[:port][/db], rediss:// (TLS), unix:///path[?db=0] "
    "or sentinel://[user:password@]host:port,host:port/db?master=mymaster"
)
CERTIFICATE_CHECKS = ("required", "optional", "none")
_DEFAULT_PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379}
_OPTIONS = {
    "redis": frozenset[str](),
    "rediss": frozenset({"ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}),
    "unix": frozenset({"db"}),
    "sentinel": frozenset({"master", "sentinel_username", "sentinel_password"}),
}


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed Redis URL. Its repr and `address` contain no user and no password."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    """Host and port of the server or of each sentinel; empty for a Unix socket."""
    db: int
    path: str = ""
    """Path of a Unix socket; empty otherwise."""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """The decoded query of the URL: TLS files for `rediss`, the name of the master for `sentinel`."""

    @classmethod
    def parse(cls, url: str) -> RedisUrl:
        """Parse a URL. Raises `ValueError` with the rule that it breaks, without showing the URL."""
        parts = _split(url)
        scheme = parts.scheme
        username, password, hosts = _authority(parts)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := sorted(set(options) - _OPTIONS[scheme]):
            raise ValueError(f"{scheme}:// has no option {unknown[0][:40]!r}")
        if options.get("ssl_cert_reqs", "required") not in CERTIFICATE_CHECKS:
            raise ValueError(f"must have ssl_cert_reqs set to one of {', '.join(CERTIFICATE_CHECKS)}")
        is_socket = scheme == "unix"
        database = _database(options.get("db", "") if is_socket else unquote(parts.path).strip("/"))
        path = _socket_path(parts) if is_socket else ""
        return cls(scheme, hosts, database, path, username, password, tuple(options.items()))

    @property
    def address(self) -> str:
        """Address without user, password and options: `host:port/db` or `/path?db=0`."""
        if self.scheme == "unix":
            return f"{self.path}?db={self.db}"
        where = ",".join(f"{_bracketed(host)}:{port}" for host, port in self.hosts)
        master = f"sentinel {self.master}@" if self.scheme == "sentinel" else ""
        return f"{master}{where}/{self.db}"

    @property
    def master(self) -> str:
        """Name of the master in Sentinel."""
        return dict(self.options).get("master") or "mymaster"

    @property
    def sentinel_options(self) -> dict[str, str]:
        """User and password of the sentinels, for redis-py's `sentinel_kwargs`."""
        options = dict(self.options)
        names = {"sentinel_username": "username", "sentinel_password": "password"}
        return {theirs: options[ours] for ours, theirs in names.items() if options.get(ours)}

    @property
    def tls_options(self) -> dict[str, str]:
        """How to check the server's certificate, for redis-py and Celery; empty without TLS."""
        if self.scheme != "rediss":
            return {}
        return {"ssl_cert_reqs": "required", **{name: text for name, text in self.options if text}}

    @property
    def celery_url(self) -> str:
        """The URL in the form of Celery and kombu. Contains the password: never log it."""
        if self.scheme == "unix":
            return f"redis+socket://{self._credentials}{quote(self.path)}?virtual_host={self.db}"
        urls = (f"{self.scheme}://{self._credentials}{_bracketed(host)}:{port}/{self.db}" for host, port in self.hosts)
        return ";".join(urls)

    @property
    def _credentials(self) -> str:
        if self.username is None and self.password is None:
            return ""
        return f"{quote(self.username or '', safe='')}:{quote(self.password or '', safe='')}@"


def _split(url: str) -> SplitResult:
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError(f"must not contain spaces or control characters; write {FORMS}")
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in SCHEMES or not url.lower().startswith(f"{parts.scheme}://"):
        raise ValueError(f"must be the URL of a Redis server: {FORMS}")
    if parts.fragment:
        raise ValueError("must not contain '#'; in a password, write it as %23")
    return parts


def _authority(parts: SplitResult) -> tuple[str | None, str | None, tuple[tuple[str, int], ...]]:
    credentials, _, where = parts.netloc.rpartition("@")
    username, colon, password = credentials.partition(":")
    hosts = () if parts.scheme == "unix" else _hosts(where, parts.scheme)
    return unquote(username) or None, (unquote(password) or None) if colon else None, hosts


def _hosts(where: str, scheme: str) -> tuple[tuple[str, int], ...]:
    names = where.split(",")
    if len(names) > 1 and scheme != "sentinel":
        raise ValueError("must name one host; only sentinel:// takes several")
    return tuple(_host(name, scheme) for name in names)


def _host(name: str, scheme: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{name}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("must have ports from 1 to 65535, and IPv6 addresses in brackets") from None
    if not host or port == 0:
        raise ValueError(f"must name a host and optionally a port from 1 to 65535: {FORMS}")
    return host, port or _DEFAULT_PORTS[scheme]


def _database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise ValueError("must end with a database number such as /0")
    return int(text)


def _socket_path(parts: SplitResult) -> str:
    path = unquote(parts.path)
    if parts.netloc.rpartition("@")[2] or path in {"", "/"}:
        raise ValueError("must name a socket by its absolute path, such as unix:///run/redis.sock")
    return path


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
