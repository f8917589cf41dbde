"""What a person can ask for about routers.

A router ties networks to an external one. The hosts of a cluster route the networks of the mode
``routed``, and no others: only subnets of those get an interface. Floating IPs need no router.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound
from cyclades_tx.flows.charged_project import charged_project
from cyclades_tx.flows.interfaces import find_port
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.who import Who
from cyclades_tx.store import network_changes, networks, routers, subnets


class Routers:
    """The flows of routers."""

    def __init__(self, database: Any) -> None:
        self._database = database

    async def create(self, who: Who, project: str | None, wanted: dict[str, Any]) -> str:
        """Make a router; return its UUID.

        :param wanted: ``name``, ``description``, ``admin_up``, ``gateway`` (a network's UUID or
            None) and ``snat``.
        """

        async def work(tx: Any) -> str:
            project_id = await charged_project(tx, who, project)
            return await routers.insert(tx, project_id, await self._columns(tx, who, wanted))

        found: str = await self._database.transaction(work, "router.create")
        return found

    async def update(
        self, who: Who, ref: str, wanted: dict[str, Any], revision: int | None = None
    ) -> str:
        """Change a router; return its UUID.

        :param revision: what its revision number must be; None: any.
        """

        async def work(tx: Any) -> str:
            router = await routers.lock(tx, who, ref)
            network_changes.check_revision(router, revision)
            await routers.change(tx, router.id, await self._columns(tx, who, wanted))
            return str(router.uuid)

        found: str = await self._database.transaction(work, "router.update")
        return found

    async def delete(self, who: Who, ref: str, revision: int | None = None) -> None:
        """Delete a router.

        :raise Conflict: ``RouterInUse`` while it has interfaces.
        """

        async def work(tx: Any) -> None:
            router = await routers.lock(tx, who, ref)
            network_changes.check_revision(router, revision)
            if await routers.interfaces(tx, router.id):
                raise Conflict(f"Router {router.uuid} still has ports", "RouterInUse")
            await routers.delete(tx, router.id)

        await self._database.transaction(work, "router.delete")

    async def add_interface(
        self, who: Who, ref: str, subnet_ref: str | None, port_ref: str | None
    ) -> dict[str, Any]:
        """Tie a subnet to a router; return what Network's clients are told of it.

        :raise Conflict: when no host routes the subnet's network, or its gateway is taken.
        """

        async def work(tx: Any) -> dict[str, Any]:
            router = await routers.lock(tx, who, ref)
            if port_ref is not None:
                port = await find_port(tx, who, port_ref)
                raise _unrouted(
                    f"Port {port.uuid} cannot be an interface of a router: where the hosts route a"
                    " network, they answer at the gateway of its subnet. Name the subnet instead."
                )
            subnet = await self._to_tie(tx, who, router, subnet_ref or "")
            port_uuid = await routers.insert_interface(tx, router, subnet, who.user_id)
            await routers.change(tx, router.id, {})
            return await _told(tx, router, port_uuid, subnet.network_uuid, subnet.uuid)

        found: dict[str, Any] = await self._database.transaction(work, "router.add_interface")
        return found

    async def _to_tie(self, tx: Any, who: Who, router: Any, ref: str) -> Any:
        """A subnet that can get an interface of a router; its network is locked."""
        seen = await subnets.seen(tx, who, ref)
        network = await network_changes.lock(tx, seen.network_id)
        row = await subnets.lock(tx, seen.id)
        there = await routers.interfaces(tx, router.id)
        cidr = ip_network(row.cidr)
        if any(each.subnet_id == row.id for each in there):
            raise _wrong(f"Router already has a port on subnet {row.uuid}")
        if network.mode != "routed":
            raise _unrouted(
                f"Network {network.uuid} is of the flavor {network.flavor}: it ends at the bridges"
                " of the hosts. Only one of the flavor IP_LESS_ROUTED, which the hosts route"
                " themselves, can be tied to a router. A floating IP needs none: associate it with"
                " a server's port."
            )
        if not (who.admin or seen.project_id == who.project_id):
            raise Forbidden(f"Subnet {seen.uuid} belongs to another project.")
        if network.external:
            raise _wrong(f"Network {network.uuid} is external: it is a router's gateway")
        if row.gateway is None:
            raise _wrong("Subnet for router interface must have a gateway IP")
        for each in there:
            if ip_network(each.cidr).overlaps(cidr):
                raise _wrong(
                    f"Cidr {cidr} of subnet {row.uuid} overlaps with cidr {each.cidr} of subnet"
                    f" {each.subnet_uuid}"
                )
        if await subnets.is_taken(tx, row.id, row.gateway):
            raise Conflict(f"IP address {row.gateway} is already in use.", "IpAddressInUse")
        return row

    async def remove_interface(
        self, who: Who, ref: str, subnet_ref: str | None, port_ref: str | None
    ) -> dict[str, Any]:
        """Untie a subnet from a router, by the subnet, the port, or both.

        :raise NotFound: when the router has no such interface.
        """

        async def work(tx: Any) -> dict[str, Any]:
            router = await routers.lock(tx, who, ref)
            for each in await routers.interfaces(tx, router.id):
                if subnet_ref is not None and parse_uuid(subnet_ref) != each.subnet_uuid:
                    continue
                if port_ref is None or parse_uuid(port_ref) == each.uuid:
                    break
            else:
                raise NotFound(
                    f"Router {router.uuid} has no interface on"
                    f" {(subnet_ref or port_ref or '')[:80]}.",
                    "router",
                    neutron_type="RouterInterfaceNotFoundForSubnet"
                    if subnet_ref is not None
                    else "RouterInterfaceNotFound",
                )
            told = await _told(tx, router, each.uuid, each.network_uuid, each.subnet_uuid)
            await routers.delete_interface(tx, each.id)
            await routers.change(tx, router.id, {})
            return told

        found: dict[str, Any] = await self._database.transaction(work, "router.remove_interface")
        return found

    async def _columns(self, tx: Any, who: Who, wanted: dict[str, Any]) -> dict[str, Any]:
        columns: dict[str, Any] = {
            key: wanted[key] for key in ("name", "description", "admin_up") if key in wanted
        }
        if "gateway" in wanted:
            columns["external_network_id"] = None
            if wanted["gateway"] is not None:
                network = await networks.seen(tx, who, wanted["gateway"])
                if not network.external:
                    raise BadRequest(
                        f"Network {network.uuid} is not a valid external network.",
                        neutron_type="BadRequest",
                    )
                columns["external_network_id"] = network.id
            columns["external_snat"] = wanted.get("snat", True)
        return columns


async def _told(
    tx: Any, router: Any, port_uuid: str, network_uuid: str, subnet_uuid: str
) -> dict[str, Any]:
    return {
        "id": router.uuid,
        "tenant_id": router.project_id,
        "project_id": router.project_id,
        "port_id": port_uuid,
        "network_id": network_uuid,
        "subnet_id": subnet_uuid,
        "subnet_ids": [subnet_uuid],
        "tags": await routers.tags_of(tx, router.id),
    }


def _wrong(why: str) -> BadRequest:
    return BadRequest(f"Bad router request: {why}.", neutron_type="BadRequest")


def _unrouted(why: str) -> Conflict:
    return Conflict(
        f"No cluster routes between private and public networks. {why}",
        "RouterInterfaceNotSupported",
    )
