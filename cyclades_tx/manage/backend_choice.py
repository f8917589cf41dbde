"""Which clusters a command looks at: those that are named, or all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from cyclades_tx.errors import BadRequest
from cyclades_tx.manage.options import ID, WORD, F
from cyclades_tx.store import clusters
from cyclades_tx.world import World


def chosen_backends(function: F) -> F:
    """Add ``--backend-id`` and ``--backend-name``, as ``ids`` and ``names``."""
    by_name = click.option(
        "--backend-name", "names", type=WORD, multiple=True, help="Only this cluster."
    )
    by_id = click.option("--backend-id", "ids", type=ID, multiple=True, help="Only this cluster.")
    return by_id(by_name(function))


async def online(world: World, ids: Sequence[int], names: Sequence[str]) -> list[Any]:
    """The clusters that are named, or all; of one that is offline it is told that it is left out.

    :raise BadRequest: when there is none of a name or id.
    """
    rows = await clusters.everyone(world.database)
    chosen = [row for row in rows if not (ids or names) or row.id in ids or row.name in names]
    known = {row.id for row in chosen} | {row.name for row in chosen}
    for wish in (*ids, *names):
        if wish not in known:
            raise BadRequest(f"There is no backend {wish}; see backend-list.")
    for row in chosen:
        if row.offline:
            click.echo(f"{row.name}: not asked, it is offline.", err=True)
    return [row for row in chosen if not row.offline]
