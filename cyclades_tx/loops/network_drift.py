"""The loop that compares our networks with those of one cluster, and mends what it safely can.

It never changes the cluster itself: it corrects records, or opens the operations that the loop
of the networks carries out.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cyclades_tx.drift.networks import look
from cyclades_tx.errors import Conflict
from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.loops.drift import Counted
from cyclades_tx.loops.driver import Loop
from cyclades_tx.model.network_drift import (
    RULES,
    NetworkFinding,
    Remedy,
    Rules,
)
from cyclades_tx.model.network_record import KnownNetwork
from cyclades_tx.store import network_drift, operations, upkeep

#: Suspects of the same moment are looked at together.
GATHER_SECONDS = 0.05
#: When the cluster did not answer.
PAUSE_SECONDS = 30.0
#: Most findings that one look mends; the rest is mended in the next.
MOST_MENDED = 200

_ALL = "all"
_SUSPECTS = "suspects"


class NetworkDrift:
    """Looks at the networks of one driven cluster: all at an interval, suspects soon.

    :param every_seconds: the interval.
    :param deadline_seconds: how long the operations may take that it opens.
    :param counted: called with ``found`` or ``mended``, the kind, and how many.
    """

    log = Logger()

    def __init__(
        self,
        work: ClusterWork,
        every_seconds: float,
        deadline_seconds: float,
        jitter: random.Random,
        counted: Counted,
        rules: Rules = RULES,
    ) -> None:
        self._work = work
        self._every_seconds = every_seconds
        self._deadline_seconds = deadline_seconds
        self._jitter = jitter
        self._counted = counted
        self._rules = rules
        self._suspects: set[int] = set()
        self._groups: tuple[str, ...] | None = None
        self._loop: Loop[str] = Loop(
            f"drift of networks of {work.name}", work.clock, self._turn, 1, jitter
        )

    def start(self) -> None:
        """Begin, after a part of the interval, so that not all clusters are asked at once."""
        self._loop.wake_later(_ALL, self._every_seconds * (0.1 + 0.4 * self._jitter.random()))

    def stop(self) -> Deferred[None]:
        """Begin no more looks, and wait for the one that runs."""
        return self._loop.stop()

    def suspect(self, network_id: int) -> None:
        """Look at this network soon: something at the cluster may have moved it."""
        if not self._suspects:
            self._loop.wake_later(_SUSPECTS, GATHER_SECONDS)
        self._suspects.add(network_id)

    def groups_are(self, groups: tuple[str, ...]) -> None:
        """The cluster has these node groups now; look at all networks soon if some are new."""
        if self._groups is not None and set(groups) - set(self._groups):
            self._loop.wake(_ALL)
        self._groups = groups

    def status(self) -> dict[str, int]:
        """How the loop stands."""
        return self._loop.status()

    async def _turn(self, key: str) -> float | None:
        only: frozenset[int] | None = None
        if key == _SUSPECTS:
            only = frozenset(self._suspects)
            self._suspects.clear()
            if not only:
                return None
        try:
            await self.check(only)
        except GanetiError as error:
            # That it does not answer is told where it is polled.
            self.log.debug("drift.not_seen", cluster=self._work.name, reason=error.message)
            self._suspects |= only or frozenset()
            return PAUSE_SECONDS
        except Exception:
            self._suspects |= only or frozenset()  # the loop calls this turn again
            raise
        if only is not None:
            return None
        return self._every_seconds * (0.9 + 0.2 * self._jitter.random())

    async def check(self, only: Collection[int] | None = None) -> tuple[NetworkFinding, ...]:
        """Look, mend what is due, and write down what is left.

        :return: everything that was found.
        """
        work = self._work
        seen = await look(
            work.database, work.cluster, work.lease.cluster_id, work.names, self._rules, only
        )
        due = [finding for finding in seen.findings if finding.due(seen.at)][:MOST_MENDED]
        mended = [finding for finding in due if await self._mend(finding, seen.known)]
        for finding in mended:
            kind = f"network_{finding.kind}"
            if finding.remedy is Remedy.RECORD:
                # What an operation mends is written down meanwhile, and counted there.
                self._counted("found", kind, 1)
            self._counted("mended", kind, 1)
        gone = {id(finding) for finding in mended if finding.remedy is Remedy.RECORD}
        await self._write_down([each for each in seen.findings if id(each) not in gone], only)
        return seen.findings

    async def _mend(self, finding: NetworkFinding, known: dict[int, KnownNetwork]) -> bool:
        work = self._work
        assert finding.network_id is not None

        async def write(tx: Any) -> None:
            await operations.check_epoch(tx, work.lease.cluster_id, work.lease.epoch)
            await network_drift.mend(
                tx,
                work.lease.cluster_id,
                work.name,
                finding,
                known[finding.network_id or 0],
                self._deadline_seconds,
            )

        try:
            await work.database.transaction(write, f"drift.network.{finding.kind}")
        except Conflict as error:
            self.log.debug(
                "drift.not_mended", kind=finding.kind, subject=finding.subject, reason=error.message
            )
            return False
        self.log.info("drift.mended", cluster=work.name, kind=finding.kind, subject=finding.subject)
        return True

    async def _write_down(
        self, findings: list[NetworkFinding], only: Collection[int] | None
    ) -> None:
        work = self._work
        subjects = None if only is None else [work.names.network(each) for each in only]

        async def write(tx: Any) -> list[upkeep.Note]:
            await operations.check_epoch(tx, work.lease.cluster_id, work.lease.epoch)
            return await upkeep.write_down(
                tx, upkeep.NETWORKS, work.lease.cluster_id, map(note, findings), subjects
            )

        for new in await work.database.transaction(write, "drift.networks"):
            self._counted("found", f"network_{new.kind}", 1)
            self.log.warn(
                "drift.found",
                cluster=work.name,
                kind=new.kind,
                subject=new.subject,
                reason=new.sentence,
                remedy=new.remedy,
            )


def note(finding: NetworkFinding) -> upkeep.Note:
    """A finding as it is kept."""
    left_alone = finding.given_up or finding.remedy is Remedy.OPERATOR
    return upkeep.Note(
        finding.kind, finding.subject, finding.sentence, str(finding.remedy), left_alone
    )
