"""Several ImageKit accounts in one installation: the accounts file, the registry, and where requests go."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import tasks.client
from config.accounts import AccountsError, read_accounts
from config.settings import Settings, load_settings
from config.windows import Window
from tasks.chosen import chosen_account
from tasks.client import Client
from tasks.purges import PurgeAdmin
from tests.unit.support_messages import Sender, put, undecoded
from tests.unit.support_queue import end_all, must_claim, raw, settings_for_tests
from worker.account import Account
from worker.accounts import Accounts, settings_of
from worker.errors import InvalidRequest, RequestIdTaken
from worker.logs import LineFormatter
from worker.metrics.reading import Reader
from worker.queue.operations import NewRequest, Queue
from worker.runtime import intake as runtime_intake
from worker.runtime.beat import CleanupScheduler
from worker.runtime.intake import intake_of
from worker.runtime.process import App, create_app

SENDER = Sender()
TWO = """\
[accounts.shop]
key = "private_shop"
rate_limits = ["10/1s"]

[accounts.blog]
key_env = "BLOG_KEY"
rate_share = 0.5
base_url = "http://127.0.0.1:1"
guards = {"*" = {max_files = 10}}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a file with two accounts."""
    monkeypatch.setenv("BLOG_KEY", "private_blog")
    path = tmp_path / "accounts.toml"
    write(path, TWO)
    return path


def write(path: Path, text: str) -> None:
    """Replace a file as editors do: under another inode."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o600)
    new.replace(path)


def base(file: Path, **overrides: Any) -> Settings:
    return settings_for_tests(accounts_file=str(file), **overrides)


def names(settings: Settings) -> Settings:
    return settings


def app_on(client: Redis, file: Path, **overrides: Any) -> App:
    return create_app(base(file, **overrides), client)


# The file


def test_an_account_has_the_settings_of_the_environment_and_its_own(file: Path) -> None:
    """Its cleanup rules are in a file of its own: those of another account must not delete its files."""
    accounts = read_accounts(load_settings(accounts_file=str(file), rate_share=0.9, lease_seconds=7)).accounts
    shop, blog = accounts["shop"], accounts["blog"]
    assert (shop.account, shop.rate_limits, shop.rate_share) == ("shop", (Window(10, 1000),), 0.9)
    assert (blog.account, blog.rate_share, blog.base_url) == ("blog", 0.5, "http://127.0.0.1:1")
    assert [each.private_key and each.private_key.get_secret_value() for each in (shop, blog)] == [
        "private_shop",
        "private_blog",
    ]
    assert (blog.lease_seconds, blog.home_account) == (7, "default")
    assert [each.cleanup_file for each in (shop, blog)] == ["cleanup-shop.toml", "cleanup-blog.toml"]
    assert not {"private_shop", "private_blog"} & set(re.findall(r"\w+", repr(accounts) + str(shop)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[accounts.a]\nkey = 'x'\n[accounts.a]\nkey = 'y'\n", ":3: account a is declared twice"),
        ("[accounts.a]\nkey = 'x'\n[accounts.b]\nkey = 'x'\n", ":3: account b has the same key as account a"),
        (
            "[accounts.a]\nkey = 'private_test'\n",
            ":1: account a has the same key as account default (IMAGEKIT_PRIVATE_KEY)",
        ),
        ("[accounts.a]\nkey = 'x'\nrate_limit = []\n", ":3: account a: unknown name rate_limit; did you mean rate_lim"),
        ("[accounts.a]\n", ":1: account a: give one of key, key_env, key_file"),
        ("[accounts.a]\nkey = 'x'\nkey_env = 'y'\n", ":1: account a: give one of key, key_env, key_file, not key and"),
        ("[accounts.a]\nkey_env = 'NOT_SET'\n", ":2: account a: the variable NOT_SET (key_env) is not set"),
        ("[accounts.a]\nkey_file = 'none'\n", ":2: account a: the file 'none' (key_file) cannot be read"),
        ("[accounts.a]\nkey = 'x:y'\n", ":2: account a: the key must be printable ASCII"),
        ("[accounts.a]\nkey = 'x'\nrate_share = 2\n", ":3: account a: rate_share='2': must be a number above 0"),
        ("[accounts.a]\nkey = 'x'\nbase_url = 'ftp://u:hush@h'\n", ":3: account a: base_url: must be an http"),
        ("[accounts.'a b']\nkey = 'x'\n", ":1: the name of an account must be 1 to 64"),
        ("[acounts.a]\n", ":1: unknown name acounts; accounts are tables such as [accounts.shop]"),
        ("[accounts.a\n", ":1: this is not TOML"),
    ],
)
def test_a_problem_has_its_line_and_no_secret(file: Path, text: str, problem: str) -> None:
    """What is wrong, where, and what to do; all problems at once."""
    write(file, text)
    with pytest.raises(AccountsError) as caught:
        read_accounts(base(file))
    assert str(caught.value).startswith(f"{file}{problem}")
    assert "hush" not in str(caught.value)
    assert "x:y" not in str(caught.value)


def test_a_key_that_everybody_can_read_is_told(file: Path, tmp_path: Path) -> None:
    """The file itself if it holds a key, and each file that holds one."""
    key = tmp_path / "key"
    key.write_text("private_c\n", encoding="utf-8")
    write(file, f"{TWO}[accounts.c]\nkey_file = '{key}'\n")
    key.chmod(0o600)
    assert read_accounts(base(file)).exposed == []
    for each in (file, key):
        each.chmod(0o644)
    told = read_accounts(base(file)).exposed
    assert [text.split(" hold")[0] for text in told] == [str(file), str(key)]


# The registry


def test_without_a_file_there_is_the_account_of_the_environment() -> None:
    """Under the same name and keys as ever."""
    accounts = Accounts(settings_for_tests(), names)
    assert list(accounts.served()) == ["default"]
    assert accounts.of(None) is accounts.of("default") is accounts.home
    assert accounts.home.home_account == "default"
    with pytest.raises(InvalidRequest, match="there is no account 'shop'; the accounts are: default"):
        accounts.of("shop")


def test_an_unknown_account_is_refused_with_the_known_ones(file: Path) -> None:
    """Without a key in the environment, an account must be named."""
    with pytest.raises(InvalidRequest, match="there is no account 'x'; the accounts are: default, shop, blog"):
        settings_of(base(file), "x")
    with pytest.raises(InvalidRequest, match="an account must be named; the accounts are: shop, blog"):
        settings_of(base(file, private_key=None), None)
    assert settings_of(settings_of(base(file), "shop"), None).account == "shop"


def test_the_file_is_read_again_when_it_changes(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Only what changed is made anew; a bad file changes nothing, and is told once."""
    accounts = Accounts(base(file), lambda settings: [settings])
    before = accounts.served()
    assert not accounts.refresh()
    write(file, TWO.replace('"10/1s"', '"20/1s"') + "[accounts.new]\nkey = 'n'\n")
    assert accounts.refresh()
    after = accounts.served()
    assert list(after) == ["default", "shop", "blog", "new"]
    assert (after["blog"] is before["blog"], after["shop"] is before["shop"]) == (True, False)
    with caplog.at_level(logging.ERROR):
        write(file, "[accounts.shop]\n")
        assert (accounts.refresh(), accounts.refresh()) == (False, False)
    assert accounts.served() is after
    assert len(caplog.records) == 1
    write(file, TWO.partition("[accounts.blog]")[0])
    assert accounts.refresh()
    assert list(accounts.served()) == ["default", "shop"]


def test_a_new_key_in_a_file_is_read(file: Path, tmp_path: Path) -> None:
    """Keys are replaced without a change of the accounts file."""
    key = tmp_path / "key"
    key.write_text("one", encoding="utf-8")
    write(file, f"[accounts.c]\nkey_file = '{key}'\n")
    accounts = Accounts(base(file), names)
    key.write_text("another", encoding="utf-8")
    assert accounts.refresh()
    new = accounts.of("c").private_key
    assert new is not None
    assert new.get_secret_value() == "another"


def test_an_account_that_was_just_added_is_known_when_it_is_named(file: Path) -> None:
    """A caller does not wait for the next look at the file."""
    accounts = Accounts(base(file), names)
    write(file, TWO + "[accounts.new]\nkey = 'n'\n")
    assert accounts.of("new").account == "new"


def test_no_log_line_shows_the_key_of_an_account(file: Path) -> None:
    """Nor that of one that was removed while its last calls were in flight."""
    formatter = LineFormatter("text")
    accounts = Accounts(base(file), names)
    write(file, "[accounts.new]\nkey = 'private_new'\n")
    accounts.refresh()
    line = formatter.format(logging.makeLogRecord({"msg": "private_shop private_blog%s private_new", "args": ("!",)}))
    assert "*** ***! ***" in line


# Where requests go


@pytest.fixture
def clients(file: Path, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> dict[str | None, Client]:
    """Return clients of the accounts on the test's Redis."""
    monkeypatch.setattr(tasks.client, "connect", lambda _: redis_client)
    return {name: Client(base(file), account=name) for name in (None, "shop", "blog")}


def test_clients_of_accounts_see_their_own_requests(clients: dict[str | None, Client], file: Path) -> None:
    """Each enqueues into the queue of its account."""
    for client in clients.values():
        client.enqueue(["a"])
    assert [client.stats()["waiting"] for client in clients.values()] == [1, 1, 1]


def test_a_request_id_belongs_to_one_account(clients: dict[str | None, Client]) -> None:
    """The result backend has one result for an id: another account's request must not replace it."""
    clients["shop"].enqueue(["a"], request_id="r")
    for name in (None, "blog"):
        with pytest.raises(RequestIdTaken):
            clients[name].enqueue(["b"], request_id="r")
        with pytest.raises(RequestIdTaken):
            clients[name].enqueue((f"b{n}" for n in range(6000)), request_id="r")
    assert clients["shop"].enqueue(["a"], request_id="r") == "r"
    assert [client.stats()["waiting"] for client in clients.values()] == [0, 1, 0]


def test_it_does_so_when_it_is_final(file: Path, redis_client: Redis) -> None:
    """Also if nothing but its result is left."""
    app = app_on(redis_client, file)
    shop, blog = (app.accounts.of(name) for name in ("shop", "blog"))
    for ended in ("SUCCESS", "FAILURE"):
        enqueue(shop, ended)
        outcome = "deleted" if ended == "SUCCESS" else "failed"
        shop.publisher.publish(end_all(shop.queue, must_claim(shop.queue, ended), outcome))  # type: ignore[arg-type]
        with pytest.raises(RequestIdTaken):
            enqueue(blog, ended)
        assert result_of(shop.queue, ended)["status"] == ended


def enqueue(account: Account, request_id: str) -> None:
    account.queue.enqueue(NewRequest(request_id, "s"), [f"{request_id}-file"])


def test_messages_reach_the_queue_of_the_account_that_they_name(
    file: Path, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One taken list may name several; each message is accepted under the settings of its account."""
    app = app_on(redis_client, file)
    monkeypatch.setattr(runtime_intake, "connect", lambda _, **__: undecoded(redis_client))
    intake, home = intake_of(app, "celery"), app.account.queue
    many = [f"m{number}" for number in range(11)]
    put(
        home,
        SENDER.send(["a"], task_id="r1"),
        SENDER.send(["b"], task_id="r2", kwargs={"account": "shop"}),
        SENDER.send(many, task_id="r3", kwargs={"account": "blog"}),
        SENDER.send(["c"], task_id="r4", kwargs={"account": "shop"}),
        SENDER.send(["d"], task_id="r5", kwargs={"account": "nowhere"}),
        SENDER.send(["e"], task_id="r2", kwargs={"account": "blog"}),
    )
    accepted = intake.turn(lambda _: False).accepted
    assert set(accepted) == {"r1", "r2", "r3", "r4"}
    found = {name: requests_of(each.queue) for name, each in app.accounts.served().items()}
    assert found == {"default": {"r1"}, "shop": {"r2", "r4"}, "blog": {"r3"}}
    blog = app.accounts.of("blog").approvals.waiting()
    assert [held.request_id for held in blog] == ["r3"]
    results = [result_of(home, each) for each in ("r1", "r2", "r3", "r4")]
    assert [result["result"]["total"] for result in results] == [1, 1, 11, 1]
    assert [result.get("account") for result in results] == [None, "shop", "blog", "shop"]
    assert raw(home).llen("kitsweep.unusual") == 1
    assert raw(home).keys("*intake*") == []


def result_of(queue: Queue, request_id: str) -> Any:
    return json.loads(raw(queue).get(queue.keys.result(request_id)))


def requests_of(queue: Queue) -> set[str]:
    return {each.rpartition(":")[2] for each in raw(queue).keys(f"{queue.keys.prefix}request:about:*")}


def test_the_format_of_what_an_account_has_is_upgraded_before_the_intake_adds_to_it(
    file: Path, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script runs under the keys of another account."""
    app = app_on(redis_client, file)
    monkeypatch.setattr(runtime_intake, "connect", lambda _, **__: undecoded(redis_client))
    put(app.account.queue, SENDER.send(["b"], task_id="r2", kwargs={"account": "shop"}))
    intake_of(app, "celery").turn(lambda _: False)
    shop = app.accounts.of("shop")
    assert raw(shop.queue).get(shop.keys("format"))


def test_secrets_of_accounts_are_in_no_repr(file: Path, redis_client: Redis) -> None:
    """A repr may end in a log."""
    app = app_on(redis_client, file)
    shown = repr([app.accounts, *app.accounts.served().items(), app.accounts.home.settings])
    assert not {"private_shop", "private_blog", "private_test"} & set(re.findall(r"\w+", shown))


def test_beat_starts_the_rules_of_each_account(
    file: Path, redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two accounts may have rules of the same name: their runs make requests with different ids."""
    monkeypatch.chdir(tmp_path)
    for name in ("cleanup.toml", "cleanup-shop.toml"):
        Path(name).write_text("[rules.old]\ntags = ['old']\nevery = '1h'\n", "utf-8")
    app = app_on(redis_client, file)
    beat = CleanupScheduler(app, lazy=True)
    beat.setup_schedule()
    beat.tick()
    for name in ("default", "shop"):
        each = app.accounts.of(name)
        raw(each.queue).hset(each.keys.cleanup("rule", "old"), "last_due", 1)
    beat.tick()
    runs = [app.accounts.of(name).runs.rule_state("old").history for name in ("default", "shop", "blog")]
    assert [len(each) for each in runs] == [1, 1, 0]
    assert runs[1][0] == f"{runs[0][0]}:shop"


def test_metrics_of_each_account_have_what_all_share(file: Path, redis_client: Redis) -> None:
    """Workers send their heartbeats once for all accounts, and messages wait in one broker: no alert without reason."""
    app = app_on(redis_client, file)
    home = app.account.queue
    raw(home).zadd(home.home_keys("workers"), {"w": home.now_ms()})
    put(home, SENDER.send(["a"], task_id="r1"))
    settings = [each.settings for each in app.accounts.served().values()]
    figures = Reader(redis_client).read(settings).accounts
    assert [(each.account, each.workers, each.unaccepted) for each in figures] == [
        (name, 1, 1) for name in ("default", "shop", "blog")
    ]


def test_purges_are_those_of_the_chosen_account(
    file: Path, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--account` of the command line chooses it."""
    monkeypatch.setattr("worker.account.connect", lambda _: redis_client)
    settings = settings_for_tests(accounts_file=str(file), purge_quota=7)
    shop = Account(settings_of(settings, "shop"), redis_client)
    shop.queue.enqueue(NewRequest("r", "s", purge="true"), ["a"], {"a": "https://h/a.jpg"})
    end_all(shop.queue, must_claim(shop.queue, "t"))
    assert [PurgeAdmin(settings, name).overview()["waiting"] for name in (None, "shop", "blog")] == [0, 1, 0]
    token = chosen_account.set("shop")
    try:
        assert PurgeAdmin(settings).overview()["waiting"] == 1
    finally:
        chosen_account.reset(token)
