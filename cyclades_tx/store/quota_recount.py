"""Quota holdings recounted from scratch, and put right under the locks of their project."""

from __future__ import annotations

from typing import Any

from cyclades_tx.model import books
from cyclades_tx.model.books import BookFinding
from cyclades_tx.store import quotas

MOST_FOUND = 5000

_OF_ENDED = (
    "from reservation r join operation o on o.id = r.operation_id and o.finished_at is not null"
)


async def find(database: Any, project_id: str | None = None) -> list[BookFinding]:
    """The holdings that differ from what is counted, and reservations that nothing needs.

    :param project_id: only this project's.
    """
    found = []
    for row in await quotas.drift(database):
        if project_id in (None, row.project_id):
            found.append(
                BookFinding(
                    books.HOLDING,
                    f"project {row.project_id} {row.resource}",
                    f"{row.resource} is {row.used} used and {row.reserved} reserved in the books,"
                    f" but {row.counted_used} and {row.counted_reserved} by count.",
                    project_id=row.project_id,
                )
            )
    for row in await database.all(
        "select r.project_id, array_agg(distinct r.operation_id order by r.operation_id) as ids"
        f" {_OF_ENDED} where %(only)s::text is null or r.project_id = %(only)s"
        f" group by 1 order by 1 limit {MOST_FOUND}",
        {"only": project_id},
    ):
        found.append(
            BookFinding(
                books.RESERVATION,
                f"project {row.project_id}",
                f"{len(row.ids)} operations that are over still reserve something.",
                ids=tuple(row.ids),
                project_id=row.project_id,
            )
        )
    return found


async def mend(database: Any, project_id: str) -> bool:
    """Bring all holdings of a project to what is counted while nobody can change it.

    Whoever changes what is counted locks the holdings first, so the count is of one moment.
    """

    async def write(tx: Any) -> bool:
        await quotas.lock(tx, project_id)
        await tx.run(
            "delete from reservation d where d.project_id = %s and d.operation_id in"
            f" (select r.operation_id {_OF_ENDED} where r.project_id = %s)",
            (project_id, project_id),
        )
        await tx.run(
            "update holding h set used = r.counted_used, reserved = r.counted_reserved"
            f" from ({quotas.RECOUNT}) r where h.project_id = %s and r.project_id = h.project_id"
            " and r.resource = h.resource"
            " and (h.used, h.reserved) is distinct from (r.counted_used, r.counted_reserved)",
            (project_id,),
        )
        return True

    done: bool = await database.transaction(write, "books.quota", turn=project_id)
    return done
