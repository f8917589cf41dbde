"""The command that brings projects and users back within their limits."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from cyclades_tx.errors import CycladesError
from cyclades_tx.manage import tables
from cyclades_tx.manage.options import WORD, output_format, words
from cyclades_tx.manage.runner import Failed, Settings
from cyclades_tx.manage.servers import OPERATOR, ended, new_request_id
from cyclades_tx.model import quota
from cyclades_tx.model.enforcement import RESOURCES, SHUTDOWN, SOFT, Action, Plan, plan
from cyclades_tx.store import enforcement
from cyclades_tx.world import World

_UNITS = {quota.RAM: quota.MIB, quota.TOTAL_RAM: quota.MIB, quota.DISK: quota.GIB}
_ACTION_FIELDS = ("type", "id", "name", "state", "backend", "action", "violation", "result")
_VIOLATION_FIELDS = ("#", "type", "holder", "source", "resource", "limit", "usage", "note")


@click.command("enforce-resources-cyclades")
@click.option("--resources", type=WORD, help="Remove or stop servers for the sake of these.")
@click.option("--soft-resources", type=WORD, help="Only stop servers for the sake of these.")
@click.option("--list-resources", is_flag=True, help="Show the resources there are.")
@click.option("--projects", type=WORD, help="Only these, by name or id, with commas between.")
@click.option("--exclude-projects", type=WORD, help="All but these.")
@click.option("--users", type=WORD, help="Only limits of these users, by name or id.")
@click.option("--exclude-users", type=WORD, help="Leave limits of these users alone.")
@click.option("--fix", is_flag=True, help="Do what the plan says; without it nothing changes.")
@click.option("-f", "--force", is_flag=True, help="Do not ask before servers are removed.")
@click.option(
    "--max-operations",
    type=click.IntRange(0),
    help="Do at most so many things on each cluster; the rest is left for the next time.",
)
@click.option(
    "--remove-system-volumes", is_flag=True, help="Remove servers for the sake of their disks."
)
@click.option(
    "--cascade-remove", is_flag=True, help="Remove also servers with further volumes attached."
)
@output_format
@click.pass_obj
def enforce(
    settings: Settings,
    resources: str | None,
    soft_resources: str | None,
    list_resources: bool,
    projects: str | None,
    exclude_projects: str | None,
    users: str | None,
    exclude_users: str | None,
    fix: bool,
    force: bool,
    max_operations: int | None,
    remove_system_volumes: bool,
    cascade_remove: bool,
    form: str,
) -> None:
    """Bring projects and users that are over their limits back within them.

    Shows which limits are passed, and which servers would be stopped or removed; --fix does it.
    Exit code 0: all limits are kept; 1: some are not.

    \b
    Example: snf-manage enforce-resources-cyclades --resources cpu,ram --soft-resources vm
    """
    if list_resources:
        rows = [(each, "yes" if each in SOFT else "no") for each in RESOURCES]
        tables.show(tables.table(("resource", "soft"), rows, form))
        return
    hard, soft = _resources(resources, RESOURCES), _resources(soft_resources, tuple(SOFT))
    if not hard and not soft:
        raise click.UsageError("Name resources, or soft ones; --list-resources shows them.")
    if hard & soft:
        raise click.UsageError("A resource is either soft or not.")
    wanted = tuple(each for each in RESOURCES if each in hard | soft)

    async def look(world: World) -> tuple[Plan, list[tuple[Any, ...]]]:
        found = []
        if users is None:
            found += await enforcement.project_violations(world.database, wanted)
        found += await enforcement.user_violations(world.database, wanted)
        only_projects = await _ids(world.people.find_project, projects)
        other_projects = await _ids(world.people.find_project, exclude_projects) or frozenset()
        only_users = await _ids(world.people.find_user, users)
        other_users = await _ids(world.people.find_user, exclude_users) or frozenset()
        chosen = [
            each
            for each in found
            if (only_projects is None or each.project_id in only_projects)
            and each.project_id not in other_projects
            and (only_users is None or each.user_id in only_users)
            and each.user_id not in other_users
        ]
        targets = await enforcement.targets(
            world.database, sorted({each.project_id for each in chosen})
        )
        made = plan(
            chosen,
            [each for each in targets if each.user_id not in other_users],
            soft=soft,
            cascade=cascade_remove,
            system_volumes=remove_system_volumes,
        )
        results = {}
        if fix and made.actions:
            _confirm(made, force)
            results = await _carry_out(world, made, max_operations)
        return made, [_shown(each, results.get(each.target.id, "")) for each in made.actions]

    made, actions = settings.run(look)
    _show(made, actions, form)
    unkept = bool(made.notes) if fix else bool(made.violations)
    if unkept or any(row[-1] not in ("", "DONE") for row in actions):
        raise Failed("Not all limits are kept.")


def add_to(group: click.Group) -> None:
    """Add the command."""
    group.add_command(enforce)


def _resources(text: str | None, known: tuple[str, ...]) -> frozenset[str]:
    found = set()
    for word in words(text):
        full = word if word.startswith("cyclades.") else f"cyclades.{word}"
        if full not in known:
            short = ", ".join(each.removeprefix("cyclades.") for each in known)
            raise click.UsageError(f"There is no resource {word[:80]!r} here; there are: {short}.")
        found.add(full)
    return frozenset(found)


async def _ids(find: Any, text: str | None) -> frozenset[str] | None:
    """The ids of projects or users that a list names; None: there is no list."""
    if text is None:
        return None
    return frozenset([await find(word) for word in words(text)])


def _confirm(made: Plan, force: bool) -> None:
    removed = sum(each.kind != SHUTDOWN for each in made.actions)
    if removed and not force:
        click.confirm(f"Remove {removed} servers with all data?", abort=True, err=True)


async def _carry_out(world: World, made: Plan, most: int | None) -> dict[int, str]:
    """Do what the plan says; return what came of it, by the server's id."""
    begun: list[tuple[Action, str]] = []
    results: dict[int, str] = {}
    count: Counter[str] = Counter()
    for action in made.actions:
        target = action.target
        if most is not None and count[target.cluster] >= most:
            results[target.id] = "LATER"
            continue
        count[target.cluster] += 1
        request_id = new_request_id()
        try:
            if action.kind == SHUTDOWN:
                if target.running:
                    await world.servers.stop(OPERATOR, target.uuid, request_id)
            else:
                await world.servers.delete(OPERATOR, target.uuid, request_id)
        except CycladesError as error:
            results[target.id] = f"FAILED: {error.message}"
            continue
        begun.append((action, request_id))
    # All are begun before any is waited for, so that the clusters work side by side.
    for action, request_id in begun:
        try:
            await ended(world, action.target.id, request_id)
            results[action.target.id] = "DONE"
        except CycladesError as error:
            results[action.target.id] = f"FAILED: {error.message}"
    return results


def _shown(action: Action, result: str) -> tuple[Any, ...]:
    target = action.target
    return (
        *("server", target.id, target.name, target.state, target.cluster),
        *(action.kind, action.violation, result),
    )


def _show(made: Plan, actions: list[tuple[Any, ...]], form: str) -> None:
    rows = []
    for number, each in enumerate(made.violations, 1):
        unit = _UNITS.get(each.resource, 1)
        holder = each.user_id or each.project_id
        kind = "project" if each.user_id is None else "user"
        figures = (each.limit // unit, -(-each.usage // unit))
        note = made.notes.get(number, "")
        rows.append((number, kind, holder, each.project_id, each.resource, *figures, note))
    if form == tables.JSON:
        violations = [dict(zip(_VIOLATION_FIELDS, row, strict=True)) for row in rows]
        planned = [dict(zip(_ACTION_FIELDS, row, strict=True)) for row in actions]
        tables.show(tables.record({"violations": violations, "actions": planned}, form))
        return
    if not rows:
        click.echo("No limit is passed.")
        return
    tables.show(tables.table(_VIOLATION_FIELDS, rows, form))
    click.echo("")
    tables.show(tables.table(_ACTION_FIELDS, actions, form))
