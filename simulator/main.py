"""The simulator as a program: `python -m simulator`."""

import argparse
import asyncio
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from simulator.control.steering import WindowForm
from simulator.faults import KINDS, Fault
from simulator.limits import Window
from simulator.plain import Json
from simulator.serving.embedded import Simulator

DEFAULT_PORT = 8090


def run(  # noqa: PLR0913 (each is a setting of its own)
    *,
    files: int | Iterable[str] = 1000,
    port: int = DEFAULT_PORT,
    host: str = "127.0.0.1",
    seed: int = 0,
    limits: Sequence[WindowForm] | Mapping[str, Sequence[WindowForm]] = (),
    latency_ms: float = 0.0,
    jitter_ms: float = 0.0,
    private_key: str | None = None,
    faults: Iterable[Fault] = (),
    headers: str = "429",
    keep_calls: int = 10_000,
    keep_ids: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM, after printing one line that ends in the URL.

    Raises OSError where the port is taken.
    """
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
    """Tell whoever started this program that it can be called now."""
    print(f"simulator ready at {url}", flush=True)  # noqa: T201 (its only output)


def read_ids_file(path: Path) -> list[str]:
    """File ids from a text file, one a line; blank lines and lines that start with # are skipped."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    It is 0, or 1 where the port is taken or the file of ids cannot be read.
    """
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
        )
    except (OSError, UnicodeDecodeError) as error:
        parser.exit(1, f"simulator: {error}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simulator",
        description="A local ImageKit: files to list, delete and purge, with limits, latency and faults.",
        epilog=f"Kinds of faults: {', '.join(KINDS)}. All can be changed later: POST /_simulator/OPERATION.",
    )
    _add_server_options(parser)
    _add_library_options(parser)
    _add_behaviour_options(parser)
    return parser


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port to listen on, 0 for any (%(default)s)")
    parser.add_argument("--private-key", metavar="KEY", help="the only key to accept (any)")
    parser.add_argument(
        "--keep-calls", type=int, default=10_000, metavar="N", help="calls kept in the ledger (%(default)s)"
    )
    parser.add_argument("--keep-ids", action="store_true", help="keep the file ids of those calls too")


def _add_library_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--files", type=int, default=1000, metavar="N", help="files to begin with (%(default)s)")
    source.add_argument("--ids-file", type=Path, metavar="PATH", help="begin with files of these ids, one a line")
    parser.add_argument("--seed", type=int, default=0, help="makes file ids and faults reproducible (%(default)s)")


def _add_behaviour_options(parser: argparse.ArgumentParser) -> None:
    for name, meaning in (("limit", "delete"), ("list-limit", "list and details"), ("purge-limit", "purge")):
        parser.add_argument(
            f"--{name}",
            type=_argument(Window.read),
            action="append",
            default=[],
            metavar="N/TIME",
            help=f"most {meaning} calls in any such time, as 5/1s or 1000/15m; repeatable (none)",
        )
    parser.add_argument(
        "--headers",
        choices=("always", "429", "never"),
        default="429",
        help="when rate headers come (%(default)s)",
    )
    parser.add_argument(
        "--latency-ms", type=float, default=0.0, metavar="MS", help="time that every call takes (%(default)s)"
    )
    parser.add_argument("--jitter-ms", type=float, default=0.0, metavar="MS", help="give or take so much (%(default)s)")
    parser.add_argument(
        "--faults",
        type=_argument(_read_faults),
        default=[],
        metavar="LIST",
        help="KIND=PROBABILITY or KIND*TIMES, with @delete, @list or @purge for those calls only; by commas",
    )


def _read_faults(text: str) -> list[Fault]:
    return [Fault.read(form) for form in text.split(",") if form]


def _argument(read: Callable[[str], Json]) -> Callable[[str], Json]:
    """Let argparse show the words of a ValueError."""

    def reader(text: str) -> Json:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return reader
