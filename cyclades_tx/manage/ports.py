"""Commands about ports."""

from __future__ import annotations

from typing import Any

import click

from cyclades_tx.errors import CycladesError, NotFound
from cyclades_tx.flows.interfaces import WantedInterface
from cyclades_tx.flows.ports import WantedAddress, WantedPort
from cyclades_tx.manage import networks, removal, servers, tables
from cyclades_tx.manage.options import WORD, list_command, output_format, wait_option, words
from cyclades_tx.manage.people import in_name_of
from cyclades_tx.manage.requests import OPERATOR, ended, new_request_id
from cyclades_tx.manage.runner import Settings
from cyclades_tx.model.who import ADMIN, Who
from cyclades_tx.store import clusters, listings, operator_names
from cyclades_tx.store import network_inspection as store
from cyclades_tx.store.operator_address_lists import PORTS
from cyclades_tx.world import World


@click.command("port-create")
@click.option("--network", required=True, type=WORD, help="By id, UUID or Ganeti name.")
@click.option("--server", type=WORD, help="The server that gets it as an interface, at once.")
@click.option("-u", "--user", "--owner", "user", type=WORD, help="Whose it is, without a server.")
@click.option("-p", "--project", type=WORD, help="Of the user; default: the user's own.")
@click.option("--name", type=WORD, default="")
@click.option("--ipv4-address", "address", type=WORD, help="This one; default: any that is free.")
@click.option(
    "--security-groups", "groups", type=WORD, metavar="group,…", help="Default: the project's own."
)
@wait_option(True)
@output_format
@click.pass_obj
def create(
    settings: Settings,
    network: str,
    server: str | None,
    user: str | None,
    project: str | None,
    name: str,
    address: str | None,
    groups: str | None,
    wait: bool,
    form: str,
) -> None:
    """Make a port on a network: of a user, or as one more interface of a server."""
    if (server is None) == (user is None):
        raise click.UsageError("Name the server that gets it, or the user whose it is.")
    if project is not None and user is None:
        raise click.UsageError("--project needs --user.")
    request_id = new_request_id()

    async def work(world: World) -> dict[str, Any]:
        target = None if server is None else await servers.find(world, server)
        if target is not None:
            who = _owner(await servers.shown(world, target.id))
        else:
            who = await in_name_of(world, user or "", project)
        wanted = WantedPort(
            (await networks.find(world, network)).uuid,
            name=name,
            addresses=None if address is None else (WantedAddress(address=address),),
            security_groups=None if groups is None else words(groups),
        )
        (uuid,) = await world.ports.create(who, [wanted])
        if target is not None:
            try:
                interface = WantedInterface(port_ref=uuid)
                await world.interfaces.attach(who, target.uuid, interface, request_id)
            except CycladesError:
                await world.ports.delete(who, uuid, request_id)
                raise
            if wait:
                await ended(world, target.id, request_id)
        return await _shown(world, await find(world, uuid))

    tables.show(tables.record(settings.run(work), form))


@click.command("port-show")
@click.argument("port", type=WORD)
@output_format
@click.pass_obj
def show(settings: Settings, port: str, form: str) -> None:
    """Show a port as the database has it (by id, UUID or Ganeti name)."""

    async def work(world: World) -> dict[str, Any]:
        return await _shown(world, await find(world, port))

    tables.show(tables.record(settings.run(work), form))


@click.command("port-inspect")
@click.argument("port", type=WORD)
@output_format
@click.pass_obj
def inspect(settings: Settings, port: str, form: str) -> None:
    """Show a port in the database and as its cluster has it (by id, UUID or Ganeti name)."""

    async def work(world: World) -> dict[str, Any]:
        found = await find(world, port)
        return await _shown(world, found) | await _at_cluster(world, found)

    tables.show(tables.record(settings.run(work), form))


@click.command("port-remove")
@click.argument("ports", type=WORD, nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@wait_option(True)
@click.pass_obj
def remove(settings: Settings, ports: tuple[str, ...], force: bool, wait: bool) -> None:
    """Remove ports (by id, UUID or Ganeti name), from their servers too."""

    async def begin(world: World, ref: str, request_id: str) -> removal.Begun:
        found = await find(world, ref)
        await world.ports.delete(OPERATOR, found.uuid, request_id)

        async def stays() -> bool:
            return await store.leaves_at_restart(world.database, found.id)

        return removal.Begun(f"Port {found.id}", found.server_id, stays)

    removal.remove(settings, ports, "port", begin, force=force, wait=wait)


def add_to(group: click.Group) -> None:
    """Add the commands."""
    for command in (create, show, inspect, remove):
        group.add_command(command)
    user = click.Option(["-u", "--user", "--owner"], type=WORD, help="Only those of this user.")
    project = click.Option(["-p", "--project"], type=WORD, help="Only those of this project.")
    server = click.Option(["--server"], type=WORD, help="Only those of this server.")
    network = click.Option(["--network"], type=WORD, help="Only those of this network.")
    public = click.Option(["--public"], is_flag=True, help="Only those on shared networks.")
    list_command(
        group,
        "port-list",
        PORTS,
        "List the ports.",
        (
            (user, "user", None),
            (project, "project", None),
            (server, "server", None),
            (network, "network", None),
            (public, "public", True),
        ),
    )


async def find(world: World, ref: str) -> Any:
    """A port by id, UUID or Ganeti name: id, uuid, server_id.

    :raise NotFound: when there is none.
    """
    found = await operator_names.port(world.database, world.names, ref)
    if found is None:
        raise NotFound(f"There is no port {ref[:80]!r}; see port-list.", "port")
    return found


def _owner(server: dict[str, Any]) -> Who:
    """The owner of a server with an administrator's rights, for what the server gets."""
    return Who(server["user.uuid"], server["user"], server["project.id"], None, frozenset((ADMIN,)))


async def _shown(world: World, port: Any) -> dict[str, Any]:
    shown = await listings.one(world.database, PORTS, port.id)
    if shown is None:
        raise NotFound(f"Port {port.id} is gone.", "port")
    addresses = await store.addresses_of(world.database, port.id)
    return shown | {
        "security_groups": await store.groups_of(world.database, port.id),
        "addresses": [row._asdict() for row in addresses],
    }


async def _at_cluster(world: World, port: Any) -> dict[str, Any]:
    """The interface as the cluster of its server has it, or why that cannot be told."""
    name = world.names.nic(port.id)
    if port.server_id is None:
        return {"ganeti": "no server has it"}
    cluster_id = (await servers.shown(world, port.server_id))["backend.id"]
    row = None if cluster_id is None else await clusters.by_id(world.database, cluster_id)
    if row is None or row.offline:
        return {"ganeti": "not asked: the backend is offline"}
    instance = world.names.instance(port.server_id)
    try:
        seen = await world.clusters.questions(row).instance(instance)
    except CycladesError as error:
        return {"ganeti": f"not known: {error.message}"}
    for nic in () if seen is None else seen.nics:
        if nic.name == name:
            return {
                "ganeti": f"{name} of {instance}",
                "ganeti.mac": nic.mac,
                "ganeti.ip": nic.ip,
                "ganeti.network": nic.network,
                "ganeti.mode": nic.mode,
                "ganeti.link": nic.link,
            }
    return {"ganeti": "not there"}
