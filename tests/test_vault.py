"""One contract for secret stores, passed by the one in memory and the one in memcached."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from zope.interface.verify import verifyObject

from cyclades_tx.errors import BadRequest, CycladesError, Unavailable
from cyclades_tx.vault import (
    FILES,
    ISecretStore,
    MemcachedSecretStore,
    MemorySecretStore,
    arm,
    armed,
    disarm,
    params_name,
    take_file,
)
from tests.real.packages import need
from tests.real.ports import free_port
from tests.scenario.cloud import until

LARGEST = 1_000_000


@pytest.fixture(scope="module")
def memcached() -> Iterator[str]:
    """A memcached of our own; its address."""
    port = free_port()
    command = [need("memcached", "memcached"), "-l", "127.0.0.1", "-p", str(port), "-m", "64"]
    process = subprocess.Popen([*command, "-u", "nobody"], stdin=subprocess.DEVNULL)
    try:
        until(partial(_listens, port), "memcached answers", 20)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Stores:
    """A store, and a second look at the same secrets as another process has it."""

    one: Any
    other: Any


@pytest.fixture(params=["memory", pytest.param("memcached", marks=pytest.mark.real)])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """Each kind of store."""
    from twisted.internet import reactor

    if request.param == "memory":
        store = MemorySecretStore(reactor)
        both = Stores(store, store)
    else:
        address = request.getfixturevalue("memcached")
        both = Stores(
            MemcachedSecretStore(reactor, [address]), MemcachedSecretStore(reactor, [address])
        )
    yield both
    both.one.close()
    both.other.close()


def later(seconds: float) -> Deferred[None]:
    """Some time of the real clock."""
    from twisted.internet import reactor

    return deferLater(reactor, seconds)


async def raised(kind: type[CycladesError], awaitable: Any) -> CycladesError:
    """The error of this kind that something raises."""
    try:
        await awaitable
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def test_both_are_secret_stores(stores: Stores) -> None:
    """By their signatures."""
    assert verifyObject(ISecretStore, stores.one)


async def test_a_secret_is_given_once(stores: Stores) -> None:
    """Whoever asks second gets nothing."""
    await stores.one.put("token", b"\x00 secret \r\n", 60)
    assert await stores.other.there("token")
    assert await stores.other.take("token") == b"\x00 secret \r\n"
    assert await stores.one.take("token") is None
    assert not await stores.one.there("token")


async def test_an_empty_secret_is_one(stores: Stores) -> None:
    """User data that nobody gave: cloud-init wants the file."""
    await stores.one.put("empty", b"", 60)
    assert await stores.other.there("empty")
    assert await stores.other.take("empty") == b""
    assert await stores.one.take("empty") is None


async def test_asking_whether_it_is_there_does_not_spend_it(stores: Stores) -> None:
    """However often."""
    await stores.one.put("there", b"s", 60)
    assert [await stores.one.there("there") for _ in range(3)] == [True] * 3
    assert await stores.one.take("there") == b"s"


async def test_of_fifty_takers_at_once_one_gets_it(stores: Stores) -> None:
    """From two processes."""
    await stores.one.put("many", b"s", 60)
    takers = [
        Deferred.fromCoroutine(store.take("many"))
        for _ in range(25)
        for store in (stores.one, stores.other)
    ]
    found = await gatherResults(takers)
    assert sorted(found, key=str) == [None] * 49 + [b"s"] or found.count(b"s") == 1
    assert found.count(None) == 49


async def test_a_dropped_secret_is_gone_and_dropping_nothing_is_no_error(stores: Stores) -> None:
    """As after a creation that did not come about."""
    await stores.one.put("dropped", b"s", 60)
    await stores.one.drop("dropped")
    await stores.one.drop("dropped")
    assert await stores.one.take("dropped") is None


async def test_a_secret_expires(stores: Stores) -> None:
    """After its lifetime, to the second."""
    await stores.one.put("short", b"s", 1)
    await stores.one.put("long", b"l", 60)
    await later(2.1)
    assert not await stores.one.there("short")
    assert await stores.one.take("short") is None
    assert await stores.one.take("long") == b"l"


async def test_putting_again_replaces(stores: Stores) -> None:
    """A transaction that is run twice puts twice."""
    await stores.one.put("again", b"first", 60)
    await stores.one.put("again", b"second", 60)
    assert await stores.one.take("again") == b"second"


async def test_a_secret_may_be_large_but_not_too_large(stores: Stores) -> None:
    """What is refused is refused in the user's words."""
    await stores.one.put("large", b"x" * LARGEST, 60)
    assert await stores.one.take("large") == b"x" * LARGEST
    error = await raised(BadRequest, stores.one.put("larger", b"x" * (LARGEST + 1), 60))
    assert "too large" in error.message


@pytest.mark.parametrize("token", ["", " ", "a b\r\nflush_all\r\n", "ü", "\ud800", "x" * 10_000])
async def test_any_text_can_be_a_token(stores: Stores, token: str) -> None:
    """It comes out of a URL."""
    assert await stores.one.take(token) is None
    await stores.one.put(token, b"s", 60)
    assert await stores.one.take(token) == b"s"


def test_secrets_are_not_shown() -> None:
    """A log may hold a store."""
    store = MemorySecretStore(Clock())
    Deferred.fromCoroutine(store.put("token", b"hunter2", 60))
    assert repr(store) == "<MemorySecretStore with 1 secrets>"


async def test_a_full_memory_is_refused_by_number_and_by_size() -> None:
    """Until something is taken or expires."""
    clock = Clock()
    store = MemorySecretStore(clock, limit=2, limit_bytes=100)
    await store.put("a", b"x" * 90, 10)
    await raised(Unavailable, store.put("b", b"x" * 20, 60))
    await store.put("b", b"x", 60)
    await raised(Unavailable, store.put("c", b"x", 60))
    assert await store.take("a") == b"x" * 90
    await store.put("c", b"x" * 90, 60)
    clock.advance(60)
    await store.put("d", b"x" * 90, 60)
    await store.drop("d")
    await store.put("d", b"x" * 90, 60)


async def test_a_memcached_that_is_not_there_is_unavailable() -> None:
    """In a sentence without the token."""
    from twisted.internet import reactor

    store = MemcachedSecretStore(reactor, [f"127.0.0.1:{free_port()}"], timeout_seconds=1)
    for call in (store.put("token", b"s", 60), store.take("token"), store.there("token")):
        error = await raised(Unavailable, call)
        assert "token" not in error.message
    store.close()


class Silent(Protocol):
    """Takes everything and never answers."""


class Rude(Protocol):
    """Hangs up on whoever says something."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.loseConnection()


@pytest.mark.parametrize("manners", [Silent, Rude])
async def test_a_memcached_that_does_not_answer_is_unavailable_in_time(manners: Any) -> None:
    """The next question too."""
    from twisted.internet import reactor

    made: list[Any] = []

    def build() -> Any:
        made.append(manners())
        return made[-1]

    port = reactor.listenTCP(0, Factory.forProtocol(build), interface="127.0.0.1")
    store = MemcachedSecretStore(reactor, [f"127.0.0.1:{port.getHost().port}"], timeout_seconds=1)
    try:
        for _ in range(2):
            began = reactor.seconds()
            await raised(Unavailable, store.take("token"))
            assert reactor.seconds() - began < 4
        assert made
    finally:
        store.close()
        await port.stopListening()
        for each in made:
            if each.transport is not None:
                each.transport.loseConnection()


@pytest.mark.real
async def test_a_memcached_that_comes_back_is_used_again(memcached: str) -> None:
    """After a connection was lost."""
    from twisted.internet import reactor

    store = MemcachedSecretStore(reactor, [memcached])
    await store.put("a", b"s", 60)
    for connection in list(store._connections.values()):
        connection.hang_up()
    await later(0.1)
    assert await store.take("a") == b"s"
    store.close()


# What belongs to one first boot


async def test_what_is_armed_together_is_disarmed_together(stores: Stores) -> None:
    """By whichever process; what is left alone of it is not armed."""
    files = {name: name.encode() for name in FILES}
    await arm(stores.one, "boot", b"{}", files, 60)
    await arm(stores.one, "other", b"{}", {}, 60)
    assert await armed(stores.other, "boot", files=True)
    assert await armed(stores.other, "other", files=False)
    assert not await armed(stores.other, "other", files=True)
    await disarm(stores.other, "boot", files=False)
    assert not await armed(stores.one, "boot", files=True)
    assert await take_file(stores.one, "boot", "meta-data") == b"meta-data"
    await disarm(stores.other, "boot")
    for name in FILES:
        assert await take_file(stores.one, "boot", name) is None
    assert await stores.one.take(params_name("other")) == b"{}"


async def test_with_the_last_secret_file_the_others_go(stores: Stores) -> None:
    """What is left tells names only, and nobody comes for it any more."""
    await arm(stores.one, "last", b"{}", dict.fromkeys(FILES, b"x"), 60)
    assert await take_file(stores.one, "last", "vendor-data") == b"x"
    assert await stores.other.there(params_name("last"))
    assert await take_file(stores.other, "last", "user-data") == b"x"
    for name in FILES:
        assert await take_file(stores.one, "last", name) is None
    assert not await stores.one.there(params_name("last"))


async def test_nothing_but_a_file_is_taken_by_its_name(stores: Stores) -> None:
    """The name comes out of a URL."""
    await arm(stores.one, "named", b"{}", dict.fromkeys(FILES, b"x"), 60)
    for name in ("", "params", "meta-data ", "META-DATA", "../named"):
        assert await take_file(stores.one, "named", name) is None
    assert await armed(stores.one, "named", files=True)
    await disarm(stores.one, "named")


# Two processes


RUNS = 1000
TAKERS_OF_EACH = 100


class TakerProcess:
    """Another process with many takers."""

    def __init__(self, address: str) -> None:
        words = [sys.executable, "-m", "tests.takers", address, str(TAKERS_OF_EACH)]
        # Not measured: what it runs is measured here, and each line costs many times as much then.
        plain = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=plain
        )

    def tell(self, order: str) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(order.encode() + b"\n")

    def answer(self) -> int:
        """What came of it."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.mark.real
def test_of_two_hundred_takers_in_two_processes_exactly_one_gets_each_secret(
    memcached: str,
) -> None:
    """In each of a thousand runs; a secret that one process has put away."""
    with ExitStack() as ends:
        one, other = TakerProcess(memcached), TakerProcess(memcached)
        for each in (one, other):
            ends.callback(each.close)
        one.tell(f"put {RUNS}")
        assert one.answer() == RUNS
        winners = [0, 0]
        for run in range(RUNS):
            for each in (one, other):
                each.tell(f"take {run}")
            got = [each.answer() for each in (one, other)]
            assert sum(got) == 1, f"run {run}: {got}"
            winners[got.index(1)] += 1
    print(f"of {RUNS} secrets {winners[0]} went to one process and {winners[1]} to the other")
