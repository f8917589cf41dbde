"""Commands about what is in motion."""

from __future__ import annotations

import click

from cyclades_tx.errors import CycladesError
from cyclades_tx.flows.cancellation import cancel
from cyclades_tx.manage.options import ID
from cyclades_tx.manage.runner import Failed, Settings
from cyclades_tx.world import World


@click.command("operation-cancel")
@click.argument("operations", type=ID, nargs=-1, required=True)
@click.pass_obj
def operation_cancel(settings: Settings, operations: tuple[int, ...]) -> None:
    """Cancel operations that still wait (by id; see operation-list).

    Everything that is kept for them is given back. What was sent to a cluster goes on.
    """

    async def work(world: World) -> bool:
        failed = False
        for number in dict.fromkeys(operations):
            try:
                found = await cancel(
                    world.database,
                    world.keyring,
                    world.vault,
                    number,
                    "Canceled by an operator.",
                )
            except CycladesError as error:
                click.echo(f"snf-manage: {error.message}", err=True)
                failed = True
            else:
                click.echo(
                    f"Operation {number} ({found.kind} of server {found.server_id}) is canceled."
                )
        return failed

    if settings.run(work):
        raise Failed("")


def add_to(group: click.Group) -> None:
    """Add the command."""
    group.add_command(operation_cancel)
