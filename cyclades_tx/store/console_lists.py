"""The operator's list of consoles: tickets that wait, sessions that are open or were."""

from __future__ import annotations

from cyclades_tx.store.listings import NUMBER, TIME, Column, Listing

_STATE = (
    "case when c.ended_at is not null then 'ended' when c.opened_at is not null then 'open'"
    " when c.expires_at <= now() then 'expired' else 'waiting' end"
)

CONSOLES = Listing(
    "console_session c join server s on s.id = c.server_id"
    " left join user_account u on u.id = c.user_id left join project p on p.id = c.project_id",
    (
        Column("id", "c.id", NUMBER),
        Column("state", _STATE),
        Column("kind", "c.kind"),
        Column("server", "s.id", NUMBER, also=("s.name", "s.uuid::text")),
        Column("server.name", "s.name", shown=False),
        Column("user", "coalesce(u.name, c.user_id::text)", also=("c.user_id::text", "u.email")),
        Column("user.uuid", "c.user_id::text", shown=False),
        Column("project", "coalesce(p.name, '')", also=("c.project_id::text",)),
        Column("client", "c.client"),
        Column("node", "c.node"),
        Column("node_address", "host(c.node_address)", shown=False),
        Column("node_port", "c.node_port", NUMBER, shown=False),
        Column("process", "c.process", shown=False),
        Column("asked", "c.created_at", TIME, shown=False),
        Column("opened", "c.opened_at", TIME),
        Column("until", "c.until_at", TIME, shown=False),
        Column("ended", "c.ended_at", TIME, shown=False),
        Column("reason", "coalesce(c.closing, c.reason)"),
        Column("bytes_in", "c.bytes_in", NUMBER, shown=False),
        Column("bytes_out", "c.bytes_out", NUMBER, shown=False),
    ),
    "c.id",
    "c.ended_at is null",
    "c.ended_at is not null",
)
