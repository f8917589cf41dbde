"""Servers that nothing moves: their records follow what is done at the cluster."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.loops.elsewhere import Elsewhere
from cyclades_tx.model.moves import ABSENT
from cyclades_tx.model.operation import trail_of
from cyclades_tx.model.ownership import Owner, owner_tag
from cyclades_tx.store import drift_findings, operations, servers

#: Told to the owner of a server whose creation nobody works on any more.
_LOST = "Its creation was lost: the cluster has no such instance."


class RestingServers:
    """Looks at single servers at rest, and writes what has become of them.

    :param elsewhere: finds instances that were moved to other clusters by hand.
    """

    log = Logger()

    def __init__(self, work: ClusterWork, elsewhere: Elsewhere | None = None) -> None:
        self._work = work
        self._elsewhere = elsewhere
        self._suspects: set[int] = set()
        self._asked: dict[int, list[Deferred[servers.Observed | None]]] = {}
        self._insisted: set[int] = set()
        self._doubted: set[int] = set()

    def suspect(self, server_id: int) -> None:
        """Have a server at rest looked at in its next turn: the cluster says something new."""
        self._suspects.add(server_id)

    async def look(self, server_id: int) -> None:
        """Observe a server if it is a suspect; it stays one when that did not work."""
        if server_id not in self._suspects:
            return
        self._suspects.discard(server_id)
        observed = None
        try:
            observed = await self._observe(server_id)
        except Exception:
            self._suspects.add(server_id)
            raise
        finally:
            self._work.drop_look(server_id)
            self._answer(server_id, observed)

    def mend(self, server_id: int, insist: bool = False) -> Deferred[servers.Observed | None]:
        """Have a server's record follow its cluster in its next turn, which the caller wakes.

        :param insist: also when another cluster seems to have its instance.
        :return: fires with what came of it; None when it cannot be said now.
        """
        self._suspects.add(server_id)
        if insist:
            self._insisted.add(server_id)
        waiting: Deferred[servers.Observed | None] = Deferred()
        self._asked.setdefault(server_id, []).append(waiting)
        return waiting

    def moves(self, server_id: int) -> None:
        """An operation is under way: what was seen, or asked for, is of no use."""
        self._work.drop_look(server_id)
        self._answer(server_id, None)

    def _answer(self, server_id: int, observed: servers.Observed | None) -> None:
        self._insisted.discard(server_id)
        for waiting in self._asked.pop(server_id, ()):
            waiting.callback(observed)

    async def _observe(self, server_id: int) -> servers.Observed | None:
        if await self.creating_job(server_id) is not None:
            return None  # not there yet, or not whole
        instance = await self._work.instance(server_id)
        lease = self._work.lease
        insisted = server_id in self._insisted
        found = await servers.owner_of(self._work.database, server_id)
        if found is None:
            return None
        owner, project_id = found
        if instance is None:
            if not insisted and await self.may_be_elsewhere(server_id, owner):
                return None  # it was moved by hand: nothing of it is given away
        elif not owner.made(instance):
            if self._doubt(server_id):
                self.log.warn("server.not_its_own", server_id=server_id, instance=instance.name)
            return None  # another's has its name; the loop of drift tells of it

        async def write(tx: Any) -> servers.Observed | None:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            if instance is None:
                if not insisted and await drift_findings.is_elsewhere(
                    tx, server_id, lease.cluster_id
                ):
                    return None  # it was moved by hand: nothing of it is given away
                return await servers.observe(tx, server_id, ABSENT, self._work.names, _LOST)
            return await servers.observe(tx, server_id, instance, self._work.names)

        # Those of one project would wait for its holdings with a connection each.
        observed: servers.Observed | None = await self._work.database.transaction(
            write, "server.observe", turn=project_id
        )
        self._doubted.discard(server_id)
        if observed is not None and (observed.rest != observed.before or observed.followed.changes):
            self.log.info(
                "server.observed",
                server_id=server_id,
                state=observed.rest.state,
                changes=[" ".join(key).strip() for key in observed.followed.changes],
            )
        for (kind, subject), why in () if observed is None else observed.followed.refused.items():
            self.log.warn(
                "server.not_followed", server_id=server_id, kind=kind, subject=subject, reason=why
            )
        return observed

    async def creating_job(self, server_id: int) -> int | None:
        """A job that was given up and may still make the instance, or put a disk on it; or None."""
        sent = await operations.unseen_creation(self._work.database, server_id)
        if sent is None:
            return None
        cluster = self._work.cluster
        if sent.job_id is not None:
            jobs = (await cluster.jobs((sent.job_id,))).values()
        else:
            trail = trail_of(sent.id, sent.step, sent.attempt)
            jobs = await cluster.jobs_for(self._work.names.instance(server_id), trail)
        return next((job.id for job in jobs if not job.status.final), None)

    async def may_be_elsewhere(self, server_id: int, owner: Owner) -> bool:
        """Whether another cluster seems to have the instance of a server of this one."""
        if self._elsewhere is None:
            return False
        name = self._work.names.instance(server_id)
        where = await self._elsewhere.where(name, owner_tag(owner.uuid))
        if where and self._doubt(server_id):
            self.log.warn("server.elsewhere", server_id=server_id, where=where)
        return bool(where)

    def _doubt(self, server_id: int) -> bool:
        """Whether that is news: each poll comes upon it again."""
        news = server_id not in self._doubted
        self._doubted.add(server_id)
        return news
