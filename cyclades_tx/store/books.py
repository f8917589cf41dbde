"""Recounting the books and putting them right, one small transaction after the other."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from psycopg2 import Error as DatabaseError

from cyclades_tx.errors import CycladesError
from cyclades_tx.model import books
from cyclades_tx.model.books import BookFinding
from cyclades_tx.store import pool_recount, quota_recount, value_recount
from cyclades_tx.store.upkeep import Note


@dataclass
class Recount:
    """What came of a recount.

    :ivar trouble: why one of the findings that are left could not be mended; empty: it was
        not tried, or somebody was at work there.
    """

    mended: list[BookFinding] = field(default_factory=list)
    left: list[BookFinding] = field(default_factory=list)
    trouble: str = ""

    @property
    def found(self) -> list[BookFinding]:
        """Everything that was wrong."""
        return [*self.mended, *self.left]

    def notes(self) -> list[Note]:
        """What is left, as it is kept."""
        return [
            Note(
                each.kind,
                each.subject,
                each.sentence,
                "record" if each.mendable else "operator",
                not each.mendable,
            )
            for each in self.left
        ]


async def recount_pools(database: Any, fix: Collection[str] = books.POOL_KINDS) -> Recount:
    """Recount addresses, ports and pools of values.

    :param fix: the kinds that are mended.
    """
    result = Recount()
    for finding in (*await pool_recount.find(database), *await value_recount.find(database)):
        mender = value_recount if finding.kind == books.FREE_VALUES else pool_recount
        if not finding.mendable or finding.kind not in fix:
            result.left.append(finding)
            continue
        try:
            done = await mender.mend(database, finding)
        except (CycladesError, DatabaseError) as error:
            # One that cannot be mended must not keep the others from it.
            done, result.trouble = False, f"{finding.subject}: {error}"
        (result.mended if done else result.left).append(finding)
    if any(each.kind in _FREES for each in result.mended) and books.FREE_ADDRESSES in fix:
        # What was wrong beforehand may only show now that the rest is right.
        await _free_addresses(database, result)
    return result


_FREES = (books.LEAKED_ADDRESSES, books.LEAKED_PORTS, books.PORTS_OF_GONE_SERVER)


async def _free_addresses(database: Any, result: Recount) -> None:
    for finding in await pool_recount.wrong_free_ranges(database):
        done = await pool_recount.mend(database, finding)
        (result.mended if done else result.left).append(finding)


async def recount_quotas(
    database: Any, *, fix: bool = True, project_id: str | None = None
) -> Recount:
    """Recount the holdings of all projects, or of one."""
    result = Recount()
    found = await quota_recount.find(database, project_id)
    done: dict[str | None, bool] = {}
    for finding in found:
        project = finding.project_id
        if fix and project is not None and project not in done:
            try:
                done[project] = await quota_recount.mend(database, project)
            except (CycladesError, DatabaseError) as error:
                done[project], result.trouble = False, f"{finding.subject}: {error}"
        (result.mended if done.get(project) else result.left).append(finding)
    return result
