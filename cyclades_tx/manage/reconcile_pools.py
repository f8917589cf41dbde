"""The command that recounts addresses, ports and pools of values."""

from __future__ import annotations

from typing import Any

import click

from cyclades_tx.manage import tables
from cyclades_tx.manage.options import output_format
from cyclades_tx.manage.runner import Failed, Settings
from cyclades_tx.model import books as kinds_of
from cyclades_tx.store import books, upkeep
from cyclades_tx.world import World

#: What each option mends.
FIXES = {
    "addresses": (kinds_of.LEAKED_ADDRESSES, kinds_of.FREE_ADDRESSES),
    "ports": (kinds_of.LEAKED_PORTS, kinds_of.PORTS_OF_GONE_SERVER),
    "history": (kinds_of.OPEN_HISTORY,),
    "values": (kinds_of.FREE_VALUES,),
}
_HELP = {
    "addresses": "Free addresses that nobody has; write what is free anew.",
    "ports": "Delete ports that were made for servers which are gone.",
    "history": "Close the history of addresses that no server has.",
    "values": "Write anew which bridges and MAC prefixes are free.",
}


def _fix_options(function: Any) -> Any:
    for word in reversed(FIXES):
        function = click.option(f"--fix-{word}", is_flag=True, help=_HELP[word])(function)
    return function


@click.command("reconcile-pools")
@_fix_options
@click.option("--fix-all", "--fix", "fix_all", is_flag=True, help="All of these.")
@output_format
@click.pass_obj
def reconcile(settings: Settings, /, fix_all: bool, form: str, **fixes: bool) -> None:
    """Recount addresses, ports, and the pools of bridges and MAC prefixes; mend what is wrong.

    The service does this by itself from time to time. Exit code 0: nothing is wrong (any more);
    1: something is left.
    """
    words = list(FIXES) if fix_all else [word for word in FIXES if fixes[f"fix_{word}"]]
    chosen = {kind for word in words for kind in FIXES[word]}

    async def work(world: World) -> books.Recount:
        result = await books.recount_pools(world.database, chosen)
        await note(world, upkeep.POOLS, result)
        return result

    finish(settings.run(work), bool(words), form)


async def note(world: World, area: str, result: books.Recount) -> None:
    """Write down what is left, as the loop does."""

    async def write(tx: Any) -> None:
        await upkeep.write_down(tx, area, None, result.notes())

    await world.database.transaction(write, f"books.{area}")


def finish(result: books.Recount, fixing: bool, form: str) -> None:
    """Show what was found, and what became of it.

    :raise Failed: when something is left.
    """
    columns = ("kind", "subject", "what", "remedy", "result")
    lines = []
    for some, word in ((result.mended, "done"), (result.left, "left")):
        for each in some:
            remedy = "the books are set to the count" if each.mendable else "an operator decides"
            lines.append((each.kind, each.subject, each.sentence, remedy, word))
    width = len(columns) if fixing else len(columns) - 1
    columns_shown, shown = columns[:width], [line[:width] for line in lines]
    tables.show(tables.table(columns_shown, shown, form))
    if result.left:
        trouble = f" {result.trouble}" if result.trouble else ""
        raise Failed(f"{len(result.left)} differences are left.{trouble}")


def add_to(group: click.Group) -> None:
    """Add the command."""
    group.add_command(reconcile)
