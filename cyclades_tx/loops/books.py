"""The loop that recounts the books: addresses, pools of values, quota holdings.

Every process with loops runs it; each turn belongs to the one that claims it first.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cyclades_tx.loops.drift import Counted
from cyclades_tx.loops.driver import Loop
from cyclades_tx.store import books, upkeep

AREAS = (upkeep.POOLS, upkeep.QUOTAS)

#: How often within the period a process looks whether the turn is free.
TRIES = 4


class Books:
    """Recounts at an interval, and mends what is no sum of its parts.

    :param driver: names this process, for operators.
    :param every_seconds: the period over all processes.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        database: Any,
        driver: str,
        every_seconds: float,
        jitter: random.Random,
        counted: Counted,
    ) -> None:
        self._clock = clock
        self._database = database
        self._driver = driver
        self._every_seconds = every_seconds
        self._jitter = jitter
        self._counted = counted
        self._loop: Loop[str] = Loop("books", clock, self._turn, 1, jitter)

    def start(self) -> None:
        """Begin, after a part of the period."""
        for area in AREAS:
            self._loop.wake_later(area, self._pause_seconds())

    def stop(self) -> Deferred[None]:
        """Begin no more recounts, and wait for the one that runs."""
        return self._loop.stop()

    def _pause_seconds(self) -> float:
        return self._every_seconds / TRIES * (0.5 + self._jitter.random() / 2)

    async def _turn(self, area: str) -> float | None:
        if await upkeep.claim(self._database, area, self._driver, self._every_seconds):
            await self.recount(area)
        return self._pause_seconds()

    async def recount(self, area: str) -> books.Recount:
        """Recount one area now, mend it, and write down what is left."""
        database, began = self._database, self._clock.seconds()
        if area == upkeep.POOLS:
            result = await books.recount_pools(database)
        else:
            result = await books.recount_quotas(database)

        async def write(tx: Any) -> list[upkeep.Note]:
            new = await upkeep.write_down(tx, area, None, result.notes())
            await upkeep.ended(tx, area, len(result.found), len(result.mended), result.trouble)
            return new

        for note in await database.transaction(write, f"books.{area}"):
            self.log.warn(
                "drift.found",
                kind=note.kind,
                subject=note.subject,
                reason=note.sentence,
                remedy=note.remedy,
            )
            self._counted("found", f"{area}_{note.kind}", 1)
        for finding in result.mended:
            self.log.warn(
                "drift.mended",
                kind=finding.kind,
                subject=finding.subject,
                reason=finding.sentence,
            )
        for kind, number in Counter(finding.kind for finding in result.mended).items():
            for what in ("found", "mended"):
                self._counted(what, f"{area}_{kind}", number)
        self.log.debug(
            "books.recounted",
            area=area,
            found=len(result.found),
            mended=len(result.mended),
            seconds=self._clock.seconds() - began,
        )
        return result
