"""Commands about flavors."""

from __future__ import annotations

from typing import Any

import click

from cyclades_tx.errors import BadRequest, NotFound
from cyclades_tx.flows.flavors import Flavors, Made
from cyclades_tx.manage import tables
from cyclades_tx.manage.options import (
    NUMBERS,
    PAIRS,
    TRUTH,
    WORD,
    list_command,
    output_format,
    words,
)
from cyclades_tx.manage.runner import Settings
from cyclades_tx.store import listings
from cyclades_tx.store.operator_lists import FLAVOR_ACCESS, FLAVORS
from cyclades_tx.world import World

_SHOWN = "id,uuid,name,cpu,ram,disk,volume_type,template,allow_create,public,deleted,specs"


@click.command("flavor-create")
@click.argument("cpus", type=NUMBERS)
@click.argument("rams", type=NUMBERS)
@click.argument("disks", type=NUMBERS)
@click.argument("volume_types", type=WORD)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be made.")
@click.option(
    "--public", type=TRUTH, default=True, show_default=True, help="Whether every project sees them."
)
@click.option("--specs", type=PAIRS)
@output_format
@click.pass_obj
def create(
    settings: Settings,
    cpus: tuple[int, ...],
    rams: tuple[int, ...],
    disks: tuple[int, ...],
    volume_types: str,
    dry_run: bool,
    public: bool,
    specs: dict[str, str] | None,
    form: str,
) -> None:
    """Make a flavor of each combination of CPUS, RAMS (MiB), DISKS (GiB) and VOLUME_TYPES.

    Each is a list with commas between. Volume types are given by id, name or disk template.
    Memory is rounded up to a multiple of 4 MiB. Flavors that are there already are reported
    and left as they are.

    \b
    Example: snf-manage flavor-create 2,4 4096 40 drbd
    """
    types = words(volume_types)
    if not types:
        raise click.UsageError("No volume type was given.")

    async def work(world: World) -> list[Made]:
        return await Flavors(world.database).create(
            cpus, rams, disks, types, public=public, specs=specs, dry_run=dry_run
        )

    made = settings.run(work)
    word = "would be made" if dry_run else "made"
    found = [
        (each.id, each.name, each.vcpus, each.memory_mib, each.disk_gib, each.volume_type,
         word if each.new else "exists")
        for each in made
    ]  # fmt: skip
    names = ("id", "name", "cpu", "ram", "disk", "volume_type", "result")
    tables.show(tables.table(names, found, form))


@click.command("flavor-modify")
@click.argument("flavor", type=WORD)
@click.option("--deleted", type=TRUTH, help="True: no longer there for users; servers keep it.")
@click.option("--allow-create", type=TRUTH, help="False: shown, but no new servers of it.")
@click.option("--public", type=TRUTH, help="False: only for projects that it was given to.")
@click.option("--spec-add", type=PAIRS)
@click.option("--spec-delete", type=WORD, metavar="key,…")
@output_format
@click.pass_obj
def modify(
    settings: Settings,
    /,
    flavor: str,
    spec_add: dict[str, str] | None,
    spec_delete: str | None,
    form: str,
    **given: Any,
) -> None:
    """Change a flavor (by id, UUID or name)."""
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes and not spec_add and not spec_delete:
        raise click.UsageError("Nothing to change was given.")

    async def work(world: World) -> dict[str, Any]:
        found = await Flavors(world.database).modify(
            flavor, changes, add_specs=spec_add, delete_specs=words(spec_delete)
        )
        return await _shown(world, found.id)

    tables.show(tables.record(settings.run(work), form))


@click.command("flavor-show")
@click.argument("flavor", type=WORD)
@output_format
@click.pass_obj
def show(settings: Settings, flavor: str, form: str) -> None:
    """Show a flavor (by id, UUID or name); ram in MiB, disk in GiB."""

    async def work(world: World) -> dict[str, Any]:
        return await _shown(world, (await Flavors(world.database).find(flavor)).id)

    tables.show(tables.record(settings.run(work), form))


@click.command("flavor-access-add")
@click.option("--flavor", required=True, type=WORD, help="Id, UUID or name.")
@click.option("--project", required=True, type=WORD, help="Name or id.")
@click.pass_obj
def access_add(settings: Settings, flavor: str, project: str) -> None:
    """Let a project use a flavor that is not public."""

    async def work(world: World) -> None:
        await Flavors(world.database).give(flavor, await world.people.find_project(project))

    settings.run(work)
    click.echo(f"Project {project} may use flavor {flavor}.")


@click.command("flavor-access-remove")
@click.option("--flavor", type=WORD, help="Id, UUID or name.")
@click.option("--project", type=WORD, help="Name or id.")
@click.pass_obj
def access_remove(settings: Settings, flavor: str | None, project: str | None) -> None:
    """Take a flavor from a project (or from all, or all from it)."""

    async def work(world: World) -> int:
        project_id = None if project is None else await world.people.find_project(project)
        return await Flavors(world.database).take(flavor, project_id)

    number = settings.run(work)
    if not number:
        raise BadRequest("There is no such access; see flavor-access-list.")
    click.echo(f"{number} access{'es' * (number != 1)} removed.")


def add_to(group: click.Group) -> None:
    """Add the commands."""
    for command in (create, modify, show, access_add, access_remove):
        group.add_command(command)
    list_command(group, "flavor-list", FLAVORS, "List the flavors; ram in MiB, disk in GiB.")
    list_command(
        group, "flavor-access-list", FLAVOR_ACCESS, "List which projects were given which flavors."
    )


async def _shown(world: World, flavor_id: int) -> dict[str, Any]:
    found = await listings.one(world.database, FLAVORS, flavor_id, FLAVORS.pick(_SHOWN))
    if found is None:
        raise NotFound(f"There is no flavor {flavor_id}.", "flavor")
    return found
