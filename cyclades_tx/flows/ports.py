"""What a person can ask for about ports: of a server, or standing alone until one takes them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, Forbidden
from cyclades_tx.flows.charged_project import charged_project
from cyclades_tx.flows.interfaces import Interfaces, find_port, lock_port
from cyclades_tx.flows.networks import Networks
from cyclades_tx.model import address as arithmetic
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.who import Who
from cyclades_tx.store import firewalls, network_changes, outbox, ports, security_groups


@dataclass(frozen=True)
class WantedAddress:
    """One of ``fixed_ips``: an address, or any of a subnet."""

    subnet_ref: str | None = None
    address: str | None = None


@dataclass(frozen=True)
class WantedPort:
    """A port that somebody wants.

    :ivar addresses: None: an address of each kind that the network has; (): none at all.
    :ivar mac: for administrators; None: one is made.
    :ivar security_groups: UUIDs; None: the project's default group; (): none.
    :ivar project_id: for administrators; None: the caller's.
    """

    network_ref: str
    name: str = ""
    description: str = ""
    admin_up: bool = True
    addresses: tuple[WantedAddress, ...] | None = None
    mac: str | None = None
    security_groups: tuple[str, ...] | None = None
    project_id: str | None = None


class Ports:
    """The flows of ports.

    :param interfaces: removes the interface of a port that a server has.
    :param random_bits: makes MAC addresses.
    """

    def __init__(
        self,
        database: Any,
        networks_flow: Networks,
        interfaces: Interfaces,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._database = database
        self._networks_flow = networks_flow
        self._interfaces = interfaces
        self._random_bits = random_bits

    async def create(self, who: Who, wanted: Sequence[WantedPort]) -> list[str]:
        """Make ports that no server has yet, all or none; return their UUIDs.

        :raise NotFound: for a network, subnet or group that the caller does not see.
        :raise Conflict: when an address or MAC is in use, or none is free.
        """

        async def work(tx: Any) -> list[str]:
            networks = [
                await self._networks_flow.to_attach(tx, who, each.network_ref) for each in wanted
            ]
            # Everybody takes from networks in the same order, whatever the order of the wishes.
            order = sorted(range(len(wanted)), key=lambda place: networks[place].id)
            made = {
                place: await self._create(tx, who, wanted[place], networks[place])
                for place in order
            }
            return [made[place] for place in range(len(wanted))]

        found: list[str] = await self._database.transaction(work, "port.create", turn=who.turn)
        return found

    async def _create(self, tx: Any, who: Who, wanted: WantedPort, network: Any) -> str:
        project_id = await charged_project(tx, who, wanted.project_id)
        mac = None
        if wanted.mac is not None:
            if not who.admin:
                raise Forbidden("Only an administrator can choose a port's MAC address.")
            mac = arithmetic.mac_from(wanted.mac)
        groups = await security_groups.ids_of(tx, project_id, wanted.security_groups)
        subnet_ids, address = await _addresses(tx, network, wanted.addresses)
        made = await ports.create_port(
            tx,
            network_id=network.id,
            project_id=project_id,
            user_id=who.user_id,
            name=wanted.name,
            mac=mac,
            subnet_ids=subnet_ids,
            address=address,
            random_bits=self._random_bits,
        )
        await tx.run(
            "update port set description = %s, admin_up = %s where id = %s",
            (wanted.description, wanted.admin_up, made.id),
        )
        await security_groups.put_on_port(tx, made.id, groups)
        return made.uuid

    async def device(self, who: Who, ref: str) -> tuple[str, str]:
        """What a port belongs to: the UUID of a server, a router or "", and the owner's kind."""
        port = await find_port(self._database, who, ref)
        uuid = await self._database.value(
            "select uuid::text from server where id = %s"
            " union all select uuid::text from router where id = %s",
            (port.server_id, port.router_id),
        )
        return uuid or "", port.device_owner

    async def update(
        self, who: Who, ref: str, changes: dict[str, Any], revision: int | None = None
    ) -> str:
        """Change a port; return its UUID.

        :param changes: ``name``, ``description``, ``admin_up``, ``security_groups``; and, while no
            server has it, ``addresses`` and ``mac``.
        :raise Conflict: for what cannot change while a server has it.
        """

        async def work(tx: Any) -> str:
            port = await lock_port(tx, who, ref)
            network_changes.check_revision(port, revision)
            columns: dict[str, Any] = {
                key: changes[key] for key in ("name", "description", "admin_up") if key in changes
            }
            if "mac" in changes:
                columns["mac"] = await _new_mac(tx, who, port, changes["mac"])
            if columns:
                assignments = ", ".join(f"{column} = %({column})s" for column in columns)
                await tx.run(
                    f"update port set {assignments} where id = %(id)s", {**columns, "id": port.id}
                )
            if "security_groups" in changes:
                groups = await security_groups.ids_of(
                    tx, port.project_id, changes["security_groups"]
                )
                await security_groups.put_on_port(tx, port.id, groups)
                await firewalls.wish_of_port(tx, port.id)
            if "addresses" in changes:
                await _readdress(tx, port, changes["addresses"])
            await tx.run(
                "update port set updated_at = now(), revision = revision + 1 where id = %s",
                (port.id,),
            )
            await outbox.tell_ports(tx, "port.changed", (port.id,))
            return str(port.uuid)

        found: str = await self._database.transaction(work, "port.update")
        return found

    async def delete(
        self, who: Who, ref: str, request_id: str, revision: int | None = None
    ) -> None:
        """Wish a port gone; one that a server has goes when its interface is removed.

        :raise Conflict: while its server cannot be changed, or has a floating IP by it.
        """

        async def work(tx: Any) -> None:
            seen = await find_port(tx, who, ref)
            network_changes.check_revision(seen, revision)
            if seen.router_id is not None:
                raise Conflict(
                    f"Port {seen.uuid} cannot be deleted directly via the port API: has device"
                    f" owner {seen.device_owner}.",
                    "ServicePortInUse",
                )
            if seen.server_id is not None:
                await self._interfaces.delete_port(tx, who, seen, request_id)
                return
            port = await lock_port(tx, who, ref)
            if port.server_id is not None or port.router_id is not None:
                raise Conflict(f"Port {port.uuid} is still in use.", "PortInUse")
            await ports.delete_ports(tx, [port.id])

        await self._interfaces.turns.run(work, "port.delete", who.turn)


async def _new_mac(tx: Any, who: Who, port: Any, text: str) -> str:
    mac = arithmetic.mac_from(text)
    if mac == port.mac:
        return mac
    if not who.admin:
        raise Forbidden("Only an administrator can choose a port's MAC address.")
    if port.server_id is not None or port.router_id is not None:
        raise Conflict(f"Port {port.uuid} has its MAC address on a device.", "PortBound")
    if await tx.value("select exists (select from port where mac = %s)", (mac,)):
        raise Conflict(f"MAC address {mac} is already in use.", "MacAddressInUse")
    return mac


async def _addresses(
    tx: Any, network: Any, wanted: tuple[WantedAddress, ...] | None
) -> tuple[tuple[int, ...] | None, str | None]:
    """The subnets and the address that a new port takes from; see :func:`ports.create_port`.

    An interface has one IPv4 address. The IPv6 ones follow from its MAC and are always there.
    """
    if wanted is None:
        return None, None
    if not wanted:
        return (), None
    subnets = await tx.all(
        "select id, uuid::text, cidr, family(cidr) as family from subnet where network_id = %s"
        " order by id",
        (network.id,),
    )
    address: str | None = None
    four: set[int] = set()
    for each in wanted:
        found = [row for row in subnets if _fits(row, each)]
        if not found:
            what = each.address or each.subnet_ref
            raise BadRequest(
                f"{what} is not a valid IP or subnet for network {network.uuid}.",
                neutron_type="InvalidIpForNetwork" if each.subnet_ref is None else "InvalidInput",
            )
        if found[0].family == 6:
            if each.address is not None:
                raise BadRequest(
                    "The IPv6 address of a port follows from its MAC address: name the subnet "
                    "only.",
                    neutron_type="InvalidInput",
                )
            continue
        if four:
            raise BadRequest("A port has one IPv4 address.", neutron_type="InvalidInput")
        four.add(found[0].id)
        address = each.address
    if address is not None:
        return None, str(arithmetic.parse_address(address, "IP address"))
    return tuple(sorted(four | {row.id for row in subnets if row.family == 6})), None


def _fits(row: Any, wanted: WantedAddress) -> bool:
    if wanted.subnet_ref is not None and parse_uuid(wanted.subnet_ref) != row.uuid:
        return False
    if wanted.address is None:
        return wanted.subnet_ref is not None
    return arithmetic.parse_address(wanted.address, "IP address") in ip_network(row.cidr)


async def _readdress(tx: Any, port: Any, wanted: tuple[WantedAddress, ...]) -> None:
    """Give a locked port other addresses, unless it has just these."""
    now = await tx.all(
        "select a.id, host(a.address) as address, s.uuid::text as subnet, family(a.address) as"
        " family from address a join subnet s on s.id = a.subnet_id where a.port_id = %s"
        " order by a.subnet_id, a.address",
        (port.id,),
    )
    fours = [row for row in now if row.family == 4]
    left = [each for each in wanted if not any(_is(row, each) for row in now)]
    if not left and len([each for each in wanted if any(_is(row, each) for row in fours)]) == len(
        fours
    ):
        return
    if port.server_id is not None or port.router_id is not None:
        raise Conflict(
            f"Port {port.uuid} has its addresses on a device: they cannot change there.",
            "PortBound",
        )
    network = await tx.first("select id, uuid::text from network where id = %s", (port.network_id,))
    subnet_ids, address = await _addresses(tx, network, wanted)
    await ports.change_addresses(tx, port, subnet_ids, address)


def _is(row: Any, wanted: WantedAddress) -> bool:
    if wanted.subnet_ref is not None and parse_uuid(wanted.subnet_ref) != row.subnet:
        return False
    return wanted.address is None or wanted.address == row.address
