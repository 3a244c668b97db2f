"""Several accounts in one worker: how they share its threads, and what its dispatcher sees of them."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

import worker.runtime.dispatcher
import worker.runtime.webhooks
from tests.unit.support_queue import raw, settings_for_tests
from tests.waiting import wait_until
from worker.batch.pipeline import Ran
from worker.limiter.slots import Call, Kind
from worker.queue.operations import NewRequest
from worker.runtime import step
from worker.runtime.batches import BatchThreads, fair_shares
from worker.runtime.dispatcher import Dispatcher, look_at
from worker.runtime.process import App, create_app
from worker.runtime.turns import AccountTurns
from worker.runtime.webhooks import WebhookStep
from worker.webhooks.sender import Sender

A, B, C = "ABC"
NAMES = [f"a{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("wanted", "held", "left", "shares"),
    [
        ({A: 8}, {A: 0}, 64, {A: 8}),
        ({A: 8, B: 8}, {A: 0, B: 0}, 10, {A: 5, B: 5}),
        ({A: 1, B: 8}, {A: 0, B: 0}, 10, {A: 1, B: 5}),
        ({A: 8, B: 4}, {A: 6, B: 0}, 8, {A: 4, B: 4}),
        ({A: 8, B: 8, C: 8}, {A: 0, B: 0, C: 0}, 2, {A: 1, B: 1, C: 0}),
        ({A: 8}, {A: 0}, 1, {A: 1}),
        ({A: 8}, {A: 0}, 0, {A: 0}),
    ],
)
def test_threads_go_to_those_that_hold_the_fewest(wanted: Any, held: Any, left: int, shares: Any) -> None:
    """One by one; and no account takes more than half of what is left, so that the next one finds some."""
    assert fair_shares(wanted, held, left) == shares


class Work:
    """Batches that are always full: they run until they may not go on, one call every millisecond."""

    def __init__(self) -> None:
        self.calls = 0
        self.end = threading.Event()

    def run(self, goes_on: Callable[[], bool]) -> Ran:
        self.calls += 1
        while not self.end.wait(0.001) and goes_on():
            self.calls += 1
        return Ran.FULL


class Hanging(Work):
    """Batches whose calls hang."""

    def run(self, goes_on: Callable[[], bool]) -> Ran:
        self.end.wait()
        return Ran.FULL


def share_out(threads: BatchThreads, accounts: list[Any], size: int) -> None:
    """Start what a dispatcher would start."""
    wanted = {each: max(0, threads.free(each)) for each in accounts}
    for each, count in threads.share_out(wanted).items():
        if count:
            threads.start(each, count)


def test_short_threads_go_round() -> None:
    """Twelve accounts with endless work on four threads: each gets about as many calls as the others."""
    threads, accounts = BatchThreads(4, most=4), [Work() for _ in range(12)]

    def has_gone_round() -> bool:
        share_out(threads, accounts, 4)
        return min(each.calls for each in accounts) >= 10

    wait_until(has_gone_round)
    calls = [each.calls for each in accounts]
    for each in accounts:
        each.end.set()
    threads.join()
    assert max(calls) <= 2 * min(calls)


def test_an_account_whose_calls_hang_leaves_threads_to_others() -> None:
    """Each has as many as if it were alone; several that hang, one after another, leave some to the last."""
    threads, hanging, fine = BatchThreads(8, most=32), [Hanging() for _ in range(4)], Work()
    for each in hanging:
        share_out(threads, [each], 8)
    assert [threads.held(each) for each in hanging] == [8, 8, 8, 4]  # type: ignore[arg-type]
    share_out(threads, [*hanging, fine], 8)
    assert threads.held(fine) >= 1  # type: ignore[arg-type]
    wait_until(lambda: fine.calls > 10)
    for held in (*hanging, fine):
        held.end.set()
    threads.join()


def test_batches_of_a_removed_account_end() -> None:
    """After the call in flight, though there is more to delete."""
    threads, removed, kept = BatchThreads(1), Work(), Work()
    share_out(threads, [removed, kept], 1)
    threads.serve_only([kept])  # type: ignore[list-item]
    wait_until(lambda: threads.free(removed) == 1)  # type: ignore[arg-type]
    assert threads.free(kept) == 0  # type: ignore[arg-type]
    kept.end.set()
    threads.join()


@pytest.fixture
def app(redis_client: Redis, tmp_path: Path) -> App:
    """Return an application that serves five accounts besides that of the environment."""
    return app_in(tmp_path, redis_client)


def app_in(folder: Path, redis: Redis, **settings: Any) -> App:
    write(folder, NAMES)
    about = {"accounts_file": str(folder / "accounts.toml"), "batch_window_seconds": 0, **settings}
    return create_app(settings_for_tests(**about), redis)


def write(folder: Path, names: list[str]) -> None:
    text = "".join(f"[accounts.{name}]\nkey = '{name}'\nrate_limits = []\n" for name in names)
    (folder / "new").write_text(text, "utf-8")
    (folder / "new").chmod(0o600)
    (folder / "new").replace(folder / "accounts.toml")


@pytest.fixture
def dispatcher(app: App, monkeypatch: pytest.MonkeyPatch) -> Dispatcher:
    """Return a dispatcher whose ticks are counted and do not sleep."""
    monkeypatch.setattr(worker.runtime.dispatcher, "CHORES_SECONDS", 0.0)
    return Dispatcher(app, "w", BatchThreads(2))


def started_by(dispatcher: Dispatcher, app: App, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Tick once; return the number of batches started for each account."""
    names = {each.batches: name for name, each in app.accounts.served().items()}
    started: dict[str, int] = {}
    monkeypatch.setattr(dispatcher._threads, "start", lambda batches, count: started.update({names[batches]: count}))
    dispatcher.tick()
    return started


def test_one_look_starts_what_each_account_has(
    app: App, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paused account starts none, and neither does an idle one."""
    for name, count in (("a0", 1), ("a1", 250), ("a2", 1), ("default", 1)):
        app.accounts.of(name).queue.enqueue(NewRequest(f"r-{name}", "s"), [f"{name}-{n}" for n in range(count)])
    app.accounts.of("a2").limiter.pause("maintenance")
    assert started_by(dispatcher, app, monkeypatch) == {"default": 1, "a0": 1, "a1": 2}


def test_a_look_at_all_accounts_is_one_round_trip(
    app: App, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are."""
    dispatcher.tick()
    sent: list[tuple[Any, ...]] = []
    execute: Any = app.account.redis.execute_command

    def counting(*args: Any, **options: Any) -> Any:
        sent.append(args)
        return execute(*args, **options)

    monkeypatch.setattr(app.account.redis, "execute_command", counting)
    looks = look_at(app.account.queue, list(dispatcher._watches.values()), with_chores=True)
    assert (len(looks), [args[0] for args in sent]) == (6, ["EVALSHA"])


def test_accounts_are_added_and_removed_between_ticks(
    app: App, dispatcher: Dispatcher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits for a removed one is told, and stays."""
    dispatcher.tick()
    gone = app.accounts.of("a1")
    gone.queue.enqueue(NewRequest("r", "s"), ["x", "y"])
    write(tmp_path, ["a0", "new"])
    dispatcher.tick()
    assert list(dispatcher._watches) == ["default", "a0", "new"]
    assert "account a1 was removed from the accounts file; 2 of its ids wait in Redis" in caplog.text
    assert gone.queue.count_waiting() == 2
    known = raw(app.account.queue).smembers(app.account.queue.home_keys("accounts"))
    assert known == {"default", "new", *NAMES}


def test_results_that_a_dead_worker_did_not_publish_are_published_for_each_account(
    app: App, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look tells which accounts have any."""
    published: list[str] = []
    for name, each in app.accounts.served().items():
        monkeypatch.setattr(each.publisher, "publish_progress", lambda name=name: published.append(name))
        monkeypatch.setattr(each.publisher, "publish_left_over", lambda: 0)
    app.accounts.of("a3").queue.enqueue(NewRequest("r", "s", hold_seconds=60), ["x"])
    dispatcher.tick()
    assert published == ["a3"]


def test_threads_for_all_accounts_take_turns(app: App) -> None:
    """Of those of which something is due, the one whose turn is the longest ago; each has one thread at most."""
    turns = AccountTurns(app.accounts, 1, "cleanup:runs")
    for name in ("a1", "a3"):
        each = app.accounts.of(name)
        raw(each.queue).zadd(each.keys("cleanup:runs"), {"run": 1})

    def next_name() -> str | None:
        with turns.next() as account:
            return account.settings.account if account else None

    assert [next_name() for _ in range(4)] == ["a1", "a3", "a1", "a3"]
    with turns.next() as first:
        assert first is app.accounts.of("a1")
        assert [next_name(), next_name()] == ["a3", "a3"]
        with turns.next():
            assert next_name() is None


def test_accounts_without_purges_are_looked_at_once_a_second(app: App) -> None:
    """Many idle accounts cost no more looks than one; one that waits for its quota lets another have its turn soon."""
    turns = AccountTurns(app.accounts, 1, "purges:open", or_key="purges:waiting")
    assert step._purge(app.accounts, turns) == step.PURGE_SECONDS
    each = app.accounts.of("a3")
    raw(each.queue).zadd(each.keys("purges:open"), {"gone": 1})
    assert step._purge(app.accounts, turns) == step.PURGE_SECONDS / len(app.accounts.served())


def test_webhooks_of_each_account_are_sent(
    redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads of a worker find the account that has one waiting."""
    app = app_in(tmp_path, redis_client, webhook_secret="whsec_" + b64encode(bytes(32)).decode())
    steps: list[Callable[[], float]] = []
    monkeypatch.setattr(worker.runtime.webhooks, "start_thread", lambda _, step, __: steps.append(step))
    WebhookStep(SimpleNamespace(app=app)).start(None)
    each = app.accounts.of("a3")
    raw(each.queue).zadd(each.keys("webhooks:waiting"), {"w": 1})
    sent: list[Sender] = []

    def send_next(sender: Sender) -> bool:
        sent.append(sender)
        return True

    monkeypatch.setattr(Sender, "send_next", send_next)
    assert steps[0]() == 0
    assert sent == [each.webhook_sender]


def test_a_new_key_is_tried_at_once(app: App, dispatcher: Dispatcher, tmp_path: Path) -> None:
    """The pause of a refused key does not last until its next probe."""
    dispatcher.tick()
    limiter = app.accounts.of("a0").limiter
    limiter.record(Call(kind=Kind.KEY_REFUSED, reason="Your account cannot be authenticated."))
    assert limiter.read_limits().pause_ms > 1000
    write(tmp_path, NAMES)
    text = (tmp_path / "accounts.toml").read_text("utf-8").replace("key = 'a0'", "key = 'another'")
    (tmp_path / "accounts.toml").write_text(text, "utf-8")
    dispatcher.tick()
    assert limiter.read_limits().pause_ms == 0
