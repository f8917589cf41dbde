"""The loop of images' bytes: uploads say that they live, and what was left behind is swept up.

Every process that takes uploads runs it. Nobody's turn is in another's way: an object is a
leftover when no row names it, and a row names an object before it is begun.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cyclades_tx.image_store.interfaces import IImageStore
from cyclades_tx.loops.driver import Loop
from cyclades_tx.store import image_data

BEAT = "beat"
SWEEP = "sweep"
#: Uploads are seen so many times before they would count as silent.
BEATS = 4


class Active(Protocol):
    """An upload of this process."""

    lost: bool


class Images:
    """Keeps the uploads of this process alive, and cleans up after those that ended badly.

    :param active: the uploads of this process, by the names of their objects.
    :param silence_seconds: after this an upload that nobody has seen is given up.
    :param sweep_seconds: period of the sweep.
    :param grace_seconds: how long a whole object without an image is left alone.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        database: Any,
        store: IImageStore,
        active: Mapping[str, Active],
        silence_seconds: float,
        sweep_seconds: float,
        grace_seconds: float,
        jitter: random.Random,
    ) -> None:
        self._clock = clock
        self._database = database
        self._store = store
        self._active = active
        self._silence_seconds = silence_seconds
        self._sweep_seconds = sweep_seconds
        self._grace_seconds = grace_seconds
        self._loop: Loop[str] = Loop("images", clock, self._turn, 2, jitter)

    def start(self) -> None:
        """Begin, at once: a process that was killed may have left something."""
        self._loop.wake(BEAT)
        self._loop.wake(SWEEP)

    def stop(self) -> Deferred[None]:
        """Begin no more turns, and wait for those that run."""
        return self._loop.stop()

    async def _turn(self, key: str) -> float:
        if key == BEAT:
            await self.beat()
            return self._silence_seconds / BEATS
        await self.sweep()
        return self._sweep_seconds

    async def beat(self) -> None:
        """Say of each upload of this process that it lives; hear which are not wanted any more."""
        names = list(self._active)
        if not names:
            return
        wanted = await image_data.beat(self._database, names)
        for name in names:
            upload = self._active.get(name)
            if upload is not None and name not in wanted:
                upload.lost = True

    async def sweep(self) -> None:
        """Let silent uploads go, and drop what no image has."""

        async def give_up(tx: Any) -> list[Any]:
            return await image_data.give_up_silent(tx, self._silence_seconds)

        for row in await self._database.transaction(give_up, "image.given_up"):
            self.log.warn("image.upload_given_up", image=row.uuid, reason=row.upload_error)
        for row in await image_data.leaving(self._database):
            await self._store.remove(row.object_name)
            await image_data.left(self._database, row.id, row.object_name)
            self.log.info("image.data_removed", image=row.uuid)
        # First what is there, then who has it: what came between the two has a row by then.
        old = self._clock.seconds() - self._grace_seconds
        kept = [
            each
            for each in await self._store.kept()
            if not each.whole or each.changed_at <= old or not self._grace_seconds
        ]
        for name in await image_data.unknown(self._database, [each.name for each in kept]):
            if name not in self._active and await self._store.remove(name):
                self.log.warn("image.leftover_removed", name=name)
