"""Servers in every situation, written into the database many at once."""

from __future__ import annotations

from typing import Any, NamedTuple

from cyclades_tx.testing import builders
from cyclades_tx.testing.network_builders import a_network
from tests.api.listing import at, put, uuid_of

#: What is in the rows, and what is shown: status, task, state, power.
SITUATIONS: dict[str, tuple[dict[str, Any], str | None, tuple[str, str | None, str, int]]] = {
    "active": ({"state": "active"}, None, ("ACTIVE", None, "active", 1)),
    "stopped": ({"state": "stopped"}, None, ("SHUTOFF", None, "stopped", 4)),
    "building": ({"state": "building"}, None, ("BUILD", "scheduling", "building", 0)),
    "error": (
        {"state": "error", "fault_message": "x", "fault_at": at(0)},
        None,
        ("ERROR", None, "error", 0),
    ),
    "deleted": ({"state": "deleted", "deleted_at": at(3)}, None, ("DELETED", None, "deleted", 0)),
    "rescued": ({"state": "rescued"}, None, ("RESCUE", None, "rescued", 0)),
    "resized": ({"state": "resized"}, None, ("VERIFY_RESIZE", None, "resized", 0)),
    "suspended": (
        {"state": "stopped", "suspended": True},
        None,
        ("SUSPENDED", None, "suspended", 4),
    ),
    "stopping": ({"state": "active"}, "stop", ("ACTIVE", "powering-off", "active", 1)),
    "rebuilding": ({"state": "stopped"}, "rebuild", ("REBUILD", "rebuilding", "stopped", 4)),
    "deleting": ({"state": "active"}, "delete", ("ACTIVE", "deleting", "active", 1)),
}
_AT_REST = {"suspended": False, "fault_message": None, "fault_at": None, "deleted_at": None}

_TABLES = ("operation", "address", "port", "server_tag", "server")


class Site(NamedTuple):
    """What servers stand on.

    :ivar flavors: the ids of two, by number; and so are the images.
    :ivar subnets: of IPv4 and of IPv6.
    :ivar projects: the member's, a stranger's, the administrator's.
    """

    cluster: int
    flavors: list[int]
    images: list[int]
    network: int
    subnets: tuple[int, int]
    projects: list[str]


async def a_site(database: Any, projects: list[str]) -> Site:
    """A cluster, a network of both versions, two flavors, two images."""
    flavors, images = [], []
    for number in range(2):
        flavor = await builders.a_flavor(database)
        image = await builders.an_image(database)
        for table, row, found in (("flavor", flavor, flavors), ("image", image, images)):
            uuid = uuid_of(table, number)
            await database.run(f"update {table} set uuid = %s where id = %s", (uuid, row.id))
            found.append(row.id)
    network = await a_network(database, None, "10.0.0.0/16", "fd00::/64", shared=True)
    subnets = await database.all("select id from subnet order by family(cidr)")
    cluster = await builders.a_cluster(database)
    four, six = (row.id for row in subnets)
    return Site(cluster.id, flavors, images, network.id, (four, six), projects)


def addresses_of(number: int, kinds: frozenset[str]) -> list[str]:
    """The addresses of a server, which nobody else has."""
    known = {
        "one": f"10.0.{number}.1",
        "twelve": f"10.0.{number}.12",
        "six": f"fd00::{number + 10}",
    }
    return [known[kind] for kind in sorted(kinds)]


async def fill(database: Any, site: Site, made: list[Any]) -> list[Any]:
    """Put generated servers into the database, in place of those there; as the model knows them."""
    rows: list[Any] = []
    wishes: list[Any] = []
    tags: list[Any] = []
    ports: list[Any] = []
    addresses: list[Any] = []
    servers = []
    for number, each in enumerate(made):
        columns, kind, (status, task, vm_state, power) = SITUATIONS[each["situation"]]
        own = {
            "id": number + 1,
            "uuid": uuid_of("server", number),
            "name": each["name"],
            "hostname": each["hostname"],
            "description": each["description"],
            "user_id": str(number % 2) * 32,
            "project_id": site.projects[each["project"]],
            "key_name": each["key_name"],
            "reservation_id": f"r-{number % 2}",
            "locked": each["locked"],
            "node": each["node"],
            "created_at": at(each["created"]),
            "updated_at": at(each["updated"]),
            "launched_at": None if each["launched"] is None else at(each["launched"]),
        }
        rows.append(
            {
                **own,
                "shared_to_project": False,
                "cluster_id": site.cluster,
                "flavor_id": site.flavors[each["flavor"]],
                "image_id": None if each["image"] is None else site.images[each["image"]],
                "vcpus": 1,
                "memory_mib": 512,
                "availability_zone": each["zone"],
                "config_drive": each["drive"],
                "disk_config": "MANUAL",
                "helper": False,
                "charge": "none",
                **_AT_REST,
                **columns,
            }
        )
        if kind is not None:
            wishes.append((number + 1, kind))
        tags += [{"server_id": number + 1, "tag": tag} for tag in sorted(each["tags"])]
        own_addresses = addresses_of(number, each["addresses"])
        for place, text in enumerate(own_addresses):
            port = len(ports) + 1
            ports.append(_port(site, own, port, place))
            subnet = site.subnets[":" in text]
            addresses.append(
                {"id": port, "subnet_id": subnet, "address": text, "port_id": port,
                 "created_at": at(0)}
            )  # fmt: skip
        servers.append(
            {
                **own,
                "zone": each["zone"],
                "config_drive": each["drive"],
                "flavor": uuid_of("flavor", each["flavor"]),
                "image": None if each["image"] is None else uuid_of("image", each["image"]),
                "tags": each["tags"],
                "addresses": own_addresses,
                "status": status,
                "task_state": task,
                "vm_state": vm_state,
                "power_state": power,
                "flavor_id": site.flavors[each["flavor"]],
                "zone_shown": each["zone"] or "nova",
            }
        )

    async def write(tx: Any) -> None:
        await tx.run("; ".join(f"delete from {table}" for table in _TABLES))
        await put(tx, "server", rows)
        await put(tx, "server_tag", tags)
        await put(tx, "port", ports)
        await put(tx, "address", addresses)
        for server_id, kind in wishes:
            await tx.run(
                "insert into operation (kind, server_id, cluster_id, deadline_at)"
                " values (%s, %s, %s, now() + interval '1 hour')",
                (kind, server_id, site.cluster),
            )

    await database.transaction(write)
    return servers


def _port(site: Site, server: Any, port: int, position: int) -> dict[str, Any]:
    return {
        "id": port,
        "uuid": uuid_of("port", port),
        "name": "",
        "description": "",
        "network_id": site.network,
        "project_id": server["project_id"],
        "user_id": server["user_id"],
        "server_id": server["id"],
        "position": position,
        "mac": f"aa:00:00:00:00:{port:02x}",
        "state": "active",
        "admin_up": True,
        "device_owner": "compute:nova",
        "automatic": True,
        "revision": 1,
        "created_at": at(0),
        "updated_at": at(0),
    }
