"""Commands about what projects may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cyclades_tx.errors import BadRequest
from cyclades_tx.flows.quotas import Quotas
from cyclades_tx.manage import tables
from cyclades_tx.manage.options import PAIRS, WORD, list_command, output_format, quantity
from cyclades_tx.manage.runner import Settings
from cyclades_tx.model import quota
from cyclades_tx.store import holding_limits, listings
from cyclades_tx.store.listings import Listing
from cyclades_tx.store.operator_lists import QUOTAS, USER_QUOTAS
from cyclades_tx.store.project_limits import UNLIMITED
from cyclades_tx.world import World

_UNITS = {quota.RAM: quota.MIB, quota.TOTAL_RAM: quota.MIB, quota.DISK: quota.GIB}

#: What a single user can be limited to, by Compute's names of it.
_OF_USERS = {quota.VM: "instances", quota.TOTAL_CPU: "cores", quota.TOTAL_RAM: "ram"}


@click.command("quota-modify")
@click.argument("project", type=WORD)
@click.argument("limits", type=PAIRS)
@click.option("-u", "--user", type=WORD, help="Only what this user has of it, by name or id.")
@output_format
@click.pass_obj
def modify(
    settings: Settings, project: str, limits: dict[str, str], user: str | None, form: str
) -> None:
    """Change limits of a project (by name or id): RESOURCE=LIMIT,RESOURCE=LIMIT.

    What is used beyond a limit is kept; enforce-resources-cyclades takes it. A user can be limited
    to so much of vm, total_cpu and total_ram. A limit is a number in the unit that quota-list
    shows, or with MiB, GiB or TiB behind it, or 'unlimited'. "cyclades." before the resource can
    be left out.

    \b
    Example: snf-manage quota-modify demo vm=20,ram=64GiB,floating_ip=unlimited
    """
    wanted = {_resource(name): text for name, text in limits.items()}
    amounts = {name: quantity(text, _UNITS.get(name, 1)) for name, text in wanted.items()}

    of_user = {} if user is None else _of_user(amounts)
    listing: Listing = QUOTAS if user is None else USER_QUOTAS

    async def work(world: World) -> list[tuple[Any, ...]]:
        project_id = await world.people.find_project(project)
        only = [listings.Term(listing.column("project"), "=", project_id)]
        if user is None:

            async def change(tx: Any) -> None:
                await holding_limits.change(tx, project_id, amounts)

            await world.database.transaction(change, "quota.modify")
        else:
            user_id = await world.people.find_user(user)
            flow = Quotas(world.database, world.config.quota.limits())
            await flow.change_of_user(project_id, user_id, of_user, force=True)
            only.append(listings.Term(listing.column("user"), "=", user_id))
        return await listings.rows(world.database, listing, listing.pick(None), only)

    found = settings.run(work)
    tables.show(tables.table([column.name for column in listing.pick(None)], found, form))


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
    user = click.Option(["-u", "--user"], type=WORD, help="Only this one, by name or id.")
    list_command(
        group,
        "user-quota-list",
        USER_QUOTAS,
        "List what single users are limited to within their projects, and use.",
        ((project, "project", None), (user, "user", None)),
    )


def amount_text(resource: str, amount: int) -> str:
    """An amount with its resource and unit: ``disk 20 GiB``."""
    unit = _UNITS.get(resource, 1)
    written = {quota.MIB: " MiB", quota.GIB: " GiB"}.get(unit, "")
    return f"{resource.removeprefix('cyclades.')} {amount // unit}{written}"


def _of_user(amounts: Mapping[str, int | None]) -> dict[str, int]:
    """Limits of a user as the flow has them: by Compute's names, in Compute's units."""
    found = {}
    for resource, amount in amounts.items():
        if resource not in _OF_USERS:
            names = ", ".join(each.removeprefix("cyclades.") for each in _OF_USERS)
            raise BadRequest(f"{resource} is the project's; a user has limits of {names}.")
        unit = _UNITS.get(resource, 1)
        found[_OF_USERS[resource]] = UNLIMITED if amount is None else amount // unit
    return found


def _resource(name: str) -> str:
    for known in quota.RESOURCES:
        if name in (known, known.removeprefix("cyclades.")):
            return known
    short = ", ".join(known.removeprefix("cyclades.") for known in quota.RESOURCES)
    raise BadRequest(f"There is no resource {name[:80]!r}; there are: {short}.")
