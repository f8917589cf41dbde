"""The limits of projects, as operators change them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.store import quotas


async def change(tx: Any, project_id: str, maxima: Mapping[str, int | None]) -> None:
    """Set limits of a project; what it uses beyond them it keeps.

    :param maxima: by resource, in bytes or pieces; None: no limit.
    """
    await quotas.lock(tx, project_id)
    await tx.run(
        "insert into holding (project_id, resource, maximum)"
        " select %s, resource, maximum"
        " from unnest(%s::text[], %s::bigint[]) as l (resource, maximum)"
        " order by resource on conflict (project_id, resource) do update"
        " set maximum = excluded.maximum",
        (project_id, list(maxima), list(maxima.values())),
    )
