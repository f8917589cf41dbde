"""Consoles in the database: tickets by their hash, and the sessions that they become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.store import outbox

#: Whoever relays sessions listens here: something has changed that may end some.
CHANNEL = "cyclades_consoles"

#: Advisory locks are named by two numbers; this one stands for "counts the consoles of a user".
_COUNT_CLASS = 0x636F6E73

#: So many tickets that nobody opened are kept for each user.
MOST_WAITING = 20

#: Why a session may not go on, or a ticket not be opened: a word of the console's reasons, or null.
#: A server that is suspended, or another project's, is its administrators' still.
_VERDICT = """
    case when c.closing is not null then c.closing
    when s.deleted_at is not null then 'deleted'
    when u.id is null or not u.enabled or p.id is null or not p.enabled then 'right_lost'
    when held.writes is not true then 'right_lost'
    when not held.admin and s.project_id <> c.project_id then 'right_lost'
    when not held.admin and s.suspended then 'suspended'
    when s.charge <> 'on' then 'stopped'
    when c.opened_at is not null and s.seen_at > c.opened_at
        and (s.node is distinct from c.node or s.vnc_port is distinct from c.node_port)
        then 'moved'
    end"""

_WITH_RIGHTS = """
    from console_session c join server s on s.id = c.server_id
    left join user_account u on u.id = c.user_id left join project p on p.id = c.project_id
    left join lateral (
        select bool_or(r.name = 'admin') as admin, bool_or(r.name in ('admin', 'member')) as writes
        from role_assignment a join role r on r.id = a.role_id
        where a.user_id = c.user_id and a.project_id = c.project_id) held on true"""

_TICKET = (
    "select c.id, c.kind, c.user_id::text, c.project_id::text, c.server_id,"
    " s.uuid::text as server_uuid, s.cluster_id, c.node, host(c.node_address) as node_address,"
    " c.node_port, c.expires_at, c.expires_at <= now() as expired, c.opened_at, c.ended_at,"
    " c.ended_at < now() - make_interval(secs => %(again_seconds)s) as too_late, c.reason,"
    f" {_VERDICT} as verdict {_WITH_RIGHTS} where "
)


async def server_of(querier: Any, ref: str, who: Any) -> Any:
    """What a console needs to know of a live server that the caller may see, or None.

    :param ref: what stood in the URL: anything.
    """
    uuid = parse_uuid(ref)
    if uuid is None:
        return None
    return await querier.first(
        "select id, uuid::text, project_id::text, cluster_id, state, charge, suspended from server"
        " where uuid = %s and deleted_at is null and (%s or project_id = %s)",
        (uuid, who.admin, who.project_id),
    )


async def waiting_of_user(tx: Any, user_id: str) -> int:
    """How many tickets of a user wait to be opened; nobody adds one before the commit."""
    await _count_alone(tx, user_id)
    count: int = await tx.value(
        "select count(*) from console_session where user_id = %s and opened_at is null"
        " and ended_at is null and expires_at > now()",
        (user_id,),
    )
    return count


async def open_of_user(tx: Any, user_id: str) -> int:
    """How many consoles a user has open; nobody opens one more of them before the commit."""
    await _count_alone(tx, user_id)
    count: int = await tx.value(
        "select count(*) from console_session where user_id = %s and opened_at is not null"
        " and ended_at is null",
        (user_id,),
    )
    return count


async def _count_alone(tx: Any, user_id: str) -> None:
    await tx.run("select pg_advisory_xact_lock(%s, hashtext(%s))", (_COUNT_CLASS, user_id))


async def insert(tx: Any, row: dict[str, Any]) -> int:
    """Add a ticket; return its id.

    :param row: the columns that the caller decides, and ``lifetime_seconds``.
    """
    ticket_id: int = await tx.value(
        "insert into console_session (ticket_hash, kind, user_id, project_id, server_id,"
        " request_id, node, node_address, node_port, expires_at) values (%(ticket_hash)s,"
        " %(kind)s, %(user_id)s, %(project_id)s, %(server_id)s, %(request_id)s, %(node)s,"
        " %(node_address)s, %(node_port)s, now() + make_interval(secs => %(lifetime_seconds)s))"
        " returning id",
        row,
    )
    return ticket_id


async def keep_password(tx: Any, ticket_id: int, sealed: bytes) -> None:
    """Add the sealed password to a viewer's ticket."""
    await tx.run("update console_session set password = %s where id = %s", (sealed, ticket_id))


async def by_ticket(querier: Any, ticket_hash: bytes) -> Any:
    """A ticket by its hash, with what speaks against it (``verdict``), or None."""
    return await querier.first(
        _TICKET + "c.ticket_hash = %(hash)s", {"hash": ticket_hash, "again_seconds": 0.0}
    )


async def by_successor(querier: Any, successor_hash: bytes, again_seconds: float) -> Any:
    """The session that may be opened again with this, or None.

    :param again_seconds: how long after its end; later it is ``too_late``.
    """
    return await querier.first(
        _TICKET + "c.successor_hash = %(hash)s",
        {"hash": successor_hash, "again_seconds": again_seconds},
    )


async def by_id(querier: Any, ticket_id: int) -> Any:
    """A viewer's ticket, or None."""
    return await querier.first(
        _TICKET + "c.id = %(id)s and c.kind = 'vnc'", {"id": ticket_id, "again_seconds": 0.0}
    )


async def passwords(querier: Any, kept_seconds: float, most: int) -> list[Any]:
    """The tickets for viewers that were made lately, the newest first: id, sealed password."""
    return list(
        await querier.all(
            "select id, password from console_session where kind = 'vnc' and password is not null"
            " and created_at > now() - make_interval(secs => %s) order by created_at desc limit %s",
            (kept_seconds, most),
        )
    )


async def open_ticket(tx: Any, ticket_id: int, opening: dict[str, Any]) -> Any:
    """Make a ticket a session, once; its row then, or None when it cannot be (any more).

    :param opening: ``node``, ``node_address``, ``node_port``, ``client``, ``process``,
        ``successor_hash`` and ``session_seconds``.
    """
    return await tx.first(
        "update console_session set opened_at = now(), seen_at = now(), client = %(client)s,"
        " process = %(process)s, successor_hash = %(successor_hash)s, node = %(node)s,"
        " node_address = %(node_address)s, node_port = %(node_port)s,"
        " until_at = now() + make_interval(secs => %(session_seconds)s)"
        " where id = %(id)s and opened_at is null and ended_at is null and closing is null"
        " and expires_at > now() returning id, until_at",
        {**opening, "id": ticket_id},
    )


async def open_again(tx: Any, before: Any, ticket_hash: bytes, opening: dict[str, Any]) -> Any:
    """Make a session out of one that has ended, once; its row, or None when it was done before.

    One that has not ended yet, as far as is known, is ended by that.

    :param ticket_hash: the hash that ``before`` had for it.
    :param opening: as for :func:`open_ticket`.
    """
    mine = await tx.run(
        "update console_session set successor_hash = null,"
        " closing = case when ended_at is null then coalesce(closing, 'viewer_left')"
        " else closing end where id = %s and successor_hash = %s",
        (before.id, ticket_hash),
    )
    if not mine:
        return None
    await tx.notify(CHANNEL, "again")
    return await tx.first(
        "insert into console_session (ticket_hash, kind, user_id, project_id, server_id,"
        " request_id, node, node_address, node_port, expires_at, opened_at, seen_at, until_at,"
        " client, process, successor_hash) select %(hash)s, kind, user_id, project_id, server_id,"
        " request_id, %(node)s, %(node_address)s, %(node_port)s, now(), now(), now(),"
        " now() + make_interval(secs => %(session_seconds)s), %(client)s, %(process)s,"
        " %(successor_hash)s from console_session where id = %(before)s returning id, until_at",
        {**opening, "hash": ticket_hash, "before": before.id},
    )


async def verdicts(querier: Any, ids: Sequence[int]) -> dict[int, str]:
    """Why sessions must end, for those of these that must; one that is not there has no right."""
    rows = await querier.all(
        f"select c.id, case when c.ended_at is not null then c.reason else {_VERDICT} end"
        f" as verdict {_WITH_RIGHTS} where c.id = any(%s::bigint[])",
        (list(ids),),
    )
    found = {row.id: row.verdict for row in rows}
    return {
        number: verdict
        for number in ids
        if (verdict := found.get(number, "right_lost")) is not None
    }


async def still_relayed(querier: Any, ids: Sequence[int]) -> None:
    """Say that this process relays these sessions."""
    await querier.run(
        "update console_session set seen_at = now() where id = any(%s::bigint[])"
        " and ended_at is null",
        (list(ids),),
    )


async def end(tx: Any, session_id: int, reason: str, bytes_in: int, bytes_out: int) -> bool:
    """Write down that a session has ended, once; it is told with the reason that was ordered."""
    row = await tx.first(
        "update console_session set ended_at = now(), reason = coalesce(closing, %s),"
        " bytes_in = %s, bytes_out = %s where id = %s and ended_at is null returning id, reason",
        (reason, bytes_in, bytes_out, session_id),
    )
    if row is None:
        return False
    await tell(tx, "console.ended", session_id)
    return True


async def close(tx: Any, session_id: int, reason: str) -> str | None:
    """Order a session to end, or a ticket to be worth nothing.

    :return: its state before: ``waiting``, ``open`` or ``ended``; None: there is none.
    """
    row = await tx.first(
        "select id, opened_at, ended_at from console_session where id = %s for update",
        (session_id,),
    )
    if row is None:
        return None
    if row.ended_at is not None:
        return "ended"
    await tx.run(
        "update console_session set closing = coalesce(closing, %s), successor_hash = null"
        " where id = %s",
        (reason, session_id),
    )
    if row.opened_at is None:
        await tx.run(
            "update console_session set ended_at = now(), reason = %s where id = %s",
            (reason, session_id),
        )
        return "waiting"
    await tx.notify(CHANNEL, "close")
    return "open"


async def sweep(
    tx: Any, silent_seconds: float, password_seconds: float, keep_seconds: float, most: int
) -> int:
    """End what nobody relays, forget passwords, and throw old rows away; return how many ended.

    :param silent_seconds: silence after which the process of a session is taken for dead.
    :param password_seconds: age at which the password of a viewer's ticket is forgotten.
    :param keep_seconds: how long ended sessions are kept.
    """
    dead = await tx.all(
        "update console_session set ended_at = now(), reason = coalesce(closing, 'fault')"
        " where id in (select id from console_session where opened_at is not null"
        " and ended_at is null and seen_at < now() - make_interval(secs => %s) limit %s"
        " for update skip locked) returning id",
        (silent_seconds, most),
    )
    for row in dead:
        await tell(tx, "console.ended", row.id)
    await tx.run(
        "update console_session set ended_at = now(), reason = 'ticket_expired'"
        " where opened_at is null and ended_at is null and expires_at < now()",
    )
    await tx.run(
        "update console_session set password = null where password is not null"
        " and created_at < now() - make_interval(secs => %s)",
        (password_seconds,),
    )
    await tx.run(
        "delete from console_session where id in (select id from console_session"
        " where created_at < now() - make_interval(secs => %(keep)s)"
        " and ended_at < now() - make_interval(secs => %(keep)s) order by created_at"
        " limit %(most)s for update skip locked)",
        {"keep": keep_seconds, "most": most},
    )
    return len(dead)


async def tell(tx: Any, kind: str, session_id: int) -> None:
    """Add an event about a session, for the audit trail.

    :param kind: ``console.opened`` or ``console.ended``.
    """
    await tx.run(
        "with made as (insert into event (kind, subject, project_id, body)"
        " select %s, s.uuid::text, s.project_id, jsonb_build_object('console',"
        " jsonb_build_object('id', c.id, 'kind', c.kind, 'server_id', s.uuid,"
        " 'user_id', c.user_id, 'project_id', c.project_id, 'client', c.client,"
        " 'request_id', c.request_id, 'reason', c.reason, 'bytes_in', c.bytes_in,"
        " 'bytes_out', c.bytes_out))"
        " from console_session c join server s on s.id = c.server_id"
        f" where c.id = %s returning 1) {outbox.NOTIFY}",
        (kind, session_id),
    )
