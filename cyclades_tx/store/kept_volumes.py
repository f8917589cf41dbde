"""Operations on volumes that no server has, and whose disks a cluster keeps, in the database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cyclades_tx.model.kept_volume_plan import DELETE
from cyclades_tx.model.operation import SUCCEEDED, Operation
from cyclades_tx.model.quota import DISK, GIB
from cyclades_tx.store import operations, outbox, quotas, volumes

#: What a volume is when its operation has failed: it may be asked for again.
_AFTER_FAILURE = {DELETE: "error_deleting"}


async def settle(tx: Any, operation: Operation, end: str, reason: str) -> bool:
    """Close an operation, and write what its end means for its volume and project.

    :param end: ``succeeded`` or ``failed``.
    :return: False when it was closed already.
    """
    assert operation.volume_id is not None
    assert operation.project_id is not None
    await quotas.lock(tx, operation.project_id)
    row = await tx.first(
        "select id, size_gib from volume where id = %s and deleted_at is null for update",
        (operation.volume_id,),
    )
    if not await operations.close_operation(tx, operation.id, end, reason):
        return False
    await quotas.release(tx, operation.id)
    if row is not None:
        await _write(tx, operation, row, end)
    await outbox.tell_operation(tx, "operation.ended", operation.id)
    return True


async def _write(tx: Any, operation: Operation, row: Any, end: str) -> None:
    assert operation.project_id is not None
    change, kind = 0, "volume.changed"
    if end != SUCCEEDED:
        status = _AFTER_FAILURE.get(operation.kind, "available")
        await volumes.update(tx, row.id, {"status": status})
    elif operation.kind == DELETE:
        await volumes.update(tx, row.id, {"cluster_id": None, "node": None})
        await volumes.delete(tx, row.id)
        change, kind = -row.size_gib, "volume.deleted"
    else:
        size_gib = operation.arguments["size_gib"]
        await volumes.update(tx, row.id, {"status": "available", "size_gib": size_gib})
        change = size_gib - row.size_gib
    if change:
        await quotas.add(tx, operation.project_id, {DISK: change * GIB})
    await volumes.tell(tx, kind, row.id)


async def moving(querier: Any, volume_ids: Iterable[int], since: Any) -> frozenset[int]:
    """Those of these volumes on which an operation works, or has worked, while no server has them.

    :param since: the time from which on that counts; None: only what is open counts.
    """
    rows = await querier.all(
        "select volume_id from operation where volume_id = any(%s::bigint[])"
        " and server_id is null and (finished_at is null or finished_at >= %s::timestamptz)",
        (list(volume_ids), since),
    )
    return frozenset(row.volume_id for row in rows)
