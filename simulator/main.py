"""The command line: `python -m simulator`."""

import argparse
import asyncio
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from simulator.control.interface import RateWindowForm
from simulator.faults import KINDS, Fault
from simulator.json_value import Json
from simulator.limits import RateWindow
from simulator.serving.in_process import Simulator

DEFAULT_PORT = 8090


def run(  # noqa: PLR0913 (each is a setting of its own)
    *,
    files: int | Iterable[str] = 1000,
    port: int = DEFAULT_PORT,
    host: str = "127.0.0.1",
    seed: int = 0,
    limits: Sequence[RateWindowForm] | Mapping[str, Sequence[RateWindowForm]] = (),
    latency_ms: float = 0.0,
    jitter_ms: float = 0.0,
    private_key: str | None = None,
    faults: Iterable[Fault] = (),
    headers: str = "429",
    keep_calls: int = 10_000,
    keep_ids: bool = False,
    purge_ms: float = 500.0,
    purge_quota: int | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. Prints one line that ends with the URL when ready. Raises OSError."""
    simulator = Simulator(
        files,
        port=port,
        host=host,
        seed=seed,
        limits=limits,
        latency_ms=latency_ms,
        jitter_ms=jitter_ms,
        private_key=private_key,
        faults=faults,
        headers=headers,
        keep_calls=keep_calls,
        keep_ids=keep_ids,
        purge_ms=purge_ms,
        purge_quota=purge_quota,
    )
    asyncio.run(_serve(simulator))


async def _serve(simulator: Simulator) -> None:
    serving = asyncio.ensure_future(simulator.serve(lambda: _announce(simulator.url)))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        return


def _announce(url: str) -> None:
    """Print that the simulator is ready."""
    print(f"simulator ready at {url}", flush=True)  # noqa: T201 (its only output)


def read_ids_file(path: Path) -> list[str]:
    """Return the file ids in a text file, one a line. Blank lines and lines that start with # are skipped."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. The exit status is 1 if the port is taken or the file of ids cannot be read."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        run(
            files=read_ids_file(given.ids_file) if given.ids_file else given.files,
            port=given.port,
            host=given.host,
            seed=given.seed,
            limits={"delete": given.limit, "list": given.list_limit, "purge": given.purge_limit},
            latency_ms=given.latency_ms,
            jitter_ms=given.jitter_ms,
            private_key=given.private_key,
            faults=given.faults,
            headers=given.headers,
            keep_calls=given.keep_calls,
            keep_ids=given.keep_ids,
            purge_ms=given.purge_ms,
            purge_quota=given.purge_quota,
        )
    except (OSError, UnicodeDecodeError) as error:
        parser.exit(1, f"simulator: {error}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simulator",
        description="A local ImageKit API: list, delete and purge files, with rate limits, latency and faults.",
        epilog=f"Kinds of faults: {', '.join(KINDS)}. Change anything while it runs: POST /_simulator/OPERATION.",
    )
    _add_server_options(parser)
    _add_library_options(parser)
    _add_behaviour_options(parser)
    return parser


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="port to listen on; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument("--private-key", metavar="KEY", help="private key to accept (default: any)")
    parser.add_argument(
        "--keep-calls",
        type=int,
        default=10_000,
        metavar="N",
        help="number of calls to keep in the ledger (default: %(default)s)",
    )
    parser.add_argument("--keep-ids", action="store_true", help="keep the file ids of these calls as well")


def _add_library_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--files", type=int, default=1000, metavar="N", help="number of files to generate (default: %(default)s)"
    )
    source.add_argument(
        "--ids-file", type=Path, metavar="PATH", help="create files with the ids in this file, one a line"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of file ids and random faults (default: %(default)s)")


def _add_behaviour_options(parser: argparse.ArgumentParser) -> None:
    for name, meaning in (("limit", "delete"), ("list-limit", "list and details"), ("purge-limit", "purge")):
        parser.add_argument(
            f"--{name}",
            type=_argument(RateWindow.read),
            action="append",
            default=[],
            metavar="CALLS/TIME",
            help=f"rate limit of {meaning} calls, such as 5/1s or 1000/15m; can be repeated (default: none)",
        )
    parser.add_argument(
        "--headers",
        choices=("always", "429", "never"),
        default="429",
        help="when to send rate headers (default: %(default)s)",
    )
    parser.add_argument(
        "--latency-ms", type=float, default=0.0, metavar="MS", help="latency of every call (default: %(default)s)"
    )
    parser.add_argument(
        "--jitter-ms",
        type=float,
        default=0.0,
        metavar="MS",
        help="random variation of the latency (default: %(default)s)",
    )
    parser.add_argument(
        "--purge-ms",
        type=float,
        default=500.0,
        metavar="MS",
        help="how long a purge is pending (default: %(default)s)",
    )
    parser.add_argument(
        "--purge-quota", type=int, metavar="N", help="number of purges; the others are answered 429 (default: any)"
    )
    parser.add_argument(
        "--faults",
        type=_argument(_read_faults),
        default=[],
        metavar="LIST",
        help="comma-separated KIND=PROBABILITY or KIND*TIMES; @delete, @list or @purge limits a fault to these calls",
    )


def _read_faults(text: str) -> list[Fault]:
    return [Fault.read(form) for form in text.split(",") if form]


def _argument(read: Callable[[str], Json]) -> Callable[[str], Json]:
    """Let argparse show the message of a ValueError."""

    def reader(text: str) -> Json:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return reader
