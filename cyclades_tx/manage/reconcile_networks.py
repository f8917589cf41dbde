"""The command that shows where networks differ between the records and the clusters, and mends it.

It looks with the planner of the loop. Nothing is changed at a cluster from here: an operation is
opened, and the process that drives the cluster carries it out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import click
from twisted.internet.task import deferLater

from cyclades_tx.drift.networks import Look, look, rules_of
from cyclades_tx.errors import Conflict
from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.manage import tables
from cyclades_tx.manage.backend_choice import chosen_backends, online
from cyclades_tx.manage.fixes import fix_options, wait_option
from cyclades_tx.manage.options import output_format
from cyclades_tx.manage.runner import Failed, Settings
from cyclades_tx.model import network_drift as drift
from cyclades_tx.model.network_drift import NetworkFinding, Remedy
from cyclades_tx.store import network_drift, operations
from cyclades_tx.world import World

_POLL_SECONDS = 0.25
_COLUMNS = ("cluster", "kind", "network", "what", "remedy")

#: What each option mends.
FIXES = {
    "missing": (drift.MISSING, drift.STALLED),
    "unconnected": (drift.UNCONNECTED,),
    "unsynced": (drift.UNRECORDED, drift.LEFTOVER, drift.MAC_PREFIX),
    "reserved": (drift.RESERVED, drift.UNRESERVED),
    "undeleted": (drift.UNDELETED,),
}
_HELP = {
    "missing": "Make networks that are not there, or that nothing looks after.",
    "unconnected": "Connect networks to all node groups.",
    "unsynced": "Take into the records what is there, and out of them what is not.",
    "reserved": "Keep back the addresses that the clusters reserve, and no others.",
    "undeleted": "Remove networks that were deleted and are still there, without a grace.",
}
_PLANS = {
    Remedy.RECORD: "the record is corrected",
    Remedy.MAKE: "an operation makes it",
    Remedy.REMOVE: "an operation removes it",
    Remedy.OPERATOR: "an operator decides",
}


@dataclass
class Seen:
    """What was found on one cluster; results by the finding's place in the list."""

    cluster: Any
    look: Look
    results: dict[int, str] = field(default_factory=dict)
    waiting: dict[int, int] = field(default_factory=dict)

    def left(self) -> int:
        """How many findings are not mended."""
        return sum(self.results.get(place) != _DONE for place in range(len(self.look.findings)))


_DONE = "done"


@click.command("reconcile-networks")
@chosen_backends
@fix_options(FIXES, _HELP)
@click.option(
    "--fix-all", is_flag=True, help="All of these; a doubtful --fix-missing by name only."
)
@wait_option("the operations that were opened")
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
    """Show where networks and the clusters differ, what is done about it, and mend it now.

    The service finds and mends most of this by itself. An orphan is never removed: it may be
    another service's. Exit code 0: nothing is wrong (any more); 1: something is left.
    """
    words = list(FIXES) if fix_all else [word for word in FIXES if fixes[f"fix_{word}"]]
    kinds = {kind for word in words for kind in FIXES[word]}
    troubles: list[str] = []

    async def work(world: World) -> list[Seen]:
        found = []
        for row in await online(world, ids, names):
            try:
                found.append(await see(world, row))
            except GanetiError as error:
                troubles.append(f"{row.name} cannot be looked at: {error.message}")
                continue
            number = len(found[-1].look.findings)
            drained = ", drained" if row.drained else ""
            click.echo(f"{row.name}{drained}: {number} differences.", err=True)
            await begin(world, found[-1], kinds, doubtful=fixes["fix_missing"])
        await finish(world, found, wait_seconds)
        return found

    seen = settings.run(work)
    columns = (*_COLUMNS, "result") if words else _COLUMNS
    lines = [line for each in seen for line in _lines(each, bool(words))]
    tables.show(tables.table(columns, lines, form))
    left = sum(each.left() for each in seen)
    if left:
        troubles.append(f"{left} differences are left.")
    if troubles:
        raise Failed("\n".join(troubles))


async def see(world: World, row: Any) -> Seen:
    """Look at the networks of a cluster with the eyes of the loop.

    :raise GanetiError: when it does not answer.
    """
    found = await look(
        world.database,
        world.clusters.questions(row),
        row.id,
        world.names,
        rules_of(world.config.ganeti),
    )
    return Seen(row, found)


async def begin(world: World, seen: Seen, kinds: Collection[str], doubtful: bool = False) -> None:
    """Mend the findings of these kinds, or open the operations that do.

    :param doubtful: also what rather says that this is the wrong cluster.
    """
    deadline_seconds = world.config.operations.deadline_seconds("make_network")
    for place, finding in enumerate(seen.look.findings):
        if finding.kind not in kinds or finding.remedy is Remedy.OPERATOR:
            continue
        if finding.held_back and not doubtful:
            continue

        async def write(tx: Any, finding: NetworkFinding = finding) -> int | None:
            assert finding.network_id is not None
            operation_id = await network_drift.mend(
                tx,
                seen.cluster.id,
                seen.cluster.name,
                finding,
                seen.look.known[finding.network_id],
                deadline_seconds,
            )
            # Whoever drives the cluster looks at it too, and forgets that it was wrong.
            await operations.wake(tx, seen.cluster.id, None, finding.network_id)
            return operation_id

        try:
            opened = await world.database.transaction(write, "drift.network.command")
        except Conflict as error:
            seen.results[place] = f"not mended: {error.message}"
            continue
        if opened is None:
            seen.results[place] = _DONE
        else:
            seen.waiting[place] = opened


async def finish(world: World, every: Sequence[Seen], wait_seconds: float) -> None:
    """Wait for the operations, but not for ever; what became of each is in the results."""
    end = world.reactor.seconds() + wait_seconds
    while any(seen.waiting for seen in every):
        ids = [number for seen in every for number in seen.waiting.values()]
        rows = {row.id: row for row in await operations.ends_of(world.database, ids)}
        late = world.reactor.seconds() >= end
        for seen in every:
            for place, number in list(seen.waiting.items()):
                row = rows.get(number)
                if row is None:
                    seen.results[place] = "its cluster was removed"
                elif row.over:
                    word = f"{row.state}: {row.reason}"
                    seen.results[place] = _DONE if row.state == "succeeded" else word
                elif late:
                    why = row.reason or "does a service with the role loops run?"
                    seen.results[place] = f"not yet: {why}"
                else:
                    continue
                del seen.waiting[place]
        if any(seen.waiting for seen in every):
            await deferLater(world.reactor, _POLL_SECONDS)


def _lines(seen: Seen, fixing: bool) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for place, each in enumerate(seen.look.findings):
        line = (seen.cluster.name, each.kind, each.subject, each.sentence, _PLANS[each.remedy])
        lines.append((*line, seen.results.get(place, "left")) if fixing else line)
    return lines


def add_to(group: click.Group) -> None:
    """Add the command."""
    group.add_command(reconcile)
