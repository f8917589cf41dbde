"""Suspending servers: their owners may do nothing with them until an operator says so."""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import NotFound
from cyclades_tx.store import outbox, servers


async def suspend(database: Any, server_id: int, suspended: bool) -> bool:
    """Suspend a server, or end that; the machine itself keeps running.

    :return: False when it was so already.
    :raise NotFound: when it is gone.
    """

    async def work(tx: Any) -> bool:
        server = await servers.lock(tx, server_id)
        if server is None or server.deleted:
            raise NotFound(f"Server {server_id} is gone.", "server")
        if server.suspended == suspended:
            return False
        await tx.run(
            "update server set suspended = %s, updated_at = now() where id = %s",
            (suspended, server_id),
        )
        await outbox.tell_servers(tx, (server_id,))
        return True

    done: bool = await database.transaction(work, "server.suspend")
    return done
