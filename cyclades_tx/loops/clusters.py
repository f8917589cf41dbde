"""Driving a cluster: what runs for each one whose lease this process holds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.drift.networks import rules_of
from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.ganeti.named import NamedCluster
from cyclades_tx.image_store.signing import Locate, as_it_is
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.loops.drift import Counted, Drift
from cyclades_tx.loops.driver import Loop
from cyclades_tx.loops.elsewhere import Elsewhere
from cyclades_tx.loops.first_boots import Rearm, never_again
from cyclades_tx.loops.kept_volumes import KeptVolumeWork
from cyclades_tx.loops.leases import Lease
from cyclades_tx.loops.looks import Looks
from cyclades_tx.loops.network_drift import NetworkDrift
from cyclades_tx.loops.networks import NetworkWork
from cyclades_tx.loops.repeated import every
from cyclades_tx.loops.servers import ServerWork
from cyclades_tx.model import pace
from cyclades_tx.model.drift import is_mass
from cyclades_tx.model.names import Names
from cyclades_tx.sections import GanetiSection, OperationsSection
from cyclades_tx.store import clusters, firewalls, operations, servers
from cyclades_tx.vault import ISecretStore

#: How often open operations are looked through, in case a wake was lost.
SWEEP_SECONDS = 3.0
SWEEP_MOST = 500

#: A number of one of our things is never longer.
_MOST_DIGITS = 18

#: A look at a whole cluster that was not due yet is tried again after that.
_AGAIN_SECONDS = 0.2

#: Looks because something is gone are so many times as far apart as the last one took.
_PAUSE_OF_LOOKS = 4.0


class Drive:
    """Everything that runs for one cluster."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        database: Any,
        cluster: Any,
        row: Any,
        lease: Lease,
        vault: ISecretStore,
        open_token: Callable[[str, str], str],
        config_url: Callable[[str], str],
        ganeti: GanetiSection,
        retries: OperationsSection,
        crash: Callable[[str], None],
        jitter: random.Random,
        counted: Counted = lambda what, kind, count: None,
        elsewhere: Elsewhere | None = None,
        rearm: Rearm = never_again,
        locate: Locate = as_it_is,
    ) -> None:
        self.name: str = row.name
        self.cluster_id: int = row.id
        self._clock = clock
        self._database = database
        self._cluster = cluster = NamedCluster(cluster, row.name)
        self._lease = lease
        self._ganeti = ganeti
        self._offline = bool(row.offline)
        names = Names(ganeti.instance_prefix)
        self._names = names
        self.work = ClusterWork(
            clock,
            database,
            cluster,
            lease,
            row.name,
            row.hypervisor,
            names,
            self.wake,
            ganeti.poll_active_seconds,
            retries,
            crash,
        )
        self._server_work = ServerWork(
            self.work, vault, open_token, config_url, ganeti, elsewhere, rearm, locate
        )
        self.servers: Loop[int] = Loop(
            f"servers of {row.name}",
            clock,
            self._server_work.turn,
            ganeti.driver_connections,
            jitter,
        )
        self.network_drift = NetworkDrift(
            self.work,
            ganeti.drift_seconds,
            retries.deadline_seconds("make_network"),
            jitter,
            counted,
            rules_of(ganeti),
        )
        network_work = NetworkWork(self.work, self.servers.wake, self.network_drift.suspect)
        self.networks: Loop[int] = Loop(
            f"networks of {row.name}", clock, network_work.turn, 2, jitter
        )
        self.volumes: Loop[int] = Loop(
            f"volumes of {row.name}", clock, KeptVolumeWork(self.work, ganeti).turn, 2, jitter
        )
        self.drift = Drift(
            self.work, self._server_work, self.servers, ganeti, self._offline, jitter, counted
        )
        self._looks = Looks(self.work, self._changed, self._missing)
        self._whole: Loop[str] = Loop(f"look at {row.name}", clock, self._whole_turn, 1, jitter)
        self._numbers: Loop[str] = Loop(
            f"numbers of {row.name}", clock, self._refresh_turn, 1, jitter
        )
        self._begun = False
        self._polled_at = -math.inf
        self._poll_took_seconds = 0.0
        self._poll_runs = False
        self._sweeping = every(clock, self._sweep)
        self._polling = every(clock, self._poll_if_due)

    def start(self) -> None:
        """Begin: whatever is open is looked at now."""
        self._sweeping.start(SWEEP_SECONDS).addErrback(self._died)
        tick = pace.tick_seconds(self._ganeti.poll_active_seconds, self._ganeti.poll_idle_seconds)
        self._polling.start(tick).addErrback(self._died)
        self.drift.start()
        if not self._offline:
            self.network_drift.start()

    async def stop(self) -> None:
        """Begin nothing new, and wait for what runs."""
        for call in (self._sweeping, self._polling):
            if call.running:
                call.stop()
        await self._looks.stop()
        await self.work.watch.stop()
        await self._whole.stop()
        await self._numbers.stop()
        await self.drift.stop()
        await self.network_drift.stop()
        # None of them begins anything while the last turn of another is waited for.
        for ended in [self.servers.stop(), self.networks.stop(), self.volumes.stop()]:
            await ended

    def wake(self, keys: str) -> None:
        """Wake what the keys name, with commas between.

        ``s42``: server 42. ``o42``: its instance may have changed: look. ``n7``: network 7.
        ``v3``: volume 3, which no server has.
        ``refresh``: the cluster's own numbers. ``drift``: what an operator wants mended.
        """
        for key in keys.split(","):
            kind, number = key[:1], key[1:]
            if not number.isascii() or not number.isdigit() or len(number) > _MOST_DIGITS:
                if key == "refresh":
                    self._numbers.wake(key)
                elif key == "drift":
                    self.drift.wake()
            elif kind == "s":
                self.servers.wake(int(number))
            elif kind == "o" and not self.work.watch.heard(f"s{number}"):
                self._looks.look(int(number))
            elif kind == "n":
                self.work.watch.heard(key)
                self.networks.wake(int(number))
            elif kind == "v":
                self.volumes.wake(int(number))

    def status(self) -> dict[str, Any]:
        """How the work stands, for operators."""
        return {
            "servers": self.servers.status(),
            "networks": self.networks.status(),
            "volumes": self.volumes.status(),
            "drift": self.drift.loop.status(),
            "network_drift": self.network_drift.status(),
        }

    async def _sweep(self) -> None:
        if not self._begun:
            # Whoever drove it before may have meant to wait: for a job that has ended since.
            await self._look_again()
            self._begun = True
            return
        for row in await operations.due(self._database, self.cluster_id, SWEEP_MOST):
            self._wake_for(row)
        for server_id in await firewalls.wished(self._database, self.cluster_id, SWEEP_MOST):
            self.servers.wake(server_id)

    def _changed(self, server_id: int) -> None:
        """An instance is not as it was."""
        self._server_work.resting.suspect(server_id)
        self.servers.wake(server_id)

    def _missing(self) -> None:
        """Some instance is gone. Whether that is believed depends on how many are."""
        self._whole.wake("look")

    async def _whole_turn(self, _key: str) -> float | None:
        looked = await self._poll_if_due(pressing=True)
        return None if looked or self._offline else _AGAIN_SECONDS

    async def _poll_if_due(self, pressing: bool = False) -> bool:
        """Look at the whole cluster if that is due; return whether it was looked at.

        :param pressing: because an instance is gone: soon, but not all the time.
        """
        began = self._clock.seconds()
        since = began - self._polled_at
        due = pressing and since >= max(
            self._ganeti.poll_active_seconds, _PAUSE_OF_LOOKS * self._poll_took_seconds
        )
        due = due or pace.look_due(
            since,
            self._poll_took_seconds,
            self.work.watch.busy,
            self.work.watch.told,
            self._ganeti.poll_active_seconds,
            self._ganeti.poll_idle_seconds,
        )
        if not due or self._poll_runs:
            return False
        self._polled_at = began
        self._poll_runs = True
        try:
            await self._poll()
        finally:
            self._poll_runs = False
            self._poll_took_seconds = self._clock.seconds() - began
        return True

    async def _poll(self) -> None:
        """Look whether the cluster answers, what is new on it, and what is free."""
        if self._offline:
            return
        try:
            seen = {
                glance.name: glance for glance in await self._cluster.glance(self._names.prefix)
            }
            if await clusters.stale_statistics(
                self._database, self.cluster_id, self._ganeti.capacity_refresh_seconds
            ):
                await self.refresh()
        except GanetiError as error:
            self._cluster.doubt()  # another one may answer then
            if await clusters.set_reachable(self._database, self.cluster_id, False, error.message):
                self.log.warn("cluster.lost", cluster=self.name, reason=error.message)
            return
        if await clusters.set_reachable(self._database, self.cluster_id, True, ""):
            self.log.info("cluster.answers", cluster=self.name)
            await self._look_again()
        missing, different, count, last_id = [], [], 0, 0
        while rows := await servers.at_rest_on(self._database, self.cluster_id, last_id):
            for row in rows:
                glance = seen.get(self._names.instance(row.id))
                if glance is None:
                    missing.append(row.id)
                elif (glance.status, glance.serial) != (row.ganeti_status, row.ganeti_serial):
                    different.append(row.id)
            count, last_id = count + len(rows), rows[-1].id
        # So many at once are not believed by themselves; the loop of drift tells of them.
        for server_id in different if is_mass(len(missing), count) else missing + different:
            self._changed(server_id)

    async def _refresh_turn(self, _key: str) -> None:
        if not self._offline:
            await self.refresh()

    async def refresh(self) -> None:
        """Ask the cluster for its name and its numbers, and write these down.

        :raise GanetiError: also when its name is not that of its row.
        """
        info = await self._cluster.info()
        capacity = await self._cluster.capacity()
        groups = await self._cluster.groups()
        await clusters.set_capacity(self._database, self.cluster_id, info, capacity, groups)
        self.network_drift.groups_are(groups)

    async def _look_again(self) -> None:
        """Do not wait out the pauses that were meant for how things stood before."""
        for row in await operations.open_keys(self._database, self.cluster_id):
            self._wake_for(row)

    def _wake_for(self, row: Any) -> None:
        """Wake whoever works on an operation."""
        if row.server_id is not None:
            self.servers.wake(row.server_id)
        elif row.network_id is not None:
            self.networks.wake(row.network_id)
        else:
            self.volumes.wake(row.volume_id)

    def _died(self, failure: Failure) -> None:
        self.log.failure("drive.died", failure, cluster=self.name)
