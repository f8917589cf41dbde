"""Rows for tests: each function adds one thing, complete, with what matters as arguments."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from cyclades_tx.model.who import MEMBER, Who

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Row:
    """The two names of a thing."""

    id: int
    uuid: str


def a_hex_id() -> str:
    """An id as projects and users have."""
    return uuid4().hex


async def a_project(database: Any, name: str | None = None) -> str:
    """Add a project; return its id."""
    project_id = a_hex_id()
    await database.run(
        "insert into project (id, name) values (%s, %s)", (project_id, name or f"p-{project_id}")
    )
    return project_id


async def a_user(database: Any, name: str | None = None) -> str:
    """Add a user, who cannot log in; return the id."""
    user_id = a_hex_id()
    await database.run(
        "insert into user_account (id, name) values (%s, %s)", (user_id, name or f"u-{user_id}")
    )
    return user_id


async def somebody(database: Any, *roles: str, project_id: str | None = None) -> Who:
    """Add a user, and a project unless one is given; return both as who asks."""
    project_id = project_id or await a_project(database)
    user_id = await a_user(database)
    return Who(user_id, f"u-{user_id}", project_id, None, frozenset(roles or (MEMBER,)))


async def a_flavor(
    database: Any,
    name: str | None = None,
    *,
    vcpus: int = 1,
    memory_mib: int = 512,
    disk_gib: int = 2,
    description: str | None = None,
    public: bool = True,
    allow_create: bool = True,
    template: str = "plain",
    specs: dict[str, str] | None = None,
    access: tuple[str, ...] = (),
) -> Row:
    """Add a flavor, and a volume type for it when its template has none yet."""
    type_id = await database.value(
        "select id from volume_type where disk_template = %s order by id limit 1", (template,)
    )
    if type_id is None:
        type_id = await database.value(
            "insert into volume_type (name, disk_template) values (%s, %s) returning id",
            (template, template),
        )
    row = await database.first(
        "insert into flavor (name, description, vcpus, memory_mib, disk_gib, volume_type_id,"
        " public, allow_create) values (%s, %s, %s, %s, %s, %s, %s, %s) returning id, uuid",
        (
            name or f"flavor-{next(_numbers)}",
            description,
            vcpus,
            memory_mib,
            disk_gib,
            type_id,
            public,
            allow_create,
        ),
    )
    for key, value in (specs or {}).items():
        await database.run("insert into flavor_spec values (%s, %s, %s)", (row.id, key, value))
    for project_id in access:
        await database.run("insert into flavor_access values (%s, %s)", (row.id, project_id))
    return Row(row.id, str(row.uuid))


async def an_image(
    database: Any,
    name: str = "image",
    *,
    project_id: str | None = None,
    visibility: str = "public",
    min_disk_gib: int = 0,
    min_memory_mib: int = 0,
) -> Row:
    """Add an active image."""
    row = await database.first(
        "insert into image (project_id, name, status, visibility, disk_format, container_format,"
        " location, min_disk_gib, min_memory_mib)"
        " values (%s, %s, 'active', %s, 'diskdump', 'bare', 'image.diskdump', %s, %s)"
        " returning id, uuid",
        (project_id, name, visibility, min_disk_gib, min_memory_mib),
    )
    return Row(row.id, str(row.uuid))


async def a_cluster(
    database: Any,
    name: str | None = None,
    *,
    drained: bool = False,
    offline: bool = False,
    public: bool = True,
    templates: tuple[str, ...] = ("plain", "file"),
) -> Row:
    """Add a cluster with much room; its password is no password."""
    number = next(_numbers)
    row = await database.first(
        "insert into cluster (name, position, rapi_host, rapi_username, rapi_password, drained,"
        " offline, public, reachable, disk_templates, memory_free_mib, memory_total_mib,"
        " disk_free_mib, disk_total_mib, cpus, statistics_at)"
        " values (%s, (select coalesce(max(position), -1) + 1 from cluster), '127.0.0.1',"
        " 'synnefo', ''::bytea, %s, %s, %s, true, %s, 1048576, 1048576, 104857600, 104857600,"
        " 64, now()) returning id, uuid",
        (name or f"cluster-{number}", drained, offline, public, list(templates)),
    )
    return Row(row.id, str(row.uuid))


async def a_server(
    database: Any,
    who: Who,
    flavor: Row,
    *,
    name: str = "server",
    state: str = "active",
    image: Row | None = None,
    cluster: Row | None = None,
    metadata: dict[str, str] | None = None,
    tags: tuple[str, ...] = (),
    **columns: Any,
) -> Row:
    """Add a server that is charged for nothing.

    :param columns: further columns of its row, by name.
    """
    values: dict[str, Any] = {
        "name": name,
        "hostname": "server",
        "user_id": who.user_id,
        "project_id": who.project_id,
        "flavor_id": flavor.id,
        "vcpus": 1,
        "memory_mib": 512,
        "image_id": None if image is None else image.id,
        "cluster_id": None if cluster is None else cluster.id,
        "reservation_id": "r-00000000",
        "state": state,
        **columns,
    }
    names = ", ".join(values)
    slots = ", ".join(f"%({column})s" for column in values)
    deleted = "deleted_at" not in values and state == "deleted"
    row = await database.first(
        f"insert into server ({names}{', deleted_at, terminated_at' if deleted else ''})"
        f" values ({slots}{', now(), now()' if deleted else ''}) returning id, uuid",
        values,
    )
    for key, value in (metadata or {}).items():
        await database.run("insert into server_metadata values (%s, %s, %s)", (row.id, key, value))
    for tag in tags:
        await database.run("insert into server_tag values (%s, %s)", (row.id, tag))
    return Row(row.id, str(row.uuid))


async def an_operation(
    database: Any,
    server: Row,
    cluster: Row,
    kind: str,
    *,
    state: str = "pending",
    arguments: str = "{}",
    request_id: str | None = None,
    progress: int = 0,
) -> int:
    """Add an operation on a server; return its id."""
    ended = state in ("succeeded", "failed", "canceled")
    operation_id: int = await database.value(
        "insert into operation (kind, state, server_id, cluster_id, project_id, user_id,"
        " request_id, arguments, progress, job_id, deadline_at, finished_at)"
        " select %s, %s, server.id, %s, server.project_id, server.user_id, %s, %s, %s, %s,"
        " now() + interval '1 hour', case when %s then now() end from server where id = %s"
        " returning id",
        (
            kind,
            state,
            cluster.id,
            request_id or f"req-{uuid4()}",
            arguments,
            progress,
            7 if state == "submitted" else None,
            ended,
            server.id,
        ),
    )
    return operation_id


async def a_network(
    database: Any,
    name: str = "net",
    *,
    project_id: str | None = None,
    cidr: str = "10.0.0.0/24",
    shared: bool = False,
    external: bool = False,
) -> Row:
    """Add a network with one subnet."""
    row = await database.first(
        "insert into network (name, project_id, flavor, mode, link, mac_prefix, shared, external,"
        " floating_ip_pool) values (%s, %s, 'CUSTOM', 'bridged', 'br0', 'aa:00:0', %s, %s, %s)"
        " returning id, uuid",
        (name, project_id, shared, external, external),
    )
    await database.run(
        "insert into subnet (network_id, cidr) values (%s, %s)",
        (row.id, cidr),
    )
    return Row(row.id, str(row.uuid))


async def a_port(
    database: Any,
    server: Row,
    network: Row,
    address: str | None,
    *,
    position: int = 0,
    device_owner: str = "compute:nova",
    mac: str | None = None,
) -> Row:
    """Add a port of a server, with an address or none."""
    number = next(_numbers)
    mac = mac or f"aa:00:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    row = await database.first(
        "insert into port (network_id, project_id, user_id, server_id, position, mac, state,"
        " device_owner) select %s, server.project_id, server.user_id, server.id, %s, %s, 'active',"
        " %s from server where id = %s returning id, uuid",
        (network.id, position, mac, device_owner, server.id),
    )
    if address is not None:
        await database.run(
            "insert into address (subnet_id, address, port_id)"
            " select subnet.id, %s, %s from subnet where network_id = %s and cidr >>= %s::inet",
            (address, row.id, network.id, address),
        )
    return Row(row.id, str(row.uuid))


async def a_floating_ip(database: Any, who: Who, network: Row, address: str, port: Row) -> UUID:
    """Put an address of an external network on somebody's port, as an extra interface."""
    server = await database.first(
        "select s.id, s.uuid, (select max(position) + 1 from port where server_id = s.id) as next"
        " from server s join port p on p.server_id = s.id where p.id = %s",
        (port.id,),
    )
    extra = await a_port(
        database,
        Row(server.id, str(server.uuid)),
        network,
        address,
        position=server.next,
        device_owner="network:floatingip",
    )
    uuid: UUID = await database.value(
        "insert into floating_ip (address_id, network_id, project_id, user_id, port_id)"
        " select address.id, %s, %s, %s, %s from address where port_id = %s returning uuid",
        (network.id, who.project_id, who.user_id, port.id, extra.id),
    )
    return uuid


async def a_holding(
    database: Any, project_id: str, resource: str, maximum: int | None, used: int = 0
) -> None:
    """Set what a project may hold of a resource and holds."""
    await database.run(
        "insert into holding (project_id, resource, maximum, used) values (%s, %s, %s, %s)"
        " on conflict (project_id, resource) do update"
        " set maximum = excluded.maximum, used = excluded.used",
        (project_id, resource, maximum, used),
    )
