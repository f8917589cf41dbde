"""Looks at servers that a message spoke of: many with one question, and few writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from cyclades_tx.errors import Unavailable
from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.store import facts

#: Most instances in one question.
MOST = 200
GATHER_SECONDS = 0.005

#: A server that an operation moves is looked at after that: when to see whether it is over.
AGAIN_SECONDS = 2.0


class Looks:
    """Compares servers that may have changed with their instances.

    One look runs at a time; what is asked for meanwhile goes into the next one together. A look
    that the cluster does not answer is left out: the poll of the whole cluster finds the same.

    :param changed: called with the id of each server whose instance is not as it was last seen.
    :param missing: called when instances are gone: only a look at all says whether to believe it.
    """

    log = Logger()

    def __init__(
        self, work: ClusterWork, changed: Callable[[int], None], missing: Callable[[], None]
    ) -> None:
        self._work = work
        self._changed = changed
        self._missing = missing
        self._wanted: set[int] = set()
        self._moving: set[int] = set()
        self._timer: IDelayedCall | None = None
        self._again: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        self._stopped = False

    def look(self, server_id: int) -> None:
        """See to it that a server is looked at after now."""
        self._wanted.add(server_id)
        self._plan()

    async def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        for timer in (self._timer, self._again):
            if timer is not None:
                timer.cancel()
        self._timer = self._again = None
        if self._looking is not None:
            self._looking.cancel()

    def _plan(self) -> None:
        if self._wanted and self._timer is None and self._looking is None and not self._stopped:
            self._timer = self._work.clock.callLater(GATHER_SECONDS, self._go)

    def _go(self) -> None:
        self._timer = None
        wanted, self._wanted = self._wanted, set()
        self._looking = ensureDeferred(self._look(sorted(wanted)))
        self._looking.addBoth(self._looked)

    def _looked(self, result: Any) -> None:
        self._looking = None
        if result is not None and not self._stopped:
            self.log.failure("looks.failed", result, cluster=self._work.name)
        self._plan()

    async def _look(self, server_ids: list[int]) -> None:
        work = self._work
        work.begin_looks(server_ids)
        try:
            for start in range(0, len(server_ids), MOST):
                part = server_ids[start : start + MOST]
                rows = await facts.standing(work.database, work.lease.cluster_id, part)
                self._after_their_operations({row.server_id for row in rows if row.moves})
                await self._compare([row for row in rows if not row.moves])
        except (GanetiError, Unavailable) as error:
            self.log.debug("looks.not_seen", cluster=work.name, reason=error.message)
        finally:
            work.end_looks(server_ids)

    async def _compare(self, rows: list[facts.Standing]) -> None:
        if not rows:
            return
        names = self._work.names
        seen = await self._work.cluster.instances(
            tuple(names.instance(row.server_id) for row in rows)
        )
        for row in rows:
            instance = seen.get(names.instance(row.server_id))
            if instance is None:
                self._missing()
            elif (instance.status, instance.serial) != (row.status, row.serial):
                self._work.keep_look(row.server_id, instance)
                self._changed(row.server_id)

    def _after_their_operations(self, server_ids: set[int]) -> None:
        self._moving |= server_ids
        if self._moving and self._again is None and not self._stopped:
            self._again = self._work.clock.callLater(AGAIN_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._again = None
        self._wanted |= self._moving
        self._moving = set()
        self._plan()
