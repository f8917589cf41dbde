"""What changes of a server's devices have in common: interfaces and disks that come and go."""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import Conflict
from cyclades_tx.flows.server_details import ServerDetails
from cyclades_tx.model.moves import ACTIVE, STOPPED
from cyclades_tx.model.who import Who
from cyclades_tx.sections import GanetiSection, OperationsSection
from cyclades_tx.store import attachments, operations


class Devices(ServerDetails):
    """The ground of the flows of a server's devices; each change is an operation on it."""

    def __init__(self, database: Any, ganeti: GanetiSection, deadlines: OperationsSection) -> None:
        super().__init__(database)
        self._ganeti = ganeti
        self._deadlines = deadlines

    @property
    def deadlines(self) -> OperationsSection:
        """How long operations may take."""
        return self._deadlines

    async def locked_at_rest(self, tx: Any, who: Who, ref: str, verb: str) -> Any:
        """Lock a server that is at rest, on or off.

        :param verb: what is asked for, in Compute's words.
        :raise Conflict: when it is locked, at something else, or in another state.
        """
        server, _ = await self._lock_idle(tx, who, ref, verb)
        if server.state not in (ACTIVE, STOPPED):
            raise Conflict(
                f"Cannot '{verb}' instance {ref} while it is in vm_state {server.state}", "state"
            )
        return server

    async def refuse_unplugged(self, tx: Any, server: Any, verb: str, what: str) -> None:
        """Refuse a running server whose cluster plugs nothing into running machines.

        :param what: the devices, in the plural.
        :raise Conflict: with the way out in the message.
        """
        if server.state == ACTIVE and not await self._hotplug(tx, server):
            raise Conflict(
                f"Cannot '{verb}' instance {server.uuid} while it runs: its cluster changes the "
                f"{what} of stopped servers only",
                "state",
            )

    async def open_change(
        self,
        tx: Any,
        who: Who,
        server: Any,
        kind: str,
        request_id: str,
        arguments: dict[str, Any],
        volume_id: int | None = None,
    ) -> int:
        """Open an operation on a locked server that changes its devices; its id."""
        # A stopped machine has nothing that a device could be plugged into.
        hotplug = server.state == ACTIVE and await self._hotplug(tx, server)
        operation_id = await operations.open_operation(
            tx,
            kind=kind,
            cluster_id=server.cluster_id,
            deadline_seconds=self._deadlines.deadline_seconds(kind),
            server_id=server.id,
            volume_id=volume_id,
            project_id=server.project_id,
            user_id=who.user_id,
            request_id=request_id,
            arguments={**arguments, "hotplug": hotplug},
            reason="Waits to be sent to its cluster.",
        )
        await tx.run("update server set updated_at = now() where id = %s", (server.id,))
        return operation_id

    async def _hotplug(self, tx: Any, server: Any) -> bool:
        return self._ganeti.hotplug and await attachments.can_hotplug(tx, server.cluster_id)
