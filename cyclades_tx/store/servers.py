"""Servers in the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cyclades_tx.model import quota
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.instance import Instance
from cyclades_tx.model.moves import BUILDING, DELETED, ERROR, Rest, Seen, observed, rest
from cyclades_tx.model.names import Names
from cyclades_tx.model.operation import CANCELED, FAILED, SUCCEEDED, Operation
from cyclades_tx.model.ownership import Owner
from cyclades_tx.model.quota import difference, server_amounts
from cyclades_tx.store import (
    attachments,
    operations,
    outbox,
    procedures,
    quotas,
    volume_attachments,
)
from cyclades_tx.store.observations import Followed, follow
from cyclades_tx.store.ports import delete_ports_of_server

_LOCKED = (
    "select s.id, s.uuid, s.name, s.user_id, s.project_id, s.cluster_id, s.vcpus, s.memory_mib,"
    " s.state, s.charge, s.locked, s.locked_by_admin, s.suspended, s.ganeti_status,"
    " s.ganeti_serial, s.deleted_at is not null as deleted"
    " from server s where {where} for update"
)

#: So many servers are read in one go where thousands may be.
AT_ONCE = 500

_DISK_GIB = (
    "select coalesce(sum(size_gib), 0)::bigint from volume"
    " where server_id = %s and local and deleted_at is null"
)


@dataclass(frozen=True)
class NewRow:
    """The columns of a new server that a caller decides."""

    name: str
    hostname: str
    description: str | None
    user_id: str
    project_id: str
    cluster_id: int
    flavor_id: int
    vcpus: int
    memory_mib: int
    image_id: int | None
    key_name: str | None
    availability_zone: str | None
    config_drive: bool
    access_ipv4: str | None
    access_ipv6: str | None
    disk_config: str
    user_data: bytes | None
    reservation_id: str
    uuid: UUID


async def insert(tx: Any, row: NewRow) -> int:
    """Add a server in state ``building``; return its id."""
    server_id: int = await tx.value(
        "insert into server (uuid, name, hostname, description, user_id, project_id, cluster_id,"
        " flavor_id, vcpus, memory_mib, image_id, key_name, availability_zone, config_drive,"
        " access_ipv4, access_ipv6, disk_config, user_data, reservation_id)"
        " values (%(uuid)s, %(name)s, %(hostname)s, %(description)s, %(user_id)s, %(project_id)s,"
        " %(cluster_id)s, %(flavor_id)s, %(vcpus)s, %(memory_mib)s, %(image_id)s, %(key_name)s,"
        " %(availability_zone)s, %(config_drive)s, %(access_ipv4)s, %(access_ipv6)s,"
        " %(disk_config)s, %(user_data)s, %(reservation_id)s) returning id",
        row.__dict__,
    )
    return server_id


async def insert_root_volume(
    tx: Any,
    *,
    server_id: int,
    user_id: str,
    project_id: str,
    size_gib: int,
    volume_type_id: int,
    image_uuid: UUID | None,
) -> None:
    """Add the server's own root disk."""
    await tx.run(
        "insert into volume (user_id, project_id, size_gib, volume_type_id, local, bootable,"
        " source_kind, source_uuid, status, server_id, position)"
        " values (%s, %s, %s, %s, true, true, %s, %s, 'creating', %s, 0)",
        (
            user_id,
            project_id,
            size_gib,
            volume_type_id,
            "image" if image_uuid else None,
            image_uuid,
            server_id,
        ),
    )


async def set_metadata(tx: Any, server_id: int, items: dict[str, str]) -> None:
    """Add or change metadata items."""
    if items:
        await tx.run(
            "insert into server_metadata (server_id, key, value)"
            " select %s, key, value from unnest(%s::text[], %s::text[]) as m (key, value)"
            " on conflict (server_id, key) do update set value = excluded.value",
            (server_id, list(items), list(items.values())),
        )


async def add_tags(tx: Any, server_id: int, tags: tuple[str, ...]) -> None:
    """Add tags."""
    if tags:
        await tx.run(
            "insert into server_tag (server_id, tag) select %s, unnest(%s::text[])"
            " on conflict do nothing",
            (server_id, list(tags)),
        )


async def tags_of(querier: Any, server_id: int) -> frozenset[str]:
    """The tags of a server."""
    rows = await querier.all("select tag from server_tag where server_id = %s", (server_id,))
    return frozenset(row.tag for row in rows)


async def count_on_cluster(tx: Any, server_id: int, disk_gib: int, sign: int) -> None:
    """Take a new server (1) from its cluster's free capacity, or give it back (-1).

    It holds until the cluster is asked for its numbers again. Mirrored disks take twice their
    size. The cluster's row is the last one that a transaction locks.
    """
    await tx.run(
        "update cluster c set"
        " memory_free_mib = greatest(least("
        "c.memory_free_mib - %(sign)s * s.memory_mib, c.memory_total_mib), 0),"
        " disk_free_mib = greatest(least(c.disk_free_mib - %(sign)s * 1024 * %(disk_gib)s"
        " * case t.disk_template when 'drbd' then 2 when 'diskless' then 0 else 1 end,"
        " c.disk_total_mib), 0),"
        " instances = greatest(c.instances + %(sign)s, 0)"
        " from server s join flavor f on f.id = s.flavor_id"
        " join volume_type t on t.id = f.volume_type_id"
        " where s.id = %(server_id)s and c.id = s.cluster_id",
        {"sign": sign, "disk_gib": disk_gib, "server_id": server_id},
    )


async def project_of(querier: Any, server_id: int) -> str | None:
    """The project that is charged for a server; None when there is no such server."""
    found: str | None = await querier.value(
        "select project_id from server where id = %s", (server_id,)
    )
    return found


async def owner_of(querier: Any, server_id: int) -> tuple[Owner, str] | None:
    """By what a server's own instance is known, and its project; None: no such server."""
    row = await querier.first(
        "select uuid::text, launched_at is not null as launched, charge <> 'none' as charged,"
        " project_id from server where id = %s",
        (server_id,),
    )
    return None if row is None else (Owner(row.uuid, row.launched, row.charged), row.project_id)


async def find(querier: Any, ref: str, who: Any) -> Any:
    """The id and project of a live server that the caller may see, or None.

    :param ref: what stood in the URL: anything.
    """
    uuid = parse_uuid(ref)
    if uuid is None:
        return None
    return await querier.first(
        "select id, project_id from server where uuid = %s and deleted_at is null"
        " and (%s or project_id = %s)",
        (uuid, who.admin, who.project_id),
    )


async def lock(tx: Any, server_id: int) -> Any:
    """Lock a server's row; None when there is none."""
    return await tx.first(_LOCKED.format(where="s.id = %s"), (server_id,))


async def for_create(querier: Any, server_id: int) -> Any:
    """What a creation needs to know of a server: sizes, image, template, user data."""
    return await querier.first(
        "select s.id, s.uuid, s.name, s.hostname, s.vcpus, s.memory_mib, s.project_id, s.user_id,"
        " t.disk_template, t.provider, i.location as image_location, i.disk_format as image_format,"
        " f.volume_type_id"
        " from server s join flavor f on f.id = s.flavor_id"
        " join volume_type t on t.id = f.volume_type_id left join image i on i.id = s.image_id"
        " where s.id = %s",
        (server_id,),
    )


async def image_of(querier: Any, image_id: int) -> Any:
    """Where an image is for the cluster, and its format; it may be deleted by now."""
    return await querier.first("select location, disk_format from image where id = %s", (image_id,))


async def nics_of(querier: Any, server_id: int) -> list[Any]:
    """The ports of a server in order: id, network, MAC, first IPv4 address or null."""
    return list(
        await querier.all(
            "select p.id, p.network_id, p.mac::text as mac,"
            " (select host(a.address) from address a where a.port_id = p.id"
            " and family(a.address) = 4 order by a.id limit 1) as ip"
            " from port p where p.server_id = %s order by p.position",
            (server_id,),
        )
    )


async def nic_of(querier: Any, port_id: Any) -> Any:
    """One port as its interface needs it; None when it is gone."""
    return await querier.first(
        "select p.id, p.server_id, p.network_id, p.mac::text as mac, p.ganeti_uuid,"
        " (select host(a.address) from address a where a.port_id = p.id"
        " and family(a.address) = 4 order by a.id limit 1) as ip from port p where p.id = %s",
        (port_id,),
    )


async def disks_of(querier: Any, server_id: int) -> list[Any]:
    """The disks of a server in order: id, size in GiB, type and its provider."""
    return list(
        await querier.all(
            "select v.id, v.size_gib, v.volume_type_id, t.provider from volume v"
            " join volume_type t on t.id = v.volume_type_id"
            " where v.server_id = %s and v.deleted_at is null order by v.position",
            (server_id,),
        )
    )


async def specs_of(querier: Any, volume_type_id: int) -> dict[str, str]:
    """The parameters for Ganeti of a volume type: its ``GNT-EXTP:`` specs without the prefix."""
    rows = await querier.all(
        "select substr(key, 10) as key, value from volume_type_spec"
        " where volume_type_id = %s and key like 'GNT-EXTP:%%'",
        (volume_type_id,),
    )
    return {row.key: row.value for row in rows}


async def missing_networks(querier: Any, server_id: int) -> list[Any]:
    """The networks of a server that do not stand on its cluster yet: id, state and reason."""
    return list(
        await querier.all(
            "select distinct p.network_id, n.name, cn.state, cn.reason"
            " from port p join server s on s.id = p.server_id join network n on n.id = p.network_id"
            " left join cluster_network cn"
            " on cn.network_id = p.network_id and cn.cluster_id = s.cluster_id"
            " where p.server_id = %s and cn.state is distinct from 'active'",
            (server_id,),
        )
    )


async def at_rest_on(
    querier: Any, cluster_id: int, after_id: int = 0, most: int = AT_ONCE
) -> list[Any]:
    """The live servers of a cluster that no open operation moves, with what was last seen.

    :param after_id: the id of the last one of the slice before.
    """
    return list(
        await querier.all(
            "select s.id, s.state, s.charge, s.ganeti_status, s.ganeti_serial from server s"
            " where s.cluster_id = %s and s.deleted_at is null and s.charge <> 'none'"
            " and s.id > %s"
            " and not exists (select 1 from operation o where o.server_id = s.id"
            " and o.finished_at is null) order by s.id limit %s",
            (cluster_id, after_id, most),
        )
    )


async def settle(
    tx: Any,
    operation: Operation,
    end: str,
    reason: str,
    seen: Seen,
    names: Names | None = None,
    pending_restart: bool = False,
) -> bool:
    """Close an operation on a server: its state, quota, ports, disks and event in one go.

    :param end: ``succeeded``, ``failed`` or ``canceled``.
    :param seen: the instance as it is now, ABSENT or UNSEEN.
    :param names: by which its interfaces and disks are known; None: they are left as they are.
    :param pending_restart: whether the running machine has taken no notice of a changed device.
    :return: False when the operation was closed before.
    """
    assert operation.server_id is not None
    project_id = await project_of(tx, operation.server_id)
    assert project_id is not None
    await quotas.lock(tx, project_id)
    server = await lock(tx, operation.server_id)
    if not await operations.close_operation(tx, operation.id, end, reason):
        return False
    await quotas.release(tx, operation.id)
    if end == SUCCEEDED:
        await procedures.apply(tx, operation, server)
        server = await lock(tx, server.id)
    before = Rest(server.state, server.charge)
    after = (
        before
        if end == CANCELED and operation.kind != "create"
        else rest(operation.kind, end, before, seen, operation.step)
    )
    badly = end == FAILED or (end == CANCELED and operation.kind == "create")
    fault = reason if badly and after.state == ERROR else None
    await move(tx, server, before, after, seen, fault)
    if operation.kind == "create" and end == SUCCEEDED:
        await tx.run("update server set launched_at = now() where id = %s", (server.id,))
    await attachments.settled(tx, server, operation, end, seen, pending_restart)
    await volume_attachments.settled(tx, server, operation, end, pending_restart)
    if names is not None and isinstance(seen, Instance) and after.charge != quota.NONE:
        rests = operation.kind != "create" or end == SUCCEEDED
        if rests and not await operations.open_of_server(tx, server.id):
            await follow(tx, server, after.charge, seen, names)
    await outbox.tell_operation(tx, "operation.ended", operation.id)
    if server.cluster_id is not None and operation.kind != "delete" and after.state != DELETED:
        # A delete may have been waiting for this.
        await operations.wake(tx, server.cluster_id, server.id)
    await procedures.settle_room(tx, operation, server.cluster_id, end)
    return True


@dataclass(frozen=True)
class Observed:
    """What came of a look at a server at rest.

    :ivar rest: where it rests now; ``before``: where it did.
    :ivar followed: the differences of its sizes, ports and volumes.
    """

    before: Rest
    rest: Rest
    followed: Followed


async def observe(
    tx: Any, server_id: int, seen: Seen, names: Names, fault: str | None = None
) -> Observed | None:
    """Write down what was seen of a server at rest; the cluster is right.

    :param fault: for its owner, if it ends in error by this.
    :return: None when there was nothing to write: it is gone, or an operation is open.
    """
    project_id = await project_of(tx, server_id)
    if project_id is None:
        return None
    await quotas.lock(tx, project_id)
    server = await lock(tx, server_id)
    if server.deleted or await operations.open_of_server(tx, server_id):
        return None
    if server.project_id != project_id:
        # It was given to another project meanwhile; the next look has its holdings.
        return None
    before = Rest(server.state, server.charge)
    after = observed(before, seen)
    newly = after.state == ERROR and before.state != ERROR
    await move(tx, server, before, after, seen, fault if newly else None)
    if before.state in (BUILDING, ERROR) and after.state not in (BUILDING, ERROR):
        await tx.run(
            "update server set launched_at = coalesce(launched_at, now())"
            " where id = %s and deleted_at is null",
            (server.id,),
        )
    followed = Followed()
    if attachments.stands_still(seen):
        await attachments.restarted(tx, server.id)
    if isinstance(seen, Instance) and after.charge != quota.NONE:
        followed = await follow(tx, server, after.charge, seen, names)
    return Observed(before, after, followed)


async def move(
    tx: Any, server: Any, before: Rest, after: Rest, seen: Seen, fault: str | None
) -> None:
    """Bring a locked server from one rest to another: quota, row, ports and disks."""
    disk_gib = await tx.value(_DISK_GIB, (server.id,))
    change = difference(
        server_amounts(before.charge, server.vcpus, server.memory_mib, disk_gib),
        server_amounts(after.charge, server.vcpus, server.memory_mib, disk_gib),
    )
    await quotas.add(tx, server.project_id, change)
    instance = seen if isinstance(seen, Instance) else None
    await tx.run(
        "update server set state = %(state)s, charge = %(charge)s,"
        " fault_code = case when %(fault)s::text is not null then 500 when %(state)s = 'error'"
        " then fault_code end,"
        " fault_message = case when %(state)s = 'error' then coalesce(%(fault)s, fault_message,"
        " 'The server is in an unknown state.') end,"
        " fault_at = case when %(fault)s::text is not null then now() when %(state)s = 'error'"
        " then coalesce(fault_at, now()) end,"
        " ganeti_status = coalesce(%(status)s, ganeti_status),"
        " ganeti_serial = coalesce(%(serial)s, ganeti_serial),"
        " node = coalesce(%(node)s, node),"
        " vnc_port = case when %(seen)s then %(vnc_port)s else vnc_port end,"
        " seen_at = case when %(seen)s then now() else seen_at end,"
        " terminated_at = case when %(state)s = 'deleted' then now() end,"
        " deleted_at = case when %(state)s = 'deleted' then now() end,"
        " updated_at = now() where id = %(id)s",
        {
            "id": server.id,
            "state": after.state,
            "charge": after.charge,
            "fault": fault,
            "status": instance.status if instance else None,
            "serial": instance.serial if instance else None,
            "node": instance.pnode if instance else None,
            "vnc_port": instance.network_port if instance else None,
            "seen": instance is not None,
        },
    )
    if after.charge == quota.NONE:
        await delete_ports_of_server(tx, server.id)
        await tx.run(
            "update volume set status = 'deleted', deleted_at = now(), updated_at = now()"
            " where server_id = %s and local and deleted_at is null",
            (server.id,),
        )
        await volume_attachments.server_is_gone(tx, server.id)
    elif after != before:
        await volume_attachments.made_with_server(tx, server.id)
        ports = await tx.all(
            "update port set state = 'active', updated_at = now()"
            " where server_id = %s and state = 'build' returning id",
            (server.id,),
        )
        await outbox.tell_ports(tx, "port.changed", [port.id for port in ports])
    if after != before:
        await outbox.tell_servers(tx, (server.id,))
    if before.charge != quota.NONE and after.charge == quota.NONE:
        await count_on_cluster(tx, server.id, disk_gib, -1)
