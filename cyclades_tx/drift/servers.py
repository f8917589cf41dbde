"""One look at the servers of a cluster: the records beside the instances, in slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from cyclades_tx.model.differences import ServerRecord
from cyclades_tx.model.drift import (
    PATIENCE,
    STALE,
    Finding,
    Memory,
    Rules,
    SentJob,
    by_the_whole,
    hold_back,
    judge,
    judge_holder,
    judge_job,
    judge_unclaimed,
    missing_at_once,
    moved_away,
    suspect_mass,
)
from cyclades_tx.model.instance import Instance
from cyclades_tx.model.names import Names
from cyclades_tx.sections import GanetiSection
from cyclades_tx.store import drift_findings, kept_volumes, server_records

#: The reactor runs again after so much work.
TURN_SECONDS = 0.004

#: Most jobs that one look asks for.
MOST_JOBS = 300


@dataclass
class Look:
    """What a look gave.

    :ivar at_rest: how many servers should have had an instance.
    :ivar missing_at_once: how many have none, if that is too much to be believed.
    :ivar unjudged: the servers of which nothing could be said: something moves them.
    """

    findings: list[Finding] = field(default_factory=list)
    servers: int = 0
    at_rest: int = 0
    instances: int = 0
    missing_at_once: int = 0
    unjudged: set[int] = field(default_factory=set)


def rules_of(section: GanetiSection) -> Rules:
    """The rules of a configuration."""
    return Rules(
        timedelta(seconds=section.orphan_grace_seconds),
        section.orphan_removal == "automatic",
        section.repair_failures,
    )


class Looker:
    """Looks at one cluster; changes nothing anywhere.

    :param cluster: an IClusterQuestions.
    """

    def __init__(
        self, clock: IReactorTime, database: Any, cluster: Any, cluster_id: int, names: Names
    ) -> None:
        self._clock = clock
        self._database = database
        self._cluster = cluster
        self._cluster_id = cluster_id
        self._names = names
        self._worked_since = 0.0

    async def everything(self) -> Look:
        """Look at all that carries our prefix.

        :raise GanetiError: when the cluster does not answer.
        """
        since = await server_records.moment(self._database)
        slices = await self._cluster.instances_with(self._names.prefix)
        look = Look()
        left: dict[str, Instance] = {}
        last_id = 0
        self._worked_since = self._clock.seconds()
        for part in slices:
            # Both sides come by number, so that no more than a slice of either is held at once.
            seen = {instance.name: instance for instance in part}
            look.instances += len(seen)
            numbers = [number for name in seen if (number := self._names.server_id(name))]
            if numbers:
                high = max(last_id, *numbers)
                await self._judge_up_to(last_id, high, seen, since, look)
                last_id = high
            left.update(seen)
            await self.breathe()
        await self._judge_up_to(last_id, server_records.END, {}, since, look)
        await self._judge_rest(left, since, look)
        await self._judge_jobs(look)
        return look

    async def _judge_up_to(
        self, after_id: int, last_id: int, seen: dict[str, Instance], since: Any, look: Look
    ) -> None:
        while after_id < last_id:
            records = await server_records.slice_of(
                self._database, self._cluster_id, since, after_id, last_id
            )
            self._worked_since = self._clock.seconds()
            await self._judge(records, seen, look)
            if len(records) < server_records.SLICE:
                return
            after_id = records[-1].id

    async def at(self, server_ids: list[int]) -> Look:
        """Look at some servers only.

        :raise GanetiError: when the cluster does not answer.
        """
        since = await server_records.moment(self._database)
        names = tuple(self._names.instance(server_id) for server_id in server_ids)
        seen = dict(await self._cluster.instances(names))
        look = Look(instances=len(seen))
        records = await server_records.of_ids(self._database, since, server_ids)
        self._worked_since = self._clock.seconds()
        here = tuple(record for record in records if record.cluster_id == self._cluster_id)
        await self._judge(here, seen, look)
        await self._judge_rest(seen, since, look)
        await self._judge_jobs(look, frozenset(server_ids))
        return look

    async def believed(
        self,
        look: Look,
        memories: Mapping[tuple[str, str], Memory],
        whole: bool,
        summary: bool = False,
    ) -> list[Finding]:
        """The findings, with what is too bad to be believed left to a person.

        :param whole: whether everything was looked at.
        :param summary: of a mass, return one finding for all that were not known before.
        """

        def held(finding: Finding) -> bool:
            memory = memories.get(finding.key)
            return finding.kind == STALE and (memory is None or not memory.wanted)

        findings = look.findings
        if whole and suspect_mass(findings, look.at_rest):
            look.missing_at_once = sum(each.kind == STALE for each in findings)
            kept, more = [], 0
            for each in findings:
                if not held(each):
                    kept.append(each)
                elif not summary or each.key in memories:
                    kept.append(hold_back(each))
                else:
                    more += 1
                await self.breathe()
            if more:
                kept.append(missing_at_once(look.missing_at_once, look.at_rest))
            findings = kept
        elif not whole:
            findings = [by_the_whole(each) if held(each) else each for each in findings]
        if any(map(held, findings)):
            away = await drift_findings.elsewhere(self._database, self._cluster_id)
            findings = [
                moved_away(each) if held(each) and each.server_id in away else each
                for each in findings
            ]
        return findings

    async def _judge(
        self, records: tuple[ServerRecord, ...], seen: dict[str, Instance], look: Look
    ) -> None:
        for record in records:
            instance = seen.pop(self._names.instance(record.id), None)
            look.servers += 1
            look.at_rest += not record.moving and record.state in ("active", "stopped")
            if record.moving or record.fresh:
                look.unjudged.add(record.id)
            look.findings += judge(record, instance, self._names)
            await self.breathe()

    async def _judge_rest(self, seen: dict[str, Instance], since: Any, look: Look) -> None:
        """What is left of the instances is no server of this cluster."""
        seen = await self._without_holders(seen, since, look)
        numbers = [self._names.server_id(name) for name in seen]
        claims = await server_records.claims(
            self._database, since, [number for number in numbers if number is not None]
        )
        for instance, number in zip(seen.values(), numbers, strict=True):
            claim = None if number is None else claims.get(number)
            finding = judge_unclaimed(instance, claim, self._cluster_id, self._names)
            if finding is not None:
                look.findings.append(finding)
            elif number is not None:
                look.unjudged.add(number)

    async def _without_holders(
        self, seen: dict[str, Instance], since: Any, look: Look
    ) -> dict[str, Instance]:
        """Judge those that hold a volume's disk; the others."""
        held = {name: self._names.held_volume_id(name) for name in seen}
        numbers = [number for number in held.values() if number is not None]
        if not numbers:
            return seen
        moving = await kept_volumes.moving(self._database, numbers, since)
        look.findings += [
            judge_holder(seen[name])
            for name, number in held.items()
            if number is not None and number not in moving
        ]
        return {name: instance for name, instance in seen.items() if held[name] is None}

    async def _judge_jobs(self, look: Look, only: frozenset[int] | None = None) -> None:
        rows = await drift_findings.long_sent(
            self._database, self._cluster_id, PATIENCE.total_seconds(), MOST_JOBS
        )
        rows = [row for row in rows if only is None or row.server_id in only]
        if not rows:
            return
        jobs = await self._cluster.jobs(tuple(row.job_id for row in rows))
        now = await server_records.moment(self._database)
        for row in rows:
            sent = SentJob(row.id, row.server_id, row.kind, jobs[row.job_id], row.submitted_at)
            finding = judge_job(sent, now)
            if finding is not None:
                look.findings.append(finding)

    async def breathe(self) -> None:
        """Let the reactor run when it has waited for us long enough."""
        if self._clock.seconds() - self._worked_since >= TURN_SECONDS:
            await deferLater(self._clock, 0)
            self._worked_since = self._clock.seconds()
