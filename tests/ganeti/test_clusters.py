"""Clients from rows: gates, breakers, credentials."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cyclades_tx.errors import ConfigError
from cyclades_tx.ganeti.breaker import Breaker, BreakerRules, BreakerState, ClusterGate
from cyclades_tx.ganeti.clusters import PASSWORD_KIND, Clusters
from cyclades_tx.ganeti.credentials import Keyring, SealBroken
from cyclades_tx.ganeti.interfaces import GanetiRefused, GanetiUnavailable
from cyclades_tx.testing.expected import raised

KEYS = [bytes([number]) * 32 for number in range(3)]


@dataclass(frozen=True)
class Row:
    """The columns of a cluster that a client needs."""

    id: int
    uuid: Any
    rapi_port: int
    rapi_username: str
    rapi_password: bytes
    name: str = "c1"
    rapi_scheme: str = "http"
    rapi_host: str = "127.0.0.1"
    certificate: str | None = None
    credentials_version: int = 1


def row_of(served: Any, keyring: Keyring, password: str | None = None) -> Row:
    """Return the row of a simulated cluster."""
    number = uuid4()
    sealed = keyring.encrypt(PASSWORD_KIND, str(number), password or served.ganeti.password)
    return Row(1, number, served.port.getHost().port, served.ganeti.username, sealed)


@pytest_twisted.async_yield_fixture
async def make_clusters() -> Any:
    """Return a function that makes a registry; its clients are closed after the test."""
    made: list[Clusters] = []

    def make(**options: Any) -> Clusters:
        clusters = Clusters(reactor, Keyring(KEYS), allow_plain_http=True, **options)
        made.append(clusters)
        return clusters

    yield make
    for clusters in made:
        await clusters.close()


async def test_driver_and_questions_use_the_row(quick, make_clusters) -> None:
    """Both clients reach the cluster; the one for questions cannot change anything."""
    measured: list[Any] = []
    clusters = make_clusters(measured=lambda *each: measured.append(each))
    row = row_of(quick, Keyring(KEYS))
    guarded: list[int] = []
    driver = clusters.driver(row, lambda: guarded.append(1))
    assert await driver.start_instance("snf-1", "r") == 1
    questions = clusters.questions(row)
    assert clusters.questions(row) is questions
    assert (await questions.info()).name == quick.ganeti.name
    await raised(GanetiUnavailable, questions.start_instance("snf-1", "r"))
    assert guarded == [1] and list(quick.ganeti.jobs) == [1]
    assert [(name, error) for name, _, error in measured][:2] == [("c1", None), ("c1", None)]


async def test_new_credentials_make_a_new_client(quick, make_clusters) -> None:
    """A row with a higher version is reached with its own password."""
    clusters, keyring = make_clusters(), Keyring(KEYS)
    wrong = row_of(quick, keyring, password="outdated")
    refused = await raised(GanetiRefused, clusters.questions(wrong).info())
    assert refused.status == 401
    right = replace(
        wrong,
        rapi_password=keyring.encrypt(PASSWORD_KIND, str(wrong.uuid), quick.ganeti.password),
        credentials_version=2,
    )
    assert (await clusters.questions(right).info()).name == quick.ganeti.name


async def test_breaker_opens_and_one_question_closes_it(quick, make_clusters, sleep) -> None:
    """A cluster that does not answer is left alone at once, and heals by itself."""
    changes: list[Any] = []
    rules = BreakerRules(failures=2, pause_seconds=0.05, pause_limit_seconds=0.05)
    clusters = make_clusters(breaker=rules, changed=lambda *each: changes.append(each))
    client = clusters.driver(row_of(quick, Keyring(KEYS)), lambda: None)
    quick.ganeti.misbehave("go-away")
    for _ in range(2):
        await raised(GanetiUnavailable, client.info())
    assert clusters.status()[0].state is BreakerState.OPEN
    fast = await raised(GanetiUnavailable, client.start_instance("snf-1", "r"))
    assert "next try" in fast.message
    quick.ganeti.behave()
    await sleep(0.06)
    assert await client.start_instance("snf-1", "r") == 1
    assert clusters.status()[0].state is BreakerState.CLOSED
    assert [answers for _, answers, _ in changes] == [False, True]


def test_address_that_cannot_be_used_is_unavailable(make_clusters, quick) -> None:
    """A row with plain http to a network makes no client."""
    row = replace(row_of(quick, Keyring(KEYS)), rapi_host="192.0.2.1")
    with pytest.raises(GanetiUnavailable, match="loopback"):
        make_clusters().questions(row)


async def failing() -> Any:
    """Be an exchange without an answer."""
    raise GanetiUnavailable("silence")


async def answering() -> Any:
    """Be an exchange with an answer."""
    return 200, {}


def run(call: Any) -> Any:
    """Start a coroutine; return its Deferred, whose failure is expected to be looked at."""
    return Deferred.fromCoroutine(call)


def a_breaker(clock: Clock, **parts: Any) -> Breaker:
    """Return a breaker that opens at the first failure."""
    return Breaker(clock, BreakerRules(**{"failures": 1, **parts}), random.Random(1))


async def test_pauses_double_up_to_the_limit() -> None:
    """Each failed probe makes the next pause longer, with some jitter, within bounds."""
    clock = Clock()
    breaker = a_breaker(clock, pause_seconds=1.0, pause_limit_seconds=4.0)
    breaker.failed("x")
    for most in (1.0, 2.0, 4.0, 4.0):
        assert most / 2 <= breaker.retry_seconds <= most
        clock.advance(breaker.retry_seconds)
        assert breaker.state is BreakerState.HALF_OPEN
        await raised(GanetiUnavailable, breaker.pass_through(failing))
        assert breaker.state is BreakerState.OPEN
    clock.advance(4)
    await breaker.pass_through(answering)
    assert breaker.state is BreakerState.CLOSED and breaker.retry_seconds == 0


async def test_only_one_caller_probes() -> None:
    """While one finds out, the others are told to come back."""
    clock, waiting = Clock(), Deferred()
    breaker = a_breaker(clock)
    breaker.failed("x")
    clock.advance(10)

    async def slow_probe() -> Any:
        return await waiting

    first = run(breaker.pass_through(slow_probe))
    await raised(GanetiUnavailable, breaker.pass_through(answering))
    waiting.callback((200, {}))
    await first
    assert breaker.state is BreakerState.CLOSED


async def test_gate_lets_so_many_through_and_waits_so_long() -> None:
    """Callers beyond the limit wait, and not for ever."""
    clock = Clock()
    gate = ClusterGate(clock, a_breaker(clock), 1, 5.0, lambda seconds, error: None)
    held: Deferred[Any] = Deferred()

    async def slow() -> Any:
        return await held

    first = run(gate.run(slow, answering))
    second = run(gate.run(answering, answering))
    third = run(gate.run(answering, answering))
    assert (gate.busy, gate.waiting) == (1, 2)
    clock.advance(5.0)
    for each in (second, third):
        busy = await raised(GanetiUnavailable, each)
        assert "busy" in busy.message
    held.callback((200, "late"))
    assert await first == (200, "late")
    assert gate.busy == 0


@given(st.text(), st.text(min_size=1), st.integers())
def test_secret_opens_only_for_its_own_row(text, kind, row_id) -> None:
    """A sealed text comes back, and neither for another kind nor for another row."""
    ring = Keyring(KEYS)
    sealed = ring.encrypt(kind, row_id, text)
    assert ring.decrypt(kind, row_id, sealed) == text
    for other in ((kind + "x", row_id), (kind, row_id + 1)):
        with pytest.raises(SealBroken):
            ring.decrypt(*other, sealed)


@given(st.binary(max_size=60))
def test_junk_is_never_a_secret(junk) -> None:
    """Whatever bytes a column holds, opening them fails with an error of ours."""
    with pytest.raises(SealBroken):
        Keyring(KEYS).decrypt("k", 1, junk)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_altered_secret_is_refused(position, flip) -> None:
    """No byte of a sealed secret can be changed."""
    sealed = bytearray(Keyring(KEYS).encrypt("k", 1, "word"))
    sealed[position % len(sealed)] ^= flip
    with pytest.raises(SealBroken):
        Keyring(KEYS).decrypt("k", 1, bytes(sealed))


def test_rotation_opens_old_and_seals_new() -> None:
    """A key in front seals from now on; the old one still opens, until it is taken off."""
    old = Keyring(KEYS[:1])
    sealed = old.encrypt("k", 1, "word")
    both = Keyring([KEYS[1], KEYS[0]])
    assert both.needs_rotation(sealed) and not old.needs_rotation(sealed)
    fresh = both.encrypt("k", 1, both.decrypt("k", 1, sealed))
    assert not both.needs_rotation(fresh)
    with pytest.raises(SealBroken) as caught:
        Keyring(KEYS[1:]).decrypt("k", 1, sealed)
    assert "word" not in str(caught.value)


def test_key_file_is_made_and_loaded(tmp_path) -> None:
    """A made file has mode 0600 and is not overwritten."""
    path = tmp_path / "keys"
    sealed = Keyring.create(path).encrypt("k", 1, "word")
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert Keyring.load(path).decrypt("k", 1, sealed) == "word"
    with pytest.raises(FileExistsError):
        Keyring.create(path)


@pytest.mark.parametrize(
    ("text", "mode"), [("", 0o600), ("short\n", 0o600), ("\u00e9\n", 0o600), ("A" * 43, 0o640)]
)
def test_key_file_is_refused_without_showing_a_key(tmp_path, text, mode) -> None:
    """Wrong modes and wrong keys name the file only."""
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="keys") as caught:
        Keyring.load(path)
    assert not text.strip() or text.strip() not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        Keyring.load(tmp_path / "none")
