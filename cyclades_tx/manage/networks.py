"""Commands about networks."""

from __future__ import annotations

from typing import Any

import click

from cyclades_tx.errors import Conflict, CycladesError, NotFound
from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.manage import removal, tables
from cyclades_tx.manage.backends import fleet
from cyclades_tx.manage.options import TRUTH, WORD, list_command, output_format, words
from cyclades_tx.manage.people import in_name_of
from cyclades_tx.manage.requests import new_request_id
from cyclades_tx.manage.runner import Settings
from cyclades_tx.store import clusters, listings, operator_names
from cyclades_tx.store import network_inspection as store
from cyclades_tx.store.operator_lists import NETWORKS
from cyclades_tx.world import World

_FLAVORS = ("CUSTOM", "IP_LESS_ROUTED", "MAC_FILTERED", "PHYSICAL_VLAN")


@click.command("network-create")
@click.option("--name", required=True, type=WORD)
@click.option("--flavor", required=True, type=click.Choice(_FLAVORS), help="Which kind of network.")
@click.option(
    "--owner",
    "--user",
    "owner",
    type=WORD,
    help="The user whose it is (name or id); none: the operator's.",
)
@click.option("--project", type=WORD, help="The project that is charged; default: the owner's own.")
@click.option("--subnet", type=WORD, metavar="CIDR", help="IPv4.")
@click.option(
    "--gateway", type=WORD, help="An address of it, or 'none'. Default: the first address."
)
@click.option("--subnet6", type=WORD, metavar="CIDR", help="IPv6.")
@click.option(
    "--gateway6", type=WORD, help="An address of it, or 'none'. Default: the first address."
)
@click.option(
    "--allocation-pool",
    "pools",
    type=WORD,
    multiple=True,
    metavar="FIRST,LAST",
    help="What of the IPv4 subnet is given out; may be repeated.",
)
@click.option("--dhcp", type=TRUTH, default=True, show_default=True)
@click.option("--dns", type=WORD, metavar="address,…", help="Name servers that DHCP tells.")
@click.option(
    "--public",
    "--shared",
    "shared",
    type=TRUTH,
    default=False,
    show_default=True,
    help="Whether every project may attach to it.",
)
@click.option(
    "--external",
    type=TRUTH,
    default=False,
    show_default=True,
    help="Whether its addresses are reached from outside.",
)
@click.option(
    "--floating-ip-pool",
    type=TRUTH,
    default=False,
    show_default=True,
    help="Whether projects get floating IPs of it.",
)
@click.option("--mode", type=click.Choice(("bridged", "routed")), help="Default: the flavor's.")
@click.option("--link", type=WORD, help="Bridge or routing table. Default: the flavor's.")
@click.option("--mac-prefix", type=WORD)
@click.option("--tags", type=WORD, metavar="tag,…", help="Ganeti tags of the network.")
@output_format
@click.pass_obj
def create(
    settings: Settings,
    /,
    owner: str | None,
    project: str | None,
    subnet: str | None,
    gateway: str | None,
    subnet6: str | None,
    gateway6: str | None,
    pools: tuple[str, ...],
    dhcp: bool,
    dns: str | None,
    tags: str | None,
    form: str,
    **given: Any,
) -> None:
    """Make a network with its subnets; every cluster that is not offline will have it."""
    if project is not None and owner is None:
        raise click.UsageError("--project needs --owner.")
    if subnet is None and (pools or gateway):
        raise click.UsageError("--gateway and --allocation-pool need --subnet.")
    if subnet6 is None and gateway6:
        raise click.UsageError("--gateway6 needs --subnet6.")
    ranges = [range_of(text) for text in pools]
    subnets = []
    if subnet is not None:
        subnets.append(
            WantedSubnet(
                subnet,
                gateway=gateway_of(gateway),
                pools=tuple(ranges) or None,
                dhcp=dhcp,
                dns_nameservers=words(dns),
            )
        )
    if subnet6 is not None:
        subnets.append(WantedSubnet(subnet6, gateway=gateway_of(gateway6), dhcp=dhcp))
    wanted = WantedNetwork(
        tags=None if tags is None else words(tags), subnets=tuple(subnets), **given
    )

    async def work(world: World) -> dict[str, Any]:
        who = None if owner is None else await in_name_of(world, owner, project)
        row = await world.networks.create(who, wanted)
        return await _shown(world, row.id)

    tables.show(tables.record(settings.run(work), form))


@click.command("network-show")
@click.argument("network", type=WORD)
@output_format
@click.pass_obj
def show(settings: Settings, network: str, form: str) -> None:
    """Show a network as the database has it (by id, UUID or Ganeti name)."""

    async def work(world: World) -> dict[str, Any]:
        return await _shown(world, (await find(world, network)).id)

    tables.show(tables.record(settings.run(work), form))


@click.command("network-inspect")
@click.argument("network", type=WORD)
@output_format
@click.pass_obj
def inspect(settings: Settings, network: str, form: str) -> None:
    """Show a network in the database and as each cluster has it (by id, UUID or Ganeti name)."""

    async def work(world: World) -> dict[str, Any]:
        found = await find(world, network)
        shown = await _shown(world, found.id)
        del shown["backends"]
        shown["ganeti name"] = world.names.network(found.id)
        backends = []
        for row in await store.clusters_of(world.database, found.id):
            backends.append(
                {
                    "backend": row.name,
                    "state": row.state,
                    "mac_prefix": row.mac_prefix,
                    "reason": row.reason,
                    "action": row.action,
                    "job": row.job_id,
                    **await _at_cluster(world, row, found.id),
                }
            )
        return shown | {"backends": backends}

    tables.show(tables.record(settings.run(work), form))


@click.command("network-modify")
@click.argument("network", type=WORD)
@click.option("--name", type=WORD)
@click.option("--public", "--shared", "shared", type=TRUTH, help="Whether all may attach to it.")
@click.option("--external", type=TRUTH, help="Whether its addresses are reached from outside.")
@click.option("--drained", type=TRUTH, help="Whether it gives out no more addresses.")
@click.option("--floating-ip-pool", type=TRUTH, help="Whether projects get floating IPs of it.")
@click.option("--add-reserved-ips", type=WORD, metavar="address,…", help="Nobody gets these.")
@click.option("--remove-reserved-ips", type=WORD, metavar="address,…", help="Free again.")
@click.option("--owner", "--user", "owner", type=WORD, help="The user whose it is from now on.")
@click.option("--project", type=WORD, help="The project that is charged; default: the owner's own.")
@click.option("--add-to-backend", type=WORD, metavar="BACKEND", help="Have it made there.")
@click.option("--remove-from-backend", type=WORD, metavar="BACKEND", help="Have it removed there.")
@output_format
@click.pass_obj
def modify(
    settings: Settings,
    /,
    network: str,
    add_reserved_ips: str | None,
    remove_reserved_ips: str | None,
    owner: str | None,
    project: str | None,
    add_to_backend: str | None,
    remove_from_backend: str | None,
    form: str,
    **given: Any,
) -> None:
    """Change a network (by id, UUID or Ganeti name), or keep addresses of it back.

    Options can be combined, and are carried out in the order of this help.

    A network is on every backend, until it is removed from one: from then on it is made only
    where a server needs it, or where it is added, until every backend has it again.
    """
    changes = {name: value for name, value in given.items() if value is not None}
    keep, let_go = words(add_reserved_ips), words(remove_reserved_ips)
    if project is not None and owner is None:
        raise click.UsageError("--project needs --owner.")
    if not (changes or keep or let_go or owner or add_to_backend or remove_from_backend):
        raise click.UsageError("Say what is to be changed.")

    async def work(world: World) -> dict[str, Any]:
        found = await find(world, network)
        if changes:
            await world.networks.change(None, found.uuid, changes)
        if keep or let_go:
            await world.networks.keep_back(found.uuid, keep, let_go)
        if owner is not None:
            who = await in_name_of(world, owner, project)
            await world.networks.give(found.uuid, who.user_id, who.project_id or "")
        if add_to_backend is not None:
            backend = await _online(world, add_to_backend)
            await world.networks.put_on(found.uuid, backend.id)
        if remove_from_backend is not None:
            backend = await _online(world, remove_from_backend)
            await world.networks.take_off(found.uuid, backend.id, new_request_id())
        return await _shown(world, found.id)

    tables.show(tables.record(settings.run(work), form))


@click.command("network-remove")
@click.argument("networks", type=WORD, nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(settings: Settings, networks: tuple[str, ...], force: bool) -> None:
    """Remove networks (by id, UUID or Ganeti name) that nothing uses, from every cluster too."""

    async def begin(world: World, ref: str, request_id: str) -> removal.Begun:
        found = await find(world, ref)
        await world.networks.delete(None, found.uuid, request_id=request_id)
        return removal.Begun(f"Network {found.id} ({found.name})")

    removal.remove(settings, networks, "network", begin, force=force)


def add_to(group: click.Group) -> None:
    """Add the commands."""
    for command in (create, show, inspect, modify, remove):
        group.add_command(command)
    user = click.Option(["-u", "--user", "--owner"], type=WORD, help="Only those of this user.")
    project = click.Option(["-p", "--project"], type=WORD, help="Only those of this project.")
    public = click.Option(["--public"], is_flag=True, help="Only those that all may attach to.")
    six = click.Option(["--ipv6"], is_flag=True, help="Only those with an IPv6 subnet.")
    list_command(
        group,
        "network-list",
        NETWORKS,
        "List the networks.",
        (
            (user, "user", None),
            (project, "project", None),
            (public, "public", True),
            (six, "ipv6", True),
        ),
    )


async def find(world: World, ref: str) -> Any:
    """A live network by id, UUID or Ganeti name.

    :raise NotFound: when there is none.
    """
    found = await operator_names.network(world.database, world.names, ref)
    if found is None or found.deleted:
        raise NotFound(f"There is no network {ref[:80]!r}; see network-list.", "network")
    return found


async def _online(world: World, ref: str) -> Any:
    """A backend that is spoken to.

    :raise Conflict: when it is offline.
    """
    found = await fleet(world).find(ref)
    if found.offline:
        raise Conflict(f"Backend {found.name} is offline.")
    return found


async def _shown(world: World, network_id: int) -> dict[str, Any]:
    found = await listings.one(world.database, NETWORKS, network_id)
    if found is None:
        raise NotFound(f"Network {network_id} is gone.", "network")
    shown = {
        name: value for name, value in found.items() if not name.startswith(("subnet.", "gateway."))
    }
    subnets = await store.subnets_of(world.database, network_id)
    return shown | {"subnets": [row._asdict() for row in subnets]}


async def _at_cluster(world: World, row: Any, network_id: int) -> dict[str, Any]:
    cluster = await clusters.by_id(world.database, row.cluster_id)
    if cluster is None or cluster.offline:
        return {"seen": "not asked: offline", "groups": ""}
    try:
        seen = await world.clusters.questions(cluster).network(world.names.network(network_id))
    except (GanetiError, CycladesError) as error:
        return {"seen": error.message, "groups": ""}
    if seen is None:
        return {"seen": "not there", "groups": ""}
    groups = [f"{group} ({mode}, {link})" for group, mode, link in seen.groups]
    return {"seen": seen.cidr or "there", "groups": groups}


def gateway_of(text: str | None) -> str | None:
    """A gateway as an operator writes it."""
    if text is None:
        return "first"
    return None if text.lower() == "none" else text


def range_of(text: str) -> tuple[str, str]:
    """A pool of addresses as an operator writes it.

    :raise UsageError: when it is none.
    """
    parts = words(text)
    if len(parts) != 2:
        raise click.UsageError(f"--allocation-pool is FIRST,LAST, not {text[:80]!r}.")
    return parts[0], parts[1]
