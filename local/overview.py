"""What `kitsweep up` tells once everything runs: where things are, how to enqueue, how to stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from config.settings import Settings, load_settings
from local.programs import Places
from local.which_redis import WhichRedis


class Overview(NamedTuple):
    """What there is to tell."""

    redis: WhichRedis
    settings: Settings
    places: Places
    simulator_url: str | None
    workers: int
    command: str
    """How `kitsweep` is called here."""


def overview(about: Overview) -> Iterator[str]:
    """Yield the lines."""
    yield ""
    yield "Kitsweep is up."
    yield ""
    yield f"  Redis     {_redis(about)}"
    yield f"  ImageKit  {_imagekit(about)}"
    workers = f"{about.workers} worker{'s' if about.workers > 1 else ''}"
    yield f"  Running   {workers} and beat; logs in {about.places.logs}/"
    yield ""
    yield from _how_to_enqueue(about)
    yield ""
    yield "Stop with Ctrl-C."
    yield ""


def _redis(about: Overview) -> str:
    address = load_settings(redis_url=about.redis.url).redis_address
    if about.redis.port is None:
        return f"{address} (the one that KITSWEEP_REDIS_URL names)"
    data = about.places.redis(simulated=about.simulator_url is not None)
    return f"{address} (started here; its data are kept in {data}/)"


def _imagekit(about: Overview) -> str:
    if about.simulator_url is None:
        return f"{about.settings.base_url}  FILES ARE REALLY DELETED, FOR GOOD"
    return f"{about.simulator_url}  SIMULATOR: NOTHING REAL IS DELETED (IMAGEKIT_PRIVATE_KEY is not set)"


def _how_to_enqueue(about: Overview) -> Iterator[str]:
    yield "Enqueue from another terminal:"
    if about.redis.must_be_set:
        yield f"  export KITSWEEP_REDIS_URL={about.redis.url}"
    if about.simulator_url is None:
        yield f"  {about.command} delete ids.txt --wait"
    else:
        sample = f"head -500 {about.places.sample_ids}"
        yield f"  {sample} | {about.command} delete - --wait     # some of the simulator's files"
    yield "or from any service that has celery:"
    address = f'"{about.redis.url}"' if about.redis.port else 'os.environ["KITSWEEP_REDIS_URL"]'
    yield f"  app = celery.Celery(broker={address}, backend={address})"
    yield '  app.send_task("kitsweep.delete_files", [["file id", "file id"]], {"source": "catalog"})'
