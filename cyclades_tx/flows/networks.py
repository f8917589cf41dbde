"""What a person can ask for about networks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, Forbidden
from cyclades_tx.flows.subnets import WantedSubnet, add_subnet
from cyclades_tx.model import address as arithmetic
from cyclades_tx.model import quota
from cyclades_tx.model.names import Names
from cyclades_tx.model.who import Who
from cyclades_tx.store import (
    cluster_networks,
    kept_addresses,
    network_changes,
    outbox,
    quotas,
    subnet_pools,
    values,
)
from cyclades_tx.store import networks as store

__all__ = ["Networks", "WantedNetwork", "WantedSubnet"]

FLAVORS = ("CUSTOM", "IP_LESS_ROUTED", "MAC_FILTERED", "PHYSICAL_VLAN")

_NAME_LIMIT = 255
_LINK_LIMIT = 32
_LEAST_MTU, _MOST_MTU = 68, 65535

#: The tags at Ganeti by which the hosts know how to keep networks of a flavor apart.
_TAGS = {
    "CUSTOM": (),
    "IP_LESS_ROUTED": ("ip-less-routed",),
    "MAC_FILTERED": ("private-filtered",),
    "PHYSICAL_VLAN": ("physical-vlan",),
}


@dataclass(frozen=True)
class WantedNetwork:
    """A network that somebody wants; what is None is chosen by its flavor.

    :ivar project_id: whose it is; None: the caller's.
    :ivar number: of the bridge in its pool, for the flavor PHYSICAL_VLAN; None: any.
    :ivar shared: whether every project may attach to it.
    :ivar external: whether its addresses are reachable from outside.
    :ivar floating_ip_pool: whether projects can have floating IPs of it.
    :ivar everywhere: whether every cluster has it, or only those whose servers need it.
    """

    name: str = ""
    description: str = ""
    project_id: str | None = None
    flavor: str = "CUSTOM"
    mode: str | None = None
    link: str | None = None
    number: int | None = None
    mac_prefix: str | None = None
    tags: tuple[str, ...] | None = None
    shared: bool = False
    external: bool = False
    floating_ip_pool: bool = False
    mtu: int = 1500
    everywhere: bool = True
    subnets: tuple[WantedSubnet, ...] = ()


#: Charges a project (its id) for so many networks more, or less, inside a transaction.
Charge = Callable[[Any, str, int], Awaitable[None]]


async def charge_private(tx: Any, project_id: str, amount: int) -> None:
    """Charge a project for private networks; with 0 its holdings are only locked.

    :raise OverQuota: when it may not have so many more.
    """
    wanted = {quota.PRIVATE_NETWORK: amount}
    quotas.refuse_shortage(await quotas.lock(tx, project_id), wanted)
    if amount:
        await quotas.add(tx, project_id, wanted)


class Networks:
    """Networks, for users, operators and the other flows.

    :param names: of our things in Ganeti.
    :param bridge: the link of a CUSTOM network that names none.
    :param filtered_bridge: the link of the MAC_FILTERED ones.
    :param mac_prefix: the first five hex digits of MACs where a network names no prefix.
    :param deadline_seconds: how long the making of a network on a cluster may take.
    :param charge: charges a project for its private networks.
    """

    def __init__(
        self,
        database: Any,
        *,
        deadline_seconds: float = 900.0,
        names: Names | None = None,
        bridge: str = "br0",
        filtered_bridge: str = "prv0",
        mac_prefix: str = "aa:00:0",
        charge: Charge = charge_private,
    ) -> None:
        self._database = database
        self._deadline_seconds = deadline_seconds
        self._names = names or Names()
        self._bridge = bridge
        self._filtered_bridge = filtered_bridge
        self.mac_prefix = arithmetic.check_mac_prefix(mac_prefix)
        self._charge = charge

    async def create(self, who: Who | None, wanted: WantedNetwork) -> Any:
        """Make a network with its subnets.

        :param who: None is the operator, whose network belongs to no project.
        :return: the network's row.
        :raise BadRequest: for a wish that is wrong; among others, for two subnets of one version.
        :raise Forbidden: when somebody else than an administrator wants it shared or external,
            or names flavor, link or prefix.
        :raise OverQuota: when the project may have no more private networks.
        :raise Unavailable: when the pool that the flavor needs has no free value.
        """
        (row,) = await self.create_all(who, (wanted,))
        return row

    async def create_all(self, who: Who | None, wanted: Sequence[WantedNetwork]) -> list[Any]:
        """Make several networks, or none of them; see :meth:`create`."""
        for each in wanted:
            _check(who, each)

        async def work(tx: Any) -> list[Any]:
            # Everybody takes from pools in the same order, whatever the order of the wishes.
            order = sorted(range(len(wanted)), key=lambda place: wanted[place].flavor)
            made = {place: await self.create_in(tx, who, wanted[place]) for place in order}
            return [made[place] for place in range(len(wanted))]

        rows: list[Any] = await self._database.transaction(work, "network.create", turn=_turn(who))
        return rows

    async def create_in(self, tx: Any, who: Who | None, wanted: WantedNetwork) -> Any:
        """Do what :meth:`create` does inside a transaction that is open already."""
        _check(who, wanted)
        project_id = wanted.project_id or (who.project_id if who is not None else None)
        if project_id is not None:
            if who is None or project_id != who.project_id:
                await network_changes.check_project(tx, project_id)
            if not wanted.shared and not _external(wanted):
                # Holdings are locked before what a pool gives, and that before the network.
                await self._charge(tx, project_id, 1)
        link, mac_prefix = await self._values(tx, wanted)
        row = await store.insert(
            tx,
            name=wanted.name,
            description=wanted.description,
            project_id=project_id,
            user_id=who.user_id if who is not None else None,
            flavor=wanted.flavor,
            mode=wanted.mode or ("routed" if wanted.flavor == "IP_LESS_ROUTED" else "bridged"),
            link=link,
            link_prefix=self._names.link(0)[:-1],
            mac_prefix=arithmetic.check_mac_prefix(mac_prefix),
            tags=wanted.tags if wanted.tags is not None else _TAGS[wanted.flavor],
            shared=wanted.shared,
            external=_external(wanted),
            floating_ip_pool=wanted.floating_ip_pool,
            mtu=wanted.mtu,
            everywhere=wanted.everywhere,
        )
        for subnet in wanted.subnets:
            await add_subnet(tx, row.id, subnet)
        await outbox.tell_network(tx, "network.created", row.id)
        if wanted.everywhere:
            await store.ensure_on_all_clusters(tx, row.id, self._deadline_seconds)
        return row

    async def _values(self, tx: Any, wanted: WantedNetwork) -> tuple[str | None, str]:
        """The link (None: the network's own) and the MAC prefix of a new network."""
        mac_prefix = wanted.mac_prefix or self.mac_prefix
        if wanted.flavor == "MAC_FILTERED":
            return wanted.link or self._filtered_bridge, await values.take(tx, "mac_prefix")
        if wanted.flavor == "PHYSICAL_VLAN":
            if wanted.number is not None:
                return await values.take_number(tx, "bridge", wanted.number), mac_prefix
            return await values.take(tx, "bridge"), mac_prefix
        routed = wanted.flavor == "IP_LESS_ROUTED"
        return wanted.link or (None if routed else self._bridge), mac_prefix

    async def change(
        self,
        who: Who | None,
        ref: str,
        changes: Mapping[str, Any],
        *,
        revision: int | None = None,
        request_id: str = "",
    ) -> Any:
        """Change a network.

        :param changes: columns: ``name``, ``description``, ``mtu``, ``shared``, ``external``,
            ``floating_ip_pool``, ``drained``.
        :param revision: what its revision number must be; None: any.
        :raise Forbidden: for another project's, and for what only administrators may change.
        :raise Conflict: when somebody uses what would end, or the revision is another.
        """
        admin = who is None or who.admin
        if not admin and changes.keys() & {"shared", "external", "floating_ip_pool", "drained"}:
            raise Forbidden("Only an administrator can make a network shared or external.")
        _check_texts(changes.get("name", ""), changes.get("description", ""))
        _check_mtu(changes.get("mtu", _LEAST_MTU))

        async def work(tx: Any) -> Any:
            charged = bool(changes.keys() & {"shared", "external"})
            row = await self._own(tx, who, ref, charged=charged)
            network_changes.check_revision(row, revision)
            after = {"shared": row.shared, "external": row.external} | dict(changes)
            if not after["external"] and changes.get("floating_ip_pool"):
                raise BadRequest("Only an external network can be a pool of floating IPs.")
            await self._charge_difference(tx, row, after)
            await network_changes.refuse_narrowing(tx, row, after)
            await network_changes.change(tx, row.id, changes)
            if after["external"] != row.external:
                await cluster_networks.reshape(tx, row.id, self._deadline_seconds, request_id)
            await outbox.tell_network(tx, "network.changed", row.id)
            return row

        return await self._database.transaction(work, "network.change", turn=_turn(who))

    async def delete(
        self, who: Who | None, ref: str, *, revision: int | None = None, request_id: str = ""
    ) -> None:
        """Delete a network with its subnets; the clusters that have it remove it.

        What it had of a pool is free when no cluster has it any more.

        :raise Conflict: ``NetworkInUse`` while it has ports, floating IPs or routers.
        """

        async def work(tx: Any) -> None:
            row = await self._own(tx, who, ref, charged=True)
            network_changes.check_revision(row, revision)
            await network_changes.refuse_used(tx, row)
            if row.project_id is not None and not row.shared and not row.external:
                await self._charge(tx, row.project_id, -1)
            await network_changes.mark_deleted(tx, row.id)
            await subnet_pools.give_back_of(tx, network_id=row.id)
            for subnet in await tx.all(
                "select id from subnet where network_id = %s order by id", (row.id,)
            ):
                await outbox.tell_subnet(tx, "subnet.deleted", subnet.id)
            await outbox.tell_network(tx, "network.deleted", row.id)
            if not await cluster_networks.change_everywhere(
                tx, row.id, "remove_network", self._deadline_seconds, request_id
            ):
                await values.give_back_of(tx, row)

        await self._database.transaction(work, "network.delete", turn=_turn(who))

    async def give(self, ref: str, user_id: str, project_id: str) -> None:
        """Make a network another project's, which is charged from now on; for the operator.

        :raise Conflict: when other projects have ports on it.
        :raise OverQuota: when the project may have no more private networks.
        """

        async def work(tx: Any) -> None:
            seen = await store.seen(tx, None, ref)
            private = not seen.shared and not seen.external
            # Two that are exchanged lock in the same order.
            for each in sorted({project_id, seen.project_id} - {None}):
                await self._charge(tx, each, 0)
            row = await network_changes.lock(tx, seen.id)
            if (row.project_id, row.shared, row.external) != (
                seen.project_id,
                seen.shared,
                seen.external,
            ):
                raise Conflict(f"Network {row.uuid} is being changed; try again.", "busy")
            if row.project_id != project_id:
                if private and row.project_id is not None:
                    await self._charge(tx, row.project_id, -1)
                if private:
                    await self._charge(tx, project_id, 1)
                await outbox.tell_network(tx, "network.deleted", row.id)
            await network_changes.give(tx, row, project_id, user_id)
            moved = row.project_id != project_id
            await outbox.tell_network(tx, "network.created" if moved else "network.changed", row.id)

        await self._database.transaction(work, "network.give")

    async def put_on(self, ref: str, cluster_id: int) -> None:
        """Have a cluster make a network, if it does not have it; for the operator.

        :raise Conflict: while it is being taken away from there.
        """

        async def work(tx: Any) -> None:
            row = await self._own(tx, None, ref)
            await store.ensure_on_cluster(tx, row.id, cluster_id, self._deadline_seconds)
            await cluster_networks.note_everywhere(tx, row.id)

        await self._database.transaction(work, "network.put_on")

    async def take_off(self, ref: str, cluster_id: int, request_id: str = "") -> None:
        """Have a cluster remove a network; a server that needs it there brings it back.

        From now on it is made only where servers need it, or where an operator wants it.

        :raise Conflict: ``NetworkInUse`` when servers of the cluster are on it.
        """

        async def work(tx: Any) -> None:
            row = await self._own(tx, None, ref)
            await cluster_networks.take_off(
                tx, row.id, cluster_id, self._deadline_seconds, request_id
            )

        await self._database.transaction(work, "network.take_off")

    async def keep_back(self, ref: str, keep: Sequence[str], let_go: Sequence[str]) -> None:
        """Keep addresses of a network back from everybody, or give them out again.

        :raise BadRequest: when the network has no subnet with one of them.
        :raise Conflict: when somebody has one of them.
        """

        async def work(tx: Any) -> None:
            row = await self._own(tx, None, ref)
            for text in keep:
                await kept_addresses.keep(tx, row.id, str(arithmetic.parse_address(text)))
            for text in let_go:
                await kept_addresses.let_go(tx, row.id, str(arithmetic.parse_address(text)))

        await self._database.transaction(work, "network.keep_back")

    async def _own(self, tx: Any, who: Who | None, ref: str, *, charged: bool = False) -> Any:
        """One network that the caller may change, locked.

        :param charged: whether its project's holdings are locked first.
        :raise NotFound: when the caller does not see it.
        :raise Forbidden: when it is another project's.
        """
        row = await store.seen(tx, who, ref)
        if who is not None and not who.admin and row.project_id != who.project_id:
            raise Forbidden(f"Network {row.uuid} belongs to another project.")
        if charged and row.project_id is not None:
            await self._charge(tx, row.project_id, 0)
        return await network_changes.lock(tx, row.id)

    async def _charge_difference(self, tx: Any, row: Any, after: Mapping[str, Any]) -> None:
        if row.project_id is None:
            return
        before = not row.shared and not row.external
        private = not after["shared"] and not after["external"]
        if before != private:
            await self._charge(tx, row.project_id, 1 if private else -1)

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


def _turn(who: Who | None) -> str:
    """The line that requests wait in that begin by locking the holdings of a project."""
    return who.turn if who is not None else ""


def _external(wanted: WantedNetwork) -> bool:
    return wanted.external or wanted.floating_ip_pool


def _check_texts(*texts: str) -> None:
    for text in texts:
        if len(text) > _NAME_LIMIT or "\0" in text:
            raise BadRequest(
                f"{text[:40]!r} is longer than {_NAME_LIMIT} characters or has a NUL.",
                neutron_type="HTTPBadRequest",
            )


def _check_mtu(mtu: int) -> None:
    if not _LEAST_MTU <= mtu <= _MOST_MTU:
        raise BadRequest(f"The MTU must be from {_LEAST_MTU} to {_MOST_MTU} bytes.")


def _check(who: Who | None, wanted: WantedNetwork) -> None:
    if wanted.flavor not in FLAVORS:
        raise BadRequest(
            f"There is no network flavor {wanted.flavor[:40]!r}: use {', '.join(FLAVORS)}."
        )
    if wanted.mode not in (None, "bridged", "routed"):
        raise BadRequest(f"There is no network mode {wanted.mode!r}: use bridged or routed.")
    if wanted.flavor == "MAC_FILTERED" and wanted.mac_prefix:
        raise BadRequest("The MAC prefix of a MAC_FILTERED network comes from the pool.")
    if wanted.flavor == "PHYSICAL_VLAN" and wanted.link:
        raise BadRequest("The bridge of a PHYSICAL_VLAN network comes from the pool.")
    if wanted.number is not None and wanted.flavor != "PHYSICAL_VLAN":
        raise BadRequest("Only a PHYSICAL_VLAN network has a number in a pool of bridges.")
    _check_texts(wanted.name, wanted.description)
    if len(wanted.link or "") > _LINK_LIMIT or "\0" in (wanted.link or ""):
        raise BadRequest(f"A link has at most {_LINK_LIMIT} characters.")
    for mark, version in ((".", "IPv4"), (":", "IPv6")):
        if sum(mark in subnet.cidr for subnet in wanted.subnets) > 1:
            # A Ganeti network has one range of each.
            raise BadRequest(f"A network can have one {version} subnet, not several.")
    _check_mtu(wanted.mtu)
    if who is None or who.admin:
        return
    if wanted.shared or wanted.external or wanted.floating_ip_pool:
        raise Forbidden("Only an administrator can make a shared or external network.")
    if wanted.mode or wanted.link or wanted.mac_prefix or wanted.tags is not None:
        raise Forbidden("Only an administrator can choose mode, link, MAC prefix and tags.")
    if wanted.number is not None:
        raise Forbidden("Only an administrator can choose a bridge.")
    if wanted.project_id not in (None, who.project_id):
        raise Forbidden("Only an administrator can make a network of another project.")
