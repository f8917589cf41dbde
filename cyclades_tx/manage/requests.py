"""What the operator asks for: in whose name, under which id, and how it ended."""

from __future__ import annotations

from uuid import uuid4

import click
from twisted.internet.task import deferLater

from cyclades_tx.errors import Conflict
from cyclades_tx.model.operation import SUCCEEDED
from cyclades_tx.model.who import ADMIN, Who
from cyclades_tx.store import server_inspection as store
from cyclades_tx.world import World

#: Whoever has the command line may do everything; the zero is nobody's id.
OPERATOR = Who("0" * 32, "snf-manage", None, None, frozenset((ADMIN,)))

_POLL_SECONDS = 0.25


def new_request_id() -> str:
    """The id by which what a command began is found again, also in the log."""
    return f"req-{uuid4()}"


async def ended(
    world: World, server_id: int | None, request_id: str, volume_id: int | None = None
) -> None:
    """Wait for an operation by looking at the database; it has a deadline of its own.

    What it waits for is told on standard error.

    :param volume_id: a volume that no server has, in place of a server.
    :raise Conflict: when it failed, with the reason.
    """
    told = ""
    while True:
        row = await store.progress(world.database, server_id, request_id, volume_id)
        if row is None:
            return
        if row.over:
            if row.state != SUCCEEDED:
                raise Conflict(f"{row.kind} {row.state}: {row.reason}")
            return
        if row.late:
            raise Conflict(
                f"{row.kind} is past its deadline and nobody ends it: does a service with the role"
                " loops run?"
            )
        if row.reason and row.reason != told:
            told = row.reason
            subject = f"Volume {volume_id}" if server_id is None else f"Server {server_id}"
            click.echo(f"{subject}: {row.kind}: {told}", err=True)
        await deferLater(world.reactor, _POLL_SECONDS)
