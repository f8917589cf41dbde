"""What is told of trouble that lasts."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from cyclades_tx.errors import Unavailable
from cyclades_tx.loops.driver import LONGEST_PAUSE_SECONDS, Loop
from cyclades_tx.loops.rounds import Rounds


@pytest.fixture
def told() -> Any:
    """The events of loops that are written by default, and what they say."""
    seen: list[tuple[str, str, str]] = []

    def keep(event: dict[str, Any]) -> None:
        name = str(event.get("log_format"))
        if name.startswith("loop.") and event["log_level"] >= LogLevel.info:
            seen.append((name, event.get("key", ""), event.get("reason", "")))

    globalLogPublisher.addObserver(keep)
    yield seen
    globalLogPublisher.removeObserver(keep)


class Turns:
    """Turns that fail for what is said here by key."""

    def __init__(self) -> None:
        self.wrong: dict[str, str] = {}
        self.count = 0

    async def turn(self, key: str) -> float | None:
        """One turn."""
        self.count += 1
        if key in self.wrong:
            raise Unavailable(self.wrong[key])
        return None


def test_a_loop_tells_a_reason_once_for_all_keys_until_none_has_it(told: Any) -> None:
    """A thousand servers in motion are no thousand lines when the database is away."""
    clock, turns = Clock(), Turns()
    loop = Loop("servers", clock, turns.turn, 10)
    keys = [f"server {number}" for number in range(50)]
    turns.wrong = dict.fromkeys(keys, "The database is away.")
    for key in keys:
        loop.wake(key)
    for _ in range(20):
        clock.advance(2 * LONGEST_PAUSE_SECONDS)
    assert turns.count > 500
    assert told == [("loop.turn_delayed", "server 0", "The database is away.")]
    turns.wrong[keys[7]] = "The cluster is full."
    clock.advance(2 * LONGEST_PAUSE_SECONDS)
    assert told[1:] == [("loop.turn_delayed", "server 7", "The cluster is full.")]
    del told[:]
    turns.wrong = {keys[7]: "The cluster is full."}
    clock.advance(2 * LONGEST_PAUSE_SECONDS)
    assert told == []
    turns.wrong = {}
    clock.advance(2 * LONGEST_PAUSE_SECONDS)
    assert told == [("loop.goes_on", "", "")]
    turns.wrong = {keys[1]: "The database is away."}
    loop.wake(keys[1])
    loop.wake(keys[2])
    assert told[1:] == [("loop.turn_delayed", "server 1", "The database is away.")]


class Failing(Rounds):
    """Rounds that fail for a reason."""

    reason = "The database is away."

    def _listen(self) -> Any:
        return ()

    async def _turn(self) -> None:
        if self.reason:
            raise Unavailable(self.reason)


def test_rounds_tell_a_reason_once_and_that_they_go_on(told: Any) -> None:
    """An hour without a database is two lines, not one for every two seconds of it."""
    clock = Clock()
    rounds = Failing(clock, "outbox", 2.0)
    rounds.start()
    clock.pump([2.1] * 100)
    rounds.reason = "The database takes no changes for now."
    clock.pump([2.1] * 100)
    rounds.reason = ""
    clock.pump([2.1] * 100)
    rounds.stop()
    assert told == [
        ("loop.turn_delayed", "", "The database is away."),
        ("loop.turn_delayed", "", "The database takes no changes for now."),
        ("loop.goes_on", "", ""),
    ]
