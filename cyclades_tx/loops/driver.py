"""Loops: work by key that is woken, never told.

A loop's turn takes a key, reads the truth itself and does the same thing for the same state.
It runs when it was woken and when a turn asked to be called again; ten wakes make one turn, one
key never runs twice at once, and a key whose turn failed waits longer each time.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.errors import CycladesError, LostLease
from cyclades_tx.model.operation import backoff_seconds
from cyclades_tx.trouble import Trouble

K = TypeVar("K", bound=Hashable)

#: Pauses after a turn that raised.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0


class Loop(Generic[K]):
    """Runs turns by key.

    :param turn: does the work of a key; returns the seconds after which it wants to be called
        again without being woken, or None.
    :param concurrency: most turns at once.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        turn: Callable[[K], Awaitable[float | None]],
        concurrency: int,
        jitter: random.Random | None = None,
    ) -> None:
        self.name = name
        self._clock = clock
        self._turn = turn
        self._concurrency = concurrency
        self._jitter = jitter or random.Random()
        self._waiting: deque[K] = deque()
        self._queued: set[K] = set()
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, IDelayedCall] = {}
        self._failures: dict[K, int] = {}
        self._trouble = Trouble(self.log, "loop.turn_delayed", "loop.goes_on")
        self._stopped = False
        self._going = False
        self._idle: list[Deferred[None]] = []
        self.turns = 0
        self.failed_turns = 0

    def wake(self, key: K) -> None:
        """See to it that a turn for this key begins after now."""
        if self._stopped:
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._waiting.append(key)
            self._go()

    def wake_later(self, key: K, seconds: float) -> None:
        """Wake a key after some time, unless something wakes it before."""
        if self._stopped or key in self._queued:
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._timers[key] = self._clock.callLater(max(seconds, 0.0), self._due, key)

    def status(self) -> dict[str, int]:
        """How many keys run, wait and sleep; how many turns there were, and how many failed."""
        return {
            "running": len(self._running),
            "waiting": len(self._waiting),
            "sleeping": len(self._timers),
            "turns": self.turns,
            "failed": self.failed_turns,
        }

    def stop(self) -> Deferred[None]:
        """Begin no more turns; fires when those that run have ended."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._waiting.clear()
        self._queued.clear()
        self._again.clear()
        done: Deferred[None] = Deferred()
        if self._running:
            self._idle.append(done)
        else:
            done.callback(None)
        return done

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.wake(key)

    def _go(self) -> None:
        if self._going:
            return  # turns that end at once would pile up on the stack
        self._going = True
        while self._waiting and len(self._running) < self._concurrency and not self._stopped:
            key = self._waiting.popleft()
            self._queued.discard(key)
            self._running.add(key)
            self.turns += 1
            running = ensureDeferred(_called(self._turn, key))
            running.addCallbacks(self._ended, self._failed, callbackArgs=(key,), errbackArgs=(key,))
        self._going = False

    def _ended(self, again_seconds: float | None, key: K) -> None:
        self._failures.pop(key, None)
        self._trouble.over(key, loop=self.name)
        self._over(key, again_seconds)

    def _failed(self, failure: Failure, key: K) -> None:
        self.failed_turns += 1
        if failure.check(LostLease):
            self._trouble.over(key, loop=self.name)
            self._over(key, None)
            return
        count = self._failures[key] = self._failures.get(key, 0) + 1
        pause = backoff_seconds(count, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        if failure.check(CycladesError):
            # Something outside does not answer; a traceback would tell nothing more.
            self._trouble.tell(
                key, str(failure.value), loop=self.name, key=str(key), again_seconds=pause
            )
        else:
            self.log.failure(
                "loop.turn_failed", failure, loop=self.name, key=str(key), again_seconds=pause
            )
        self._over(key, pause * (0.75 + self._jitter.random() / 2))

    def _over(self, key: K, again_seconds: float | None) -> None:
        self._running.discard(key)
        if self._stopped:
            if not self._running:
                idle, self._idle = self._idle, []
                for waiting in idle:
                    waiting.callback(None)
            return
        if key in self._again:
            self._again.discard(key)
            self.wake(key)
        elif again_seconds is not None:
            self.wake_later(key, again_seconds)
        self._go()


async def _called(turn: Callable[[Any], Awaitable[float | None]], key: Any) -> float | None:
    return await turn(key)


class Batch(Generic[K]):
    """Joins questions of the same moment into one.

    :param ask: takes the keys that were asked for and returns their answers by key.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ask: Callable[[tuple[K, ...]], Awaitable[dict[K, Any]]],
        gather_seconds: float = 0.01,
        most: int = 200,
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._gather_seconds = gather_seconds
        self._most = most
        self._waiting: dict[K, list[Deferred[Any]]] = {}
        self._timer: IDelayedCall | None = None

    def ask(self, key: K) -> Deferred[Any]:
        """The answer for one key, None where the answer has none; fails as the question fails."""
        answer: Deferred[Any] = Deferred()
        self._waiting.setdefault(key, []).append(answer)
        if self._timer is None:
            self._timer = self._clock.callLater(self._gather_seconds, self._send)
        return answer

    def _send(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        keys = tuple(waiting)
        for start in range(0, len(keys), self._most):
            part = keys[start : start + self._most]
            ensureDeferred(self._answer(part, waiting))

    async def _answer(self, keys: tuple[K, ...], waiting: dict[K, list[Deferred[Any]]]) -> None:
        try:
            answers = await self._ask(keys)
        except Exception:
            failure = Failure()
            for key in keys:
                for each in waiting[key]:
                    each.errback(failure)
            return
        for key in keys:
            for each in waiting[key]:
                each.callback(answers.get(key))
