"""What server-modify says and does when a server gets another owner."""

from __future__ import annotations

import click

from cyclades_tx.flows.server_transfers import Given, give
from cyclades_tx.manage.people import in_name_of
from cyclades_tx.manage.quotas import amount_text
from cyclades_tx.store import listings
from cyclades_tx.store.operator_lists import SERVERS
from cyclades_tx.world import World


async def give_away(
    world: World,
    server_id: int,
    owner: str,
    project: str | None,
    *,
    with_networks: bool,
    dry_run: bool,
) -> None:
    """Give a server to another owner, and say what went along.

    :param owner: name or id; likewise the project, or None for the owner's own.
    :param dry_run: only say what would.
    """
    who = await in_name_of(world, owner, project)
    assert who.project_id is not None
    given = await give(
        world.database,
        server_id,
        who.user_id,
        who.project_id,
        with_networks=with_networks,
        rehearse=dry_run,
    )
    if dry_run:
        click.echo(f"Server {server_id} can be given to {owner}; nothing was changed.")
    else:
        row = await listings.one(world.database, SERVERS, server_id) or {}
        click.echo(f"Server {server_id} belongs to {row.get('user')} in {row.get('project')}.")
    for line in _along(given):
        click.echo(f"  {line}")


def _along(given: Given) -> list[str]:
    """What goes along with a server, in lines."""
    counted = [
        f"{count} {noun}{'' if count == 1 else 's'}"
        for count, noun in (
            (given.volumes, "volume"),
            (given.ports, "port"),
            (given.floating_ips, "floating IP"),
        )
        if count
    ]
    lines = []
    if counted:
        lines.append(f"With it: {', '.join(counted)}.")
    if given.networks:
        lines.append(f"With its networks: {', '.join(given.networks)}.")
    if given.left_group is not None:
        lines.append(f"It leaves the server group {given.left_group}.")
    if given.charged:
        amounts = [amount_text(each, amount) for each, amount in sorted(given.charged.items())]
        lines.append(f"Charged to the new project, no longer to the old: {', '.join(amounts)}.")
    return lines
