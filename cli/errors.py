"""Turns expected errors into lines for people and an exit status."""

from redis.exceptions import RedisError

from cli.common import INCOMPLETE, WRONG_USE, CommandError
from cli.screen.output import say
from config.settings import ConfigError, load_settings
from worker.errors import KitsweepError, NotPossible, UnknownRequest
from worker.text import escape


def explain(error: Exception) -> int | None:
    """Write an expected error to standard error and return the exit status; None for an error that is a bug."""
    lines = _lines(error)
    if lines is None:
        return None
    say(*(f"kitsweep: {escape(line)}" for line in lines))
    if isinstance(error, CommandError):
        return error.status
    return INCOMPLETE if isinstance(error, UnknownRequest | NotPossible) else WRONG_USE


def _lines(error: Exception) -> list[str] | None:
    match error:
        case CommandError():
            return [error.problem]
        case ConfigError():
            return list(error.problems)
        case KitsweepError():
            return str(error).splitlines()
        case RedisError():
            return [f"Redis at {load_settings().redis_address} refused: {error}"]
        case OSError() if error.strerror:
            return [f"{error.filename}: {error.strerror}" if error.filename else error.strerror]
    return None
