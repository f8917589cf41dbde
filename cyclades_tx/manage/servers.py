"""Commands about servers that are there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import click

from cyclades_tx.errors import CycladesError, NotFound
from cyclades_tx.flows.flavors import Flavors
from cyclades_tx.flows.suspension import suspend
from cyclades_tx.manage import images, removal, tables
from cyclades_tx.manage.options import (
    TRUTH,
    WORD,
    list_command,
    output_format,
    wait_option,
    words,
)
from cyclades_tx.manage.requests import OPERATOR, ended, new_request_id
from cyclades_tx.manage.runner import Settings
from cyclades_tx.manage.server_transfers import give_away
from cyclades_tx.store import clusters, listings, operator_names
from cyclades_tx.store import server_inspection as store
from cyclades_tx.store.operator_lists import SERVER_GROUPS, SERVERS
from cyclades_tx.world import World

ACTIONS = ("start", "stop", "reboot_hard", "reboot_soft", "rescue", "unrescue")
_LONGEST_TAG = 60
_OPERATIONS = 10
_DIAGNOSTICS = 20
_JOBS = 20


@click.command("server-show")
@click.argument("server", type=WORD)
@output_format
@click.pass_obj
def show(settings: Settings, server: str, form: str) -> None:
    """Show a server as the database has it (by id, UUID or Ganeti name); ram in MiB."""

    async def work(world: World) -> dict[str, Any]:
        return await shown(world, (await find(world, server, deleted=True)).id)

    tables.show(tables.record(settings.run(work), form))


@click.command("server-inspect")
@click.argument("server", type=WORD)
@click.option("--jobs", is_flag=True, help="Ask the cluster for the jobs, too.")
@output_format
@click.pass_obj
def inspect(settings: Settings, server: str, jobs: bool, form: str) -> None:
    """Show a server in the database and as its cluster has it (by id, UUID or Ganeti name)."""

    async def work(world: World) -> dict[str, Any]:
        found = await find(world, server, deleted=True)
        database = world.database
        whole = await shown(world, found.id)
        name = world.names.instance(found.id)
        seen = await _at_cluster(world, whole["backend.id"], name)
        if seen is not None:
            whole |= {f"ganeti.{key}": value for key, value in seen.items()}
        for title, rows in (
            ("ports", await store.ports_of(database, found.id)),
            ("volumes", await store.volumes_of(database, found.id)),
            ("operations", await store.operations_of(database, found.id, _OPERATIONS)),
            ("diagnostics", await store.diagnostics_of(database, found.id, _DIAGNOSTICS)),
        ):
            whole[title] = [row._asdict() for row in rows]
        if jobs:
            numbers = await store.jobs_of(database, found.id, _JOBS)
            whole["jobs"] = await _jobs(world, whole["backend.id"], numbers)
        return whole

    tables.show(tables.record(settings.run(work), form))


@click.command("server-modify")
@click.argument("server", type=WORD)
@click.option("--name", type=WORD, help="Its new name, which its machine is not told of.")
@click.option("--owner", "--user", "owner", type=WORD, help="The user whose it is from now on.")
@click.option("--project", type=WORD, help="The project that is charged; default: the owner's own.")
@click.option(
    "--with-networks", is_flag=True, help="Its private networks go to the new owner, too."
)
@click.option("--suspended", type=TRUTH, help="True: the owner may do nothing with it.")
@click.option("--flavor", type=WORD, help="Another size (by id, UUID or name); its quota counts.")
@click.option("--action", type=click.Choice(ACTIONS))
@click.option(
    "--rescue-image", type=WORD, help="An ISO image for the rescue; default: the configuration's."
)
@click.option("--tag-add", "added", type=WORD, multiple=True, help="May be repeated.")
@click.option("--tag-delete", "deleted", type=WORD, multiple=True, help="May be repeated.")
@click.option("--tag-replace-all", "replaced", type=WORD, metavar="tag,…", help="No others stay.")
@click.option("--tag-delete-all", "none", is_flag=True, help="No tag stays.")
@click.option("-n", "--dry-run", is_flag=True, help="With --owner: only say what would go along.")
@wait_option(True)
@click.pass_obj
def modify(
    settings: Settings,
    server: str,
    name: str | None,
    owner: str | None,
    project: str | None,
    with_networks: bool,
    suspended: bool | None,
    flavor: str | None,
    action: str | None,
    rescue_image: str | None,
    added: tuple[str, ...],
    deleted: tuple[str, ...],
    replaced: str | None,
    none: bool,
    dry_run: bool,
    wait: bool,
) -> None:
    """Change a server (by id, UUID or Ganeti name): name, owner, suspension, tags, size, power.

    All of it can be combined, and is done in this order.

    Its volumes, ports, addresses and floating IPs go to another owner with it, and so does what it
    was used in the past. What cannot go along is named, and nothing is changed then.

    A running server is stopped for another size and started again. With --wait the new size is
    confirmed at once; without, its owner may still go back to the old one for a while.
    """
    tags = _Tags(added, deleted, () if none else None if replaced is None else words(replaced))
    for tag in (*(tags.all or ()), *added):
        if not 1 <= len(tag) <= _LONGEST_TAG or "/" in tag or "," in tag or not tag.isprintable():
            raise click.UsageError(f"A tag has 1 to {_LONGEST_TAG} characters, no slash, no comma.")
    if none and replaced is not None:
        raise click.UsageError("--tag-delete-all contradicts --tag-replace-all.")
    others = (name, suspended, flavor, action) != (None,) * 4 or tags.meant
    if not others and owner is None:
        raise click.UsageError("Nothing to change was given.")
    if owner is None and (project is not None or with_networks or dry_run):
        raise click.UsageError("--project, --with-networks and --dry-run need --owner.")
    if dry_run and others:
        raise click.UsageError("--dry-run goes with --owner alone.")
    if rescue_image is not None and action != "rescue":
        raise click.UsageError("--rescue-image needs --action rescue.")
    if flavor is not None and action is not None and not wait:
        raise click.UsageError("--flavor and --action together need --wait True.")
    if name is not None and not (
        len(name.strip()) >= 1 and len(name) <= 255 and name.isprintable()
    ):
        raise click.UsageError("A name has 1 to 255 printable characters.")

    async def work(world: World) -> None:
        found = await find(world, server)
        if name is not None:
            await world.servers.update(OPERATOR, found.uuid, {"name": name})
            click.echo(f"Server {found.id} is named {name}.")
        if owner is not None:
            await give_away(
                world,
                found.id,
                owner,
                project,
                with_networks=with_networks,
                dry_run=dry_run,
            )
        if suspended is not None:
            await suspend(world.database, found.id, suspended)
            word = "is suspended" if suspended else "is not suspended"
            click.echo(f"Server {found.id} {word}.")
        if tags.meant:
            await _tag(world, found, tags)
        if flavor is not None:
            await _resize(world, found, flavor, wait)
        if action is not None:
            image = None if rescue_image is None else await images.find(world, rescue_image)
            await act(world, found, action, wait, image)

    settings.run(work)


@click.command("server-remove")
@click.argument("servers", type=WORD, nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@wait_option(True)
@click.pass_obj
def remove(settings: Settings, servers: tuple[str, ...], force: bool, wait: bool) -> None:
    """Remove servers (by id, UUID or Ganeti name); an error of one does not stop the rest."""

    async def begin(world: World, ref: str, request_id: str) -> removal.Begun:
        found = await find(world, ref)
        await world.servers.delete(OPERATOR, found.uuid, request_id)
        return removal.Begun(f"Server {found.id} ({found.name})", found.id)

    loss = " with all data"
    removal.remove(settings, servers, "server", begin, force=force, wait=wait, loss=loss)


def add_to(group: click.Group) -> None:
    """Add the commands."""
    for command in (show, inspect, modify, remove):
        group.add_command(command)
    user = click.Option(["-u", "--user"], type=WORD, help="Only those of this user.")
    project = click.Option(["-p", "--project"], type=WORD, help="Only those of this project.")
    backend = click.Option(["--backend-id"], type=WORD, help="Only those on this cluster.")
    suspended = click.Option(["--suspended"], is_flag=True, help="Only the suspended ones.")
    build = click.Option(["--build"], is_flag=True, help="Only those that are being made.")
    list_command(
        group,
        "server-list",
        SERVERS,
        "List the servers; ram in MiB.",
        (
            (user, "user", None),
            (project, "project", None),
            (backend, "backend", None),
            (suspended, "suspended", True),
            (build, "state", "building"),
        ),
    )
    list_command(
        group,
        "server-group-list",
        SERVER_GROUPS,
        "List the server groups, and where their servers are.",
        ((user, "user", None), (project, "project", None)),
    )


async def act(
    world: World, found: Any, action: str, wait: bool, rescue_image: str | None = None
) -> None:
    """Begin one of :data:`ACTIONS` on a server, and wait for it if that is wanted.

    :param rescue_image: the UUID of the image for a rescue; None: the configuration's.
    """
    flows = world.servers
    begin: dict[str, Callable[[str], Awaitable[Any]]] = {
        "start": lambda request_id: flows.start(OPERATOR, found.uuid, request_id),
        "stop": lambda request_id: flows.stop(OPERATOR, found.uuid, request_id),
        "reboot_hard": lambda request_id: flows.reboot(OPERATOR, found.uuid, True, request_id),
        "reboot_soft": lambda request_id: flows.reboot(OPERATOR, found.uuid, False, request_id),
        "rescue": lambda request_id: flows.rescue(
            OPERATOR, found.uuid, rescue_image, None, request_id
        ),
        "unrescue": lambda request_id: flows.unrescue(OPERATOR, found.uuid, request_id),
    }
    request_id = new_request_id()
    await begin[action](request_id)
    if not wait:
        click.echo(f"Server {found.id}: {action} begins.")
        return
    await ended(world, found.id, request_id)
    click.echo(f"Server {found.id}: {action} is done.")


@dataclass(frozen=True)
class _Tags:
    """What is to become of a server's tags.

    :ivar all: those that it has from now on, before the others count; None: those that it has.
    """

    added: tuple[str, ...]
    deleted: tuple[str, ...]
    all: tuple[str, ...] | None

    @property
    def meant(self) -> bool:
        """Whether anything is to change."""
        return bool(self.added or self.deleted or self.all is not None)


async def _tag(world: World, found: Any, tags: _Tags) -> None:
    if tags.all is not None:
        await world.servers.set_tags(OPERATOR, found.uuid, tags.all)
    for tag in tags.added:
        await world.servers.add_tag(OPERATOR, found.uuid, tag)
    for tag in tags.deleted:
        await world.servers.delete_tag(OPERATOR, found.uuid, tag)
    click.echo(f"Server {found.id} has its tags.")


async def _resize(world: World, found: Any, flavor_ref: str, wait: bool) -> None:
    """Give a server another size as its owner would, and confirm that when it is done."""
    flavor = await Flavors(world.database).find(flavor_ref)
    request_id = new_request_id()
    await world.servers.resize(OPERATOR, found.uuid, flavor.uuid, request_id)
    if not wait:
        click.echo(f"Server {found.id}: resize to {flavor.name} begins.")
        return
    await ended(world, found.id, request_id)
    await world.servers.confirm_resize(OPERATOR, found.uuid)
    click.echo(f"Server {found.id} has flavor {flavor.name}.")


async def find(world: World, ref: str, *, deleted: bool = False) -> Any:
    """A server by id, UUID or Ganeti name: id, uuid, name, state, deleted.

    :param deleted: whether a deleted one is good, too.
    :raise NotFound: when there is none.
    """
    found = await operator_names.server(world.database, world.names, ref)
    if found is None or (found.deleted and not deleted):
        alike = await operator_names.servers_named(world.database, ref)
        hint = f"; named so: {', '.join(alike)}" if alike else "; see server-list"
        raise NotFound(f"There is no server {ref[:80]!r}{hint}.", "server")
    return found


async def shown(world: World, server_id: int) -> dict[str, Any]:
    """Everything that server-list can show of one server."""
    found = await listings.one(world.database, SERVERS, server_id)
    if found is None:
        raise NotFound(f"Server {server_id} is gone.", "server")
    return found


async def _at_cluster(world: World, cluster_id: int | None, name: str) -> dict[str, Any] | None:
    """The instance as its cluster has it, or why that cannot be told."""
    row = None if cluster_id is None else await clusters.by_id(world.database, cluster_id)
    if row is None:
        return None
    if row.offline:
        return {"name": name, "status": "not asked: the backend is offline"}
    try:
        seen = await world.clusters.questions(row).instance(name)
    except CycladesError as error:
        return {"name": name, "status": f"not known: {error.message}"}
    if seen is None:
        return {"name": name, "status": "not there"}
    return {
        "name": seen.name,
        "uuid": seen.uuid,
        "status": seen.status,
        "pnode": seen.pnode,
        "vcpus": seen.vcpus,
        "memory_mib": seen.memory_mib,
        "network_port": seen.network_port,
        "serial": seen.serial,
        "tags": seen.tags,
        "nics": [
            f"{nic.name or '-'}/{nic.mac}/{nic.ip or '-'}/{nic.network or '-'}" for nic in seen.nics
        ],
        "disks": [f"{disk.name or '-'}/{disk.size_mib} MiB" for disk in seen.disks],
    }


async def _jobs(world: World, cluster_id: int | None, numbers: list[int]) -> list[dict[str, Any]]:
    row = None if cluster_id is None else await clusters.by_id(world.database, cluster_id)
    if row is None or row.offline or not numbers:
        return []
    found = await world.clusters.questions(row).jobs(tuple(numbers))
    return [
        {"id": number, "status": str(found[number].status), "message": found[number].message}
        for number in numbers
    ]
