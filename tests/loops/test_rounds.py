"""Rounds: woken, one at a time, never put off, and again after any trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cyclades_tx.errors import Unavailable
from cyclades_tx.loops.rounds import GATHER_SECONDS, Rounds

PERIOD_SECONDS = 10.0


class Counting(Rounds):
    """Counts its rounds; each lasts until it is told to end."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, "counting", PERIOD_SECONDS)
        self.begun = 0
        self.listening = 0
        self.now: Deferred[None] | None = None
        self.at_once = True

    def _listen(self) -> Iterable[Callable[[], None]]:
        self.listening += 1

        def end() -> None:
            self.listening -= 1

        return (end,)

    async def _turn(self) -> None:
        self.begun += 1
        if not self.at_once:
            self.now = Deferred()
            await self.now

    def end(self, how: Any = None) -> None:
        """Let the round end."""
        now, self.now = self.now, None
        assert now is not None
        if how is None:
            now.callback(None)
        else:
            now.errback(how)


@pytest.fixture
def clock() -> Clock:
    """The time of a test, which is not near zero."""
    made = Clock()
    made.advance(1_000_000.0)
    return made


@pytest.fixture
def rounds(clock: Clock) -> Counting:
    """Rounds that have not begun."""
    return Counting(clock)


def test_it_begins_at_once_and_comes_again_without_being_woken(
    clock: Clock, rounds: Counting
) -> None:
    """Once in each period."""
    rounds.start()
    clock.advance(0)
    assert (rounds.begun, rounds.listening) == (1, 1)
    clock.pump([PERIOD_SECONDS] * 3)
    assert rounds.begun == 4
    rounds.stop()
    assert not clock.getDelayedCalls() and not rounds.listening


def test_wakes_of_one_moment_make_one_round_and_none_puts_it_off(
    clock: Clock, rounds: Counting
) -> None:
    """However many there are: rounds come every so often while somebody wakes all the time."""
    rounds.start()
    clock.advance(0)
    for _ in range(100):
        rounds.wake()
        rounds.wake("a notification")
        clock.advance(GATHER_SECONDS / 4)
    assert rounds.begun == pytest.approx(1 + 100 / 4, abs=1)
    rounds.stop()


def test_a_wake_during_a_round_makes_one_more(clock: Clock, rounds: Counting) -> None:
    """After it, since what woke it may have come too late for that one."""
    rounds.at_once = False
    rounds.start()
    clock.advance(0)
    for _ in range(5):
        rounds.wake()
    clock.advance(PERIOD_SECONDS * 3)
    assert rounds.begun == 1
    rounds.end()
    clock.advance(GATHER_SECONDS)
    assert rounds.begun == 2
    rounds.end()
    clock.advance(GATHER_SECONDS)
    assert rounds.begun == 2
    rounds.stop()


def test_a_clock_that_was_set_back_puts_nothing_off(clock: Clock, rounds: Counting) -> None:
    """A wake is answered within the usual time."""
    rounds.start()
    clock.advance(0)
    clock.rightNow -= 3600.0
    rounds.wake()
    clock.advance(GATHER_SECONDS)
    assert rounds.begun == 2
    rounds.stop()


@pytest.mark.parametrize("error", [Unavailable("The database is away."), ValueError("a fault")])
def test_it_comes_again_after_trouble(
    clock: Clock, rounds: Counting, error: Exception, logged_errors: Any
) -> None:
    """With a traceback only where it tells something."""
    rounds.at_once = False
    rounds.start()
    clock.advance(0)
    rounds.wake()
    rounds.end(error)
    assert len(logged_errors.flush(ValueError)) == isinstance(error, ValueError)
    # Not in a circle, as fast as it goes.
    clock.advance(PERIOD_SECONDS / 2)
    assert rounds.begun == 1
    clock.advance(PERIOD_SECONDS / 2)
    assert rounds.begun == 2
    rounds.end()
    rounds.stop()


def test_the_end_waits_for_what_runs(clock: Clock, rounds: Counting) -> None:
    """And nothing begins any more."""
    rounds.at_once = False
    rounds.start()
    clock.advance(0)
    ended: list[None] = []
    rounds.stop().addCallback(ended.append)
    rounds.wake()
    assert not ended
    rounds.end()
    assert ended == [None] and not clock.getDelayedCalls()
    assert rounds.begun == 1
