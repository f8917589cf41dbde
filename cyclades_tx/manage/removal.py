"""Removes several things of one kind; what goes wrong with one does not stop the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import click

from cyclades_tx.errors import CycladesError
from cyclades_tx.manage.requests import ended, new_request_id
from cyclades_tx.manage.runner import Failed, Settings
from cyclades_tx.world import World


@dataclass(frozen=True)
class Begun:
    """A removal that was begun.

    :ivar title: what was removed, as the operator is told: ``Server 42 (web)``.
    :ivar server_id: the server on which an operation does it.
    :ivar volume_id: the volume, which no server has, on which one does it; without either it is
        done already.
    :ivar stays: tells whether the thing is still there afterwards, until its server is
        restarted; None: it cannot be.
    """

    title: str
    server_id: int | None = None
    stays: Callable[[], Awaitable[bool]] | None = None
    volume_id: int | None = None


#: Begins to remove what the operator named, under the id of a request.
Begin = Callable[[World, str, str], Awaitable[Begun]]


def remove(
    settings: Settings,
    refs: Sequence[str],
    noun: str,
    begin: Begin,
    *,
    force: bool,
    wait: bool = True,
    loss: str = "",
) -> None:
    """Ask whether to, and remove them all.

    :param refs: what the operator typed.
    :param loss: what else is lost with them, for the question.
    :raise Failed: when one of them could not be removed; says why for each.
    """
    wanted = tuple(dict.fromkeys(refs))
    if not force:
        what = noun if len(wanted) == 1 else f"{len(wanted)} {noun}s"
        click.confirm(f"Remove {what} {', '.join(wanted)}{loss}?", abort=True, err=True)

    async def work(world: World) -> list[str]:
        failed = []
        running = []
        # All are begun before any is waited for, so that the clusters work side by side.
        for ref in wanted:
            request_id = new_request_id()
            try:
                begun = await begin(world, ref, request_id)
            except CycladesError as error:
                failed.append(error.message if ref in error.message else f"{ref}: {error.message}")
                continue
            if begun.server_id is None and begun.volume_id is None:
                click.echo(f"{begun.title} was removed.")
            elif wait:
                running.append((begun, request_id))
            else:
                click.echo(f"{begun.title} is being removed.")
        for begun, request_id in running:
            try:
                await ended(world, begun.server_id, request_id, begun.volume_id)
            except CycladesError as error:
                failed.append(f"{begun.title}: {error.message}")
                continue
            if begun.stays is not None and await begun.stays():
                click.echo(f"{begun.title} goes when its server is next restarted.")
            else:
                click.echo(f"{begun.title} was removed.")
        return failed

    failed = settings.run(work)
    if failed:
        raise Failed("\nsnf-manage: ".join(failed))
