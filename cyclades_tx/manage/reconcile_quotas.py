"""The command that recounts what projects hold."""

from __future__ import annotations

import click

from cyclades_tx.manage.options import WORD, output_format
from cyclades_tx.manage.reconcile_pools import finish, note
from cyclades_tx.manage.runner import Settings
from cyclades_tx.store import books, upkeep
from cyclades_tx.world import World


@click.command("reconcile-quotas")
@click.option("-p", "--project", type=WORD, help="Only this one, by name or id.")
@click.option(
    "--fix-all", "--fix", "fix_all", is_flag=True, help="Set the holdings to what is counted."
)
@output_format
@click.pass_obj
def reconcile(settings: Settings, project: str | None, fix_all: bool, form: str) -> None:
    """Recount what projects hold and reserve, and set their holdings to it.

    The service does this by itself from time to time. Exit code 0: nothing is wrong (any more);
    1: something is left.
    """

    async def work(world: World) -> books.Recount:
        project_id = None if project is None else await world.people.find_project(project)
        result = await books.recount_quotas(world.database, fix=fix_all, project_id=project_id)
        if project_id is None:
            await note(world, upkeep.QUOTAS, result)
        return result

    finish(settings.run(work), fix_all, form)


def add_to(group: click.Group) -> None:
    """Add the command, also by the name that operators know."""
    group.add_command(reconcile)
    group.add_command(reconcile, "reconcile-resources-cyclades")
