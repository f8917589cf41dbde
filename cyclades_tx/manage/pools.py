"""Commands about pools of bridges and of MAC prefixes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import click

from cyclades_tx.flows.value_pools import MOST, ValuePools
from cyclades_tx.manage import tables
from cyclades_tx.manage.options import ID, NUMBERS, WORD, list_command, output_format
from cyclades_tx.manage.runner import Settings
from cyclades_tx.store.network_lists import POOLS
from cyclades_tx.world import World

_KINDS = ("bridge", "mac-prefix")
_OFFSET = click.IntRange(0, MOST)


def _pools(world: World) -> ValuePools:
    return ValuePools(world.database, mac_prefix=world.networks.mac_prefix)


def _shown(settings: Settings, form: str, work: Callable[[ValuePools], Awaitable[int]]) -> None:
    """Do something with a pool, then show it."""

    async def run(world: World) -> dict[str, Any]:
        pools = _pools(world)
        return await pools.show(await work(pools))

    tables.show(tables.record(settings.run(run), form))


@click.command("pool-create")
@click.option("--type", "kind", required=True, type=click.Choice(_KINDS), help="What it has.")
@click.option("--base", required=True, type=WORD, help="Its values begin with it: prv, aa:00:0.")
@click.option("--size", required=True, type=click.IntRange(1), help="How many values it makes.")
@click.option("--offset", type=_OFFSET, default=0, help="Its numbers begin after this one.")
@output_format
@click.pass_obj
def create(settings: Settings, kind: str, base: str, size: int, offset: int, form: str) -> None:
    """Make a pool: bridges for PHYSICAL_VLAN networks, MAC prefixes for MAC_FILTERED ones.

    Bridges are numbered from 1 (prv1, prv2 …). Of MAC prefixes the one that other networks have,
    and those that no single machine may use, are not given out.

    \b
    Example: snf-manage pool-create --type mac-prefix --base aa:00:0 --size 65536
    """

    async def work(pools: ValuePools) -> int:
        return await pools.create(kind.replace("-", "_"), base, size, offset)

    _shown(settings, form, work)


@click.command("pool-show")
@click.argument("pool", type=ID)
@output_format
@click.pass_obj
def show(settings: Settings, pool: int, form: str) -> None:
    """Show a pool (by id): its ends, how much of it is free, used and kept back."""

    async def work(_pools: ValuePools) -> int:
        return pool

    _shown(settings, form, work)


@click.command("pool-modify")
@click.argument("pool", type=ID)
@click.option("--size", type=click.IntRange(1), help="How many values it makes.")
@click.option("--base", type=WORD, help="What its values begin with.")
@click.option("--offset", type=_OFFSET, help="Its numbers begin after this one.")
@click.option("--add-reserved", type=NUMBERS, default=(), help="Numbers that no network gets.")
@click.option("--remove-reserved", type=NUMBERS, default=(), help="Numbers that are free again.")
@output_format
@click.pass_obj
def modify(
    settings: Settings,
    pool: int,
    size: int | None,
    base: str | None,
    offset: int | None,
    add_reserved: tuple[int, ...],
    remove_reserved: tuple[int, ...],
    form: str,
) -> None:
    """Make a pool (by id) larger or smaller, move it, or keep values back from networks.

    A value that a network has must stay in it. Numbers are those of the pool as it will be.
    """
    if (size, base, offset) == (None,) * 3 and not add_reserved and not remove_reserved:
        raise click.UsageError("Say what is to be changed.")

    async def work(pools: ValuePools) -> int:
        await pools.change(
            pool,
            size=size,
            base=base,
            offset=offset,
            reserve=add_reserved,
            release=remove_reserved,
        )
        return pool

    _shown(settings, form, work)


@click.command("pool-remove")
@click.argument("pool", type=ID)
@click.option("-f", "--force", is_flag=True, expose_value=False, help="Nothing is asked anyway.")
@click.pass_obj
def remove(settings: Settings, pool: int) -> None:
    """Remove a pool (by id) that no network has a value of."""

    async def work(world: World) -> None:
        await _pools(world).remove(pool)

    settings.run(work)
    click.echo(f"Pool {pool} was removed.")


def add_to(group: click.Group) -> None:
    """Add the commands."""
    for command in (create, show, modify, remove):
        group.add_command(command)
    kind = click.Option(["--type"], type=click.Choice(_KINDS), help="Only those that have these.")
    list_command(
        group,
        "pool-list",
        POOLS,
        "List the pools of bridges and of MAC prefixes.",
        ((kind, "type", None),),
    )
