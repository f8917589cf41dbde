"""Giving servers to other owners, with everything that is on them; for operators."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cyclades_tx.errors import Conflict, NotFound, OverQuota
from cyclades_tx.flows.volumes import MOST_VOLUMES
from cyclades_tx.model import quota
from cyclades_tx.store import operations, outbox, project_limits, quotas, servers, volumes
from cyclades_tx.store import server_transfers as store
from cyclades_tx.store.project_limits import UNLIMITED
from cyclades_tx.store.security_groups import DEFAULT

_RESIZED = "resized"


@dataclass(frozen=True)
class Given:
    """What went along with a server.

    :ivar volumes: how many, beside its own root disk; likewise the others.
    :ivar left_group: the name of the server group that it is in no longer; None: it was in none.
    :ivar charged: what its new project has more of, by resource, in bytes or pieces.
    """

    volumes: int = 0
    ports: int = 0
    floating_ips: int = 0
    networks: tuple[str, ...] = ()
    left_group: str | None = None
    charged: dict[str, int] = field(default_factory=dict)


class _Rehearsed(Exception):
    """Everything was written and is undone again."""

    def __init__(self, given: Given) -> None:
        super().__init__("rehearsed")
        self.given = given


async def give(
    database: Any,
    server_id: int,
    user_id: str,
    project_id: str,
    *,
    with_networks: bool = False,
    rehearse: bool = False,
) -> Given:
    """Make a server another user's, in this project, which is charged from now on.

    Its volumes, ports and floating IPs go along. Nothing is changed at its cluster. Ports in the
    default security group come into that of the new project.

    :param with_networks: whether private networks that nothing else uses go along, too.
    :param rehearse: whether all of it is undone again, after every check.
    :raise NotFound: when the server is gone.
    :raise Conflict: names everything that stands against it.
    :raise OverQuota: when the project, or the user in it, may not have that much more.
    """

    async def work(tx: Any) -> Given:
        before = await servers.project_of(tx, server_id)
        if before is None:
            raise _gone(server_id)
        # Two that are exchanged lock in the same order.
        holdings = {each: await quotas.lock(tx, each) for each in sorted({before, project_id})}
        server = await servers.lock(tx, server_id)
        if server.deleted:
            raise _gone(server_id)
        if server.project_id != before:
            raise Conflict(f"Server {server_id} is being moved; try again.", "busy")
        if (server.user_id, server.project_id) == (user_id, project_id):
            given = Given()
        elif server.project_id == project_id:
            given = await _give_in_project(tx, server, user_id)
        else:
            given = await _give(tx, server, user_id, project_id, holdings, with_networks)
        if rehearse:
            raise _Rehearsed(given)
        return given

    try:
        done: Given = await database.transaction(work, "server.give", turn=project_id)
    except _Rehearsed as rehearsed:
        return rehearsed.given
    return done


async def _give_in_project(tx: Any, server: Any, user_id: str) -> Given:
    """Nothing is charged anew, but what the user may have of the project counts."""
    found = await store.belongings(tx, server.id, change_networks=False)
    await _refuse_open(tx, server, found)
    await _refuse_user_shortage(tx, server, user_id, server.project_id)
    own = [[row for row in rows if row.project_id == server.project_id] for rows in _kinds(found)]
    ports, volumes_, floating = own
    theirs = store.Belongings(ports, volumes_, floating, found.networks, found.groups)
    await store.own(tx, server.id, theirs, user_id, server.project_id)
    await outbox.tell_servers(tx, (server.id,), always=True)
    return Given(len(theirs.kept_volumes), _plain_ports(theirs), len(floating))


async def _give(
    tx: Any,
    server: Any,
    user_id: str,
    project_id: str,
    holdings: dict[str, dict[str, quota.Holding]],
    with_networks: bool,
) -> Given:
    found = await store.belongings(tx, server.id, change_networks=with_networks)
    await _refuse_open(tx, server, found)
    private = [
        network
        for network in found.networks
        if not network.shared and not network.external and network.project_id != project_id
    ]
    against = await _against(tx, server, found, private, with_networks)
    if against:
        raise Conflict(f"Server {server.id} cannot be given away: {' '.join(against)}", "in_use")
    amounts = _amounts(server, found, len(private))
    quotas.refuse_shortage(holdings[project_id], amounts)
    await _refuse_volumes(tx, project_id, len(found.kept_volumes))
    await _refuse_user_shortage(tx, server, user_id, project_id)
    left_group = await store.leave_group(tx, server.id)
    await store.move(tx, server.id, found, private, user_id, project_id)
    losses = {resource: -amount for resource, amount in amounts.items()}
    await quotas.add(tx, server.project_id, losses)
    await quotas.add(tx, project_id, amounts)
    return Given(
        len(found.kept_volumes),
        _plain_ports(found),
        len(found.floating_ips),
        tuple(network.name or network.uuid for network in private),
        left_group,
        amounts,
    )


def _kinds(found: store.Belongings) -> tuple[Any, Any, Any]:
    return found.ports, found.volumes, found.floating_ips


def _plain_ports(found: store.Belongings) -> int:
    """How many ports there are beside those of floating IPs."""
    return len(found.ports) - len(found.floating_ips)


async def _refuse_open(tx: Any, server: Any, found: store.Belongings) -> None:
    """Raise while something is done to a server, or waits for somebody."""
    if await operations.open_of_server(tx, server.id) or await tx.value(
        "select exists (select from operation where finished_at is null"
        " and volume_id = any(%s::bigint[]))",
        ([volume.id for volume in found.volumes],),
    ):
        raise Conflict(
            f"Something is being done to server {server.id}: see operation-list --server"
            f" {server.id}.",
            "busy",
        )
    if server.state == _RESIZED:
        raise Conflict(
            f"Server {server.id} was resized: its owner confirms or reverts that first.", "resized"
        )
    if any(each.pending_restart for each in (*found.ports, *found.volumes)):
        raise Conflict(
            f"An interface or a disk is leaving server {server.id}: restart it first.", "restart"
        )


async def _against(
    tx: Any, server: Any, found: store.Belongings, private: list[Any], with_networks: bool
) -> list[str]:
    """Sentences about what cannot go along."""
    said = []
    for network in private:
        what = f"network {network.name or network.uuid} (id {network.id})"
        if network.project_id != server.project_id:
            said.append(f"It is on {what}, which belongs to neither project.")
        elif not with_networks:
            said.append(
                f"It is on {what}, which the new project would not see: remove that port, or say"
                " --with-networks."
            )
        elif await store.used_beside(tx, network.id, server.id):
            said.append(f"Others have ports on {what}, so it cannot go along: remove them first.")
    for noun, rows in zip(("Port", "Volume", "Floating IP"), _kinds(found), strict=True):
        for row in rows:
            if row.project_id != server.project_id:
                name = row.address if noun == "Floating IP" else row.uuid
                said.append(f"{noun} {name} on it belongs to another project.")
    names = {
        row.name
        for row in found.groups
        if row.project_id == server.project_id and row.name != DEFAULT
    }
    for name in sorted(names):
        said.append(
            f"Its ports are in the security group {name!r} of its project: take them out first"
            " (openstack server remove security group)."
        )
    return said


def _amounts(server: Any, found: store.Belongings, networks: int) -> dict[str, int]:
    """What a project is charged for a server and for what is on it."""
    own_gib = sum(volume.size_gib for volume in found.volumes if volume.local)
    amounts = quota.server_amounts(server.charge, server.vcpus, server.memory_mib, own_gib)
    more = {
        quota.DISK: sum(volume.size_gib for volume in found.kept_volumes) * quota.GIB,
        quota.FLOATING_IP: len(found.floating_ips),
        quota.PRIVATE_NETWORK: networks,
    }
    for resource, amount in more.items():
        amounts[resource] = amounts.get(resource, 0) + amount
    return {resource: amount for resource, amount in amounts.items() if amount}


async def _refuse_volumes(tx: Any, project_id: str, count: int) -> None:
    most = await project_limits.limit_of(tx, project_id, "volumes", MOST_VOLUMES)
    if count and most != UNLIMITED and await volumes.count(tx, project_id) + count > most:
        raise OverQuota(f"Quota exceeded for volumes: the project may have {most}.")


async def _refuse_user_shortage(tx: Any, server: Any, user_id: str, project_id: str) -> None:
    if server.charge != quota.NONE:
        await project_limits.refuse_user_shortage(
            tx,
            project_id,
            user_id,
            instances=1,
            cores=server.vcpus,
            ram_mib=server.memory_mib,
        )


def _gone(server_id: int) -> NotFound:
    return NotFound(f"Server {server_id} is gone.", "server")
