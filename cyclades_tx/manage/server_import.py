"""The command that makes a server of an instance which a cluster had before."""

from __future__ import annotations

import re

import click

from cyclades_tx.errors import Conflict, NotFound
from cyclades_tx.flows.flavors import Flavors
from cyclades_tx.flows.server_imports import Imported, Wanted, take_in
from cyclades_tx.manage import images
from cyclades_tx.manage.backends import fleet
from cyclades_tx.manage.options import WORD
from cyclades_tx.manage.people import in_name_of
from cyclades_tx.manage.quotas import amount_text
from cyclades_tx.manage.runner import Settings
from cyclades_tx.store import clusters, operator_names, server_imports
from cyclades_tx.world import World

#: What Ganeti takes for a name (RFC 1123); it is shown as a command to type.
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?", re.ASCII)


@click.command("server-import")
@click.argument("instance", type=WORD)
@click.option("--backend-id", "--backend", "backend", required=True, type=WORD, help="Its cluster.")
@click.option(
    "--user-id", "--user", "user", required=True, type=WORD, help="Whose it will be, by id or name."
)
@click.option(
    "--project-id",
    "--project",
    "project",
    type=WORD,
    help="Which project is charged; default: the user's own.",
)
@click.option(
    "--flavor-id",
    "--flavor",
    "flavor",
    required=True,
    type=WORD,
    help="By id, UUID or name; its volume type must be that of the instance's disks.",
)
@click.option(
    "--image-id", "--image", "image", type=WORD, help="What it was made of, by UUID, id or name."
)
@click.option("--name", type=WORD, help="The server's name; default: the instance's.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be made.")
@click.pass_obj
def import_(
    settings: Settings,
    instance: str,
    backend: str,
    user: str,
    project: str | None,
    flavor: str,
    image: str | None,
    name: str | None,
    dry_run: bool,
) -> None:
    """Make a server of an instance that a cluster had before, as it is.

    The instance must be called as a server's is (snf-42) that is not here; for any other one a
    number is reserved, and it is said what to type at the cluster. Nothing is changed there, and a
    running machine keeps running. Its interfaces must be on networks of this service and have
    addresses that nobody has; interfaces and disks that are called snf-nic-N and snf-vol-N keep
    their numbers. The quotas of the project, and of the user in it, count.
    """
    if name is not None and not (1 <= len(name) <= 255 and name.strip() and name.isprintable()):
        raise click.UsageError("A name has 1 to 255 printable characters.")
    if not _NAME.fullmatch(instance):
        raise click.UsageError("An instance's name has letters, digits, '-' and '.'.")

    async def work(world: World) -> Imported:
        who = await in_name_of(world, user, project)
        assert who.project_id is not None
        found = await fleet(world).find(backend)
        row = await clusters.by_id(world.database, found.id)
        if row.offline:
            raise Conflict(f"Backend {row.name} is offline.")
        flavor_id = (await Flavors(world.database).find(flavor)).id
        image_id = None
        if image is not None:
            image_id = await operator_names.image_id(
                world.database, await images.find(world, image)
            )
        seen = await world.clusters.questions(row).instance(instance)
        if seen is None:
            raise NotFound(f"Backend {row.name} has no instance {instance}.", "instance")
        if world.names.server_id(instance) is None:
            raise Conflict(await _renaming(world, instance, dry_run))
        wanted = Wanted(
            who.user_id, who.project_id, row.id, row.name, flavor_id, name or instance, image_id
        )
        return await take_in(world.database, world.names, seen, wanted, rehearse=dry_run)

    done = settings.run(work)
    if dry_run:
        click.echo(f"Server {done.id} can be made of {instance}; nothing was changed.")
    else:
        click.echo(f"Server {done.id} was made of {instance}, UUID {done.uuid}.")
    ports, disks = (
        f"{count} {noun}{'' if count == 1 else 's'}"
        for count, noun in ((done.ports, "port"), (done.volumes, "disk"))
    )
    click.echo(f"  With it: {ports}, {disks}.")
    amounts = [amount_text(each, amount) for each, amount in sorted(done.charged.items())]
    click.echo(f"  Charged: {', '.join(amounts)}.")


async def _renaming(world: World, instance: str, dry_run: bool) -> str:
    """What to do with an instance that has no name of ours."""
    if dry_run:
        return f"{instance} must get the name of a server first; without --dry-run it is told."
    name = world.names.instance(await server_imports.reserve(world.database))
    return (
        f"{instance} must be called {name}, which is kept for it. At the cluster, while it is"
        f" stopped:\n  gnt-instance rename --no-ip-check --no-name-check {instance} {name}\nand"
        f" then import {name}."
    )


def add_to(group: click.Group) -> None:
    """Add the command."""
    group.add_command(import_)
