"""What a person can ask for about floating IPs.

Putting one on a port adds an interface with that address to the port's server; taking it off
removes that interface. Both are operations on the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound
from cyclades_tx.flows.charged_project import charged_project
from cyclades_tx.flows.interfaces import Interfaces, find_port, lock_port
from cyclades_tx.model import address as arithmetic
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.quota import FLOATING_IP
from cyclades_tx.model.who import Who
from cyclades_tx.store import (
    attachments,
    floating_ips,
    network_changes,
    operations,
    ports,
    quotas,
    servers,
)
from cyclades_tx.store import networks as network_rows


@dataclass(frozen=True)
class WantedFloatingIp:
    """A floating IP that somebody wants.

    :ivar address: this one, for administrators.
    :ivar port_ref: the port to put it on at once.
    :ivar fixed_ip: which of the port's addresses it stands beside; it must have that.
    """

    network_ref: str
    subnet_ref: str | None = None
    address: str | None = None
    port_ref: str | None = None
    fixed_ip: str | None = None
    description: str = ""
    project_id: str | None = None


class FloatingIps:
    """The flows of floating IPs.

    :param interfaces: opens the operations on servers.
    """

    def __init__(self, database: Any, interfaces: Interfaces) -> None:
        self._database = database
        self._interfaces = interfaces

    async def create(self, who: Who, wanted: WantedFloatingIp, request_id: str) -> str:
        """Keep an address for a project; return its UUID.

        :raise OverQuota: when the project has as many as it may.
        :raise BadRequest: when the network gives no floating IPs.
        :raise Conflict: when no address is free, or the server cannot be changed now.
        """
        address = None
        if wanted.address is not None:
            if not who.admin:
                raise Forbidden("Only an administrator can choose the address of a floating IP.")
            address = str(arithmetic.parse_address(wanted.address, "IP address"))
        subnet = None
        if wanted.subnet_ref is not None:
            subnet = parse_uuid(wanted.subnet_ref)
            if subnet is None:
                raise NotFound(f"Subnet {wanted.subnet_ref} could not be found.", "subnet")

        async def work(tx: Any) -> str:
            project_id = await charged_project(tx, who, wanted.project_id)
            network = await network_rows.seen(tx, who, wanted.network_ref)
            if not network.external or not network.floating_ip_pool:
                raise BadRequest(
                    f"Network {network.uuid} is not a valid external network.",
                    neutron_type="BadRequest",
                )
            if network.state != "active" or network.drained:
                raise Conflict(
                    f"Network {network.name} gives no new addresses now.",
                    "IpAddressGenerationFailure",
                )
            holdings = await quotas.lock(tx, project_id)
            quotas.refuse_shortage(holdings, {FLOATING_IP: 1})
            # The server, if one is meant, is locked before any address.
            server = None
            if wanted.port_ref is not None:
                server = await self._server_of_port(tx, who, wanted.port_ref, project_id)
            address_id = await floating_ips.take_address(tx, network, subnet, address)
            made = await floating_ips.insert(
                tx,
                address_id=address_id,
                network_id=network.id,
                project_id=project_id,
                user_id=who.user_id,
                description=wanted.description,
            )
            await quotas.add(tx, project_id, {FLOATING_IP: 1})
            if server is not None and wanted.port_ref is not None:
                row = await floating_ips.lock(tx, made.id)
                await self._put(tx, who, row, server, wanted.port_ref, wanted.fixed_ip, request_id)
            return str(made.uuid)

        found: str = await self._interfaces.turns.run(
            work, "floating_ip.create", wanted.project_id or who.turn
        )
        return found

    async def create_in_pool(self, who: Who, pool: str | None, request_id: str) -> str:
        """Keep an address of a pool for the caller's project; return its UUID.

        :param pool: the name or UUID of an external network; None: the first that has a free
            address.
        :raise NotFound: when there is no such pool.
        :raise Conflict: when no address is free.
        """
        network = await floating_ips.pool_named(self._database, pool)
        if network is None:
            raise NotFound("Floating IP pool not found.", "network")
        return await self.create(who, WantedFloatingIp(network), request_id)

    async def update(
        self,
        who: Who,
        ref: str,
        changes: dict[str, Any],
        request_id: str,
        revision: int | None = None,
    ) -> str:
        """Put one on a port, take it off (``port_ref`` None), or describe it; return its UUID.

        :param changes: ``port_ref``, ``fixed_ip``, ``description``: what is absent stays.
        """

        async def work(tx: Any) -> str:
            seen = await floating_ips.find(tx, who, ref)
            network_changes.check_revision(seen, revision)
            if "port_ref" in changes:
                if changes["port_ref"] is None:
                    if changes.get("fixed_ip") is not None:
                        raise BadRequest("fixed_ip_address cannot be given without a port_id.")
                    await self._take_off(tx, who, seen, request_id)
                else:
                    port_ref = changes["port_ref"]
                    server = await self._server_of_port(tx, who, port_ref, seen.project_id)
                    row = await self._locked(tx, seen, ref)
                    await self._put(
                        tx, who, row, server, port_ref, changes.get("fixed_ip"), request_id
                    )
            if "description" in changes:
                await floating_ips.describe(tx, seen.id, changes["description"])
            return str(seen.uuid)

        found: str = await self._interfaces.turns.run(work, "floating_ip.update", who.turn)
        return found

    async def delete(
        self, who: Who, ref: str, request_id: str, revision: int | None = None
    ) -> None:
        """Give a floating IP back; one that is on a server goes when its interface is gone."""

        async def work(tx: Any) -> None:
            seen = await floating_ips.find(tx, who, ref)
            network_changes.check_revision(seen, revision)
            await quotas.lock(tx, seen.project_id)
            server_id = await self._server_id(tx, seen)
            if server_id is None:
                row = await self._locked(tx, seen, ref)
                if row.extra_id is not None:
                    raise Conflict(f"Floating IP {row.address} is being moved; try again.")
                await floating_ips.delete(tx, row)
                return
            await servers.lock(tx, server_id)
            if not await self._leaves(tx, server_id, seen.extra_id):
                await self._take_off(tx, who, seen, request_id)
            await floating_ips.mark_released(tx, (await self._locked(tx, seen, ref)).id)

        await self._interfaces.turns.run(work, "floating_ip.delete", who.turn)

    async def add_to_server(
        self, who: Who, server_ref: str, address: str, fixed_ip: str | None, request_id: str
    ) -> None:
        """Put the floating IP of an address on a server: beside its first address, or this one."""

        async def work(tx: Any) -> None:
            seen = await floating_ips.with_address(tx, who, address)
            if seen is None:
                raise NotFound(f"Floating IP {address} could not be found.", "floatingip")
            server = await self._interfaces.locked_for_change(
                tx, who, server_ref, "add_floating_ip"
            )
            port_ref = await tx.value(
                "select p.uuid::text from port p join address a on a.port_id = p.id"
                " where p.server_id = %s and p.device_owner <> %s and family(a.address) = 4"
                " and (%s::text is null or host(a.address) = %s::text) order by p.position limit 1",
                (server.id, ports.FLOATING_OWNER, fixed_ip, fixed_ip),
            )
            if port_ref is None:
                raise BadRequest("The server has no such fixed address to put a floating IP on.")
            row = await self._locked(tx, seen, address)
            await self._put(tx, who, row, server, port_ref, None, request_id)

        await self._interfaces.turns.run(work, "floating_ip.add", who.turn)

    async def remove_from_server(
        self, who: Who, server_ref: str, address: str, request_id: str
    ) -> None:
        """Take the floating IP of an address off a server.

        :raise Conflict: when it is not on this one.
        """

        async def work(tx: Any) -> None:
            seen = await floating_ips.with_address(tx, who, address)
            if seen is None:
                raise NotFound(f"Floating IP {address} could not be found.", "floatingip")
            server = await self._interfaces.locked_for_change(
                tx, who, server_ref, "remove_floating_ip"
            )
            if await self._server_id(tx, seen) != server.id:
                raise Conflict(
                    f"Floating IP {address} is not associated with instance {server_ref}.",
                    "not_associated",
                )
            await self._take_off(tx, who, seen, request_id)

        await self._interfaces.turns.run(work, "floating_ip.remove", who.turn)

    async def _server_of_port(self, tx: Any, who: Who, port_ref: str, project_id: str) -> Any:
        """Lock the server that a floating IP of a project shall come to by a port."""
        port = await find_port(tx, who, port_ref)
        if port.project_id != project_id:
            raise NotFound(f"Port {port_ref} could not be found.", "port")
        if port.server_id is None:
            raise Conflict(
                f"Port {port.uuid} belongs to no server, and a floating IP is an interface of "
                "one: attach the port first.",
                "PortNotAttached",
            )
        uuid = await tx.value("select uuid::text from server where id = %s", (port.server_id,))
        return await self._interfaces.locked_for_change(tx, who, uuid, "add_floating_ip")

    async def _locked(self, tx: Any, seen: Any, ref: str) -> Any:
        row = await floating_ips.lock(tx, seen.id)
        # With its server it may have gone to another project meanwhile.
        if row is None or row.released or row.project_id != seen.project_id:
            raise NotFound(f"Floating IP {ref} could not be found.", "floatingip")
        return row

    async def _put(
        self,
        tx: Any,
        who: Who,
        row: Any,
        server: Any,
        port_ref: str,
        fixed_ip: str | None,
        request_id: str,
    ) -> None:
        """Put a locked floating IP on a port of a locked server."""
        port = await lock_port(tx, who, port_ref)
        if port.server_id != server.id:
            raise Conflict(f"Port {port.uuid} is being moved; try again.", "PortInUse")
        if row.project_id != server.project_id:
            raise NotFound(f"Port {port_ref} could not be found.", "port")
        if fixed_ip is not None and not await tx.value(
            "select exists (select from address where port_id = %s and host(address) = %s)",
            (port.id, fixed_ip),
        ):
            raise BadRequest(f"Port {port.uuid} does not have fixed ip {fixed_ip[:64]}.")
        if row.extra_id is not None:
            if await self._server_id(tx, row) != server.id:
                raise Conflict(
                    f"Floating IP {row.address} is on another server: disassociate it first.",
                    "FloatingIPPortAlreadyAssociated",
                )
            if row.port_id != port.id:
                await floating_ips.set_port(tx, row.id, port.id)
            return
        position = await attachments.next_position(tx, server.id, self._interfaces.max_nics)
        extra = await ports.create_port(
            tx,
            network_id=row.network_id,
            project_id=row.project_id,
            user_id=row.user_id,
            server_id=server.id,
            position=position,
            subnet_ids=(),
            automatic=True,
            state="build",
            device_owner=ports.FLOATING_OWNER,
            drained_too=True,
            random_bits=self._interfaces.random_bits,
        )
        await floating_ips.give_to_port(tx, row.address_id, extra.id)
        await ports.note_taken(tx, extra.id, row.address)
        await floating_ips.set_port(tx, row.id, port.id)
        await self._interfaces.open_attach(tx, who, server, extra.id, row.network_id, request_id)

    async def _take_off(self, tx: Any, who: Who, seen: Any, request_id: str) -> None:
        """Remove the interface of a floating IP; one that has none is only written off."""
        server_id = await self._server_id(tx, seen)
        if server_id is None:
            if seen.port_id is not None:
                await floating_ips.set_port(tx, seen.id, None)
            return
        if await self._leaves(tx, server_id, seen.extra_id):
            return
        uuid = await tx.value("select uuid::text from server where id = %s", (server_id,))
        server = await self._interfaces.locked_for_change(tx, who, uuid, "remove_floating_ip")
        extra = await tx.first(
            "select id, uuid::text, server_id, pending_restart from port where id = %s for update",
            (seen.extra_id,),
        )
        row = await floating_ips.lock(tx, seen.id)
        if row is None or extra is None or row.extra_id != extra.id:
            raise Conflict(f"Floating IP {seen.address} is being moved; try again.")
        await self._interfaces.open_detach(
            tx, who, server, extra, request_id, floating_port_id=row.port_id
        )
        await floating_ips.set_port(tx, row.id, None)

    async def _server_id(self, tx: Any, row: Any) -> int | None:
        """The server that has a floating IP's interface."""
        if row.extra_id is None:
            return None
        found: int | None = await tx.value(
            "select server_id from port where id = %s", (row.extra_id,)
        )
        return found

    async def _leaves(self, tx: Any, server_id: int, extra_id: int) -> bool:
        """Whether the interface goes away already: alone, at a restart, or with its server."""
        for each in await operations.open_of_server(tx, server_id, lock=True):
            if each.kind == "delete":
                return True
            if each.kind == "detach_port" and each.arguments.get("port_id") == extra_id:
                return True
        waits: bool = await tx.value(
            "select exists (select from port where id = %s and pending_restart = 'detach')",
            (extra_id,),
        )
        return waits
