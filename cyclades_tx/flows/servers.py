"""What a person can ask for about servers.

Each flow checks, writes what is wanted in one transaction, and returns; the loops make it
true. Nothing here talks to a cluster.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from cyclades_tx.errors import CycladesError
from cyclades_tx.flows.new_servers import NewServers
from cyclades_tx.model import quota
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.moves import ABSENT
from cyclades_tx.model.operation import CANCELED, PENDING, SUCCEEDED, Operation
from cyclades_tx.model.who import Who
from cyclades_tx.store import operations, servers
from cyclades_tx.vault import disarm


class Servers(NewServers):
    """The flows of servers."""

    async def delete(self, who: Who, ref: str, request_id: str) -> None:
        """Wish a server gone: always accepted.

        A creation that was not sent yet is canceled, and the server is gone at once; otherwise
        the deletion follows whatever runs.
        """

        async def work(tx: Any) -> Any:
            server, _ = await self._lock(tx, who, ref)
            self._refuse_locked(who, server)
            changes = await operations.open_of_server(tx, server.id, lock=True)
            if any(each.kind == "delete" for each in changes):
                return None
            open_change = changes[0] if changes else None
            canceled = None
            if open_change is not None and open_change.state == PENDING:
                canceled, open_change = open_change, None
            await operations.open_operation(
                tx,
                kind="delete",
                cluster_id=server.cluster_id,
                # It may have to follow what runs until the end of that.
                deadline_seconds=self._deadlines.deadline_seconds("delete")
                + (await operations.seconds_left(tx, open_change.id) if open_change else 0.0),
                server_id=server.id,
                project_id=server.project_id,
                user_id=who.user_id,
                request_id=request_id,
                reason="Waits to be sent to its cluster.",
            )
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))
            if canceled is not None:
                # Its end depends on whether the server goes.
                await servers.settle(
                    tx, canceled, CANCELED, "Canceled by the server's deletion.", ABSENT
                )
                server = await servers.lock(tx, server.id)
            if server.charge == quota.NONE and open_change is None:
                # Nothing of it stands on a cluster.
                (deletion,) = await operations.open_of_server(tx, server.id)
                await servers.settle(tx, deletion, SUCCEEDED, "", ABSENT)
            return canceled

        canceled = await self._database.transaction(work, "server.delete", turn=who.turn)
        if canceled is not None:
            await self._drop_secret(ref, canceled)

    async def _drop_secret(self, ref: str, creation: Operation) -> None:
        """Nobody will ask for it; if it cannot be dropped now, it expires."""
        sealed = creation.arguments.get("config_token")
        uuid = parse_uuid(ref)
        if isinstance(sealed, str) and uuid is not None:
            with suppress(CycladesError):
                token = self._keyring.decrypt("config_token", uuid, bytes.fromhex(sealed))
                await disarm(self._vault, token, bool(creation.arguments.get("nocloud")))
