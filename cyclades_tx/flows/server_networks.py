"""The interfaces of a new server: what the operator forces, what is asked for, or the defaults.

An entry of ``ganeti.forced_networks`` or ``ganeti.default_networks`` is the UUID of a network, one
of the three words below, or several of these, of which the first that works is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, NotFound, Unavailable
from cyclades_tx.flows.interfaces import find_port
from cyclades_tx.flows.networks import Networks
from cyclades_tx.model.server import NewServer, WantedNic
from cyclades_tx.model.who import Who
from cyclades_tx.sections import GanetiSection, NetworkChoice, OperationsSection
from cyclades_tx.store import attachments, floating_ips, networks, ports, security_groups

#: An address of an external network: forced, a plain one; by default, a floating IP of the project.
ANY_IPV4 = "SNF:ANY_PUBLIC_IPV4"
#: An external network of IPv6 only.
ANY_IPV6 = "SNF:ANY_PUBLIC_IPV6"
#: The first of the two that works.
ANY = "SNF:ANY_PUBLIC"


@dataclass(frozen=True)
class Nic:
    """An interface that a new server gets.

    :ivar network: the network's row.
    :ivar port_id: a port that is there already.
    :ivar floating: whether its address is a floating IP that the project has.
    :ivar chosen: whether the network was chosen here, so that another one may do as well.
    """

    network: Any
    fixed_ip: str | None = None
    port_id: int | None = None
    floating: bool = False
    chosen: bool = False


class NoRoom(Conflict):
    """A network that was chosen takes the server no more: it has changed since it was looked up.

    :ivar network_id: the network.
    """

    def __init__(self, error: Conflict | NotFound, network_id: int) -> None:
        super().__init__(error.message, getattr(error, "reason", "") or "NetworkNotUsable")
        self.network_id = network_id


class ServerNetworks:
    """Chooses and makes the interfaces of new servers.

    :param networks_flow: tells which networks a caller may attach to.
    :param random_bits: makes MAC addresses.
    """

    def __init__(
        self,
        database: Any,
        networks_flow: Networks,
        ganeti: GanetiSection,
        deadlines: OperationsSection,
        random_bits: Callable[[int], int],
    ) -> None:
        self._database = database
        self._networks_flow = networks_flow
        self._ganeti = ganeti
        self._deadlines = deadlines
        self._random_bits = random_bits

    async def chosen(
        self, who: Who, new: NewServer, full: Collection[int] = frozenset()
    ) -> tuple[Nic, ...]:
        """The interfaces of a server that somebody wants, in order.

        :param full: the ids of networks that had no room: none of them is chosen again.
        :raise BadRequest: for a network or port that is not there, and for too many.
        :raise Conflict: when it is not clear which is meant, or no default one works.
        :raise Unavailable: when no forced one works.
        """
        found = [await self._forced(who, entry, full) for entry in self._ganeti.forced_networks]
        if new.networks is not None:
            for wanted in new.networks[: self._ganeti.max_nics + 1]:
                found.append(await self._asked(who, new, wanted))
        elif self._ganeti.default_networks:
            for entry in self._ganeti.default_networks:
                found.append(await self._default(who, entry, full))
        else:
            found += await self._only_one(who)
        if len(found) > self._ganeti.max_nics:
            raise BadRequest(f"A server may have at most {self._ganeti.max_nics} interfaces.")
        return tuple(found)

    async def _only_one(self, who: Who) -> list[Nic]:
        possible = await self._networks_flow.attachable(self._database, who)
        own = [network for network in possible if network.project_id == who.project_id]
        if len(own) > 1:
            raise Conflict(
                "Multiple possible networks found, use a Network ID to be more specific.",
                "ambiguous_network",
            )
        return [Nic(network) for network in possible[:1]]

    async def _asked(self, who: Who, new: NewServer, wanted: WantedNic) -> Nic:
        if wanted.port_ref is not None:
            return await self._free_port(who, new, wanted)
        ref = wanted.network_ref or ""
        try:
            network = await self._networks_flow.to_attach(self._database, who, ref)
        except NotFound:
            raise BadRequest(f"Network {wanted.network_ref} could not be found.") from None
        return Nic(network, wanted.fixed_ip)

    async def _free_port(self, who: Who, new: NewServer, wanted: WantedNic) -> Nic:
        """A port of the project's that a new server shall have."""
        ref = wanted.port_ref or ""
        try:
            port = await find_port(self._database, who, ref)
        except NotFound:
            raise BadRequest(f"Port {ref} could not be found.") from None
        if port.project_id != who.project_id:
            raise BadRequest(f"Port {ref} could not be found.")
        if wanted.fixed_ip is not None:
            raise BadRequest("Specified Fixed IP cannot be used with port.")
        if new.max_count > 1:
            raise BadRequest("Several servers cannot be made with one port.")
        if port.server_id is not None or port.router_id is not None:
            raise Conflict(f"Port {ref} is still in use.", "PortInUse")
        network = await self._database.first(
            "select id, name, project_id from network where id = %s", (port.network_id,)
        )
        return Nic(network, port_id=port.id)

    async def _forced(self, who: Who, entry: NetworkChoice, full: Collection[int]) -> Nic:
        for choice in _choices(entry):
            if choice == ANY_IPV4:
                network = await networks.first_external(self._database, 4, full)
            elif choice == ANY_IPV6:
                network = await networks.first_external(self._database, 6, full)
            else:
                network = await networks.forced(self._database, choice, who.project_id)
            if network is not None and network.id not in full:
                return Nic(network, chosen=True)
        raise Unavailable(
            "No network that every server here must be on can take one now; try again later."
        )

    async def _default(self, who: Who, entry: NetworkChoice, full: Collection[int]) -> Nic:
        reasons: list[str] = []
        for choice in _choices(entry):
            if choice == ANY_IPV4:
                network = await floating_ips.network_with_free(
                    self._database, who.project_id or "", full
                )
                if network is not None:
                    return Nic(network, floating=True, chosen=True)
                reasons.append("Cannot find an unused floating IP")
            elif choice == ANY_IPV6:
                network = await networks.first_external(self._database, 6, full)
                if network is not None:
                    return Nic(network, chosen=True)
                reasons.append("No external network of IPv6 only takes a server")
            else:
                try:
                    network = await self._networks_flow.to_attach(self._database, who, choice)
                except (Conflict, NotFound) as error:
                    reasons.append(error.message.removesuffix("."))
                    continue
                if network.id not in full:
                    return Nic(network, chosen=True)
                reasons.append(f"Network {network.name} has no more addresses")
        raise Conflict(f"{'; '.join(reasons)}.", "no_default_network")

    async def make(
        self,
        tx: Any,
        who: Who,
        project_id: str,
        server_id: int,
        cluster_id: int,
        nics: Sequence[Nic],
        group_refs: Sequence[str] | None,
    ) -> None:
        """Make the ports of a new server.

        :param group_refs: the security groups of those that are not there yet; None: the default.
        :raise Conflict: when an address is in use, or none is free.
        :raise NoRoom: when it is so in a network that was chosen here.
        """
        groups: list[int] = []
        if any(nic.port_id is None for nic in nics):
            groups = await security_groups.ids_of(tx, project_id, group_refs)
        # Everybody takes from networks in the same order, whatever the order of interfaces.
        ordered = sorted(enumerate(nics), key=lambda pair: pair[1].network.id)
        for position, nic in ordered:
            if nic.port_id is not None:
                await attachments.put_on(tx, nic.port_id, server_id, position)
        for position, nic in ordered:
            try:
                await self._make(tx, who, project_id, server_id, cluster_id, position, nic, groups)
            except (Conflict, NotFound) as error:
                if nic.chosen:
                    raise NoRoom(error, nic.network.id) from None
                raise

    async def _make(
        self,
        tx: Any,
        who: Who,
        project_id: str,
        server_id: int,
        cluster_id: int,
        position: int,
        nic: Nic,
        groups: Sequence[int],
    ) -> None:
        """See that a network is on the cluster; make the port that is not there yet."""
        await networks.ensure_on_cluster(
            tx, nic.network.id, cluster_id, self._deadlines.deadline_seconds("make_network")
        )
        if nic.port_id is not None:
            return
        made = await ports.create_port(
            tx,
            network_id=nic.network.id,
            project_id=project_id,
            user_id=who.user_id,
            server_id=server_id,
            position=position,
            subnet_ids=() if nic.floating else None,
            address=nic.fixed_ip,
            automatic=True,
            state="build",
            device_owner=ports.FLOATING_OWNER if nic.floating else None,
            drained_too=nic.floating,
            random_bits=self._random_bits,
        )
        await security_groups.put_on_port(tx, made.id, groups)
        if nic.floating:
            await self._put_floating(tx, project_id, nic.network, made.id)

    async def _put_floating(self, tx: Any, project_id: str, network: Any, port_id: int) -> None:
        """Give a floating IP of the project, which nothing uses, to a port."""
        row = await floating_ips.take_free(tx, project_id, network.id)
        if row is None:
            raise Conflict("Cannot find an unused floating IP.", "no_default_network")
        await floating_ips.give_to_port(tx, row.address_id, port_id)
        await ports.note_taken(tx, port_id, row.address)
        # There is no other port that it stands beside.
        await floating_ips.set_port(tx, row.id, port_id)


def _choices(entry: NetworkChoice) -> list[str]:
    """What an entry says, one after the other."""
    found: list[str] = []
    for each in (entry,) if isinstance(entry, str) else entry:
        found += (ANY_IPV4, ANY_IPV6) if each == ANY else (each,)
    return found
