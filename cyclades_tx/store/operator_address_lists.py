"""The operator's lists of ports, floating IPs and of who had which public address."""

from __future__ import annotations

from datetime import datetime

from cyclades_tx.store.listings import NUMBER, TIME, TRUTH, Column, Listing, Term

_PROJECT = (
    Column("project", "coalesce(p.name, '')", also=("p.id::text",)),
    Column("project.id", "p.id::text", shown=False),
)


def _user(of: str) -> tuple[Column, ...]:
    return (
        Column("user", f"coalesce(u.name, {of}::text, '')", also=(f"{of}::text", "u.email")),
        Column("user.uuid", f"{of}::text", shown=False),
    )


_IPS = (
    "(select coalesce(string_agg(host(a.address), ',' order by family(a.address), a.id), '')"
    " from address a where a.port_id = t.id)"
)

PORTS = Listing(
    "port t join network n on n.id = t.network_id left join server s on s.id = t.server_id"
    " left join project p on p.id = t.project_id left join user_account u on u.id = t.user_id",
    (
        Column("id", "t.id", NUMBER),
        Column("uuid", "t.uuid::text", shown=False),
        Column("name", "t.name"),
        *_user("t.user_id"),
        *_PROJECT,
        Column("mac_address", "t.mac::text"),
        Column("fixed_ips", _IPS),
        Column("network", "n.id", NUMBER, also=("n.name", "n.uuid::text")),
        Column("public", "n.shared", TRUTH, shown=False),
        Column("server", "s.id", NUMBER, also=("s.name", "s.uuid::text")),
        Column("state", "t.state"),
        Column("pending_restart", "coalesce(t.pending_restart, '')", shown=False),
        Column("owner", "t.device_owner"),
        Column("firewall_profile", "coalesce(t.firewall_profile, '')", shown=False),
        Column("created", "t.created_at", TIME, shown=False),
        Column("updated", "t.updated_at", TIME, shown=False),
    ),
    "t.id",
)

FLOATING_IPS = Listing(
    "floating_ip f join address a on a.id = f.address_id join network n on n.id = f.network_id"
    " left join port t on t.id = a.port_id left join server s on s.id = t.server_id"
    " left join project p on p.id = f.project_id left join user_account u on u.id = f.user_id",
    (
        Column("id", "f.id", NUMBER),
        Column("uuid", "f.uuid::text", shown=False),
        Column("address", "host(a.address)"),
        Column("network", "n.id", NUMBER, also=("n.name", "n.uuid::text")),
        *_user("f.user_id"),
        *_PROJECT,
        Column("server", "s.id", NUMBER, also=("s.name", "s.uuid::text")),
        Column("port", "t.id", NUMBER, also=("t.uuid::text",)),
        Column("released", "f.released_at is not null", TRUTH, shown=False),
        Column("created", "f.created_at", TIME, shown=False),
    ),
    "f.id",
)

IPS = Listing(
    "address_history h left join network n on n.id = h.network_id"
    " left join server s on s.id = h.server_id left join project p on p.id = h.project_id"
    " left join user_account u on u.id = h.user_id",
    (
        Column("address", "host(h.address)"),
        Column("server", "h.server_id", NUMBER, also=("s.name", "s.uuid::text")),
        Column("server.uuid", "s.uuid::text", shown=False),
        Column("network", "h.network_id", NUMBER, also=("n.name", "n.uuid::text")),
        *_user("h.user_id"),
        *_PROJECT,
        Column("allocated_at", "h.taken_at", TIME),
        Column("released_at", "h.released_at", TIME),
        Column("active", "h.released_at is null", TRUTH),
    ),
    "h.taken_at, h.id",
)


def held_at(moment: datetime) -> tuple[Term, ...]:
    """The conditions of :data:`IPS` of those who had an address at a moment."""
    end = Column("end", "coalesce(h.released_at, 'infinity')", TIME)
    return Term(IPS.column("allocated_at"), "<=", moment), Term(end, ">", moment)
