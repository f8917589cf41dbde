"""The command that creates a server."""

from __future__ import annotations

from typing import Any

import click

from cyclades_tx.flows.flavors import Flavors
from cyclades_tx.manage import images, networks, secret_input, service_door, tables
from cyclades_tx.manage.backends import fleet
from cyclades_tx.manage.options import PAIRS, WORD, output_format, wait_option
from cyclades_tx.manage.people import project_of
from cyclades_tx.manage.requests import ended
from cyclades_tx.manage.runner import Settings
from cyclades_tx.manage.servers import find, shown
from cyclades_tx.world import World

_SHOWN = (
    "id",
    "uuid",
    "name",
    "user",
    "project",
    "state",
    "flavor",
    "image.name",
    "backend",
    "ipv4",
)


@click.command("server-create")
@click.option("--name", required=True, type=WORD)
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
    "--flavor-id", "--flavor", "flavor", required=True, type=WORD, help="By id, UUID or name."
)
@click.option(
    "--image-id", "--image", "image", required=True, type=WORD, help="By UUID, id or name."
)
@click.option(
    "--backend-id",
    "--backend",
    "backend",
    type=WORD,
    help="The cluster, past the allocator, even a drained one.",
)
@click.option(
    "--port",
    "ports",
    type=WORD,
    multiple=True,
    metavar="network:ID[,address:IP]",
    help="An interface; may be repeated.",
)
@click.option("--no-network", is_flag=True, help="No interface at all.")
@click.option("--key-name", type=WORD, help="A key pair of the user's.")
@click.option("--metadata", type=PAIRS)
@click.option(
    "--password", help="The machine's password; warns, since others on this machine see it."
)
@click.option(
    "--password-file", metavar="FILE", help="A file of mode 0600 with the machine's password."
)
@click.option(
    "--password-stdin", is_flag=True, help="Read the machine's password from standard input."
)
@click.option("--password-prompt", is_flag=True, help="Ask for the machine's password.")
@click.option(
    "--api-url", type=WORD, help="Where the service runs, if not at its configured address here."
)
@wait_option(False)
@output_format
@click.pass_obj
def create(
    settings: Settings,
    name: str,
    user: str,
    project: str | None,
    flavor: str,
    image: str,
    backend: str | None,
    ports: tuple[str, ...],
    no_network: bool,
    key_name: str | None,
    metadata: dict[str, str] | None,
    password: str | None,
    password_file: str | None,
    password_stdin: bool,
    password_prompt: bool,
    api_url: str | None,
    wait: bool,
    form: str,
) -> None:
    """Create a server for a user, by the running service.

    Without an option for the password one is made, and shown once. The service must run: what
    a machine gets at its first boot is kept in the service's memory only.
    """
    if no_network and ports:
        raise click.UsageError("--no-network contradicts --port.")
    secret = secret_input.get(
        "machine's password",
        from_argv=password,
        from_file=password_file,
        from_stdin=password_stdin,
        prompt=password_prompt,
        confirm=True,
    )
    wanted_ports = [_port(text) for text in ports]

    async def work(world: World) -> dict[str, Any]:
        user_id = await world.people.find_user(user)
        body: dict[str, Any] = {
            "name": name,
            "flavor": (await Flavors(world.database).find(flavor)).uuid,
            "image": await images.find(world, image),
            "metadata": metadata or {},
            "key_name": key_name,
            "admin_password": secret,
        }
        if backend is not None:
            body["cluster_id"] = (await fleet(world).find(backend)).id
        if ports or no_network:
            body["networks"] = [
                {"network": (await networks.find(world, ref)).uuid, "address": address}
                for ref, address in wanted_ports
            ]
        project_id = await project_of(world, user_id, user, project)
        made = await service_door.create_server(world, user_id, project_id, body, api_url)
        found = await find(world, made["uuid"], deleted=True)
        if secret is None and wait:
            # Before the wait, which may be interrupted: it is told only here.
            click.echo(f"Password: {made['admin_password']}", err=True)
        if wait:
            await ended(world, found.id, made["request_id"])
        whole = await shown(world, found.id)
        result = {key: whole[key] for key in _SHOWN}
        if secret is None and not wait:
            result["password"] = made["admin_password"]
        return result

    tables.show(tables.record(settings.run(work), form))


def add_to(group: click.Group) -> None:
    """Add the command."""
    group.add_command(create)


def _port(text: str) -> tuple[str, str | None]:
    parts: dict[str, str] = {}
    for piece in text.split(","):
        key, colon, value = piece.partition(":")
        if not colon or not value or key not in ("network", "address") or key in parts:
            raise click.UsageError(f"--port is network:ID[,address:IP], not {text[:80]!r}.")
        parts[key] = value
    if "network" not in parts:
        raise click.UsageError(f"--port is network:ID[,address:IP], not {text[:80]!r}.")
    return parts["network"], parts.get("address")
