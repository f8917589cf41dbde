"""Canceling what still waits: nothing was sent for it, so everything is given back at once."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from cyclades_tx.errors import Conflict, CycladesError, NotFound
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.model.moves import ABSENT, UNSEEN
from cyclades_tx.model.operation import CANCELED, PENDING, Operation
from cyclades_tx.store import operations, quotas, servers
from cyclades_tx.vault import ISecretStore, disarm


async def cancel(
    database: Any, keyring: Keyring, vault: ISecretStore, operation_id: int, reason: str
) -> Operation:
    """Cancel an operation on a server.

    A creation leaves its server in error, for its owner to read and delete.

    :param reason: for its owner.
    :return: the operation as it was.
    :raise NotFound: when there is none, or none on a server.
    :raise Conflict: when it has been sent, or is over.
    """
    row = await operations.subject_of(database, operation_id)
    if row is None or row.server_id is None:
        raise NotFound(f"There is no operation {operation_id} on a server.", "operation")

    async def work(tx: Any) -> Operation:
        await quotas.lock(tx, row.project_id)
        await servers.lock(tx, row.server_id)
        for found in await operations.open_of_server(tx, row.server_id, lock=True):
            if found.id != operation_id:
                continue
            if found.state != PENDING:
                raise Conflict(
                    f"Operation {operation_id} has been sent to its cluster: it goes on.", "sent"
                )
            seen = ABSENT if found.kind == "create" else UNSEEN
            await servers.settle(tx, found, CANCELED, reason, seen)
            return found
        raise Conflict(f"Operation {operation_id} is over.", "over")

    canceled: Operation = await database.transaction(work, "operation.cancel")
    sealed = canceled.arguments.get("config_token")
    if isinstance(sealed, str):
        # Nobody will ask for it; if it cannot be dropped now, it expires.
        with suppress(CycladesError):
            token = keyring.decrypt("config_token", row.server_uuid, bytes.fromhex(sealed))
            await disarm(vault, token, bool(canceled.arguments.get("nocloud")))
    return canceled
