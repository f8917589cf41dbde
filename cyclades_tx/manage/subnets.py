"""Commands about subnets."""

from __future__ import annotations

from typing import Any

import click

from cyclades_tx.errors import NotFound
from cyclades_tx.flows.subnets import MODES, WantedSubnet
from cyclades_tx.manage import tables
from cyclades_tx.manage.networks import find as find_network
from cyclades_tx.manage.networks import gateway_of, range_of
from cyclades_tx.manage.options import TRUTH, WORD, list_command, output_format, words
from cyclades_tx.manage.runner import Settings
from cyclades_tx.store import listings, operator_names
from cyclades_tx.store import network_inspection as store
from cyclades_tx.store.network_lists import SUBNETS
from cyclades_tx.world import World


@click.command("subnet-create")
@click.argument("network", type=WORD, required=False)
@click.option("--network", "named", type=WORD, help="The same as the argument.")
@click.option("--cidr", required=True, type=WORD, help="Its addresses, such as 10.0.0.0/24.")
@click.option("--name", default="", type=WORD)
@click.option("--gateway", type=WORD, help="An address of it, or 'none'. Default: the first.")
@click.option(
    "--allocation-pool",
    "pools",
    type=WORD,
    multiple=True,
    metavar="FIRST,LAST",
    help="What of an IPv4 subnet is given out; may be repeated.",
)
@click.option("--dhcp", type=TRUTH, default=True, show_default=True)
@click.option("--dns", type=WORD, metavar="address,…", help="Name servers that DHCP tells.")
@click.option("--ipv6-mode", type=click.Choice(MODES), help="How machines get IPv6 addresses.")
@output_format
@click.pass_obj
def create(
    settings: Settings,
    network: str | None,
    named: str | None,
    cidr: str,
    name: str,
    gateway: str | None,
    pools: tuple[str, ...],
    dhcp: bool,
    dns: str | None,
    ipv6_mode: str | None,
    form: str,
) -> None:
    """Add a subnet to a network (by id, UUID or Ganeti name): one of each version.

    Clusters that have the network make it anew; this is refused while ports are on it.
    """
    chosen = network or named
    if not chosen or (network and named):
        raise click.UsageError("Say once for which network.")
    wanted = WantedSubnet(
        cidr,
        name=name,
        gateway=gateway_of(gateway),
        pools=tuple(range_of(text) for text in pools) or None,
        dhcp=dhcp,
        dns_nameservers=words(dns),
        ra_mode=ipv6_mode,
        address_mode=ipv6_mode,
    )

    async def work(world: World) -> dict[str, Any]:
        found = await find_network(world, chosen)
        row = await world.subnets.create(None, found.uuid, wanted)
        return await _shown(world, row.id)

    tables.show(tables.record(settings.run(work), form))


@click.command("subnet-inspect")
@click.argument("subnet", type=WORD)
@output_format
@click.pass_obj
def inspect(settings: Settings, subnet: str, form: str) -> None:
    """Show a subnet (by id or UUID), its pools, and how much of them is free."""

    async def work(world: World) -> dict[str, Any]:
        found = await _find(world, subnet)
        return await _shown(world, found.id)

    tables.show(tables.record(settings.run(work), form))


@click.command("subnet-modify")
@click.argument("subnet", type=WORD)
@click.option("--name", type=WORD)
@click.option("--gateway", type=WORD, help="An address of it, or 'none'.")
@click.option("--dhcp", type=TRUTH)
@click.option("--dns", type=WORD, metavar="address,…", help="Name servers that DHCP tells.")
@click.option(
    "--allocation-pool",
    "pools",
    type=WORD,
    multiple=True,
    metavar="FIRST,LAST",
    help="What is given out from now on; may be repeated.",
)
@output_format
@click.pass_obj
def modify(
    settings: Settings,
    subnet: str,
    name: str | None,
    gateway: str | None,
    dhcp: bool | None,
    dns: str | None,
    pools: tuple[str, ...],
    form: str,
) -> None:
    """Change a subnet (by id or UUID).

    Clusters make its network anew for another gateway or DHCP; this is refused while ports are on
    it.
    """
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = name
    if gateway is not None:
        changes["gateway"] = gateway_of(gateway)
    if dhcp is not None:
        changes["dhcp"] = dhcp
    if dns is not None:
        changes["dns_nameservers"] = words(dns)
    if pools:
        changes["pools"] = tuple(range_of(text) for text in pools)
    if not changes:
        raise click.UsageError("Say what is to be changed.")

    async def work(world: World) -> dict[str, Any]:
        found = await _find(world, subnet)
        await world.subnets.change(None, found.uuid, changes)
        return await _shown(world, found.id)

    tables.show(tables.record(settings.run(work), form))


@click.command("subnet-remove")
@click.argument("subnet", type=WORD)
@click.pass_obj
def remove(settings: Settings, subnet: str) -> None:
    """Remove a subnet (by id or UUID) that no port has an address of."""

    async def work(world: World) -> None:
        found = await _find(world, subnet)
        await world.subnets.delete(None, found.uuid)

    settings.run(work)
    click.echo(f"Subnet {subnet} was removed.")


def add_to(group: click.Group) -> None:
    """Add the commands."""
    for command in (create, inspect, modify, remove):
        group.add_command(command)
    network = click.Option(["--network"], type=WORD, help="Only those of this network, by id.")
    four = click.Option(["--ipv4"], is_flag=True, help="Only those of IPv4.")
    six = click.Option(["--ipv6"], is_flag=True, help="Only those of IPv6.")
    dhcp = click.Option(["--dhcp"], is_flag=True, help="Only those with DHCP.")
    public = click.Option(["--public"], is_flag=True, help="Only those that all may attach to.")
    list_command(
        group,
        "subnet-list",
        SUBNETS,
        "List the subnets.",
        (
            (network, "network", None),
            (four, "ipversion", 4),
            (six, "ipversion", 6),
            (dhcp, "dhcp", True),
            (public, "public", True),
        ),
    )


async def _find(world: World, ref: str) -> Any:
    found = await operator_names.subnet(world.database, ref)
    if found is None:
        raise NotFound(f"There is no subnet {ref[:80]!r}; see subnet-list.", "subnet")
    return found


async def _shown(world: World, subnet_id: int) -> dict[str, Any]:
    shown = await listings.one(world.database, SUBNETS, subnet_id)
    if shown is None:
        raise NotFound(f"Subnet {subnet_id} is gone.", "subnet")
    more = await store.of_subnet(world.database, subnet_id)
    return shown | {
        "dns": list(more.dns_nameservers),
        "allocation pools": list(more.pools),
        "taken": more.taken,
        "kept back": list(more.kept),
    }
