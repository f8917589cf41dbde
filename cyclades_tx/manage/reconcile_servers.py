"""The command that shows where servers and clusters differ, and has it mended now.

It looks at the clusters itself, with the planner of the loops, and changes nothing. What is to be
mended is written down, and done by the process that drives the cluster, under its lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click
from twisted.internet.task import deferLater

from cyclades_tx.drift.servers import Looker, rules_of
from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.manage import tables
from cyclades_tx.manage.backend_choice import chosen_backends, online
from cyclades_tx.manage.fixes import fix_options, wait_option
from cyclades_tx.manage.options import output_format
from cyclades_tx.manage.runner import Failed, Settings
from cyclades_tx.model.drift import FIXES, STALE, Finding, Memory, Remedy, decide, fixed_by
from cyclades_tx.store import drift_findings, operations, server_records
from cyclades_tx.world import World

_POLL_SECONDS = 0.5
_COLUMNS = ("cluster", "kind", "subject", "what", "plan", "since", "failures")

_HELP = {
    "stale": "End the records of servers whose instances are gone.",
    "orphans": "Remove instances of servers that are deleted, or failed and gave all back.",
    "unsynced": "Follow the power of instances.",
    "unsynced-nics": "Follow their interfaces: ports, addresses, firewalls.",
    "unsynced-disks": "Follow their disks: volumes and sizes.",
    "unsynced-flavors": "Follow their CPUs and memory.",
    "pending-tasks": "Look at operations whose jobs are over.",
}


@dataclass
class Seen:
    """What was found on one cluster.

    :ivar raw: the findings before it was decided what may be done by itself.
    """

    cluster: Any
    findings: list[Finding]
    raw: list[Finding]
    memories: dict[tuple[str, str], Memory]
    summary: str
    results: dict[tuple[str, str], str] = field(default_factory=dict)


@click.command("reconcile-servers")
@chosen_backends
@fix_options(FIXES, _HELP)
@click.option("--fix-all", is_flag=True, help="All of these; a doubtful --fix-stale by name only.")
@wait_option("what is to be fixed")
@output_format
@click.pass_obj
def reconcile(
    settings: Settings,
    /,
    ids: tuple[int, ...],
    names: tuple[str, ...],
    fix_all: bool,
    wait_seconds: float,
    form: str,
    **fixes: bool,
) -> None:
    """Show where servers and the clusters differ, what is done about it, and fix it now.

    The service finds and mends most of this by itself. What it leaves to an operator is done
    here: the process that drives the cluster does it, so one must be running.
    """
    words = [word for word in FIXES if fixes[f"fix_{word.replace('-', '_')}"]]
    troubles: list[str] = []

    async def work(world: World) -> list[Seen]:
        found = []
        for row in await online(world, ids, names):
            try:
                found.append(await look(world, row))
            except GanetiError as error:
                troubles.append(f"{row.name} cannot be looked at: {error.message}")
        for seen in found:
            click.echo(seen.summary, err=True)
            chosen = wanted(seen, words, fix_all)
            if chosen:
                troubles.extend(await fix(world, seen, chosen, wait_seconds))
        return found

    seen = settings.run(work)
    fixing = bool(words) or fix_all
    columns = (*_COLUMNS, "result") if fixing else _COLUMNS
    lines = [line for each in seen for line in _lines(each, fixing)]
    tables.show(tables.table(columns, lines, form))
    if troubles:
        raise Failed("\n".join(troubles))


async def look(world: World, row: Any) -> Seen:
    """Look at a cluster with the eyes of the loop.

    :raise GanetiError: when it does not answer.
    """
    looker = Looker(
        world.reactor, world.database, world.clusters.questions(row), row.id, world.names
    )
    found = await looker.everything()
    memories = await drift_findings.memories(world.database, row.id)
    raw = await looker.believed(found, memories, whole=True)
    now = await server_records.moment(world.database)
    findings = decide(raw, memories, rules_of(world.config.ganeti), now)
    summary = (
        f"{row.name}: {found.servers} servers, {found.instances} instances,"
        f" {len(findings)} differences."
    )
    if found.missing_at_once:
        summary += f" {found.missing_at_once} servers are missing at once: is this the cluster?"
    return Seen(row, findings, raw, memories, summary)


def wanted(seen: Seen, words: Sequence[str], fix_all: bool) -> list[Finding]:
    """The findings that are to be fixed now."""
    asked = tuple(FIXES) if fix_all else tuple(words)
    return [
        finding
        for finding in seen.raw
        if fixed_by(finding, asked) and not (_doubtful(finding) and "stale" not in words)
    ]


def _doubtful(finding: Finding) -> bool:
    return finding.kind == STALE and finding.remedy is Remedy.OPERATOR


async def fix(world: World, seen: Seen, chosen: list[Finding], wait_seconds: float) -> list[str]:
    """Have findings fixed by the process that drives the cluster; return what went wrong."""
    database, row = world.database, seen.cluster
    driver = await drift_findings.driver_of(database, row.id, world.config.ganeti.lease_seconds)
    if driver is None:
        seen.results = {each.key: "not fixed" for each in chosen}
        return [
            f"No process drives {row.name}, so nothing was fixed: start the service with the role"
            " loops, and give the command again."
        ]
    since = await server_records.moment(database)

    async def write(tx: Any) -> None:
        await drift_findings.want(tx, row.id, chosen)
        await tx.notify(operations.WAKE, f"{row.id}:drift")

    await database.transaction(write, "drift.want")
    end = world.reactor.seconds() + wait_seconds
    keys = [each.key for each in chosen]
    while True:
        fates = await drift_findings.fates(database, row.id, keys, since)
        seen.results = {key: _result(fates.get(key)) for key in keys}
        open_ones = [key for key, result in seen.results.items() if result == _NOT_YET]
        if not open_ones or world.reactor.seconds() >= end:
            break
        await deferLater(world.reactor, _POLL_SECONDS)
    troubles = []
    if open_ones:
        troubles.append(
            f"{row.name}: {len(open_ones)} are not fixed yet after {wait_seconds:g} s; {driver}"
            " goes on."
        )
    failed = sum(result.startswith("failed") for result in seen.results.values())
    if failed:
        troubles.append(f"{row.name}: {failed} could not be fixed.")
    return troubles


_NOT_YET = "not yet"


def _result(row: Any) -> str:
    if row is None or row.remedied_at is not None:
        return "fixed"
    if row.failures and row.wanted_at is None and row.job_id is None:
        return f"failed: {row.trouble}"
    return _NOT_YET


def _lines(seen: Seen, fixing: bool) -> list[list[Any]]:
    lines = []
    for finding in seen.findings:
        memory = seen.memories.get(finding.key)
        line = [
            seen.cluster.name,
            finding.kind,
            finding.subject,
            finding.sentence,
            finding.plan,
            None if memory is None else memory.first_seen_at,
            0 if memory is None else memory.failures,
        ]
        if fixing:
            line.append(seen.results.get(finding.key, "left"))
        lines.append(line)
    return lines


def add_to(group: click.Group) -> None:
    """Add the command."""
    group.add_command(reconcile)
