"""One sampler reads Redis once a second for all viewers, and sleeps when nobody looks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tasks.figures import Figures, Memory
from tasks.search import History
from web.context import AccountContext
from web.figures import LatestFigures
from worker.errors import KitsweepError
from worker.reports.report import Report
from worker.reports.stats import Stats
from worker.states import Outcome

EVERY_SECONDS = 1.0
SLEEP_AFTER_SECONDS = 15.0
"""How long it goes on after the last look: pages without JavaScript reload that often."""
FRESH_SECONDS = 1.5
"""How old a sample may be that a page shows at once."""
STEP_SECONDS = 5
STEPS = 60
"""The chart shows so many steps: five minutes."""
CHART_SECONDS = STEP_SECONDS * STEPS
RATE_SECONDS = 5.0
GAP_SECONDS = 4.0
"""Samples that are further apart say nothing about a rate: nobody looked between them."""


@dataclass(frozen=True)
class Sample:
    """The account at one moment."""

    at: float
    """Monotonic seconds."""
    stats: Stats | None
    """None if Redis did not answer."""
    error: str = ""
    """Why it did not."""
    requests: dict[str, tuple[Report, History]] = field(default_factory=dict)
    """The requests that viewers look at; their reports have no lists of ids."""
    figures: Figures | None = None
    memory: Memory | None = None
    """The memory of Redis, if it says."""

    @property
    def oldest_seconds(self) -> float | None:
        """Age of the oldest request with files that wait and are not on hold."""
        if self.figures is None or not self.figures.oldest_ms:
            return None
        return max(0.0, (self.figures.now_ms - min(self.figures.oldest_ms.values())) / 1000)

    def calls(self, status: str | None = None) -> int:
        """Return how many deleting calls were made ever, or those answered with a status."""
        made = self.figures.calls if self.figures else {}
        return sum(n for (endpoint, got), n in made.items() if endpoint == "delete" and status in (None, got))


@dataclass(frozen=True)
class Look:
    """What a page shows: the last sample, and what the ones before it say about speed."""

    sample: Sample
    rates: dict[str, float] | None
    """Outcome → files a second in the last seconds; None until it is known."""
    steps: list[dict[str, float]]
    """For each step of the chart, the oldest first: outcome → files a second."""
    error_seconds: float
    """How long Redis has not answered; 0 if it does."""
    still_seconds: float
    """How long no file has ended, as far as it is known."""
    calls: int
    throttled: int
    """Calls in the time of the chart, as far as it was sampled, and those of them answered 429."""

    @property
    def rate(self) -> float | None:
        """Files that end a second."""
        return None if self.rates is None else sum(self.rates.values())


class Sampler:
    """Samples while there are viewers. All methods are called on the event loop."""

    def __init__(self, context: AccountContext, figures: LatestFigures) -> None:
        self.context = context
        self._figures = figures
        self._history: deque[Sample] = deque(maxlen=STEPS * STEP_SECONDS + 10)
        self._task: asyncio.Task[None] | None = None
        self._sampling: asyncio.Future[None] | None = None
        self._sampled = asyncio.Event()
        self._wanted_at = self._fresh_from = 0.0
        self._watched: Counter[str] = Counter()
        self._failing_since = 0.0
        self._moved_at = 0.0
        self._is_stopped = False

    async def look(self) -> Look:
        """Return what is known now, at most `FRESH_SECONDS` old."""
        self._wanted_at = time.monotonic()
        oldest = max(self._fresh_from, self._wanted_at - FRESH_SECONDS)
        while not self._history or self._history[-1].at < oldest:
            await self._sample()
        self._keep_sampling()
        return self._look()

    async def looks(self, request_ids: Iterable[str] = ()) -> AsyncGenerator[Look, None]:
        """Yield what is known after each sample, with the reports of these requests."""
        with self._watching(request_ids):
            while True:
                self._wanted_at = time.monotonic()
                self._keep_sampling()
                sampled = self._sampled
                await sampled.wait()
                if self._is_stopped:
                    return
                yield self._look()

    def expire(self) -> None:
        """Let the next look read anew, because something was changed."""
        self._fresh_from = time.monotonic()

    def stop(self) -> None:
        """Stop sampling, and end all live pages."""
        self._is_stopped = True
        self._sampled.set()
        if self._task is not None:
            self._task.cancel()

    @property
    def is_awake(self) -> bool:
        """Whether it samples."""
        return self._task is not None and not self._task.done()

    @contextmanager
    def _watching(self, request_ids: Iterable[str]) -> Iterator[None]:
        ids = list(request_ids)
        self._watched.update(ids)
        try:
            yield
        finally:
            self._watched.subtract(ids)
            self._watched += Counter()  # It drops those that nobody watches.

    def _keep_sampling(self) -> None:
        if not self.is_awake:
            self._sampled = asyncio.Event()
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while time.monotonic() < self._wanted_at + SLEEP_AFTER_SECONDS:
            await asyncio.sleep(EVERY_SECONDS)
            await self._sample()
            sampled, self._sampled = self._sampled, asyncio.Event()
            sampled.set()

    async def _sample(self) -> None:
        """Sample once; all who ask meanwhile wait for the same sample."""
        if self._sampling is None or self._sampling.done():
            self._sampling = asyncio.ensure_future(self._read_sample())
        await asyncio.shield(self._sampling)

    async def _read_sample(self) -> None:
        watched, at = list(self._watched), time.monotonic()
        try:
            stats, requests = await self.context.run(self._read, watched)
            accounts, memory = await self._figures.get()
            figures = next((each for each in accounts if each.account == self.context.settings.account), None)
            sample = Sample(at, stats, "", requests, figures, memory)
            self._failing_since = 0.0
        except KitsweepError as error:
            sample = Sample(at, None, str(error))
            self._failing_since = self._failing_since or sample.at
        self._note(sample)

    def _read(self, watched: list[str]) -> tuple[Stats, dict[str, tuple[Report, History]]]:
        client, search = self.context.client, self.context.search
        reports = client.statuses(watched) if watched else []
        return client.stats(), {each["request_id"]: (each, search.history(each)) for each in reports if each}

    def _note(self, sample: Sample) -> None:
        before = self._history[-1] if self._history else None
        has_gap = before is None or sample.at - before.at > GAP_SECONDS or before.stats is None
        if has_gap or (sample.stats and before and before.stats and sample.stats["ended"] != before.stats["ended"]):
            self._moved_at = sample.at
        self._history.append(sample)

    def _look(self) -> Look:
        last = self._history[-1]
        moves = list(_moves(self._history))
        oldest = next((each for each in self._history if each.figures and each.at >= last.at - CHART_SECONDS), last)
        return Look(
            sample=last,
            rates=_rates(moves, last.at),
            steps=_steps(moves, last.at),
            error_seconds=last.at - self._failing_since if self._failing_since else 0.0,
            still_seconds=last.at - self._moved_at,
            calls=max(0, last.calls() - oldest.calls()),
            throttled=max(0, last.calls("429") - oldest.calls("429")),
        )


class Samplers:
    """The sampler of each account."""

    def __init__(self, figures: LatestFigures) -> None:
        self._figures = figures
        self._by_account: dict[str, Sampler] = {}

    def of(self, context: AccountContext) -> Sampler:
        """Return the sampler of an account; another one once its settings have changed."""
        name = context.settings.account
        found = self._by_account.get(name)
        if found is None or found.context is not context:
            if found is not None:
                found.stop()
            found = self._by_account[name] = Sampler(context, self._figures)
        return found

    def stop(self) -> None:
        """Stop them all."""
        for sampler in self._by_account.values():
            sampler.stop()


Move = tuple[float, float, dict[str, int]]
"""From when to when, and the outcome → files that ended meanwhile."""


def _moves(history: Iterable[Sample]) -> Iterator[Move]:
    """Yield what happened between samples that follow each other."""
    before: Sample | None = None
    for sample in history:
        if before and before.stats and sample.stats and sample.at - before.at <= GAP_SECONDS:
            old, new = before.stats["ended"], sample.stats["ended"]
            yield before.at, sample.at, {each: max(0, new[each] - old.get(each, 0)) for each in new}
        before = sample


def _rates(moves: list[Move], now: float) -> dict[str, float] | None:
    recent = [move for move in moves if move[0] >= now - RATE_SECONDS - 0.5]
    seconds = sum(end - start for start, end, _ in recent)
    if not seconds:
        return None
    return {each.value: sum(counts.get(each, 0) for _, _, counts in recent) / seconds for each in Outcome}


def _steps(moves: list[Move], now: float) -> list[dict[str, float]]:
    """Return the rates by steps that end at whole multiples, so that a bar does not change once it is past."""
    last = int(now // STEP_SECONDS)
    passed = max(1.0, now - last * STEP_SECONDS)
    steps: list[dict[str, float]] = [{} for _ in range(STEPS)]
    for _, end, counts in moves:
        at = STEPS - 1 - (last - int(end // STEP_SECONDS))
        if at >= 0:
            for outcome, count in counts.items():
                seconds = passed if at == STEPS - 1 else STEP_SECONDS
                steps[at][outcome] = steps[at].get(outcome, 0) + count / seconds
    return steps
