"""The lists of subnets and pools of the operator's command line."""

from __future__ import annotations

from cyclades_tx.store.listings import NUMBER, TIME, TRUTH, Column, Listing

_FREE = (
    "(select coalesce(sum(r.last_address - r.first_address + 1), 0) from free_address_range r"
    " where r.subnet_id = s.id)"
)

SUBNETS = Listing(
    "subnet s join network n on n.id = s.network_id left join project p on p.id = n.project_id",
    (
        Column("id", "s.id", NUMBER),
        Column("uuid", "s.uuid::text", shown=False),
        Column("name", "s.name"),
        Column("network", "n.id", NUMBER),
        Column("network.name", "n.name", shown=False),
        Column("project", "coalesce(p.name, '')", also=("p.id::text",)),
        Column("ipversion", "family(s.cidr)", NUMBER),
        Column("cidr", "s.cidr::text"),
        Column("gateway", "coalesce(host(s.gateway), '-')"),
        Column("dhcp", "s.dhcp", TRUTH),
        Column("public", "n.shared", TRUTH),
        Column("free", _FREE, NUMBER),
        Column("created", "s.created_at", TIME, shown=False),
    ),
    "s.id",
    "n.deleted_at is null",
    "n.deleted_at is not null",
)

POOLS = Listing(
    "value_pool v",
    (
        Column("id", "v.id", NUMBER),
        Column("type", "replace(v.kind, '_', '-')"),
        Column("base", "v.base"),
        Column("first", "v.first_value", NUMBER),
        Column("last", "v.last_value", NUMBER),
        Column(
            "free",
            "(select coalesce(sum(r.last_value - r.first_value + 1), 0) from free_value_range r"
            " where r.value_pool_id = v.id)",
            NUMBER,
        ),
        Column(
            "reserved",
            "(select count(*) from reserved_value r where r.value_pool_id = v.id)",
            NUMBER,
        ),
        Column("created", "v.created_at", TIME, shown=False),
    ),
    "v.id",
)
