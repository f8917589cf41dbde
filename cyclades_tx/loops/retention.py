"""The loop that throws away what is over for long: deleted things, ended operations.

Every process with loops runs it; each turn belongs to the one that claims it first.
"""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from cyclades_tx.loops.driver import Loop
from cyclades_tx.sections import RetentionSection
from cyclades_tx.store import retention, upkeep

NAME = "retention"
#: The period over all processes, and how often within it a process looks whether the turn is free.
EVERY_SECONDS = 3600.0
TRIES = 4
#: Between two steps, so that others have the database too.
PAUSE_SECONDS = 0.1


class Retention:
    """Throws away at an interval what the configuration does not want to be kept any longer.

    :param driver: names this process, for operators.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        database: Any,
        driver: str,
        section: RetentionSection,
        jitter: random.Random,
    ) -> None:
        self._clock = clock
        self._database = database
        self._driver = driver
        self._section = section
        self._jitter = jitter
        self._stopped = False
        self._pause: Deferred[None] | None = None
        self._loop: Loop[str] = Loop(NAME, clock, self._turn, 1, jitter)

    def start(self) -> None:
        """Begin, after a part of the period."""
        self._loop.wake_later(NAME, self._again_seconds())

    def stop(self) -> Deferred[None]:
        """Begin no more steps, and wait for the one that runs."""
        self._stopped = True
        if self._pause is not None:
            self._pause.cancel()
        return self._loop.stop()

    def _again_seconds(self) -> float:
        return EVERY_SECONDS / TRIES * (0.5 + self._jitter.random() / 2)

    async def _turn(self, _key: str) -> float:
        if await upkeep.claim(self._database, NAME, self._driver, EVERY_SECONDS):
            removed = await self.walk()
            await upkeep.ended(self._database, NAME, removed, removed)
        return self._again_seconds()

    async def walk(self) -> int:
        """Go through everything once; return how many things went."""
        removed = 0
        for kind in retention.KINDS:
            age_seconds = self._section.age_seconds(kind)
            if age_seconds:
                removed += await self._walk(kind, age_seconds)
        return removed

    async def _walk(self, kind: str, age_seconds: float) -> int:
        removed = 0
        after_id: int | None = 0
        while after_id is not None and not self._stopped:
            after = after_id

            async def work(tx: Any, after: int = after) -> retention.Step:
                return await retention.step(tx, kind, after, age_seconds)

            gone, after_id = await self._database.transaction(work, "retention.step")
            removed += gone
            if after_id is not None:
                await self._rest()
        if removed:
            self.log.info("retention.removed", kind=kind, number=removed)
        return removed

    async def _rest(self) -> None:
        self._pause = deferLater(self._clock, PAUSE_SECONDS, lambda: None)
        self._pause.addErrback(lambda _cancelled: None)
        await self._pause
        self._pause = None
