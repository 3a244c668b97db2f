"""The text that `kitsweep up` shows once everything runs."""

from config.settings import Settings, load_settings
from local.stack import DataFolder
from local.which_redis import WhichRedis

_TEMPLATE = """
Kitsweep is up.

  Redis     {redis}
  ImageKit  {imagekit}
  Web       {web}  (for services: IMAGE_KIT_BASE_URL={web})
  Running   {workers}; logs in {logs}/

Enqueue from another terminal:
{commands}
or from any service that has Celery:
  app = celery.Celery(broker={address}, backend={address})
  app.send_task("kitsweep.delete_files", [["file id", "file id"]], {{"source": "catalog"}})

Stop with Ctrl-C.
"""


def overview(
    which: WhichRedis,
    settings: Settings,
    folder: DataFolder,
    simulator_url: str | None,
    web_url: str,
    workers: str,
    kitsweep: str,
) -> str:
    """Return the text; `kitsweep` is how the command line is called here."""
    address = load_settings(redis_url=which.url).redis_address
    data = folder.redis(simulated=simulator_url is not None)
    redis = f"{address} (started here; data in {data}/)" if which.port else f"{address} (from KITSWEEP_REDIS_URL)"
    if simulator_url:
        imagekit = f"{simulator_url}  SIMULATOR: NOTHING REAL IS DELETED (IMAGEKIT_PRIVATE_KEY is not set)"
        command = f"  head -500 {folder.sample_ids} | {kitsweep} delete - --wait     # some of the simulator's files"
    else:
        imagekit = f"{settings.base_url}  FILES ARE REALLY DELETED, FOR GOOD"
        command = f"  {kitsweep} delete ids.txt --wait"
    export = f"  export KITSWEEP_REDIS_URL={which.url}\n" if which.must_be_set else ""
    return _TEMPLATE.format(
        redis=redis,
        imagekit=imagekit,
        web=web_url,
        workers=workers,
        logs=folder.logs,
        commands=export + command,
        address=f'"{which.url}"' if which.port else 'os.environ["KITSWEEP_REDIS_URL"]',
    )
