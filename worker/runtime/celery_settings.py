"""Celery's settings, derived from ours, each with its reason. Facts hold for celery and kombu 5.7."""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING, Any

from kombu import Exchange, Queue

from config.queue_names import queue_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.redis_url import RedisUrl
    from config.settings import Settings

_CERTIFICATES = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
SOCKET_TIMEOUT_SECONDS = 5
SOCKET_CONNECT_TIMEOUT_SECONDS = 3


def celery_settings(settings: Settings, arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Build what ``app.conf.update`` takes; ``arguments`` are the process's (default: ``sys.argv``)."""
    redis = settings.redis_parts
    arguments = sys.argv if arguments is None else arguments
    return {
        **_connection(redis),
        **_results(settings, redis),
        **_messages(settings.home_account),
        **_worker(arguments),
    }


def _connection(redis: RedisUrl) -> dict[str, Any]:
    return {
        "broker_url": redis.celery_url,
        "broker_transport_options": {
            # Seconds after which a killed worker's message is delivered again; every task ends well before.
            "visibility_timeout": 300,
            # kombu looks for such messages every 10 s; its default is ten times less often.
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            # Without these a send hangs for as long as Redis does. retry_on_timeout stays off: it would
            # disable kombu's batched sends.
            **_sockets(redis),
            **_sentinel(redis),
        },
        **_tls(redis),
        # Wait for a Redis that is restarted or starts late; the default gives up after 100 tries.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A task whose connection broke still accepts its request.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # A producer gets an error within seconds when Redis is unavailable.
        "task_publish_retry_policy": {
            "max_retries": 2,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
        # That check is for RabbitMQ.
        "worker_detect_quorum_queues": False,
    }


def _results(settings: Settings, redis: RedisUrl) -> dict[str, Any]:
    return {
        # One Redis for all: publishing a result and emptying the outbox use the same server.
        "result_backend": redis.celery_url,
        "result_backend_transport_options": _sentinel(redis),
        # The result is gone when the request is: both can be polled for the same time.
        "result_expires": settings.result_ttl_seconds,
        # The report says all that callers need; task names and arguments would store every file id again.
        "result_extended": False,
        # STARTED would overwrite our own states, a final one included.
        "task_track_started": False,
        # The default of 120 s is too long for a caller.
        "redis_socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "redis_socket_connect_timeout": SOCKET_CONNECT_TIMEOUT_SECONDS,
        # redis-py refuses the keep-alive option for a Unix socket.
        "redis_socket_keepalive": redis.scheme != "unix",
        # Detects connections that died while idle before a result is written to them.
        "redis_backend_health_check_interval": 30,
    }


def _messages(account: str) -> dict[str, Any]:
    names = queue_names(account)
    return {
        "task_default_queue": names.default,
        # Exchange and routing key are explicit: a queue without them gets those of the default queue.
        "task_queues": tuple(Queue(name, Exchange(name), routing_key=name) for name in dict.fromkeys(names)),
        "task_routes": {"kitsweep.delete_files": {"queue": names.requests}},
        # Pickle runs whatever the sender wrote.
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        # A message is acknowledged when its work is done, so that a killed worker's is delivered again, and a
        # killed child's is put back instead of becoming a FAILURE result.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
    }


def _worker(arguments: Sequence[str]) -> dict[str, Any]:
    return {
        "imports": ("tasks.deletions",),
        # Tasks only accept requests; threads share connections and stop cleanly.
        "worker_pool": _pool(arguments),
        # As many threads run batches, which wait for the API and not for the CPU.
        "worker_concurrency": 8,
        # More was slower, and a worker that dies takes less with it.
        "worker_prefetch_multiplier": 1,
        # The limiter counts calls over all workers; Celery's rate limits count tasks in one.
        "worker_disable_rate_limits": True,
        # Celery must not replace our logging, which masks secrets.
        "worker_hijack_root_logger": False,
        # Events cost a publish for each step of each task. Flower turns them on when it runs.
        "worker_send_task_events": False,
        # The cleanup rules are the schedule and its state is in Redis, so several beats do no harm.
        "beat_scheduler": "worker.runtime.beat:CleanupScheduler",
        "enable_utc": True,
        "timezone": "UTC",
    }


def _pool(arguments: Sequence[str]) -> str:
    # Celery takes `-P prefork` for its own default, which a configured pool overrides: only where the command
    # line names no pool may we name one.
    named = any(text.startswith("-P") or text.split("=")[0] == "--pool" for text in arguments)
    return "prefork" if named else "threads"


def _sockets(redis: RedisUrl) -> dict[str, Any]:
    timeouts = {
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": SOCKET_CONNECT_TIMEOUT_SECONDS,
    }
    return timeouts if redis.scheme == "unix" else {**timeouts, "socket_keepalive": True}


def _sentinel(redis: RedisUrl) -> dict[str, Any]:
    if redis.scheme != "sentinel":
        return {}
    return {"master_name": redis.master, "sentinel_kwargs": {**_sockets(redis), **redis.sentinel_options}}


def _tls(redis: RedisUrl) -> dict[str, Any]:
    if redis.scheme != "rediss":
        return {}
    options = {**redis.tls_options, "ssl_cert_reqs": _CERTIFICATES[redis.tls_options["ssl_cert_reqs"]]}
    return {"broker_use_ssl": options, "redis_backend_use_ssl": options}
