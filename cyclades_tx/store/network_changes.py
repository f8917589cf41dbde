"""Changes of networks that are there, and what stands against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, NotFound

_COLUMNS = (
    "id, uuid::text, name, project_id, flavor, mode, link, mac_prefix, shared, external,"
    " floating_ip_pool, drained, revision, everywhere"
)

#: What a request may change.
CHANGEABLE = frozenset(
    ("name", "description", "mtu", "shared", "external", "floating_ip_pool", "drained")
)


async def check_project(tx: Any, project_id: str) -> None:
    """See that there is a project.

    :raise BadRequest: when there is none; anything can stand in the id.
    """
    if not await tx.value(
        "select exists (select from project where id::text = %s::text)", (project_id,)
    ):
        raise BadRequest(f"There is no project {project_id[:80]!r}.", neutron_type="InvalidInput")


async def lock(tx: Any, network_id: int) -> Any:
    """A live network's row, which stays as it is until the commit.

    :raise NotFound: when it is gone.
    """
    row = await tx.first(
        f"select {_COLUMNS} from network where id = %s and deleted_at is null for update",
        (network_id,),
    )
    if row is None:
        raise NotFound("The network could not be found.", "network")
    return row


def check_revision(row: Any, revision: int | None) -> None:
    """See that a thing is the one that the caller has read.

    :raise Conflict: ``RevisionNumberConstraintFailed`` when it has changed since.
    """
    if revision is not None and row.revision != revision:
        raise Conflict(
            f"Constrained to {revision}, but current revision is {row.revision}",
            "RevisionNumberConstraintFailed",
        )


async def refuse_used(tx: Any, network: Any) -> None:
    """Refuse to go on while something of a network is in use; the network is locked.

    :raise Conflict: ``NetworkInUse``.
    """
    used = await tx.first(
        "select (select count(*) from port where network_id = %(id)s) as ports,"
        " (select count(*) from floating_ip where network_id = %(id)s) as floating_ips,"
        " (select count(*) from router where external_network_id = %(id)s) as routers",
        {"id": network.id},
    )
    facts = [
        f"{count} {noun if count != 1 else noun.removesuffix('s')}"
        for count, noun in (
            (used.ports, "ports"),
            (used.floating_ips, "floating IPs"),
            (used.routers, "routers"),
        )
        if count
    ]
    if facts:
        raise Conflict(
            f"Unable to complete operation on network {network.uuid}. There are one or more ports"
            f" still in use on the network: {', '.join(facts)}.",
            "NetworkInUse",
        )


async def refuse_narrowing(tx: Any, network: Any, after: Mapping[str, Any]) -> None:
    """Refuse that a network is shared or external no more while others rely on it.

    :raise Conflict: says who does.
    """
    if (
        network.shared
        and not after["shared"]
        and await tx.value(
            "select exists (select from port where network_id = %s"
            " and project_id is distinct from %s::text)",
            (network.id, network.project_id),
        )
    ):
        raise Conflict(
            f"Unable to reconfigure sharing settings for network {network.uuid}. Other projects"
            " have ports on it.",
            "InvalidSharedSetting",
        )
    ends = network.external and not after["external"]
    ends = ends or (network.floating_ip_pool and after.get("floating_ip_pool") is False)
    if ends and await tx.value(
        "select exists (select from floating_ip where network_id = %(id)s)"
        " or exists (select from router where external_network_id = %(id)s)",
        {"id": network.id},
    ):
        raise Conflict(
            f"External network {network.uuid} cannot be updated to be made non-external, since it"
            " has floating IPs or gateways of routers.",
            "ExternalNetworkInUse",
        )


async def change(tx: Any, network_id: int, changes: Mapping[str, Any]) -> None:
    """Set columns of a network; its revision number grows, also when nothing is new.

    :param changes: by the names of :data:`CHANGEABLE`.
    """
    columns = [name for name in sorted(changes) if name in CHANGEABLE]
    settings = "".join(f"{name} = %({name})s, " for name in columns)
    await tx.run(
        f"update network set {settings}revision = revision + 1, updated_at = now()"
        " where id = %(network)s",
        {**{name: changes[name] for name in columns}, "network": network_id},
    )


async def give(tx: Any, network: Any, project_id: str, user_id: str) -> None:
    """Make a locked network another project's.

    :raise Conflict: when somebody else has ports on it, who would not see it any more.
    """
    if not network.shared and await tx.value(
        "select exists (select from port where network_id = %s and project_id <> %s::text)",
        (network.id, project_id),
    ):
        raise Conflict(
            f"Network {network.uuid} has ports of other projects: delete them first.",
            "NetworkInUse",
        )
    await tx.run(
        "update network set project_id = %s, user_id = %s, revision = revision + 1,"
        " updated_at = now() where id = %s",
        (project_id, user_id, network.id),
    )


async def touch(tx: Any, network_id: int) -> None:
    """Note that something of a network has changed: its subnets or tags."""
    await change(tx, network_id, {})


async def mark_deleted(tx: Any, network_id: int) -> None:
    """Nobody sees the network from now on."""
    await tx.run(
        "update network set state = 'deleted', deleted_at = now(), updated_at = now(),"
        " revision = revision + 1 where id = %s",
        (network_id,),
    )
