"""Commands about consoles: who looks at which machine, and that it ends."""

from __future__ import annotations

import click

from cyclades_tx.errors import CycladesError
from cyclades_tx.manage.options import ID, WORD, list_command
from cyclades_tx.manage.runner import Failed, Settings
from cyclades_tx.store.console_lists import CONSOLES
from cyclades_tx.world import World

_SAID = {
    "waiting": "Console {number} cannot be opened any more.",
    "open": "Console {number} is being closed.",
    "ended": "Console {number} had ended before.",
}


@click.command("console-close")
@click.argument("consoles", type=ID, nargs=-1, required=True)
@click.pass_obj
def console_close(settings: Settings, consoles: tuple[int, ...]) -> None:
    """Close consoles (by id; see console-list).

    Whoever looks is told that an operator closed it, and needs a new ticket.
    """

    async def work(world: World) -> bool:
        failed = False
        for number in dict.fromkeys(consoles):
            try:
                state = await world.consoles.close(number)
            except CycladesError as error:
                click.echo(f"snf-manage: {error.message}", err=True)
                failed = True
            else:
                click.echo(_SAID[state].format(number=number))
        return failed

    if settings.run(work):
        raise Failed("")


def add_to(group: click.Group) -> None:
    """Add the commands."""
    group.add_command(console_close)
    server = click.Option(["--server"], type=WORD, help="Only those of this server.")
    user = click.Option(["-u", "--user"], type=WORD, help="Only those of this user.")
    list_command(
        group,
        "console-list",
        CONSOLES,
        "List the consoles that wait to be opened or are open; with --deleted those that ended.",
        ((server, "server", None), (user, "user", None)),
    )
