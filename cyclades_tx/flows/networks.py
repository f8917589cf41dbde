"""What a person can ask for about networks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotSupported
from cyclades_tx.model import address as arithmetic
from cyclades_tx.model.names import Names
from cyclades_tx.model.who import Who
from cyclades_tx.store import addresses, outbox
from cyclades_tx.store import networks as store

_NAME_LIMIT = 255
_LINK_LIMIT = 32


@dataclass(frozen=True)
class WantedSubnet:
    """A subnet that somebody wants.

    :ivar gateway: an address, None for no gateway, ``"first"`` for the subnet's first address.
    :ivar pools: (first, last) of what is given out; None: all but the gateway.
    """

    cidr: str
    name: str = ""
    description: str = ""
    gateway: str | None = "first"
    pools: tuple[tuple[str, str], ...] | None = None
    dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()


@dataclass(frozen=True)
class WantedNetwork:
    """A network that somebody wants; what is None is chosen by its flavor.

    :ivar shared: whether every project may attach to it.
    :ivar external: whether its addresses are reachable from outside.
    :ivar floating_ip_pool: whether projects can have floating IPs of it.
    """

    name: str = ""
    description: str = ""
    flavor: str = "CUSTOM"
    mode: str | None = None
    link: str | None = None
    mac_prefix: str | None = None
    tags: tuple[str, ...] | None = None
    shared: bool = False
    external: bool = False
    floating_ip_pool: bool = False
    mtu: int = 1500
    subnets: tuple[WantedSubnet, ...] = ()


#: Charges a project for a new network, inside the transaction that makes it.
Reserve = Callable[[Any, Who, int], Awaitable[None]]


async def _reserve_nothing(_tx: Any, _who: Who, _network_id: int) -> None:
    """Charge nothing."""


class Networks:
    """Networks, for users, operators and the other flows.

    :param names: of our things in Ganeti.
    :param bridge: the link of a CUSTOM network that names none.
    :param mac_prefix: the first five hex digits of MACs where a network names no prefix.
    :param deadline_seconds: how long the making of a network on a cluster may take.
    :param reserve: charges a project for a network of its own.
    """

    def __init__(
        self,
        database: Any,
        *,
        deadline_seconds: float = 900.0,
        names: Names | None = None,
        bridge: str = "br0",
        mac_prefix: str = "aa:00:0",
        reserve: Reserve = _reserve_nothing,
    ) -> None:
        self._database = database
        self._deadline_seconds = deadline_seconds
        self._names = names or Names()
        self._bridge = bridge
        self._mac_prefix = arithmetic.check_mac_prefix(mac_prefix)
        self._reserve = reserve

    async def create(self, who: Who | None, wanted: WantedNetwork) -> Any:
        """Make a network with its subnets; every cluster that is not offline will have it.

        :param who: None is the operator, whose network belongs to no project.
        :return: the network's row.
        :raise BadRequest: for a wish that is wrong; among others, for two subnets of one version.
        :raise NotSupported: for a flavor that needs a pool of values.
        :raise Forbidden: when somebody else than an administrator wants it shared or external,
            or names flavor, link or prefix.
        """
        _check(who, wanted)

        async def work(tx: Any) -> Any:
            return await self.create_in(tx, who, wanted)

        return await self._database.transaction(work, "network.create")

    async def create_in(self, tx: Any, who: Who | None, wanted: WantedNetwork) -> Any:
        """Do what :meth:`create` does inside a transaction that is open already."""
        _check(who, wanted)
        routed = wanted.flavor == "IP_LESS_ROUTED"
        row = await store.insert(
            tx,
            name=wanted.name,
            description=wanted.description,
            project_id=who.project_id if who is not None else None,
            user_id=who.user_id if who is not None else None,
            flavor=wanted.flavor,
            mode=wanted.mode or ("routed" if routed else "bridged"),
            link=wanted.link or (None if routed else self._bridge),
            link_prefix=self._names.link(0)[:-1],
            mac_prefix=arithmetic.check_mac_prefix(wanted.mac_prefix or self._mac_prefix),
            tags=wanted.tags if wanted.tags is not None else ("ip-less-routed",) * routed,
            shared=wanted.shared,
            external=wanted.external or wanted.floating_ip_pool,
            floating_ip_pool=wanted.floating_ip_pool,
            mtu=wanted.mtu,
        )
        if who is not None:
            await self._reserve(tx, who, row.id)
        for subnet in wanted.subnets:
            await self._add_subnet(tx, row.id, subnet)
        await outbox.tell_network(tx, "network.created", row.id)
        await store.ensure_on_all_clusters(tx, row.id, self._deadline_seconds)
        return row

    async def _add_subnet(self, tx: Any, network_id: int, wanted: WantedSubnet) -> None:
        cidr = arithmetic.parse_subnet(wanted.cidr)
        if wanted.gateway == "first":
            gateway: arithmetic.Address | None = arithmetic.default_gateway(cidr)
        elif wanted.gateway is None:
            gateway = None
        else:
            gateway = arithmetic.parse_address(wanted.gateway, "gateway")
            arithmetic.check_gateway(cidr, gateway)
        given = None
        if wanted.pools is not None:
            given = [
                (arithmetic.parse_address(first), arithmetic.parse_address(last))
                for first, last in wanted.pools
            ]
        pools = arithmetic.pools(cidr, gateway, given)
        row = await store.insert_subnet(
            tx,
            network_id,
            cidr=str(cidr),
            gateway=None if gateway is None else str(gateway),
            name=wanted.name,
            description=wanted.description,
            dhcp=wanted.dhcp,
            dns_nameservers=tuple(
                str(arithmetic.parse_address(each, "name server"))
                for each in wanted.dns_nameservers
            ),
        )
        await addresses.fill(tx, row.id, pools)

    async def list(self, who: Who | None = None) -> Sequence[Any]:
        """Every network that the caller sees; None is the operator, who sees all."""
        return await store.everywhere(self._database, who)

    async def show(self, who: Who | None, ref: str) -> Any:
        """One network that the caller sees.

        :raise NotFound: when there is none of that UUID.
        """
        return await store.seen(self._database, who, ref)

    async def to_attach(self, tx: Any, who: Who | None, ref: str) -> Any:
        """One network that the caller may attach a server to: an own or a shared one.

        :raise NotFound: when the caller does not even see it.
        :raise Forbidden: when it is seen, but external and not shared.
        :raise Conflict: when it takes no new ports.
        """
        row = await store.seen(tx, who, ref)
        shared = who is None or who.admin or row.shared or row.project_id == who.project_id
        if not shared:
            raise Forbidden(
                f"It is not allowed to create an interface on external network {row.uuid}."
            )
        if row.state != "active" or row.drained:
            raise Conflict(f"Network {row.name} takes no new ports now.", "NetworkNotUsable")
        return row

    async def attachable(self, tx: Any, who: Who) -> Sequence[Any]:
        """The networks that a new server gets when none is named: candidates, own ones first.

        Shared ones come only where the project has none of its own.
        """
        rows = [
            row
            for row in await store.everywhere(tx, who)
            if row.state == "active" and not row.drained
        ]
        own = [row for row in rows if row.project_id == who.project_id and not row.external]
        return own or [row for row in rows if row.shared]


def _check(who: Who | None, wanted: WantedNetwork) -> None:
    if wanted.flavor in ("MAC_FILTERED", "PHYSICAL_VLAN"):
        raise NotSupported(f"Networks of the flavor {wanted.flavor} cannot be made yet.")
    if wanted.flavor not in ("CUSTOM", "IP_LESS_ROUTED"):
        raise BadRequest(
            f"There is no network flavor {wanted.flavor!r}: use CUSTOM or IP_LESS_ROUTED."
        )
    if wanted.mode not in (None, "bridged", "routed"):
        raise BadRequest(f"There is no network mode {wanted.mode!r}: use bridged or routed.")
    for text, limit in (
        (wanted.name, _NAME_LIMIT),
        (wanted.description, _NAME_LIMIT),
        (wanted.link or "", _LINK_LIMIT),
    ):
        if len(text) > limit or "\0" in text:
            raise BadRequest(f"{text[:40]!r} is longer than {limit} characters or has a NUL.")
    for mark, version in ((".", "IPv4"), (":", "IPv6")):
        if sum(mark in subnet.cidr for subnet in wanted.subnets) > 1:
            # A Ganeti network has one range of each.
            raise BadRequest(f"A network can have one {version} subnet, not several.")
    if not 68 <= wanted.mtu <= 65535:
        raise BadRequest("The MTU must be from 68 to 65535 bytes.")
    if who is not None and not who.admin:
        if wanted.shared or wanted.external or wanted.floating_ip_pool:
            raise Forbidden("Only an administrator can make a shared or external network.")
        if wanted.mode or wanted.link or wanted.mac_prefix or wanted.tags is not None:
            raise Forbidden("Only an administrator can choose mode, link, MAC prefix and tags.")
