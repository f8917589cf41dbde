"""Commands about what projects may use."""

from __future__ import annotations

from typing import Any

import click

from cyclades_tx.errors import BadRequest
from cyclades_tx.manage import tables
from cyclades_tx.manage.options import PAIRS, WORD, list_command, output_format, quantity
from cyclades_tx.manage.runner import Settings
from cyclades_tx.model import quota
from cyclades_tx.store import holding_limits, listings
from cyclades_tx.store.operator_lists import QUOTAS
from cyclades_tx.world import World

_UNITS = {quota.RAM: quota.MIB, quota.TOTAL_RAM: quota.MIB, quota.DISK: quota.GIB}


@click.command("quota-modify")
@click.argument("project", type=WORD)
@click.argument("limits", type=PAIRS)
@output_format
@click.pass_obj
def modify(settings: Settings, project: str, limits: dict[str, str], form: str) -> None:
    """Change limits of a project (by name or id): RESOURCE=LIMIT,RESOURCE=LIMIT.

    A limit is a number in the unit that quota-list shows, or with MiB, GiB or TiB behind it, or
    'unlimited'. "cyclades." before the resource can be left out.

    \b
    Example: snf-manage quota-modify demo vm=20,ram=64GiB,floating_ip=unlimited
    """
    wanted = {_resource(name): text for name, text in limits.items()}
    amounts = {name: quantity(text, _UNITS.get(name, 1)) for name, text in wanted.items()}

    async def work(world: World) -> list[tuple[Any, ...]]:
        project_id = await world.people.find_project(project)

        async def change(tx: Any) -> None:
            await holding_limits.change(tx, project_id, amounts)

        await world.database.transaction(change, "quota.modify")
        only = listings.Term(QUOTAS.column("project"), "=", project_id)
        return await listings.rows(world.database, QUOTAS, QUOTAS.pick(None), [only])

    found = settings.run(work)
    tables.show(tables.table([column.name for column in QUOTAS.pick(None)], found, form))


def add_to(group: click.Group) -> None:
    """Add the commands."""
    group.add_command(modify)
    project = click.Option(["-p", "--project"], type=WORD, help="Only this one, by name or id.")
    list_command(
        group,
        "quota-list",
        QUOTAS,
        "List what projects may use, and use; no limit is shown as -.",
        ((project, "project", None),),
    )


def _resource(name: str) -> str:
    for known in quota.RESOURCES:
        if name in (known, known.removeprefix("cyclades.")):
            return known
    short = ", ".join(known.removeprefix("cyclades.") for known in quota.RESOURCES)
    raise BadRequest(f"There is no resource {name[:80]!r}; there are: {short}.")
