"""Commands about volumes."""

from __future__ import annotations

from typing import Any

import click

from cyclades_tx.errors import BadRequest, CycladesError, NotFound
from cyclades_tx.flows.volumes import MOST_GIB, NewVolume
from cyclades_tx.manage import images, removal, servers, tables
from cyclades_tx.manage.options import TRUTH, WORD, list_command, output_format, wait_option
from cyclades_tx.manage.people import in_name_of
from cyclades_tx.manage.requests import OPERATOR, ended, new_request_id
from cyclades_tx.manage.runner import Settings
from cyclades_tx.store import clusters, kept_volumes, listings, server_records
from cyclades_tx.store import operator_volume_lists as store
from cyclades_tx.store.operator_volume_lists import VOLUMES
from cyclades_tx.world import World

_volume = click.argument("volume", type=WORD)
_MOST_TEXT = 255


@click.command("volume-create")
@click.option("-s", "--size", required=True, type=click.IntRange(1, MOST_GIB), help="In GiB.")
@click.option("--name", type=WORD, default="")
@click.option("--description", type=WORD)
@click.option("-u", "--user", required=True, type=WORD, help="Whose it is.")
@click.option("-p", "--project", type=WORD, help="Who is charged; default: the user's own.")
@click.option("--volume-type", type=WORD, help="By UUID or name; default: the first.")
@click.option(
    "--image",
    type=WORD,
    help="By UUID, id or name: what gets on it when a server boots from it first.",
)
@click.option("--server", type=WORD, help="A server of its project, which gets it at once.")
@wait_option(True)
@output_format
@click.pass_obj
def create(
    settings: Settings,
    size: int,
    name: str,
    description: str | None,
    user: str,
    project: str | None,
    volume_type: str | None,
    image: str | None,
    server: str | None,
    wait: bool,
    form: str,
) -> None:
    """Make a volume; its disk is made when a server gets it for the first time."""
    _check_text("name", name)
    _check_text("description", description or "")
    if image is not None and server is not None:
        raise click.UsageError("--image contradicts --server: a server boots from it first.")

    async def work(world: World) -> dict[str, Any]:
        who = await in_name_of(world, user, project)
        image_ref = None if image is None else await images.find(world, image)
        target = None if server is None else await servers.find(world, server)
        new = NewVolume(size, name, description, volume_type, image_ref=image_ref)
        uuid = await world.volumes.create(who, new)
        if target is not None:
            await _attach(world, uuid, target, wait)
        return await _shown(world, (await find(world, uuid)).id)

    tables.show(tables.record(settings.run(work), form))


@click.command("volume-show")
@_volume
@output_format
@click.pass_obj
def show(settings: Settings, volume: str, form: str) -> None:
    """Show a volume (by id, UUID or Ganeti name)."""

    async def work(world: World) -> dict[str, Any]:
        return await _shown(world, (await find(world, volume)).id)

    tables.show(tables.record(settings.run(work), form))


@click.command("volume-inspect")
@_volume
@output_format
@click.pass_obj
def inspect(settings: Settings, volume: str, form: str) -> None:
    """Show a volume (by id, UUID or Ganeti name), and its disk as its cluster has it."""

    async def work(world: World) -> dict[str, Any]:
        found = await find(world, volume)
        shown = await _shown(world, found.id)
        return {**shown, "disk": await _at_cluster(world, found)}

    tables.show(tables.record(settings.run(work), form))


@click.command("volume-modify")
@_volume
@click.option("--name", type=WORD)
@click.option("--description", type=WORD)
@click.option(
    "--delete-on-termination", type=TRUTH, help="Whether it goes with the server that has it."
)
@output_format
@click.pass_obj
def modify(
    settings: Settings,
    volume: str,
    name: str | None,
    description: str | None,
    delete_on_termination: bool | None,
    form: str,
) -> None:
    """Change a volume (by id, UUID or Ganeti name)."""
    given = {"name": name, "description": description}
    changes = {key: value for key, value in given.items() if value is not None}
    if not changes and delete_on_termination is None:
        raise click.UsageError("Nothing to change was given.")
    for key, value in changes.items():
        _check_text(key, value)

    async def work(world: World) -> dict[str, Any]:
        found = await _free_standing(world, volume)
        if changes:
            await world.volumes.update(OPERATOR, found.uuid, changes, None)
        if delete_on_termination is not None:
            if found.server_id is None:
                raise BadRequest(f"No server has volume {found.id}.")
            target = await servers.find(world, str(found.server_id))
            await world.volume_attachments.change(
                OPERATOR, target.uuid, found.uuid, delete_on_termination
            )
        return await _shown(world, found.id)

    tables.show(tables.record(settings.run(work), form))


@click.command("volume-attach")
@_volume
@click.option("--server", required=True, type=WORD, help="A server of its project.")
@wait_option(True)
@output_format
@click.pass_obj
def attach(settings: Settings, volume: str, server: str, wait: bool, form: str) -> None:
    """Put a volume (by id, UUID or Ganeti name) on a server."""

    async def work(world: World) -> dict[str, Any]:
        found = await _free_standing(world, volume)
        await _attach(world, found.uuid, await servers.find(world, server), wait)
        return await _shown(world, found.id)

    tables.show(tables.record(settings.run(work), form))


@click.command("volume-detach")
@_volume
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@wait_option(True)
@output_format
@click.pass_obj
def detach(settings: Settings, volume: str, force: bool, wait: bool, form: str) -> None:
    """Take a volume (by id, UUID or Ganeti name) off its server, with all that is on it."""
    if not force:
        click.confirm(f"Detach volume {volume}?", abort=True, err=True)

    async def work(world: World) -> dict[str, Any]:
        found = await _free_standing(world, volume)
        if found.server_id is None:
            raise BadRequest(f"No server has volume {found.id}.")
        target = await servers.find(world, str(found.server_id))
        request_id = new_request_id()
        await world.volume_attachments.detach(OPERATOR, target.uuid, found.uuid, request_id)
        if wait:
            await ended(world, target.id, request_id)
        return await _shown(world, found.id)

    tables.show(tables.record(settings.run(work), form))


@click.command("volume-remove")
@click.argument("volumes", type=WORD, nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@wait_option(True)
@click.pass_obj
def remove(settings: Settings, volumes: tuple[str, ...], force: bool, wait: bool) -> None:
    """Remove volumes (by id, UUID or Ganeti name), also from the servers that have them."""

    async def begin(world: World, ref: str, request_id: str) -> removal.Begun:
        found = await _free_standing(world, ref)
        began = await server_records.moment(world.database)
        await world.volumes.delete(OPERATOR, found.uuid, request_id, force=True)
        title = f"Volume {found.id}"
        # What works on it may have come to its end by now, and a bad one.
        if found.id in await kept_volumes.moving(world.database, (found.id,), began):
            return removal.Begun(title, volume_id=found.id)
        return removal.Begun(title, found.server_id)

    loss = " with all data"
    removal.remove(settings, volumes, "volume", begin, force=force, wait=wait, loss=loss)


def add_to(group: click.Group) -> None:
    """Add the commands."""
    for command in (create, show, inspect, modify, attach, detach, remove):
        group.add_command(command)
    user = click.Option(["-u", "--user"], type=WORD, help="Only those of this user.")
    project = click.Option(["-p", "--project"], type=WORD, help="Only those of this project.")
    server = click.Option(["--server"], type=WORD, help="Only those of this server.")
    list_command(
        group,
        "volume-list",
        VOLUMES,
        "List the volumes, servers' own root disks among them; size in GiB.",
        ((user, "user", None), (project, "project", None), (server, "server", None)),
    )


async def find(world: World, ref: str) -> Any:
    """A volume by id, UUID or Ganeti name; see :func:`operator_volume_lists.volume`.

    :raise NotFound: when there is none.
    """
    found = await store.volume(world.database, world.names, ref)
    if found is None:
        raise NotFound(f"There is no volume {ref[:80]!r}; see volume-list.", "volume")
    return found


async def _free_standing(world: World, ref: str) -> Any:
    """The same, unless it is a server's own root disk."""
    found = await find(world, ref)
    if found.local:
        raise BadRequest(
            f"Volume {found.id} is the own disk of server {found.server_id}: it goes with it."
        )
    return found


async def _attach(world: World, uuid: str, server: Any, wait: bool) -> None:
    request_id = new_request_id()
    await world.volume_attachments.attach(OPERATOR, server.uuid, uuid, request_id)
    if wait:
        await ended(world, server.id, request_id)


async def _shown(world: World, volume_id: int) -> dict[str, Any]:
    shown = await listings.one(world.database, VOLUMES, volume_id)
    if shown is None:
        raise NotFound(f"Volume {volume_id} is gone.", "volume")
    return shown


async def _at_cluster(world: World, volume: Any) -> str:
    """The disk as its cluster has it, or why that cannot be told."""
    cluster_id = None
    if volume.server_id is not None:
        cluster_id = await world.database.value(
            "select cluster_id from server where id = %s", (volume.server_id,)
        )
    row = None if cluster_id is None else await clusters.by_id(world.database, cluster_id)
    if row is None:
        kept = await world.database.first(
            "select c.name, v.node from volume v join cluster c on c.id = v.cluster_id"
            " where v.id = %s",
            (volume.id,),
        )
        if kept is None:
            return "none: no server has it"
        node = "" if kept.node is None else f", node {kept.node}"
        return f"kept by backend {kept.name}{node}: no server has it"
    if row.offline:
        return "not asked: the backend is offline"
    try:
        seen = await world.clusters.questions(row).instance(world.names.instance(volume.server_id))
    except CycladesError as error:
        return f"not known: {error.message}"
    wanted = world.names.disk(volume.id)
    for place, disk in enumerate(() if seen is None else seen.disks):
        if disk.name == wanted:
            return f"{disk.name}/{disk.size_mib} MiB at place {place}"
    return "not there"


def _check_text(what: str, text: str) -> None:
    if len(text) > _MOST_TEXT or not text.isprintable():
        raise click.UsageError(f"A {what} has at most {_MOST_TEXT} printable characters.")
