"""What `kitsweep up` shows once everything runs: where things are, how to enqueue, how to stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from config.settings import Settings, load_settings
from local.programs import DataFolder
from local.which_redis import WhichRedis


class Overview(NamedTuple):
    """What to show."""

    redis: WhichRedis
    settings: Settings
    folder: DataFolder
    simulator_url: str | None
    workers: int
    command: str
    """How `kitsweep` is called here."""

    def lines(self) -> Iterator[str]:
        """Yield the lines."""
        yield ""
        yield "Kitsweep is up."
        yield ""
        yield f"  Redis     {self._redis()}"
        yield f"  ImageKit  {self._imagekit()}"
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        yield f"  Running   {workers} and beat; logs in {self.folder.logs}/"
        yield ""
        yield from self._how_to_enqueue()
        yield ""
        yield "Stop with Ctrl-C."
        yield ""

    def _redis(self) -> str:
        address = load_settings(redis_url=self.redis.url).redis_address
        if self.redis.port is None:
            return f"{address} (from KITSWEEP_REDIS_URL)"
        return f"{address} (started here; data in {self.folder.redis(simulated=self.simulator_url is not None)}/)"

    def _imagekit(self) -> str:
        if self.simulator_url is None:
            return f"{self.settings.base_url}  FILES ARE REALLY DELETED, FOR GOOD"
        return f"{self.simulator_url}  SIMULATOR: NOTHING REAL IS DELETED (IMAGEKIT_PRIVATE_KEY is not set)"

    def _how_to_enqueue(self) -> Iterator[str]:
        yield "Enqueue from another terminal:"
        if self.redis.must_be_set:
            yield f"  export KITSWEEP_REDIS_URL={self.redis.url}"
        if self.simulator_url is None:
            yield f"  {self.command} delete ids.txt --wait"
        else:
            sample = f"head -500 {self.folder.sample_ids}"
            yield f"  {sample} | {self.command} delete - --wait     # some of the simulator's files"
        yield "or from any service that has Celery:"
        address = f'"{self.redis.url}"' if self.redis.port else 'os.environ["KITSWEEP_REDIS_URL"]'
        yield f"  app = celery.Celery(broker={address}, backend={address})"
        yield '  app.send_task("kitsweep.delete_files", [["file id", "file id"]], {"source": "catalog"})'
