"""Asking all clusters for an instance that its own cluster misses under its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.defer import TimeoutError as WaitTimeout
from twisted.internet.interfaces import IReactorTime

from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.loops.driver import Batch
from cyclades_tx.store import clusters

Key = tuple[str, str]

#: How long the others may take for their answers.
ANSWER_SECONDS = 15.0


class Elsewhere:
    """Looks for instances that are on another cluster, or have another name.

    An operator may have moved or renamed one by hand: what its server has must not be given to
    others meanwhile. Questions of the same moment go to each cluster as one.

    :param questions: an IClusterQuestions for the row of a cluster.
    :param cluster_id: the one that misses it.
    """

    def __init__(
        self,
        clock: IReactorTime,
        database: Any,
        questions: Callable[[Any], Any],
        cluster_id: int,
    ) -> None:
        self._clock = clock
        self._database = database
        self._questions = questions
        self._cluster_id = cluster_id
        self._asked: Batch[tuple[str, str]] = Batch(clock, self._ask)

    async def where(self, name: str, tag: str) -> str:
        """Where an instance is, or may be, for an operator; empty when it is nowhere.

        Clusters that are offline, or have not answered for some time, are not asked; one that
        does not answer now may have it.

        :param name: the one that its own cluster does not have.
        :param tag: its server's, which it keeps under another name.
        """
        found: str | None = await self._asked.ask((name, tag))
        return found or ""

    async def _ask(self, wanted: tuple[Key, ...]) -> dict[Key, str]:
        rows = [
            row
            for row in await clusters.everyone(self._database)
            if row.id == self._cluster_id or (not row.offline and row.reachable is not False)
        ]
        answers: list[dict[Key, str]] = await gatherResults(
            [self._within(row, wanted) for row in rows]
        )
        return {key: where for answer in answers for key, where in answer.items()}

    def _within(self, row: Any, wanted: tuple[Key, ...]) -> Deferred[dict[Key, str]]:
        asking = ensureDeferred(self._ask_one(row, wanted))
        asking.addTimeout(ANSWER_SECONDS, self._clock)

        def late(failure: Any) -> dict[Key, str]:
            failure.trap(GanetiError, WaitTimeout)
            return dict.fromkeys(wanted, f"perhaps {row.name}, which does not answer")

        return asking.addErrback(late)

    async def _ask_one(self, row: Any, wanted: tuple[Key, ...]) -> dict[Key, str]:
        cluster = self._questions(row)
        tagged = await cluster.tagged(tuple(tag for _, tag in wanted))
        named: Iterable[str] = ()
        if row.id != self._cluster_id:
            named = await cluster.instances(tuple(name for name, _ in wanted))
        # Under its own name on its own cluster it is not missing: whoever asked looks again.
        found = {key: f"{row.name}, as {tagged[key[1]]}" for key in wanted if key[1] in tagged}
        return found | {key: row.name for key in wanted if key[0] in named}
