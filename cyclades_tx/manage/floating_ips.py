"""Commands about floating IPs."""

from __future__ import annotations

from typing import Any

import click

from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.flows.floating_ips import WantedFloatingIp
from cyclades_tx.manage import networks, removal, servers, tables
from cyclades_tx.manage.options import WORD, list_command, output_format, wait_option
from cyclades_tx.manage.people import in_name_of
from cyclades_tx.manage.requests import OPERATOR, ended, new_request_id
from cyclades_tx.manage.runner import Settings
from cyclades_tx.model.who import ADMIN, Who
from cyclades_tx.store import listings, operator_names
from cyclades_tx.store import network_inspection as store
from cyclades_tx.store.operator_address_lists import FLOATING_IPS
from cyclades_tx.world import World

_floating_ip = click.argument("floating_ip", type=WORD)


@click.command("floating-ip-create")
@click.option("--network", type=WORD, help="By id, UUID or Ganeti name; default: the only pool.")
@click.option("--address", type=WORD, help="This one; default: any that is free.")
@click.option("-u", "--user", "--owner", "user", required=True, type=WORD, help="Whose it is.")
@click.option("-p", "--project", type=WORD, help="Who is charged; default: the user's own.")
@output_format
@click.pass_obj
def create(
    settings: Settings,
    network: str | None,
    address: str | None,
    user: str,
    project: str | None,
    form: str,
) -> None:
    """Keep a public address for a project."""

    async def work(world: World) -> dict[str, Any]:
        who = await in_name_of(world, user, project)
        wanted = WantedFloatingIp(await _pool(world, network), address=address)
        uuid = await world.floating_ips.create(who, wanted, new_request_id())
        return await _shown(world, await find(world, uuid))

    tables.show(tables.record(settings.run(work), form))


@click.command("floating-ip-show")
@_floating_ip
@output_format
@click.pass_obj
def show(settings: Settings, floating_ip: str, form: str) -> None:
    """Show a floating IP (by id, UUID or address)."""

    async def work(world: World) -> dict[str, Any]:
        return await _shown(world, await find(world, floating_ip))

    tables.show(tables.record(settings.run(work), form))


@click.command("floating-ip-attach")
@_floating_ip
@click.option(
    "--machine", "--server", "server", required=True, type=WORD, help="A server of its project."
)
@wait_option(True)
@output_format
@click.pass_obj
def attach(settings: Settings, floating_ip: str, server: str, wait: bool, form: str) -> None:
    """Put a floating IP (by id, UUID or address) on a server, as one more interface."""
    request_id = new_request_id()

    async def work(world: World) -> dict[str, Any]:
        found = await find(world, floating_ip)
        target = await servers.find(world, server)
        who = Who(found.user_id, "snf-manage", found.project_id, None, frozenset((ADMIN,)))
        await world.floating_ips.add_to_server(who, target.uuid, found.address, None, request_id)
        if wait:
            await ended(world, target.id, request_id)
        return await _shown(world, found)

    tables.show(tables.record(settings.run(work), form))


@click.command("floating-ip-detach")
@_floating_ip
@wait_option(True)
@output_format
@click.pass_obj
def detach(settings: Settings, floating_ip: str, wait: bool, form: str) -> None:
    """Take a floating IP (by id, UUID or address) off its server; its project keeps it."""
    request_id = new_request_id()

    async def work(world: World) -> dict[str, Any]:
        found = await find(world, floating_ip)
        if found.server_id is None:
            raise Conflict(f"Floating IP {found.address} is on no server.")
        await world.floating_ips.update(OPERATOR, found.uuid, {"port_ref": None}, request_id)
        if wait:
            await ended(world, found.server_id, request_id)
            if await store.leaves_at_restart(world.database, found.port_id):
                click.echo("It leaves when its server is next restarted.", err=True)
        return await _shown(world, found)

    tables.show(tables.record(settings.run(work), form))


@click.command("floating-ip-remove")
@click.argument("floating_ips", type=WORD, nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@wait_option(True)
@click.pass_obj
def remove(settings: Settings, floating_ips: tuple[str, ...], force: bool, wait: bool) -> None:
    """Give floating IPs (by id, UUID or address) back, taking them off their servers first."""

    async def begin(world: World, ref: str, request_id: str) -> removal.Begun:
        found = await find(world, ref)
        await world.floating_ips.delete(OPERATOR, found.uuid, request_id)

        async def stays() -> bool:
            return await store.leaves_at_restart(world.database, found.port_id)

        return removal.Begun(f"Floating IP {found.address}", found.server_id, stays)

    removal.remove(settings, floating_ips, "floating IP", begin, force=force, wait=wait)


def add_to(group: click.Group) -> None:
    """Add the commands."""
    for command in (create, show, attach, detach, remove):
        group.add_command(command)
    user = click.Option(["-u", "--user", "--owner"], type=WORD, help="Only those of this user.")
    project = click.Option(["-p", "--project"], type=WORD, help="Only those of this project.")
    server = click.Option(["--server"], type=WORD, help="Only those on this server.")
    network = click.Option(["--network"], type=WORD, help="Only those of this network.")
    address = click.Option(["--address"], type=WORD, help="Only this one.")
    list_command(
        group,
        "floating-ip-list",
        FLOATING_IPS,
        "List the floating IPs, and the server that each is on.",
        (
            (user, "user", None),
            (project, "project", None),
            (server, "server", None),
            (network, "network", None),
            (address, "address", None),
        ),
    )


async def find(world: World, ref: str) -> Any:
    """A floating IP by id, UUID or address; see :func:`operator_names.floating_ip`.

    :raise NotFound: when there is none.
    """
    found = await operator_names.floating_ip(world.database, ref)
    if found is None:
        raise NotFound(f"There is no floating IP {ref[:80]!r}; see floating-ip-list.", "floatingip")
    return found


async def _pool(world: World, network: str | None) -> str:
    """The UUID of the network that an address is to come from."""
    if network is not None:
        uuid: str = (await networks.find(world, network)).uuid
        return uuid
    possible = await operator_names.floating_ip_networks(world.database)
    if not possible:
        raise NotFound("No network gives floating IPs now; see network-list.", "network")
    if len(possible) > 1:
        names = ", ".join(row.name for row in possible)
        raise BadRequest(f"Several networks give floating IPs ({names}): say which by --network.")
    return str(possible[0].uuid)


async def _shown(world: World, floating_ip: Any) -> dict[str, Any]:
    shown = await listings.one(world.database, FLOATING_IPS, floating_ip.id)
    if shown is None:
        raise NotFound(f"Floating IP {floating_ip.address} is gone.", "floatingip")
    return shown
