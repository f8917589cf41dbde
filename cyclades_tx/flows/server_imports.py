"""Making servers of instances that a cluster had before; for operators.

Nothing is changed at the cluster: the record follows what is there, as it does after every change
by hand, or it is not made at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from cyclades_tx.errors import BadRequest, Conflict
from cyclades_tx.model import quota
from cyclades_tx.model.address import mac_from
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.instance import Instance
from cyclades_tx.model.moves import BUILDING, SEEN, Rest
from cyclades_tx.model.names import Names
from cyclades_tx.model.ownership import owner_tag
from cyclades_tx.model.server import hostname_of
from cyclades_tx.store import outbox, project_limits, quotas, servers
from cyclades_tx.store import server_imports as store
from cyclades_tx.store.observations import follow


@dataclass(frozen=True)
class Wanted:
    """Whose an instance is to be, and what stands nowhere at its cluster.

    :ivar image_id: what it was made of, for people to read.
    """

    user_id: str
    project_id: str
    cluster_id: int
    cluster_name: str
    flavor_id: int
    name: str
    image_id: int | None = None


@dataclass(frozen=True)
class Imported:
    """A server that was made.

    :ivar charged: by resource, in bytes or pieces.
    """

    id: int
    uuid: str
    ports: int
    volumes: int
    charged: dict[str, int] = field(default_factory=dict)


class _Rehearsed(Exception):
    """Everything was written and is undone again."""

    def __init__(self, imported: Imported) -> None:
        super().__init__("rehearsed")
        self.imported = imported


async def take_in(
    database: Any, names: Names, seen: Instance, wanted: Wanted, *, rehearse: bool = False
) -> Imported:
    """Make a server of an instance that has the name of one which is not there.

    :param rehearse: whether all of it is undone again, after every check.
    :raise BadRequest: when its name is none of a server.
    :raise Conflict: names what stands against it.
    :raise OverQuota: when the project, or the user in it, may not have that much more.
    """
    number = names.server_id(seen.name)
    if number is None or number > store.MOST_NUMBER:
        raise BadRequest(f"{seen.name} is not the name of a server's instance.")
    rest = SEEN.get(seen.power)
    if rest is None or seen.vcpus is None or seen.memory_mib is None:
        raise Conflict(f"The cluster does not know the state of {seen.name}: its node is down.")
    amounts = quota.server_amounts(
        rest.charge,
        seen.vcpus,
        seen.memory_mib,
        sum(disk.size_mib >> 10 for disk in seen.disks),
    )
    row = store.NewServer(
        number,
        _uuid_of(seen) or uuid4(),
        wanted.name,
        "",
        wanted.user_id,
        wanted.project_id,
        wanted.cluster_id,
        wanted.cluster_name,
        wanted.flavor_id,
        seen.vcpus,
        seen.memory_mib,
        wanted.image_id,
        f"r-import-{number}",
    )
    row = row._replace(hostname=hostname_of(wanted.name, row.uuid))

    async def work(tx: Any) -> Imported:
        holdings = await quotas.lock(tx, wanted.project_id)
        quotas.refuse_shortage(holdings, amounts)
        await project_limits.refuse_user_shortage(
            tx,
            wanted.project_id,
            wanted.user_id,
            instances=1,
            cores=row.vcpus,
            ram_mib=row.memory_mib,
        )
        await _refuse_claimed(tx, seen, row)
        await _write(tx, names, seen, row, rest)
        server = await servers.lock(tx, number)
        followed = await follow(tx, server, rest.charge, seen, names)
        if followed.refused:
            reasons = "; ".join(
                f"{subject or kind}: {why}" for (kind, subject), why in followed.refused.items()
            )
            raise Conflict(f"{seen.name} cannot be imported as it is: {reasons}")
        await store.note_root(tx, number)
        imported = Imported(number, str(row.uuid), len(seen.nics), len(seen.disks), amounts)
        if rehearse:
            raise _Rehearsed(imported)
        return imported

    try:
        done: Imported = await database.transaction(work, "server.import", turn=wanted.project_id)
    except _Rehearsed as rehearsed:
        return rehearsed.imported
    return done


async def _refuse_claimed(tx: Any, seen: Instance, row: store.NewServer) -> None:
    claimed = await store.claimed(tx, row.id, row.uuid)
    if claimed is None:
        return
    if claimed.id != row.id:
        raise Conflict(f"{seen.name} has the tag of server {claimed.id}: remove the tag first.")
    if claimed.deleted:
        raise Conflict(
            f"Server {row.id} was deleted here, and {seen.name} may be what is left of it: give"
            " the instance another name (snf-manage server-import tells one)."
        )
    raise Conflict(f"Server {row.id} is there already; see server-show {row.id}.")


async def _write(tx: Any, names: Names, seen: Instance, row: store.NewServer, rest: Rest) -> None:
    """The server, and what of it has our kind of name; the rest is followed."""
    await store.insert(tx, row)
    await outbox.tell_servers(tx, (row.id,))
    for position, nic in enumerate(seen.nics):
        number = names.port_id(nic.name or "")
        network_id = names.network_id(nic.network or "")
        network = None
        if network_id is not None:
            network = await store.open_network(tx, network_id, row.project_id)
        if number is not None and number <= store.MOST_NUMBER and network is not None:
            known = replace(nic, mac=mac_from(nic.mac))
            await store.insert_port(tx, row, number, position, network, known)
            await outbox.tell_ports(tx, "port.created", (number,))
    for position, disk in enumerate(seen.disks):
        number = names.volume_id(disk.name or "")
        if number is not None and number <= store.MOST_NUMBER:
            size_gib = disk.size_mib >> 10
            await store.insert_volume(tx, row, number, position, size_gib, disk.uuid)
    server = await servers.lock(tx, row.id)
    await servers.move(tx, server, Rest(BUILDING, quota.NONE), rest, seen, None)


def _uuid_of(seen: Instance) -> UUID | None:
    """The UUID that the instance's own tag says."""
    prefix = owner_tag("")
    for tag in seen.tags:
        text = parse_uuid(tag.removeprefix(prefix)) if tag.startswith(prefix) else None
        if text is not None:
            return UUID(text)
    return None
