"""Commands about volume types."""

from __future__ import annotations

from typing import Any

import click

from cyclades_tx.errors import NotFound
from cyclades_tx.flows.flavors import Flavors
from cyclades_tx.manage import tables
from cyclades_tx.manage.options import PAIRS, TRUTH, WORD, list_command, output_format, words
from cyclades_tx.manage.runner import Settings
from cyclades_tx.store import listings
from cyclades_tx.store.operator_lists import VOLUME_TYPES
from cyclades_tx.world import World


@click.command("volume-type-create")
@click.option("--name", required=True, type=WORD)
@click.option(
    "--disk-template",
    required=True,
    type=WORD,
    help="Ganeti's: plain, drbd, file, rbd, ext_PROVIDER …",
)
@click.option(
    "--specs", type=PAIRS, help="Specs; GNT-EXTP:key=value goes to Ganeti with each disk."
)
@click.pass_obj
def create(settings: Settings, name: str, disk_template: str, specs: dict[str, str] | None) -> None:
    """Make a volume type: a kind of disk."""

    async def work(world: World) -> int:
        return await Flavors(world.database).create_volume_type(name, disk_template, specs)

    click.echo(f"Volume type {name} was made with the id {settings.run(work)}.")


@click.command("volume-type-show")
@click.argument("volume_type", type=WORD)
@output_format
@click.pass_obj
def show(settings: Settings, volume_type: str, form: str) -> None:
    """Show a volume type (by id, UUID or name)."""

    async def work(world: World) -> dict[str, Any]:
        found = await Flavors(world.database).find_volume_type(volume_type)
        return await _shown(world, found.id)

    tables.show(tables.record(settings.run(work), form))


@click.command("volume-type-modify")
@click.argument("volume_type", type=WORD)
@click.option("--deleted", type=TRUTH, help="True: it and its flavors are no longer there.")
@click.option("--spec-add", type=PAIRS)
@click.option("--spec-delete", type=WORD, metavar="key,…")
@output_format
@click.pass_obj
def modify(
    settings: Settings,
    volume_type: str,
    deleted: bool | None,
    spec_add: dict[str, str] | None,
    spec_delete: str | None,
    form: str,
) -> None:
    """Change a volume type (by id, UUID or name); disks that there are keep it."""
    if deleted is None and not spec_add and not spec_delete:
        raise click.UsageError("Nothing to change was given.")

    async def work(world: World) -> dict[str, Any]:
        number = await Flavors(world.database).modify_volume_type(
            volume_type, deleted=deleted, add_specs=spec_add, delete_specs=words(spec_delete)
        )
        return await _shown(world, number)

    tables.show(tables.record(settings.run(work), form))


def add_to(group: click.Group) -> None:
    """Add the commands."""
    for command in (create, show, modify):
        group.add_command(command)
    list_command(group, "volume-type-list", VOLUME_TYPES, "List the volume types.")


async def _shown(world: World, type_id: int) -> dict[str, Any]:
    found = await listings.one(world.database, VOLUME_TYPES, type_id)
    if found is None:
        raise NotFound(f"There is no volume type {type_id}.", "volume_type")
    return found
