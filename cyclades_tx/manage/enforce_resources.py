"""The command that brings projects and users back within their limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from cyclades_tx.errors import CycladesError
from cyclades_tx.manage import tables
from cyclades_tx.manage.options import WORD, output_format, words
from cyclades_tx.manage.requests import OPERATOR, ended, new_request_id
from cyclades_tx.manage.runner import Failed, Settings
from cyclades_tx.model import quota
from cyclades_tx.model.enforcement import (
    DETACH,
    RESOURCES,
    SHUTDOWN,
    SOFT,
    Action,
    FloatingTarget,
    Plan,
    Target,
    plan,
)
from cyclades_tx.store import enforcement, network_inspection
from cyclades_tx.world import World

_UNITS = {quota.RAM: quota.MIB, quota.TOTAL_RAM: quota.MIB, quota.DISK: quota.GIB}
#: Longer than this no operation may wait.
MOST_GRACE_SECONDS = 600
_ACTION_FIELDS = ("type", "id", "name", "state", "backend", "action", "violation", "result")
_VIOLATION_FIELDS = ("#", "type", "holder", "source", "resource", "limit", "usage", "note")


@click.command("enforce-resources-cyclades")
@click.option("--resources", type=WORD, help="Stop or remove what takes these.")
@click.option("--soft-resources", type=WORD, help="Of these: only stop servers, detach addresses.")
@click.option("--list-resources", is_flag=True, help="Show the resources there are.")
@click.option("--projects", type=WORD, help="Only these, by name or id, with commas between.")
@click.option("--exclude-projects", type=WORD, help="All but these.")
@click.option("--users", type=WORD, help="Only limits of these users, by name or id.")
@click.option("--exclude-users", type=WORD, help="Leave limits of these users alone.")
@click.option("--fix", is_flag=True, help="Do what the plan says; without it nothing changes.")
@click.option("-f", "--force", is_flag=True, help="Do not ask before anything is removed.")
@click.option(
    "--max-operations",
    type=click.IntRange(0),
    help="Do at most so many things on each cluster; the rest is left for the next time.",
)
@click.option(
    "--shutdown-timeout",
    type=click.IntRange(0, MOST_GRACE_SECONDS),
    metavar="SECONDS",
    help="How long guests have to shut down; default: as long as their cluster gives them.",
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
    shutdown_timeout: int | None,
    remove_system_volumes: bool,
    cascade_remove: bool,
    form: str,
) -> None:
    """Bring projects and users that are over their limits back within them.

    Shows which limits are passed, and which servers would be stopped or removed, which floating
    IPs detached or given back; --fix does it.
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
        concerned = sorted({each.project_id for each in chosen})
        targets = await enforcement.targets(world.database, concerned)
        floating = await enforcement.floating_targets(world.database, concerned)
        made = plan(
            chosen,
            [each for each in targets if each.user_id not in other_users],
            [each for each in floating if each.user_id not in other_users],
            soft=soft,
            cascade=cascade_remove,
            system_volumes=remove_system_volumes,
        )
        results: Mapping[Action, str] = {}
        if fix and made.actions:
            _confirm(made, force)
            results = await _carry_out(world, made, max_operations, shutdown_timeout)
        return made, [_shown(each, results.get(each, "")) for each in made.actions]

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
    removed = [each.target for each in made.actions if each.kind not in (SHUTDOWN, DETACH)]
    servers = sum(isinstance(each, Target) for each in removed)
    words = []
    if servers:
        words.append(f"{servers} servers with all data")
    if len(removed) > servers:
        words.append(f"{len(removed) - servers} floating IPs")
    if words and not force:
        click.confirm(f"Remove {' and '.join(words)}?", abort=True, err=True)


async def _carry_out(
    world: World, made: Plan, most: int | None, grace_seconds: int | None
) -> dict[Action, str]:
    """Do what the plan says; return what came of it.

    All that may is begun before any is waited for, so that the clusters work side by side. On one
    server one thing is done at a time.
    """
    results: dict[Action, str] = {}
    count: Counter[str] = Counter()
    left = []
    for action in made.actions:
        # A free address is no matter of any cluster.
        count[action.target.cluster] += action.server_id is not None
        if most is not None and action.server_id and count[action.target.cluster] > most:
            results[action] = "LATER"
        else:
            left.append(action)
    while left:
        begun: list[tuple[Action, str]] = []
        busy: set[int] = set()
        waiting = []
        for action in left:
            server_id = action.server_id
            if server_id in busy:
                waiting.append(action)
                continue
            if server_id is not None:
                busy.add(server_id)
            request_id = new_request_id()
            try:
                if await _begin(world, action, request_id, grace_seconds):
                    begun.append((action, request_id))
                else:
                    results[action] = "DONE"
            except CycladesError as error:
                results[action] = f"FAILED: {error.message}"
        for action, request_id in begun:
            results[action] = await _result(world, action, request_id)
        left = waiting
    return results


async def _begin(world: World, action: Action, request_id: str, grace_seconds: int | None) -> bool:
    """Ask for it; return whether an operation on a server does it."""
    target = action.target
    if isinstance(target, FloatingTarget):
        if action.kind == DETACH:
            changes = {"port_ref": None}
            await world.floating_ips.update(OPERATOR, target.uuid, changes, request_id)
        else:
            await world.floating_ips.delete(OPERATOR, target.uuid, request_id)
    elif action.kind != SHUTDOWN:
        await world.servers.delete(OPERATOR, target.uuid, request_id)
    elif target.running:
        await world.servers.stop(OPERATOR, target.uuid, request_id, grace_seconds)
    else:
        return False
    return action.server_id is not None


async def _result(world: World, action: Action, request_id: str) -> str:
    """Wait until it is done, and say what came of it."""
    target = action.target
    try:
        await ended(world, action.server_id or 0, request_id)
    except CycladesError as error:
        return f"FAILED: {error.message}"
    if isinstance(target, FloatingTarget) and await network_inspection.leaves_at_restart(
        world.database, target.port_id
    ):
        return "WHEN RESTARTED"
    return "DONE"


def _shown(action: Action, result: str) -> tuple[Any, ...]:
    target = action.target
    kind = "server" if isinstance(target, Target) else "floating ip"
    return (
        *(kind, target.id, target.name, target.state, target.cluster),
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
