"""A database that was restored from a backup: the world has gone on without it."""

from __future__ import annotations

from typing import Any, NamedTuple

#: So many numbers are left out: more than were given since the backup.
LEFT_OUT = 1_000_000

_NUMBERED = (
    "select table_name::text as name, column_name::text as column from information_schema.columns"
    " where table_schema = current_schema() and is_identity = 'YES' order by 1"
)


class Restored(NamedTuple):
    """What was done.

    :ivar tables: how many kinds of things count on from a higher number.
    :ivar tokens: how many tokens are no longer good.
    """

    tables: int
    tokens: int


async def settle(tx: Any, left_out: int = LEFT_OUT) -> Restored:
    """Make sure that nothing new is taken for something from between backup and restoration.

    Instances and networks at the clusters have the numbers of servers and networks in their
    names, jobs those of operations in their reasons, and readers of events know their positions.
    Tokens that were revoked since then would be good again, and so would consoles.
    """
    rows = await tx.all(_NUMBERED)
    for row in rows:
        await tx.value(
            "select setval(s.name, coalesce(pg_sequence_last_value(s.name), 0) + %s)::text"
            " from (select pg_get_serial_sequence(%s, %s)::regclass as name) s",
            (left_out, row.name, row.column),
        )
    await tx.run(
        "update outbox set last_position = last_position + %s,"
        " pruned_position = last_position + %s",
        (left_out, left_out),
    )
    await tx.run("delete from job_fact")
    await tx.run(
        "update console_session set ended_at = now(), reason = 'closed', successor_hash = null,"
        " password = null where ended_at is null"
    )
    return Restored(len(rows), await tx.run("delete from token"))
