"""The metrics, made of figures. Every name that starts with `kitsweep_` is here and nowhere else.

Names follow the conventions of Prometheus ("Metric and label naming"): base units, and `_total` on counters alone.
Every label has a bounded number of values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from config.windows import Window
from tasks.figures import Figures, Histogram, Memory, Reading

MOST_SOURCES = 50
"""Sources with a label of their own, those with most files; the others share one."""
OTHER = "other"
PAUSES = ("operator", "throttled", "trouble", "key_refused")
Samples = Iterable[tuple[tuple[str, ...], float]]
"""Values of labels, besides the account, and the value of the sample."""


class Families(Collector):
    """The metrics of one reading; without a reading, because Redis did not answer, only that."""

    def __init__(self, reading: Reading | None, version: str) -> None:
        self._reading = reading
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield InfoMetricFamily("kitsweep_build", "Version of the web server.", {"version": self._version})
        yield GaugeMetricFamily("kitsweep_redis_up", "Whether Redis answers.", float(self._reading is not None))
        if self._reading:
            yield from _memory(self._reading.memory)
            for make in (*_FILES, *_REQUESTS, *_PURGES, *_CALLS, *_STATE):
                yield make(self._reading.accounts)


def _memory(memory: Memory | None) -> Iterator[Metric]:
    if memory:
        yield GaugeMetricFamily("kitsweep_redis_memory_used_bytes", "Memory that Redis uses.", memory.used)
        yield GaugeMetricFamily("kitsweep_redis_memory_max_bytes", "Limit of Redis' memory; 0: none.", memory.most)


Make = Callable[[Iterable[Figures]], Metric]


def _gauge(name: str, about: str, labels: Iterable[str], samples: Callable[[Figures], Samples]) -> Make:
    return lambda accounts: _filled(GaugeMetricFamily(name, about, labels=["account", *labels]), accounts, samples)


def _counter(name: str, about: str, labels: Iterable[str], samples: Callable[[Figures], Samples]) -> Make:
    return lambda accounts: _filled(CounterMetricFamily(name, about, labels=["account", *labels]), accounts, samples)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily,
    accounts: Iterable[Figures],
    samples: Callable[[Figures], Samples],
) -> Metric:
    for figures in accounts:
        for labels, value in samples(figures):
            family.add_metric([figures.account, *labels], value)
    return family


def _one(value: Callable[[Figures], float]) -> Callable[[Figures], Samples]:
    return lambda figures: [((), value(figures))]


def _by(value: Callable[[Figures], Mapping[str, float]]) -> Callable[[Figures], Samples]:
    return lambda figures: [((label,), count) for label, count in value(figures).items()]


def _histogram(
    name: str,
    about: str,
    labels: Iterable[str],
    samples: Callable[[Figures], Mapping[tuple[str, ...], Histogram]],
    divisor: int,
) -> Make:
    def make(accounts: Iterable[Figures]) -> Metric:
        family = HistogramMetricFamily(name, about, labels=["account", *labels])
        for figures in accounts:
            for values, histogram in samples(figures).items():
                sum_value = histogram.sum / divisor
                family.add_metric([figures.account, *values], _buckets(histogram, divisor), sum_value)
        return family

    return make


def _buckets(histogram: Histogram, divisor: int) -> list[tuple[str, float]]:
    bounds = [*(bound / divisor for bound in histogram.bounds), float("inf")]
    names = [floatToGoString(bound) for bound in bounds]  # type: ignore[no-untyped-call]
    return list(zip(names, histogram.counts, strict=True))


def _top(figures: Figures) -> frozenset[str]:
    """Return the sources that get a label of their own."""
    files: dict[str, int] = {}
    for part in (figures.waiting, figures.held, figures.in_flight):
        for source, count in part.items():
            files[source] = files.get(source, 0) + count
    return frozenset(sorted(files, key=lambda source: (-files[source], source))[:MOST_SOURCES])


def _by_source(
    value: Callable[[Figures], Mapping[str, float]], merge: Callable[[Iterable[float]], float]
) -> Callable[[Figures], Samples]:
    def samples(figures: Figures) -> Samples:
        top, merged = _top(figures), dict[str, list[float]]()
        for source, count in value(figures).items():
            merged.setdefault(source if source in top else OTHER, []).append(count)
        return [((source,), merge(counts)) for source, counts in merged.items()]

    return samples


def _pauses(figures: Figures) -> Samples:
    by = figures.pause.by if figures.pause else None
    return [((reason,), float(reason == by)) for reason in PAUSES]


def _windows(value: Callable[[int, int], int]) -> Callable[[Figures], Samples]:
    def samples(figures: Figures) -> Samples:
        for endpoint, windows in figures.windows.items():
            for window in windows:
                length = str(Window(1, window.interval_ms)).partition("/")[2]
                yield (endpoint, length), value(window.limit, window.calls)

    return samples


def _oldest(figures: Figures) -> Mapping[str, float]:
    return {source: at / 1000 for source, at in figures.oldest_ms.items()}


def _last_success(figures: Figures) -> Samples:
    return [] if figures.last_success_ms is None else [((), figures.last_success_ms / 1000)]


_FILES = (
    _counter("kitsweep_files_accepted", "Files of accepted requests.", [], _one(lambda each: each.accepted)),
    _counter("kitsweep_files", "Files by how they ended.", ["outcome"], _by(lambda each: each.ended)),
    _gauge(
        "kitsweep_files_waiting",
        "Files that wait for a call, without those that are held.",
        ["source"],
        _by_source(lambda each: each.waiting, sum),
    ),
    _gauge(
        "kitsweep_files_held",
        "Files on hold or waiting for approval.",
        ["source"],
        _by_source(lambda each: each.held, sum),
    ),
    _gauge("kitsweep_files_in_flight", "Files in a call.", [], _one(lambda each: sum(each.in_flight.values()))),
    _gauge(
        "kitsweep_oldest_waiting_timestamp_seconds",
        "When the oldest request with files that wait, and are not held, was enqueued.",
        ["source"],
        _by_source(_oldest, min),
    ),
)
_REQUESTS = (
    _gauge("kitsweep_requests", "Requests that are not final, by state.", ["state"], _by(lambda each: each.requests)),
    _counter("kitsweep_requests_finished", "Requests by final state.", ["state"], _by(lambda each: each.finished)),
    _histogram(
        "kitsweep_request_duration_seconds",
        "From enqueueing a request to its end.",
        [],
        lambda each: {(): each.request_ms},
        1000,
    ),
    _gauge(
        "kitsweep_approvals_waiting",
        "Requests that wait for approval.",
        [],
        _one(lambda each: each.requests["unapproved"]),
    ),
    _gauge("kitsweep_messages_unaccepted", "Messages not accepted yet.", [], _one(lambda each: each.unaccepted)),
    _gauge(
        "kitsweep_results_unpublished", "Results whose publication is late.", [], _one(lambda each: each.unpublished)
    ),
    _gauge(
        "kitsweep_webhooks",
        "Webhooks that wait, or are kept because they failed.",
        ["state"],
        _by(lambda each: each.webhooks),
    ),
    _counter(
        "kitsweep_webhooks_ended", "Webhooks by how they ended.", ["ending"], _by(lambda each: each.webhooks_ended)
    ),
    _gauge(
        "kitsweep_webhook_receivers_failing",
        "Receivers whose last webhook failed.",
        [],
        _one(lambda each: each.receivers_failing),
    ),
)
_PURGES = (
    _gauge("kitsweep_purges_used", "Purge calls of this month.", [], _one(lambda each: each.purge_calls)),
    _gauge("kitsweep_purges_quota", "Purge calls that a month may have.", [], _one(lambda each: each.purge_quota)),
    _gauge("kitsweep_purge_files_waiting", "Deleted files in no purge yet.", [], _one(lambda each: each.purge_files)),
)
_CALLS = (
    _counter(
        "kitsweep_calls",
        "Calls to ImageKit by HTTP status; none: no response.",
        ["endpoint", "status"],
        lambda each: list(each.calls.items()),
    ),
    _histogram(
        "kitsweep_call_duration_seconds",
        "Duration of calls to ImageKit.",
        ["endpoint"],
        lambda each: {(endpoint,): histogram for endpoint, histogram in each.call_ms.items()},
        1000,
    ),
    _histogram("kitsweep_call_files", "File ids in a bulk delete.", [], lambda each: {(): each.call_files}, 1),
    _gauge(
        "kitsweep_limit_calls",
        "Calls allowed in a window.",
        ["endpoint", "window"],
        _windows(lambda limit, _: limit),
    ),
    _gauge(
        "kitsweep_limit_used_calls",
        "Calls in a window now.",
        ["endpoint", "window"],
        _windows(lambda _, calls: calls),
    ),
)
_STATE = (
    _gauge("kitsweep_paused", "Whether deletions are paused for a reason.", ["reason"], _pauses),
    _gauge("kitsweep_last_success_timestamp_seconds", "When a delete call last succeeded.", [], _last_success),
    _gauge("kitsweep_workers", "Workers that are alive.", [], _one(lambda each: each.workers)),
    _counter("kitsweep_http_refused", "HTTP calls with a wrong credential.", [], _one(lambda each: each.refusals)),
)
