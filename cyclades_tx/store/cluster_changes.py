"""Clusters as operators change them, in the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.store import clusters

#: Whoever drives clusters listens here; the payload is the id of a cluster that was changed.
CHANNEL = "cyclades_clusters"
MOST_POSITIONS = 4096

_COLUMNS = (
    "name", "rapi_scheme", "rapi_host", "rapi_port", "rapi_username", "rapi_password",
    "certificate", "credentials_version", "drained", "offline", "public", "hypervisor", "hotplug",
)  # fmt: skip


async def find(querier: Any, ref: str) -> Any:
    """The cluster with this id, UUID or name, with its sealed credentials, or None."""
    found = await querier.value(
        "select id from cluster where id::text = %(it)s::text or uuid::text = lower(%(it)s::text)"
        " or name = %(it)s::text order by (id::text = %(it)s::text) desc limit 1",
        {"it": ref},
    )
    return None if found is None else await clusters.by_id(querier, found)


async def lock(tx: Any, cluster_id: int) -> Any:
    """Lock a cluster's row; None when it is gone."""
    return await tx.first(
        "select id, name, credentials_version, offline from cluster where id = %s for update",
        (cluster_id,),
    )


async def insert(tx: Any, uuid: str, columns: Mapping[str, Any]) -> int | None:
    """Add a drained cluster at the smallest free position; None when its name is taken.

    :param columns: of the row; the names are ours.
    :raise LookupError: when no position is free.
    """
    # Two at once must not find the same position free.
    await tx.run("lock table cluster in share row exclusive mode")
    position = await tx.value(
        "select min(p) from generate_series(0, %s) as p"
        " where not exists (select from cluster c where c.position = p)",
        (MOST_POSITIONS - 1,),
    )
    if position is None:
        raise LookupError("no position is free")
    row = {**columns, "uuid": uuid, "position": position}
    names = ", ".join(row)
    values = ", ".join(f"%({name})s" for name in row)
    cluster_id: int | None = await tx.value(
        f"insert into cluster ({names}) values ({values}) on conflict (name) do nothing"
        " returning id",
        row,
    )
    return cluster_id


async def update(tx: Any, cluster_id: int, changes: Mapping[str, Any]) -> None:
    """Change columns of a cluster's row."""
    settings = ", ".join(f"{column} = %({column})s" for column in _COLUMNS if column in changes)
    if settings:
        await tx.run(
            f"update cluster set {settings} where id = %(id)s", {**changes, "id": cluster_id}
        )


async def live_servers(tx: Any, cluster_id: int) -> int:
    """How many servers a cluster still has."""
    number: int = await tx.value(
        "select count(*) from server where cluster_id = %s and deleted_at is null", (cluster_id,)
    )
    return number


async def kept_volumes(tx: Any, cluster_id: int) -> int:
    """How many volumes that no server has have their disks on a cluster."""
    number: int = await tx.value(
        "select count(*) from volume where cluster_id = %s and deleted_at is null", (cluster_id,)
    )
    return number


async def remove(tx: Any, cluster_id: int) -> None:
    """Remove a locked cluster without servers, with what is known of its past."""
    await tx.run("delete from operation where cluster_id = %s", (cluster_id,))
    await tx.run("update server set cluster_id = null where cluster_id = %s", (cluster_id,))
    await tx.run("delete from cluster where id = %s", (cluster_id,))


async def networks_on(querier: Any, cluster_id: int) -> list[int]:
    """The networks that stand, or stood half, on a cluster."""
    rows = await querier.all(
        "select network_id from cluster_network where cluster_id = %s order by 1", (cluster_id,)
    )
    return [row.network_id for row in rows]


async def changed(tx: Any, cluster_id: int) -> None:
    """Tell whoever drives the cluster, when the transaction commits."""
    await tx.notify(CHANNEL, str(cluster_id))


async def map_project(tx: Any, cluster_id: int, project_id: str) -> bool:
    """Let a project use a cluster of its own; False when it does already."""
    added: int = await tx.run(
        "insert into cluster_project (cluster_id, project_id) values (%s, %s)"
        " on conflict do nothing",
        (cluster_id, project_id),
    )
    return added > 0


async def unmap_project(tx: Any, cluster_id: int | None, project_id: str | None) -> int:
    """Undo mappings of a cluster, of a project, or of one with the other; return how many."""
    gone: int = await tx.run(
        "delete from cluster_project where (%(cluster)s::bigint is null"
        " or cluster_id = %(cluster)s::bigint) and (%(project)s::text is null"
        " or project_id = %(project)s::text)",
        {"cluster": cluster_id, "project": project_id},
    )
    return gone
