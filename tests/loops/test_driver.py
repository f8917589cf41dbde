"""Loops and batches, with a clock that is moved by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from cyclades_tx.errors import LostLease, Unavailable
from cyclades_tx.loops.driver import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Batch, Loop


class Turns:
    """Turns that end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.open: dict[int, Deferred[float | None]] = {}

    async def __call__(self, key: int) -> float | None:
        """Wait for the test."""
        assert key not in self.open, "a key ran twice at once"
        self.begun.append(key)
        waiting = self.open[key] = Deferred()
        try:
            return await waiting
        finally:
            del self.open[key]


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def turns() -> Turns:
    """Turns under the test's hand."""
    return Turns()


def a_loop(clock: Clock, turn: Any, concurrency: int = 2) -> Loop[int]:
    """A loop with a jitter that is always the same."""
    return Loop("test", clock, turn, concurrency, random.Random(1))


def test_a_wake_begins_a_turn(clock: Clock, turns: Turns) -> None:
    """At once, and only one."""
    loop = a_loop(clock, turns)
    loop.wake(1)
    assert turns.begun == [1]
    turns.open[1].callback(None)
    assert loop.status() == {"running": 0, "waiting": 0, "sleeping": 0, "turns": 1, "failed": 0}


def test_ten_wakes_before_a_turn_make_one(clock: Clock, turns: Turns) -> None:
    """The queue holds each key once."""
    loop = a_loop(clock, turns, concurrency=1)
    loop.wake(1)
    for _ in range(10):
        loop.wake(2)
    turns.open[1].callback(None)
    turns.open[2].callback(None)
    assert turns.begun == [1, 2]


def test_ten_wakes_during_a_turn_make_one_more(clock: Clock, turns: Turns) -> None:
    """What changed since it began must be seen; the same key never runs twice at once."""
    loop = a_loop(clock, turns)
    loop.wake(1)
    for _ in range(10):
        loop.wake(1)
    assert turns.begun == [1]
    turns.open[1].callback(30.0)
    assert turns.begun == [1, 1]
    turns.open[1].callback(None)
    clock.advance(60)
    assert turns.begun == [1, 1]


def test_no_more_turns_than_allowed_run_at_once_and_the_rest_follows_in_order(
    clock: Clock, turns: Turns
) -> None:
    """First come, first served."""
    loop = a_loop(clock, turns)
    for key in (5, 3, 4, 1):
        loop.wake(key)
    assert turns.begun == [5, 3]
    turns.open[3].callback(None)
    turns.open[5].callback(None)
    assert turns.begun == [5, 3, 4, 1]


def test_a_turn_is_called_again_after_the_pause_that_it_asked_for(
    clock: Clock, turns: Turns
) -> None:
    """Not before."""
    loop = a_loop(clock, turns)
    loop.wake(1)
    turns.open[1].callback(2.0)
    clock.advance(1.9)
    assert turns.begun == [1]
    clock.advance(0.2)
    assert turns.begun == [1, 1]


def test_a_wake_ends_the_pause(clock: Clock, turns: Turns) -> None:
    """And nothing is left of it."""
    loop = a_loop(clock, turns)
    loop.wake_later(1, 5.0)
    loop.wake_later(1, 50.0)
    loop.wake(1)
    turns.open[1].callback(None)
    clock.advance(100)
    assert turns.begun == [1]
    assert clock.getDelayedCalls() == []


def test_a_key_in_the_queue_is_not_put_to_sleep(clock: Clock, turns: Turns) -> None:
    """It is woken already."""
    loop = a_loop(clock, turns, concurrency=1)
    loop.wake(1)
    loop.wake(2)
    loop.wake_later(2, 5.0)
    assert clock.getDelayedCalls() == []


def test_a_failed_turn_comes_again_later_and_later(
    clock: Clock, turns: Turns, logged_errors: Any
) -> None:
    """Up to a limit; success makes it forget."""
    loop = a_loop(clock, turns)
    loop.wake(1)
    pauses = []
    for _ in range(10):
        turns.open[1].errback(ValueError("broken"))
        (call,) = clock.getDelayedCalls()
        pauses.append(call.getTime() - clock.seconds())
        clock.advance(pauses[-1])
    assert pauses[0] <= FIRST_PAUSE_SECONDS * 1.25
    assert pauses[-1] >= LONGEST_PAUSE_SECONDS * 0.75
    assert max(pauses) <= LONGEST_PAUSE_SECONDS * 1.25
    assert loop.failed_turns == 10
    turns.open[1].callback(0.0)
    clock.advance(0)
    turns.open[1].errback(ValueError("broken"))
    (call,) = clock.getDelayedCalls()
    assert call.getTime() - clock.seconds() <= FIRST_PAUSE_SECONDS * 1.25
    assert len(logged_errors.flush(ValueError)) == 11


def test_what_is_away_is_logged_without_a_traceback(clock: Clock, turns: Turns) -> None:
    """The log's own check after each test finds no error."""
    loop = a_loop(clock, turns)
    loop.wake(1)
    turns.open[1].errback(Unavailable("The database is away."))
    assert len(clock.getDelayedCalls()) == 1


def test_a_lost_lease_ends_the_key_s_turns(clock: Clock, turns: Turns) -> None:
    """Somebody else does the work now."""
    loop = a_loop(clock, turns)
    loop.wake(1)
    turns.open[1].errback(LostLease("gone"))
    assert clock.getDelayedCalls() == []


def test_stop_waits_for_what_runs_and_begins_nothing(clock: Clock, turns: Turns) -> None:
    """Timers, queue and later wakes are all forgotten."""
    loop = a_loop(clock, turns, concurrency=1)
    loop.wake_later(9, 1.0)
    loop.wake(1)
    loop.wake(1)
    loop.wake(2)
    over: list[Any] = []
    loop.stop().addCallback(over.append)
    loop.stop().addCallback(over.append)
    loop.wake(3)
    loop.wake_later(4, 1.0)
    assert over == []
    turns.open[1].callback(1.0)
    assert over == [None, None]
    clock.advance(10)
    assert turns.begun == [1]
    assert clock.getDelayedCalls() == []


def test_stop_of_an_idle_loop_is_at_once(clock: Clock, turns: Turns) -> None:
    """Nothing to wait for."""
    assert a_loop(clock, turns).stop().called


def test_thousands_of_turns_that_end_at_once_do_not_pile_up(clock: Clock) -> None:
    """As when the database refuses at once and everything is woken."""
    done: list[int] = []

    async def turn(key: int) -> float | None:
        done.append(key)
        if key < 3000:
            loop.wake(key + 3000)
        return None

    loop = a_loop(clock, turn)
    for key in range(3000):
        loop.wake(key)
    assert sorted(done) == list(range(6000))


class Questions:
    """Answers each batch of keys, or fails."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.failure: Exception | None = None

    async def __call__(self, keys: tuple[str, ...]) -> dict[str, str]:
        """Know everything but ``nobody``."""
        self.asked.append(keys)
        if self.failure is not None:
            raise self.failure
        return {key: key.upper() for key in keys if key != "nobody"}


def heard(batch: Batch[str], *keys: str) -> list[Any]:
    """Ask; return a list that the answers come into."""
    answers: list[Any] = []
    for key in keys:
        batch.ask(key).addBoth(answers.append)
    return answers


def test_questions_of_one_moment_go_out_as_one(clock: Clock) -> None:
    """Each asker gets his answer, also those who asked the same."""
    questions = Questions()
    batch = Batch(clock, questions)
    answers = heard(batch, "a", "b", "a", "nobody")
    assert questions.asked == []
    clock.advance(0.01)
    assert questions.asked == [("a", "b", "nobody")]
    assert sorted(answers, key=str) == ["A", "A", "B", None]


def test_a_batch_has_a_size(clock: Clock) -> None:
    """More go out side by side."""
    questions = Questions()
    batch = Batch(clock, questions, most=2)
    answers = heard(batch, "a", "b", "c")
    clock.advance(0.01)
    assert questions.asked == [("a", "b"), ("c",)]
    assert answers == ["A", "B", "C"]


def test_everybody_hears_of_a_failure_and_the_next_question_is_a_new_one(clock: Clock) -> None:
    """A batch does not stay broken."""
    questions = Questions()
    batch = Batch(clock, questions)
    questions.failure = Unavailable("away")
    answers = heard(batch, "a", "b", "a")
    clock.advance(0.01)
    assert [failure.value for failure in answers] == [questions.failure] * 3
    questions.failure = None
    again = heard(batch, "a")
    clock.advance(0.01)
    assert again == ["A"]


def test_an_asker_who_gave_up_disturbs_nobody(clock: Clock) -> None:
    """The others get their answers, whether it is a good or a bad one."""
    questions = Questions()
    batch = Batch(clock, questions)
    for failure in (None, Unavailable("away")):
        questions.failure = failure
        gone = batch.ask("a")
        gone.addErrback(lambda _: None)
        answers = heard(batch, "a")
        gone.cancel()
        clock.advance(0.01)
        assert len(answers) == 1


async def test_a_batch_is_awaited_like_anything_else(clock: Clock) -> None:
    """As the loops do."""
    batch = Batch(clock, Questions())
    asked = ensureDeferred(one(batch))
    clock.advance(1)
    assert await asked == "A"


async def one(batch: Batch[str]) -> Any:
    """Await one answer."""
    return await batch.ask("a")
