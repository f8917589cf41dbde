"""Firewall tags of a cluster's servers: what they should be, and when they must be set anew."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.model import firewall, quota
from cyclades_tx.model.operation import Operation
from cyclades_tx.sections import GanetiSection
from cyclades_tx.store import firewalls, operations, servers

#: How long it may take to set the tags of a server.
DEADLINE_SECONDS = 900.0
#: Kinds of operations that set or remove tags of a server that is there.
KINDS = frozenset({"firewall", "attach_port", "detach_port"})


class Firewalls:
    """What the rules of servers' interfaces ask of a cluster.

    :param ganeti: says what the cluster's scripts let in at ``limited``.
    """

    log = Logger()

    def __init__(self, work: ClusterWork, ganeti: GanetiSection) -> None:
        self._work = work
        self._limited = firewall.let_in_from(ganeti.firewall_limited)

    async def open(self, server_id: int) -> float | None:
        """Open the operation that sets tags, if somebody's wish needs one now.

        :return: 0 when it was opened; the seconds until it is tried once more; None: nothing is
            to be done.
        """
        wish = await firewalls.wish(self._work.database, server_id)
        if wish is None or not wish.answers:
            # Tries at a cluster that is away would be used up before it is back.
            return None
        if wish.failures:
            left = self._work.pause_after(wish.failures) - wish.since_seconds
            if left > 0:
                return left
        lease = self._work.lease

        async def write(tx: Any) -> bool:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            server = await servers.lock(tx, server_id)
            if await operations.open_of_server(tx, server_id):
                return False  # what runs may set them by itself; the wish is seen to after it
            await firewalls.take_wish(tx, server_id)
            if server is None or server.charge == quota.NONE:
                return False
            # After a failure only the machine's own tags tell what is left of it.
            if not wish.failures and not firewall.differs(
                await firewalls.of_server(tx, server_id), self._limited
            ):
                return False
            await operations.open_operation(
                tx,
                kind="firewall",
                cluster_id=lease.cluster_id,
                deadline_seconds=DEADLINE_SECONDS,
                server_id=server_id,
                project_id=server.project_id,
                reason="Waits to be sent to its cluster.",
            )
            return True

        opened: bool = await self._work.database.transaction(write, "server.firewall")
        return 0.0 if opened else None

    async def again(self, tx: Any, operation: Operation, reason: str) -> None:
        """Have the tags of a server tried once more when setting them has failed, up to a limit.

        The operation is closed, so that whoever changes the server meanwhile is in no conflict.
        """
        assert operation.server_id is not None
        tried = await firewalls.failures(tx, operation.server_id)
        if tried < firewall.MOST_TRIES:
            await firewalls.wish_of_server(tx, operation.server_id)
        else:
            self.log.warn(
                "server.firewall_given_up",
                server_id=operation.server_id,
                tries=tried,
                reason=reason,
            )

    async def wanted(self, server_id: int, operation: Operation) -> dict[str, str]:
        """The profile that the interfaces of an operation should have, by their names."""
        if operation.kind == "firewall":
            return self._profiles(await firewalls.of_server(self._work.database, server_id))
        port_id = operation.arguments.get("port_id")
        if operation.kind == "attach_port":
            return self._profiles(await firewalls.of_port(self._work.database, port_id))
        # What leaves needs no tag.
        return {} if port_id is None else {self._work.names.nic(port_id): firewall.DISABLED}

    async def tags(self, server_id: int) -> tuple[str, ...]:
        """The tags that a new instance gets for its interfaces."""
        return firewall.tags(
            self._profiles(await firewalls.of_server(self._work.database, server_id))
        )

    def _profiles(self, ports: tuple[firewall.PortRules, ...]) -> dict[str, str]:
        return {
            self._work.names.nic(port.port_id): firewall.profile_of(port.rules, self._limited)
            for port in ports
        }
