"""Hashing and checking passwords."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from cyclades_tx.errors import Unavailable
from cyclades_tx.identity.passwords import Passwords, hash_now, matches_now


@pytest_twisted.async_yield_fixture
async def make() -> Any:
    """Return a function that makes Passwords; all are closed after the test."""
    from twisted.internet import reactor

    made: list[Passwords] = []

    def build(**options: Any) -> Passwords:
        made.append(Passwords(reactor, **options))
        return made[-1]

    yield build
    for each in made:
        each.close()


@given(st.text(max_size=50), st.text(max_size=50))
def test_only_the_same_password_matches(password: str, other: str) -> None:
    """Whatever characters they have."""
    stored = hash_now(password, 1)
    assert matches_now(password, stored)
    assert matches_now(other, stored) == (other == password)


def test_the_stored_text_says_how_it_was_made() -> None:
    """Algorithm and cost can be raised later without losing old passwords."""
    parts = hash_now("secret", 5).split("$")
    assert parts[:4] == ["scrypt", "5", "8", "1"]
    assert len(parts) == 6


def test_two_hashes_of_one_password_differ() -> None:
    """Each has its own salt."""
    assert hash_now("secret", 1) != hash_now("secret", 1)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "secret",
        "md5$1$1$1$AAAA$AAAA",
        "scrypt$x$8$1$AAAA$AAAA",
        "scrypt$30$8$1$AAAA$" + "A" * 43 + "=",
        "scrypt$0$8$1$AAAA$" + "A" * 43 + "=",
        "scrypt$5$8$1$AAAA$AAAA",
        "scrypt$5$8$1$####$####",
        "scrypt$5$8$1$AAAA",
    ],
)
def test_a_damaged_stored_text_matches_nothing(stored: str) -> None:
    """Neither an error nor a way in, and no enormous work."""
    assert not matches_now("secret", stored)


async def test_the_reactor_turns_while_a_password_is_hashed(make: Any, sleep: Any) -> None:
    """The work is done in a thread."""
    passwords = make(log2n=14)
    hashing = Deferred.fromCoroutine(passwords.hash("secret"))
    await sleep(0)
    assert not hashing.called
    assert matches_now("secret", await hashing)


async def test_nobody_s_password_costs_the_same_work(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown user cannot be told from a known one by the time."""
    passwords = make(log2n=5, threads=1)
    stored = await passwords.hash("secret")
    worked: list[dict[str, Any]] = []
    scrypt = hashlib.scrypt

    def noted(password: bytes, **cost: Any) -> bytes:
        worked.append({**cost, "salt": len(cost["salt"])})
        return scrypt(password, **cost)

    monkeypatch.setattr(hashlib, "scrypt", noted)
    for against in (stored, None):
        assert not await passwords.matches("wrong", against)
    known, unknown = worked
    assert known == unknown
    assert known["n"] == 2**5


async def test_more_than_may_wait_are_told_to_come_again(make: Any) -> None:
    """The line has an end, and those in it are served."""
    passwords = make(log2n=10, threads=1, most_waiting=1)
    first = Deferred.fromCoroutine(passwords.hash("a"))
    second = Deferred.fromCoroutine(passwords.hash("b"))
    with pytest.raises(Unavailable) as caught:
        await passwords.hash("c")
    assert caught.value.retry_after_seconds == 1
    assert matches_now("a", await first)
    assert matches_now("b", await second)
    assert matches_now("d", await passwords.hash("d"))


async def test_closing_refuses_who_waits(make: Any) -> None:
    """Nothing waits for ever when the service stops."""
    passwords = make(log2n=10, threads=1)
    first = Deferred.fromCoroutine(passwords.hash("a"))
    second = Deferred.fromCoroutine(passwords.hash("b"))
    passwords.close()
    with pytest.raises(Unavailable):
        await second
    assert matches_now("a", await first)
    with pytest.raises(Unavailable):
        await passwords.hash("c")
