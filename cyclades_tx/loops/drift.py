"""The loop of drift of one cluster: finds what nobody told of, mends what is safe to mend."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as WaitTimeout
from twisted.logger import Logger

from cyclades_tx.drift.servers import Look, Looker, rules_of
from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.loops.driver import Loop
from cyclades_tx.loops.servers import ServerWork
from cyclades_tx.model.drift import (
    Finding,
    Memory,
    Remedy,
    decide,
)
from cyclades_tx.model.job import JobStatus
from cyclades_tx.sections import GanetiSection
from cyclades_tx.store import drift_findings, operations, server_records
from cyclades_tx.store.servers import Observed

#: Turns: the look at everything, and the one at what is pressing.
ALL = "all"
PRESSING = "pressing"

#: The first look at a cluster comes so soon after its lease.
FIRST_SECONDS = 5.0

#: How often the jobs of removals are looked at.
JOB_SECONDS = 2.0

#: What is mended at a time, and how long one of them may take.
MOST_AT_ONCE = 200
MEND_SECONDS = 60.0

#: So many findings are judged between two looks at the clock.
SLICE = 100

#: Most findings of one look that are logged one by one; the table has them all.
MOST_LINES = 100

Counted = Callable[[str, str, int], None]


class Drift:
    """What is done about drift on one cluster, while this process drives it.

    :param counted: told (``found`` or ``mended``, kind, how many).
    """

    log = Logger()

    def __init__(
        self,
        work: ClusterWork,
        server_work: ServerWork,
        servers: Loop[int],
        section: GanetiSection,
        offline: bool,
        jitter: random.Random,
        counted: Counted = lambda what, kind, count: None,
    ) -> None:
        self._work = work
        self._server_work = server_work
        self._servers = servers
        self._section = section
        self._rules = rules_of(section)
        self._offline = offline
        self._jitter = jitter
        self._counted = counted
        self._looker = Looker(
            work.clock, work.database, work.cluster, work.lease.cluster_id, work.names
        )
        self._mending: set[Deferred[Observed | None]] = set()
        self._stopped = False
        self._pressed_up_to = 0
        self.loop: Loop[str] = Loop(f"drift of {work.name}", work.clock, self._turn, 1, jitter)

    def start(self) -> None:
        """Begin, soon, but not with all clusters at once."""
        if not self._offline:
            first = min(FIRST_SECONDS, self._section.drift_seconds)
            self.loop.wake_later(ALL, first * (0.5 + self._jitter.random() / 2))
            self.loop.wake(PRESSING)

    def wake(self) -> None:
        """An operator wants something mended."""
        self.loop.wake(PRESSING)

    async def stop(self) -> None:
        """Begin nothing new, and wait for what runs; what is being mended is not waited for."""
        self._stopped = True
        for mending in tuple(self._mending):
            mending.cancel()
        await self.loop.stop()

    async def _turn(self, key: str) -> float | None:
        if self._offline:
            return None
        try:
            if key == ALL:
                await self._look_at_everything()
                return self._section.drift_seconds
            return await self._look_at_what_presses()
        except GanetiError as error:
            self.log.debug("cluster.call", method="look", path=key, reason=error.message)
            return self._section.drift_seconds if key == ALL else JOB_SECONDS * 5

    async def _look_at_everything(self) -> None:
        began = self._work.clock.seconds()
        look = await self._looker.everything()
        seconds = self._work.clock.seconds() - began
        await self._deal_with(look, None, seconds)
        self.log.info(
            "drift.looked",
            cluster=self._work.name,
            servers=look.servers,
            instances=look.instances,
            findings=len(look.findings),
            seconds=round(self._work.clock.seconds() - began, 3),
        )

    async def _look_at_what_presses(self) -> float | None:
        """What an operator wants, and what is being removed."""
        cluster_id = self._work.lease.cluster_id
        rows = await drift_findings.pressing(self._work.database, cluster_id)
        if not rows:
            return None
        over = await self._end_jobs(
            {row.job_id: (row.kind, row.subject) for row in rows if row.job_id}
        )
        server_ids = self._pressing_most(rows, over)
        if server_ids:
            await self._deal_with(await self._looker.at(server_ids), frozenset(server_ids), 0.0)
        left = await drift_findings.pressing(self._work.database, cluster_id)
        return JOB_SECONDS if left else None

    def _pressing_most(self, rows: list[Any], over: frozenset[int]) -> list[int]:
        """Which servers to look at now: those whose turn it is, those whose jobs are over.

        What waits for its job needs no look; the others take turns, so that none is kept
        waiting by some whose look changes nothing.

        :param over: the jobs that have succeeded.
        """
        wanted = {row.server_id for row in rows if row.job_id is None}
        ended = sorted({row.server_id for row in rows if row.job_id in over})
        begun = sorted(wanted, key=lambda number: (number <= self._pressed_up_to, number))
        if ended:
            begun = begun[: max(1, MOST_AT_ONCE - len(ended), MOST_AT_ONCE // 2)]
        begun = begun[:MOST_AT_ONCE]
        if begun:
            self._pressed_up_to = begun[-1]
        return sorted({*begun, *ended[: MOST_AT_ONCE - len(begun)]})

    async def _end_jobs(self, keys: dict[int, tuple[str, str]]) -> frozenset[int]:
        """See how removals have ended; those that failed count as failures.

        :return: the jobs that have succeeded.
        """
        if not keys:
            return frozenset()
        jobs = await self._work.cluster.jobs(tuple(keys))
        failed = [
            (keys[number], job.message or f"Job {number} ended with {job.status}.")
            for number, job in jobs.items()
            if job.status.final and job.status is not JobStatus.SUCCESS
        ]
        if failed:
            await self._write(
                lambda tx: drift_findings.note_failed(tx, self._work.lease.cluster_id, failed),
                "drift.failed",
            )
            for (kind, subject), why in failed:
                self.log.warn("drift.not_mended", kind=kind, subject=subject, reason=why)
        return frozenset(number for number, job in jobs.items() if job.status is JobStatus.SUCCESS)

    async def _deal_with(self, look: Look, only: frozenset[int] | None, seconds: float) -> None:
        """Write down what was found, mend what may be mended, write down what came of it."""
        cluster_id = self._work.lease.cluster_id
        database = self._work.database
        memories = await drift_findings.memories(database, cluster_id)
        if only is None:
            ended = {m.job_id: key for key, m in memories.items() if m.job_id is not None}
            await self._end_jobs(ended)
            if ended:
                memories = await drift_findings.memories(database, cluster_id)
        now: datetime = await server_records.moment(database)
        raw = await self._looker.believed(look, memories, whole=only is None, summary=True)
        if look.missing_at_once:
            self.log.error(
                "drift.mass",
                cluster=self._work.name,
                missing=look.missing_at_once,
                servers=look.at_rest,
            )
        findings = await self._decided(raw, memories, now)

        async def write(tx: Any) -> drift_findings.Change:
            change = await drift_findings.save(tx, cluster_id, findings, only, look.unjudged)
            if only is None:
                await drift_findings.note_look(
                    tx, cluster_id, seconds, look.instances, look.servers
                )
            return change

        change = await self._write(write, "drift.save")
        self._tell(findings, memories, change)
        await self._mend([each for each in findings if each.remedy is Remedy.RECORD], memories)
        await self._wake([each for each in findings if each.remedy is Remedy.WAKE])
        doomed = [each for each in findings if each.remedy is Remedy.REMOVE]
        for each in doomed[: self._section.repairs_per_turn]:
            if not self._stopped:
                await self._remove(each)

    async def _decided(
        self, raw: list[Finding], memories: dict[tuple[str, str], Memory], now: datetime
    ) -> list[Finding]:
        """Decide about many in parts, so that nothing else waits for it."""
        found: dict[tuple[str, str], Finding] = {}
        for start in range(0, len(raw), SLICE):
            part = decide(raw[start : start + SLICE], memories, self._rules, now)
            found.update((each.key, each) for each in part)
            await self._looker.breathe()
        return list(found.values())

    def _tell(
        self,
        findings: Iterable[Finding],
        memories: dict[tuple[str, str], Memory],
        change: drift_findings.Change,
    ) -> None:
        for kind, count in Counter(change.new).items():
            self._counted("found", kind, count)
        news = (each for each in findings if each.key not in memories)
        for finding in islice(news, MOST_LINES):
            self.log.info(
                "drift.found",
                cluster=self._work.name,
                kind=finding.kind,
                subject=finding.subject,
                server_id=finding.server_id,
                reason=finding.sentence,
                remedy=str(finding.remedy),
            )
        for kind, subject, server_id, ours in change.gone:
            if ours:
                self._mended(kind, subject, server_id)

    def _mended(self, kind: str, subject: str, server_id: int | None) -> None:
        self._counted("mended", kind, 1)
        self.log.info(
            "drift.mended",
            cluster=self._work.name,
            kind=kind,
            subject=subject,
            server_id=server_id,
        )

    async def _mend(self, findings: list[Finding], memories: dict[tuple[str, str], Memory]) -> None:
        """Have records follow the cluster, each in the turn of its server."""
        by_server: dict[int, list[Finding]] = {}
        for finding in findings:
            if finding.server_id is not None:
                by_server.setdefault(finding.server_id, []).append(finding)
        numbers = sorted(by_server)
        for start in range(0, len(numbers), MOST_AT_ONCE):
            if self._stopped:
                return
            part = numbers[start : start + MOST_AT_ONCE]
            waiting = []
            await self._ask_together(part)
            for server_id in part:
                insist = any(
                    memory.wanted
                    for each in by_server[server_id]
                    if (memory := memories.get(each.key)) is not None
                )
                mending = self._server_work.resting.mend(server_id, insist)
                waiting.append((server_id, self._within(mending)))
                self._servers.wake(server_id)
            good: list[Finding] = []
            bad: list[tuple[tuple[str, str], str]] = []
            for server_id, mending in waiting:
                observed = await mending
                if observed is not None:
                    _sort(by_server[server_id], observed, good, bad)
            await self._note(good, bad)

    async def _ask_together(self, server_ids: list[int]) -> None:
        """Look at many servers with one question, for the turns of each."""
        work = self._work
        work.begin_looks(server_ids)
        names = {work.names.instance(server_id): server_id for server_id in server_ids}
        try:
            seen = await work.cluster.instances(tuple(names))
            for name, server_id in names.items():
                work.keep_look(server_id, seen.get(name))
        finally:
            work.end_looks(server_ids)

    def _within(self, mending: Deferred[Observed | None]) -> Deferred[Observed | None]:
        """What came of a mend; None when that is not known in time from now, or cannot be said."""

        def over(result: Any) -> Any:
            self._mending.discard(mending)
            return result

        self._mending.add(mending)
        mending.addTimeout(MEND_SECONDS, self._work.clock)
        mending.addErrback(lambda failure: failure.trap(CancelledError, WaitTimeout) and None)
        return mending.addBoth(over)

    async def _note(self, good: list[Finding], bad: list[tuple[tuple[str, str], str]]) -> None:
        cluster_id = self._work.lease.cluster_id

        async def write(tx: Any) -> None:
            if good:
                await drift_findings.note_mended(tx, cluster_id, [each.key for each in good])
            if bad:
                await drift_findings.note_failed(tx, cluster_id, bad)

        if good or bad:
            await self._write(write, "drift.mended")
        for each in good:
            self._mended(each.kind, each.subject, each.server_id)
        for (kind, subject), why in bad:
            self.log.warn(
                "drift.not_mended",
                cluster=self._work.name,
                kind=kind,
                subject=subject,
                reason=why,
            )

    async def _wake(self, findings: list[Finding]) -> None:
        """Have operations looked at; whether that helped is seen in the next look."""
        for finding in findings:
            if finding.server_id is not None:
                self._servers.wake(finding.server_id)
        keys = [each.key for each in findings]
        if keys:
            await self._write(
                lambda tx: drift_findings.note_tried(
                    tx, self._work.lease.cluster_id, keys, self._rules.most_failures
                ),
                "drift.tried",
            )

    async def _remove(self, finding: Finding) -> None:
        """Remove an instance that no server has; a request twice does no harm."""
        cluster_id = self._work.lease.cluster_id
        server_id = finding.server_id
        assert server_id is not None
        name = self._work.names.instance(server_id)

        async def sure(tx: Any) -> bool:
            return await drift_findings.may_remove(tx, cluster_id, server_id)

        if not await self._write(sure, "drift.sure"):
            return
        trail = f"cyclades:drift:{cluster_id}:{name}"
        try:
            job_id = await self._work.cluster.remove_instance(name, trail)
        except GanetiError as error:
            await self._note([], [(finding.key, error.message)])
            return
        await self._write(
            lambda tx: drift_findings.note_job(tx, cluster_id, finding.key, job_id), "drift.job"
        )
        self.log.info(
            "drift.removed",
            cluster=self._work.name,
            subject=finding.subject,
            server_id=server_id,
            job_id=job_id,
        )
        self.loop.wake_later(PRESSING, JOB_SECONDS)

    async def _write(self, work: Callable[[Any], Any], name: str) -> Any:
        lease = self._work.lease

        async def whole(tx: Any) -> Any:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            return await work(tx)

        return await self._work.database.transaction(whole, name)


def _sort(
    findings: list[Finding],
    observed: Observed,
    good: list[Finding],
    bad: list[tuple[tuple[str, str], str]],
) -> None:
    """Part what a server's mend has mended from what it could not follow."""
    for finding in findings:
        subject = finding.subject.removeprefix(f"server {finding.server_id}").strip()
        why = observed.followed.refused.get((finding.kind, subject))
        if why is None:
            good.append(finding)
        else:
            bad.append((finding.key, why))
