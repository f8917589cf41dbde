"""Every sealed secret in the database, for sealing it anew."""

from __future__ import annotations

from typing import Any

#: kind → its rows (id, bound to, sealed as bytes), and the change of one that nobody has touched.
_PLACES = {
    "rapi_password": (
        "select id, uuid::text as row, rapi_password as sealed from cluster",
        "update cluster set rapi_password = %(new)s where id = %(id)s and rapi_password = %(old)s",
    ),
    "user_data": (
        "select id, uuid::text as row, user_data as sealed from server"
        " where user_data is not null and deleted_at is null",
        "update server set user_data = %(new)s where id = %(id)s and user_data = %(old)s",
    ),
    "config_token": (
        "select o.id, s.uuid::text as row, decode(o.arguments->>'config_token', 'hex') as sealed"
        " from operation o join server s on s.id = o.server_id"
        " where o.finished_at is null and o.arguments ? 'config_token'",
        "update operation set arguments = jsonb_set(arguments, '{config_token}',"
        " to_jsonb(encode(%(new)s, 'hex'))) where id = %(id)s and finished_at is null"
        " and arguments->>'config_token' = encode(%(old)s, 'hex')",
    ),
}
KINDS = tuple(_PLACES)


async def everything(querier: Any, kind: str) -> list[Any]:
    """The rows with a sealed secret of a kind: id, what it is bound to, and the secret."""
    rows: list[Any] = await querier.all(_PLACES[kind][0])
    return rows


async def replace(querier: Any, kind: str, row_id: int, old: bytes, new: bytes) -> bool:
    """Put a secret in the place of another; False when somebody changed it meanwhile."""
    touched: int = await querier.run(_PLACES[kind][1], {"id": row_id, "old": old, "new": new})
    return touched > 0


async def service_sessions(querier: Any) -> int:
    """How many sessions of running services the database has."""
    number: int = await querier.value(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and application_name like 'cyclades_tx%%'"
        " and application_name not like 'cyclades_tx tool%%'",
        (None,) * 0,
    )
    return number
