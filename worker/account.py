"""The parts of a process: built once from the settings, when first needed."""

from __future__ import annotations

from functools import cache

from config.settings import Settings, load_settings
from worker.batch.pipeline import Engine
from worker.cleanup.rules.file import RulesFile
from worker.cleanup.runs.counting import Library
from worker.cleanup.runs.slice import Cleaner
from worker.cleanup.runs.store import Runs
from worker.imagekit.client import ImageKit
from worker.limiter.slots import Endpoint, Limiter
from worker.queue.leases import LeaseKeeper
from worker.queue.operations import Queue
from worker.reports.audit import Audit
from worker.runtime import stopping
from worker.runtime.publisher import Publisher
from worker.store.connection import connect


@cache
def settings() -> Settings:
    """Return this process' settings. Raises `config.settings.ConfigError`."""
    return load_settings()


@cache
def queue() -> Queue:
    """Return this process' queue."""
    return Queue(connect(settings()), settings())


@cache
def publisher() -> Publisher:
    """Return what writes results to the Celery backend."""
    from worker.app import app  # noqa: PLC0415 - the app imports the dispatcher, which needs this module

    return Publisher(app, queue().redis, queue().keys, settings().result_ttl_seconds)


@cache
def audit() -> Audit:
    """Return this process' view of the audit trail."""
    return Audit(queue().redis, settings())


@cache
def cleaner() -> Cleaner:
    """Return what runs of cleanup rules work with."""
    about = settings()
    return Cleaner(
        runs=Runs(queue(), about),
        rules=RulesFile(about.cleanup_file),
        limiter=Limiter(queue().redis, about, Endpoint.LIST),
        api=ImageKit(about, stopping.calls_end_at(about.stop_seconds)),
        publish=publisher().publish,
    )


@cache
def library() -> Library:
    """Return what counts the library where a guard needs to know."""
    return Library(cleaner(), needed=settings().guards.need_a_count)


@cache
def engine() -> Engine:
    """Return what batches work with."""
    about = settings()
    return Engine(
        queue=queue(),
        limiter=Limiter(queue().redis, about),
        api=ImageKit(about, stopping.calls_end_at(about.stop_seconds)),
        leases=LeaseKeeper(queue(), about.lease_seconds),
        batch_size=about.batch_size,
        max_attempts=about.max_attempts,
        publish=publisher().publish,
    )
