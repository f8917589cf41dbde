"""Build progress and diagnostics of servers: hints for people, which never move a state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cyclades_tx.log import redact_text
from cyclades_tx.model.diagnostic import Diagnostic
from cyclades_tx.store import outbox

__all__ = ["KEPT", "Diagnostic", "record"]

#: The latest diagnostics that are kept of one server.
KEPT = 100

#: The largest id that a column can hold; a name in a message may hold more digits.
_MOST_ID = 2**63 - 1
_MOST_SOURCE = 64
_MOST_MESSAGE = 1000
_MOST_DETAILS = 4000

#: Waits for no lock: a figure that is skipped now is followed by a newer one in seconds.
_PROGRESS = f"""
with given as (
  select server_id, max(least(percent, 100)) as percent
  from unnest(%s::bigint[], %s::integer[]) as g (server_id, percent) group by server_id),
locked as materialized (
  select o.id, o.server_id, given.percent
  from given join server on server.id = given.server_id
  join operation o on o.server_id = server.id and o.kind = 'create' and o.finished_at is null
  where server.state = 'building' and o.progress < given.percent
  order by server.id for no key update of server, o skip locked),
risen as (
  update operation set progress = locked.percent from locked
  where operation.id = locked.id returning operation.server_id, operation.progress),
touched as (
  update server set updated_at = now() from risen
  where server.id = risen.server_id
  returning server.id, server.uuid, server.name, server.project_id, risen.progress),
made as (
  insert into event (kind, subject, project_id, body)
  select 'server.progress', uuid::text, project_id, jsonb_build_object('server',
    jsonb_build_object('id', uuid, 'name', name, 'status', 'BUILD', 'progress', progress))
  from touched order by id returning 1)
{outbox.NOTIFY}"""

_DIAGNOSTICS = f"""
with given as (
  select * from unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::timestamptz[]) with ordinality
    as g (server_id, level, source, message, details, source_at, place)),
added as (
  insert into server_diagnostic (server_id, level, source, message, details, source_at)
  select server.id, given.level, given.source, given.message, given.details, given.source_at
  from given join server on server.id = given.server_id and server.deleted_at is null
  order by given.place on conflict do nothing
  returning id, server_id, level, source, message, source_at),
gone as (
  delete from server_diagnostic where id in (select id from (
    select id, row_number() over (partition by server_id order by id desc)
      + (select count(*) from added where added.server_id = old.server_id) as place
    from server_diagnostic old where server_id in (select server_id from added)) as ranked
    where place > {KEPT})),
free as materialized (
  select id from server where id in (select server_id from added)
  order by id for no key update skip locked),
touched as (update server set updated_at = now() from free where server.id = free.id),
made as (
  insert into event (kind, subject, project_id, body)
  select 'server.diagnostic', server.uuid::text, server.project_id, jsonb_build_object(
    'server', jsonb_build_object('id', server.uuid, 'name', server.name),
    'level', added.level, 'source', added.source, 'message', added.message,
    'source_at', added.source_at)
  from added join server on server.id = added.server_id order by added.id returning 1)
{outbox.NOTIFY}"""


async def record(
    tx: Any, progress: Sequence[tuple[int, int]], diagnostics: Sequence[Diagnostic]
) -> None:
    """Write down what was heard of builds, for many servers at once.

    A percentage only rises, and only while the server is being built; the rest is ignored, so
    that repeated and late messages do no harm. Servers that are not there are ignored, too.

    :param progress: pairs of a server's id and a percentage; over 100 is 100, under 0 is ignored.
    """
    risen = [pair for pair in progress if pair[1] > 0 and 0 < pair[0] <= _MOST_ID]
    diagnostics = [each for each in diagnostics if 0 < each.server_id <= _MOST_ID]
    if risen:
        await tx.run(
            _PROGRESS,
            ([pair[0] for pair in risen], [min(pair[1], 100) for pair in risen]),
        )
    if diagnostics:
        await tx.run(
            _DIAGNOSTICS,
            (
                [each.server_id for each in diagnostics],
                [each.level for each in diagnostics],
                [_plain(each.source, _MOST_SOURCE) for each in diagnostics],
                [_plain(each.message, _MOST_MESSAGE) for each in diagnostics],
                [
                    None if each.details is None else _plain(each.details, _MOST_DETAILS)
                    for each in diagnostics
                ],
                [each.source_at for each in diagnostics],
            ),
        )


def _plain(text: str, most: int) -> str:
    """Text that PostgreSQL takes and a person may read: no NUL, no password, not too long."""
    clean = text[: most * 2].replace("\0", "").encode("utf-8", "replace").decode()
    return redact_text(clean)[:most]
