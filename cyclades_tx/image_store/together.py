"""Something that many need and one tries: a login, a look whose a container is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import DeferredLock

from cyclades_tx.errors import CycladesError


class Together:
    """Does something for all that wait for it, one try at a time.

    Whoever waited while a try failed shares its failure: else each of many would try in its turn,
    and the last one would wait as often as there are others for an answer that does not come.
    """

    def __init__(self) -> None:
        self._turn = DeferredLock()
        self._failures = 0
        self._failure: CycladesError | None = None

    async def run(self, needed: Callable[[], bool], work: Callable[[], Awaitable[None]]) -> None:
        """Do the work, if it is needed when the turn has come.

        :raise CycladesError: why it could not be done.
        """
        failures = self._failures
        await self._turn.acquire()
        try:
            if not needed():
                return
            if self._failure is not None and self._failures != failures:
                raise self._failure
            try:
                await work()
            except CycladesError as error:
                self._failures += 1
                self._failure = error
                raise
            self._failure = None
        finally:
            self._turn.release()
