"""Notifications: who hears what, and what happens when the connection goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.threads import deferToThread

from cyclades_tx.store.database import Database
from cyclades_tx.store.embedded import EmbeddedPostgres
from cyclades_tx.store.notifications import Listener


@pytest.fixture
def listener(empty_dsn: str) -> Iterator[Listener]:
    """A listener that is closed after the test."""
    made = Listener(reactor, empty_dsn)
    yield made
    made.close()


@pytest.fixture
def notify(empty_dsn: str) -> Iterator[Callable[[str, str], None]]:
    """Send a notification from elsewhere, at once."""

    def send(channel: str, payload: str) -> None:
        connection = psycopg2.connect(empty_dsn)
        with connection, connection.cursor() as cursor:
            cursor.execute("select pg_notify(%s, %s)", (channel, payload))
        connection.close()

    yield send


@pytest.fixture
def until(sleep: Any) -> Callable[[Callable[[], object]], Any]:
    """Wait until something is true, a minute at most."""

    async def wait(condition: Callable[[], object]) -> None:
        for _ in range(6000):
            if condition():
                return
            await sleep(0.01)
        raise AssertionError("it did not become true in a minute")

    return wait


def kill_listener(dsn: str) -> None:
    """End the back end that listens."""
    admin = psycopg2.connect(dsn)
    with admin.cursor() as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where application_name = 'cyclades_tx listen'"
        )
        assert cursor.rowcount == 1
    admin.close()


async def test_observers_hear_their_channel_only(
    listener: Listener, notify: Any, until: Any
) -> None:
    """In the order in which it was sent, with odd names and payloads as they are."""
    heard: list[tuple[str, str]] = []
    listener.listen('we"ird Name', lambda payload: heard.append(("weird", payload)))
    listener.listen("plain", lambda payload: heard.append(("plain", payload)))
    listener.listen("plain", lambda payload: heard.append(("again", payload)))
    await listener.when_listening()
    notify('we"ird Name', "é 'x'")
    notify("other", "nobody")
    notify("plain", "")
    await until(lambda: len(heard) == 3)
    assert heard == [("weird", "é 'x'"), ("plain", ""), ("again", "")]


async def test_a_channel_can_be_added_and_left_later(
    listener: Listener, notify: Any, until: Any
) -> None:
    """Without a new connection."""
    heard: list[str] = []
    listener.listen("first", heard.append)
    await listener.when_listening()
    stop = listener.listen("second", heard.append)
    await listener.when_listening()
    notify("second", "a")
    await until(lambda: heard == ["a"])
    stop()
    stop()
    notify("second", "b")
    notify("first", "c")
    await until(lambda: len(heard) == 2)
    assert heard == ["a", "c"]


async def test_a_lost_connection_is_told_and_comes_back(
    listener: Listener, notify: Any, until: Any, empty_dsn: str
) -> None:
    """Once at the loss and once when it listens again."""
    heard: list[str] = []
    listener.on_lost(lambda: heard.append("lost" if not listener.listening else "back"))
    listener.listen("news", heard.append)
    await listener.when_listening()
    notify("news", "one")
    await until(lambda: "one" in heard)
    kill_listener(empty_dsn)
    await until(lambda: not listener.listening)
    await listener.when_listening()
    notify("news", "two")
    await until(lambda: "two" in heard)
    assert heard == ["back", "one", "lost", "back", "two"]


async def test_it_comes_back_after_a_restart_of_postgresql(
    listener: Listener, notify: Any, until: Any, postgres: EmbeddedPostgres, sleep: Any
) -> None:
    """However long it was away."""
    heard: list[str] = []
    listener.listen("news", heard.append)
    await listener.when_listening()
    await deferToThread(postgres.stop)
    await sleep(0.2)
    await deferToThread(postgres.start)
    await listener.when_listening()
    notify("news", "two")
    await until(lambda: heard == ["two"])


async def test_observers_that_fail_stop_nobody(
    listener: Listener, notify: Any, until: Any, logged_errors: Any
) -> None:
    """The error is logged, the next observer is called."""
    heard: list[str] = []

    def broken(*payload: str) -> None:
        raise LookupError("broken")

    stop = listener.on_lost(broken)
    listener.listen("news", broken)
    listener.listen("news", heard.append)
    await listener.when_listening()
    stop()
    notify("news", "x")
    await until(lambda: heard == ["x"])
    assert len(logged_errors.flush(LookupError)) == 2


async def test_a_server_that_swallows_pings_is_left(
    listener: Listener, until: Any, monkeypatch: Any
) -> None:
    """A ping that is still unanswered at the next one means a dead network."""
    monkeypatch.setattr("cyclades_tx.store.notifications.PING_SECONDS", 0.05)
    seen: list[bool] = []
    listener.on_lost(lambda: seen.append(listener.listening))
    listener.listen("news", lambda payload: None)
    await listener.when_listening()
    assert listener._connection is not None
    listener._connection.start("select pg_sleep(1)", None, lambda cursor, error: None)
    await until(lambda: seen == [True, False, True])


async def test_pings_that_are_answered_change_nothing(
    listener: Listener, sleep: Any, monkeypatch: Any
) -> None:
    """The connection stays the same."""
    monkeypatch.setattr("cyclades_tx.store.notifications.PING_SECONDS", 0.02)
    listener.listen("news", lambda payload: None)
    await listener.when_listening()
    before = listener._connection
    await sleep(0.2)
    assert listener._connection is before and listener.listening


async def test_closing_ends_the_waiting(empty_dsn: str) -> None:
    """Nobody is left hanging, and closing while it connects leaves nothing."""
    listener = Listener(reactor, empty_dsn)
    listener.listen("news", lambda payload: None)
    waiting = listener.when_listening()
    listener.close()
    with pytest.raises(CancelledError):
        await waiting


async def test_a_transaction_notifies_when_it_commits(database: Database, until: Any) -> None:
    """And not when it is rolled back."""
    heard: list[str] = []
    stop_lost = database.on_listen_lost(lambda: heard.append("back"))
    stop = database.listen("news", heard.append)
    await database.when_listening()

    async def undone(transaction: Any) -> None:
        await transaction.notify("news", "undone")
        raise LookupError

    async def done(transaction: Any) -> None:
        await transaction.notify("news", "done")
        assert "done" not in heard

    with pytest.raises(LookupError):
        await database.transaction(undone)
    await database.transaction(done)
    await until(lambda: heard == ["back", "done"])
    stop()
    stop_lost()
    stop_lost()
