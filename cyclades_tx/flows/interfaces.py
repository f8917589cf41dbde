"""What a person can ask for about the interfaces of a server that is there."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.flows.devices import Devices
from cyclades_tx.flows.networks import Networks
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.who import Who
from cyclades_tx.sections import GanetiSection, OperationsSection
from cyclades_tx.store import attachments, networks, ports, security_groups


@dataclass(frozen=True)
class WantedInterface:
    """An interface that a server should get: of a port, or on a network, or on the only one."""

    port_ref: str | None = None
    network_ref: str | None = None
    fixed_ip: str | None = None


class Interfaces(Devices):
    """The flows of interfaces; each change is an operation on their server.

    :param networks_flow: tells which networks a caller may attach to.
    :param random_bits: makes MAC addresses.
    """

    def __init__(
        self,
        database: Any,
        networks_flow: Networks,
        ganeti: GanetiSection,
        deadlines: OperationsSection,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        super().__init__(database, ganeti, deadlines)
        self._networks_flow = networks_flow
        self.random_bits = random_bits
        self.max_nics = ganeti.max_nics

    async def attach(self, who: Who, ref: str, wanted: WantedInterface, request_id: str) -> str:
        """Wish an interface for a server; return the UUID of its port.

        :raise NotFound: for a server, port or network that the caller does not see.
        :raise Conflict: while the server cannot be changed, or when port or address is in use.
        """
        if wanted.fixed_ip is not None and wanted.network_ref is None:
            raise BadRequest("Must input network_id when request IP address.")
        if wanted.fixed_ip is not None and ":" in wanted.fixed_ip:
            raise BadRequest("The IPv6 address of an interface follows from its MAC address.")
        if wanted.port_ref is not None and wanted.network_ref is not None:
            raise BadRequest("Must not input both network_id and port_id.")

        async def work(tx: Any) -> str:
            server = await self.locked_for_change(tx, who, ref, "attach_interface")
            position = await attachments.next_position(tx, server.id, self.max_nics)
            if wanted.port_ref is not None:
                port = await lock_port(tx, who, wanted.port_ref)
                if port.project_id != server.project_id:
                    raise NotFound(f"Port {wanted.port_ref} could not be found.", "port")
                if port.server_id is not None or port.router_id is not None:
                    raise Conflict(f"Port {port.uuid} is still in use.", "PortInUse")
                await attachments.put_on(tx, port.id, server.id, position)
                port_id, uuid, network_id = port.id, port.uuid, port.network_id
            else:
                network = await self._network(tx, who, wanted)
                # Before its address, as for the interfaces of new servers.
                await self._ensure(tx, server, network.id)
                made = await ports.create_port(
                    tx,
                    network_id=network.id,
                    project_id=server.project_id,
                    user_id=server.user_id,
                    server_id=server.id,
                    position=position,
                    address=wanted.fixed_ip,
                    automatic=True,
                    state="build",
                    random_bits=self.random_bits,
                )
                groups = await security_groups.ids_of(tx, server.project_id, None)
                await security_groups.put_on_port(tx, made.id, groups)
                port_id, uuid, network_id = made.id, made.uuid, made.network_id
            await self.open_attach(tx, who, server, port_id, network_id, request_id)
            return str(uuid)

        found: str = await self.turns.run(work, "server.attach_port", who.turn)
        return found

    async def detach(self, who: Who, ref: str, port_ref: str, request_id: str) -> None:
        """Wish an interface of a server gone.

        :raise NotFound: when the server has no such port.
        :raise Conflict: while the server cannot be changed, or has a floating IP by this port.
        """

        async def work(tx: Any) -> None:
            server = await self.locked_for_change(tx, who, ref, "detach_interface")
            port = await lock_port(tx, who, port_ref)
            if port.server_id != server.id or port.device_owner == ports.FLOATING_OWNER:
                raise NotFound(f"Port {port_ref} could not be found.", "port")
            await self.open_detach(tx, who, server, port, request_id)

        await self.turns.run(work, "server.detach_port", who.turn)

    async def delete_port(self, tx: Any, who: Who, port: Any, request_id: str) -> None:
        """Wish a port gone that belongs to a server: its interface first.

        :param port: seen before, and not locked, since its server is locked first.
        """
        uuid = await tx.value("select uuid::text from server where id = %s", (port.server_id,))
        server = await self.locked_for_change(tx, who, uuid, "detach_interface")
        locked = await lock_port(tx, who, port.uuid)
        if locked.server_id != server.id:
            raise Conflict(f"Port {port.uuid} is being moved; try again.", "PortInUse")
        await self.open_detach(tx, who, server, locked, request_id, automatic=locked.automatic)
        await tx.run("update port set automatic = true where id = %s", (locked.id,))

    async def add_fixed_ip(self, who: Who, ref: str, network_ref: str, request_id: str) -> None:
        """Wish an address of a network for a server: another interface on it."""
        await self.attach(who, ref, WantedInterface(network_ref=network_ref), request_id)

    async def remove_fixed_ip(self, who: Who, ref: str, address: str, request_id: str) -> None:
        """Wish an address of a server gone: the interface that has it.

        :raise BadRequest: when no interface of the server has it.
        """

        async def work(tx: Any) -> None:
            server = await self.locked_for_change(tx, who, ref, "detach_interface")
            uuid = await tx.value(
                "select p.uuid::text from port p join address a on a.port_id = p.id"
                " where p.server_id = %s and host(a.address) = %s and p.device_owner <> %s",
                (server.id, address, ports.FLOATING_OWNER),
            )
            if uuid is None:
                raise BadRequest(f"Fixed IP {address} is not associated with instance {ref}.")
            await self.open_detach(tx, who, server, await lock_port(tx, who, uuid), request_id)

        await self.turns.run(work, "server.detach_port", who.turn)

    # What other flows do in transactions of their own

    async def locked_for_change(self, tx: Any, who: Who, ref: str, verb: str) -> Any:
        """Lock a server that is at rest and whose interfaces can be changed.

        :raise Conflict: when they cannot be now.
        """
        server = await self.locked_at_rest(tx, who, ref, verb)
        await self.refuse_unplugged(tx, server, verb, "interfaces")
        return server

    async def open_attach(
        self, tx: Any, who: Who, server: Any, port_id: int, network_id: int, request_id: str
    ) -> None:
        """Open the operation that makes the interface of a port."""
        await self._ensure(tx, server, network_id)
        await self.open_change(tx, who, server, "attach_port", request_id, {"port_id": port_id})

    async def _ensure(self, tx: Any, server: Any, network_id: int) -> None:
        await networks.ensure_on_cluster(
            tx, network_id, server.cluster_id, self._deadlines.deadline_seconds("make_network")
        )

    async def open_detach(
        self, tx: Any, who: Who, server: Any, port: Any, request_id: str, **arguments: Any
    ) -> None:
        """Open the operation that removes the interface of a locked port.

        :param arguments: what is to be undone if it cannot be removed.
        :raise Conflict: when a floating IP was put on the port, or it waits for a restart.
        """
        address = await tx.value(
            "select host(a.address) from floating_ip f join address a on a.id = f.address_id"
            " where f.port_id = %s and a.port_id is distinct from %s limit 1",
            (port.id, port.id),
        )
        if address is not None:
            raise Conflict(
                f"Floating IP {address} is associated with port {port.uuid}: disassociate it "
                "first.",
                "PortInUse",
            )
        if port.pending_restart == "detach":
            raise Conflict(
                f"Port {port.uuid} leaves the server when that is next started or rebooted.",
                "PortInUse",
            )
        await self.open_change(
            tx, who, server, "detach_port", request_id, {"port_id": port.id, **arguments}
        )

    async def _network(self, tx: Any, who: Who, wanted: WantedInterface) -> Any:
        if wanted.network_ref is not None:
            return await self._networks_flow.to_attach(tx, who, wanted.network_ref)
        possible = await self._networks_flow.attachable(tx, who)
        if len(possible) != 1:
            raise BadRequest(
                "No network is named, and the project has none that it could be."
                if not possible
                else "Multiple possible networks found, use a Network ID to be more specific."
            )
        return possible[0]


async def find_port(tx: Any, who: Who, ref: str) -> Any:
    """A port that the caller sees, not locked.

    :param ref: what a client sent: anything.
    :raise NotFound: when there is none.
    """
    return await _port(tx, who, ref, "")


async def lock_port(tx: Any, who: Who, ref: str) -> Any:
    """Lock a port that the caller sees; its server, if it has one, is locked before.

    :raise NotFound: when there is none.
    """
    return await _port(tx, who, ref, " for update")


async def _port(tx: Any, who: Who, ref: str, suffix: str) -> Any:
    uuid = parse_uuid(ref)
    row = uuid and await tx.first(
        "select id, uuid::text, project_id, user_id, network_id, server_id, router_id, mac::text,"
        " device_owner, automatic, state, pending_restart, revision from port where uuid = %s"
        f" and (%s or (project_id = %s and device_owner <> %s)){suffix}",
        (uuid, who.admin, who.project_id, ports.FLOATING_OWNER),
    )
    if not row:
        raise NotFound(f"Port {ref} could not be found.", "port")
    return row
