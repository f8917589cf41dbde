"""What a person can ask for about subnets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, Forbidden
from cyclades_tx.flows.subnet_pools import cut
from cyclades_tx.model import address as arithmetic
from cyclades_tx.model.who import Who
from cyclades_tx.store import (
    addresses,
    cluster_networks,
    network_changes,
    outbox,
    subnet_pools,
)
from cyclades_tx.store import networks as network_store
from cyclades_tx.store import subnets as store

Cidr = IPv4Network | IPv6Network

_NAME_LIMIT = 255
_MOST_NAME_SERVERS = 5
_MOST_ROUTES = 20
MODES = ("slaac", "dhcpv6-stateful", "dhcpv6-stateless")
#: What makes a network another one for the clusters that have it.
_SHAPE = frozenset(("gateway", "dhcp"))


@dataclass(frozen=True)
class WantedSubnet:
    """A subnet that somebody wants.

    :ivar gateway: an address, None for no gateway, ``"first"`` for the subnet's first address.
    :ivar pools: (first, last) of what is given out; None: all but the gateway.
    :ivar host_routes: pairs of destination and next hop.
    :ivar ra_mode: who tells machines of an IPv6 subnet their route; as ``address_mode`` one of
        :data:`MODES`, or None.
    :ivar pool: the UUID of the subnet pool that it is cut from, or ``"default"``; then ``cidr`` may
        be empty, and ``version`` and ``prefixlen`` (None: the pool's) say what is wanted.
    """

    cidr: str
    name: str = ""
    description: str = ""
    gateway: str | None = "first"
    pools: tuple[tuple[str, str], ...] | None = None
    dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[tuple[str, str], ...] = ()
    ra_mode: str | None = None
    address_mode: str | None = None
    pool: str | None = None
    version: int = 4
    prefixlen: int | None = None


class Subnets:
    """Subnets of networks that are there, for users and operators.

    :param deadline_seconds: how long a cluster may take to make a network anew.
    """

    def __init__(self, database: Any, *, deadline_seconds: float = 900.0) -> None:
        self._database = database
        self._deadline_seconds = deadline_seconds

    async def create(
        self, who: Who | None, network_ref: str, wanted: WantedSubnet, request_id: str = ""
    ) -> Any:
        """Add a subnet to a network; a network can have one of each version.

        :return: the subnet's id and UUID.
        :raise NotFound: when the caller does not see the network.
        :raise Forbidden: when it is another project's.
        :raise BadRequest: for a wish that is wrong, also for a second subnet of one version.
        :raise Conflict: when machines use the network on a cluster, which cannot change it then.
        """
        (row,) = await self.create_all(who, ((network_ref, wanted),), request_id)
        return row

    async def create_all(
        self, who: Who | None, wanted: Sequence[tuple[str, WantedSubnet]], request_id: str = ""
    ) -> list[Any]:
        """Add several subnets, or none of them; see :meth:`create`."""

        async def work(tx: Any) -> list[Any]:
            networks = []
            for network_ref, _ in wanted:
                network = await network_store.seen(tx, who, network_ref)
                _check_owner(who, network.project_id, f"Network {network_ref}")
                networks.append(network)
            # Everybody locks networks, then pools, in the same order, whatever the wishes'.
            for network_id in sorted({network.id for network in networks}):
                await network_changes.lock(tx, network_id)
            made: dict[int, Any] = {}
            for place in sorted(range(len(wanted)), key=lambda place: wanted[place][1].pool or ""):
                network, subnet = networks[place], wanted[place][1]
                pool_id = None
                if subnet.pool is not None:
                    taken = await cut(
                        tx,
                        who,
                        network.project_id,
                        subnet.pool,
                        subnet.version,
                        cidr=subnet.cidr,
                        prefixlen=subnet.prefixlen,
                    )
                    subnet, pool_id = replace(subnet, cidr=taken.cidr), taken.pool_id
                row = await add_subnet(tx, network.id, subnet, pool_id)
                await network_changes.touch(tx, network.id)
                await self._tell(tx, "subnet.created", row.id, network.id, request_id, True)
                made[place] = row
            return [made[place] for place in range(len(wanted))]

        found: list[Any] = await self._database.transaction(work, "subnet.create")
        return found

    async def change(
        self,
        who: Who | None,
        ref: str,
        changes: Mapping[str, Any],
        *,
        revision: int | None = None,
        request_id: str = "",
    ) -> Any:
        """Change a subnet.

        :param changes: members of :class:`WantedSubnet` by name, but for ``cidr`` and the modes.
        :raise Conflict: when the gateway is in a pool or in use, the pools are wrong, or machines
            use the network on a cluster, which cannot change its gateway or DHCP then.
        """

        async def work(tx: Any) -> Any:
            row = await self._own(tx, who, ref)
            network_changes.check_revision(row, revision)
            columns = await self._checked(tx, row, changes)
            await store.change(tx, row.id, columns)
            await network_changes.touch(tx, row.network_id)
            different = any(
                name in columns and columns[name] != getattr(row, name) for name in _SHAPE
            )
            await self._tell(tx, "subnet.changed", row.id, row.network_id, request_id, different)
            return row

        return await self._database.transaction(work, "subnet.change")

    async def _checked(self, tx: Any, row: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The columns that change; the pools are written here."""
        cidr = ip_network(row.cidr)
        _check_texts(changes.get("name", ""), changes.get("description", ""))
        columns = {name: changes[name] for name in ("name", "description") if name in changes}
        if "dhcp" in changes:
            columns["dhcp"] = changes["dhcp"]
            if cidr.version == 6 and changes["dhcp"] != row.dhcp:
                mode = "slaac" if changes["dhcp"] else None
                columns |= {"ipv6_ra_mode": mode, "ipv6_address_mode": mode}
        if "dns_nameservers" in changes:
            columns["dns_nameservers"] = list(_name_servers(changes["dns_nameservers"]))
        if "host_routes" in changes:
            routes = _routes(cidr, changes["host_routes"])
            columns["host_routes"] = network_store.routes_text(routes)
        gateway = arithmetic.parse_address(row.gateway) if row.gateway is not None else None
        if "gateway" in changes:
            gateway = _gateway(cidr, changes["gateway"])
            columns["gateway"] = None if gateway is None else str(gateway)
            if gateway is not None and await store.is_taken(tx, row.id, str(gateway)):
                raise Conflict(
                    f"Current gateway ip {gateway} already in use by a port. Unable to update.",
                    "GatewayIpInUse",
                )
        if "pools" in changes:
            pools = _pools(cidr, gateway, changes["pools"])
            await addresses.replace_pools(tx, row.id, pools)
        elif "gateway" in changes and gateway is not None:
            # As given pools: one that has the gateway is refused.
            _pools(cidr, gateway, await store.pools_of(tx, row.id) or None)
        return columns

    async def delete(
        self, who: Who | None, ref: str, *, revision: int | None = None, request_id: str = ""
    ) -> None:
        """Delete a subnet that no port has an address of.

        :raise Conflict: ``SubnetInUse``.
        """

        async def work(tx: Any) -> None:
            row = await self._own(tx, who, ref)
            network_changes.check_revision(row, revision)
            if await store.is_used(tx, row.id):
                raise Conflict(
                    f"Unable to complete operation on subnet {row.uuid}: One or more ports have an"
                    " IP allocation from this subnet.",
                    "SubnetInUse",
                )
            await outbox.tell_subnet(tx, "subnet.deleted", row.id)
            await subnet_pools.give_back_of(tx, subnet_id=row.id)
            await store.delete(tx, row.id)
            await network_changes.touch(tx, row.network_id)
            await cluster_networks.reshape(tx, row.network_id, self._deadline_seconds, request_id)

        await self._database.transaction(work, "subnet.delete")

    async def _own(self, tx: Any, who: Who | None, ref: str) -> Any:
        """One subnet that the caller may change; its network and it are locked."""
        row = await store.seen(tx, who, ref)
        _check_owner(who, row.project_id, f"Subnet {row.uuid}")
        await network_changes.lock(tx, row.network_id)
        return await store.lock(tx, row.id)

    async def _tell(
        self, tx: Any, kind: str, subnet_id: int, network_id: int, request_id: str, shape: bool
    ) -> None:
        await outbox.tell_subnet(tx, kind, subnet_id)
        if shape:
            await cluster_networks.reshape(tx, network_id, self._deadline_seconds, request_id)


async def add_subnet(
    tx: Any, network_id: int, wanted: WantedSubnet, subnet_pool_id: int | None = None
) -> Any:
    """Write a subnet of a network that nobody else changes, with its pools.

    :param subnet_pool_id: the subnet pool that its range was taken from.
    :return: its id and UUID.
    """
    _check_texts(wanted.name, wanted.description)
    cidr = arithmetic.parse_subnet(wanted.cidr)
    gateway = _gateway(cidr, wanted.gateway)
    pools = _pools(cidr, gateway, wanted.pools)
    _check_modes(cidr, wanted)
    for other in await store.cidrs_of(tx, network_id):
        if ip_network(other).version == cidr.version:
            problem = (
                "overlaps with another subnet"
                if cidr.overlaps(ip_network(other))
                else f"is a second one of version {cidr.version}, and a network here has at most"
                " one subnet of each version"
            )
            raise BadRequest(
                f"Invalid input for operation: Requested subnet with cidr: {cidr} {problem}.",
                neutron_type="InvalidInput",
            )
    row = await network_store.insert_subnet(
        tx,
        network_id,
        cidr=str(cidr),
        gateway=None if gateway is None else str(gateway),
        name=wanted.name,
        description=wanted.description,
        dhcp=wanted.dhcp,
        dns_nameservers=_name_servers(wanted.dns_nameservers),
        host_routes=_routes(cidr, wanted.host_routes),
        ra_mode=wanted.ra_mode,
        address_mode=wanted.address_mode,
        subnet_pool_id=subnet_pool_id,
    )
    await addresses.fill(tx, row.id, pools)
    return row


def _check_owner(who: Who | None, project_id: str | None, what: str) -> None:
    if who is not None and not who.admin and project_id != who.project_id:
        raise Forbidden(f"{what} belongs to another project.")


def _check_texts(*texts: str) -> None:
    for text in texts:
        if len(text) > _NAME_LIMIT or "\0" in text:
            raise BadRequest(
                f"{text[:40]!r} is longer than {_NAME_LIMIT} characters or has a NUL.",
                neutron_type="HTTPBadRequest",
            )


def _gateway(cidr: Cidr, text: str | None) -> arithmetic.Address | None:
    if text is None:
        return None
    if text == "first":
        return arithmetic.default_gateway(cidr)
    gateway = arithmetic.parse_address(text, "gateway")
    arithmetic.check_gateway(cidr, gateway)
    return gateway


def _pools(
    cidr: Cidr,
    gateway: arithmetic.Address | None,
    given: Sequence[tuple[str, str]] | None,
) -> tuple[arithmetic.Range, ...]:
    if given is None:
        return arithmetic.pools(cidr, gateway)
    parse = arithmetic.parse_address
    ends = [(parse(first), parse(last)) for first, last in given]
    return arithmetic.pools(cidr, gateway, ends)


def _name_servers(texts: Sequence[str]) -> tuple[str, ...]:
    if len(texts) > _MOST_NAME_SERVERS:
        raise BadRequest(
            f"A subnet has at most {_MOST_NAME_SERVERS} name servers.",
            neutron_type="DNSNameServersExhausted",
        )
    found = tuple(str(arithmetic.parse_address(each, "name server")) for each in texts)
    if len(set(found)) < len(found):
        raise BadRequest("A name server is given twice.", neutron_type="InvalidInput")
    return found


def _routes(cidr: Cidr, pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    if len(pairs) > _MOST_ROUTES:
        raise BadRequest(
            f"A subnet has at most {_MOST_ROUTES} routes.", neutron_type="HostRoutesExhausted"
        )
    found = []
    for destination, hop in pairs:
        try:
            network = ip_network(destination)
        except ValueError:
            raise BadRequest(
                f"{destination[:80]!r} is not a destination such as 10.1.0.0/24.",
                neutron_type="InvalidInput",
            ) from None
        address = arithmetic.parse_address(hop, "next hop")
        if network.version != cidr.version or address.version != cidr.version:
            raise BadRequest(
                f"A route of an IPv{cidr.version} subnet is of the same version.",
                neutron_type="InvalidInput",
            )
        found.append((str(network), str(address)))
    if len(set(found)) < len(found):
        raise BadRequest("A route is given twice.", neutron_type="InvalidInput")
    return tuple(found)


def _check_modes(cidr: Cidr, wanted: WantedSubnet) -> None:
    modes = [mode for mode in (wanted.ra_mode, wanted.address_mode) if mode is not None]
    if not modes:
        return
    problem = ""
    if cidr.version == 4:
        problem = "ipv6_ra_mode and ipv6_address_mode are for IPv6 subnets only"
    elif not wanted.dhcp:
        problem = "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is false"
    elif any(mode not in MODES for mode in modes):
        problem = f"ipv6_ra_mode and ipv6_address_mode are one of {', '.join(MODES)}"
    elif len(set(modes)) > 1:
        problem = "ipv6_ra_mode and ipv6_address_mode must be the same when both are set"
    if problem:
        raise BadRequest(f"Invalid input for operation: {problem}.", neutron_type="InvalidInput")
