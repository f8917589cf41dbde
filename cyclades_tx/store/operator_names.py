"""What operators call things by: small numbers, UUIDs, names in Ganeti."""

from __future__ import annotations

import re
from typing import Any

from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.names import Names

_DIGITS = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


async def images(querier: Any, ref: str) -> list[str]:
    """The UUIDs of the live images with this UUID or id; failing that, with this name."""
    rows = await querier.all(
        "select uuid::text as uuid, uuid::text = lower(%(it)s::text) or id::text = %(it)s::text"
        " as exact from image where deleted_at is null and (uuid::text = lower(%(it)s::text)"
        " or id::text = %(it)s::text or name = %(it)s::text) order by 2 desc, id limit 10",
        {"it": ref},
    )
    if rows and rows[0].exact:
        return [rows[0].uuid]
    return [row.uuid for row in rows]


async def server(querier: Any, names: Names, ref: str) -> Any:
    """The server with this id, UUID or Ganeti name, also a deleted one, or None.

    :return: id, uuid, name, state, and whether it is deleted.
    """
    number = names.server_id(ref)
    if number is None and _DIGITS.fullmatch(ref):
        number = int(ref)
    return await querier.first(
        "select id, uuid::text as uuid, name, state, deleted_at is not null as deleted from server"
        " where id = %s::bigint or uuid = %s::uuid",
        (number, parse_uuid(ref)),
    )


async def servers_named(querier: Any, name: str) -> list[str]:
    """The numbers of the first live servers with a name, which is nothing to act by: it is free."""
    rows = await querier.all(
        "select id::text as id from server where name = %s and deleted_at is null"
        " order by id limit 5",
        (name,),
    )
    return [row.id for row in rows]


async def network(querier: Any, names: Names, ref: str) -> Any:
    """The network with this id, UUID or Ganeti name, also a deleted one, or None.

    :return: id, uuid, name, and whether it is deleted.
    """
    digits = ref.removeprefix(names.network(0)[:-1])
    number = int(digits) if _DIGITS.fullmatch(digits) else None
    return await querier.first(
        "select id, uuid::text as uuid, name, deleted_at is not null as deleted from network"
        " where id = %s::bigint or uuid = %s::uuid",
        (number, parse_uuid(ref)),
    )


async def subnet(querier: Any, ref: str) -> Any:
    """The subnet of a live network with this id or UUID, or None: id and uuid."""
    return await querier.first(
        "select s.id, s.uuid::text as uuid from subnet s join network n on n.id = s.network_id"
        " where n.deleted_at is null and (s.id = %s::bigint or s.uuid = %s::uuid)",
        (int(ref) if _DIGITS.fullmatch(ref) else None, parse_uuid(ref)),
    )


async def port(querier: Any, names: Names, ref: str) -> Any:
    """The port with this id, UUID or Ganeti name, or None.

    :return: id, uuid, and the server that it belongs to, if any.
    """
    number = names.port_id(ref)
    if number is None and _DIGITS.fullmatch(ref):
        number = int(ref)
    return await querier.first(
        "select id, uuid::text as uuid, server_id from port"
        " where id = %s::bigint or uuid = %s::uuid",
        (number, parse_uuid(ref)),
    )


async def floating_ip(querier: Any, ref: str) -> Any:
    """The floating IP with this id, UUID or address that was not given back, or None.

    :return: id, uuid, address, whose it is, and the server and the port that have it, if any.
    """
    return await querier.first(
        "select f.id, f.uuid::text as uuid, host(a.address) as address, f.user_id, f.project_id,"
        " p.id as port_id, p.server_id from floating_ip f join address a on a.id = f.address_id"
        " left join port p on p.id = a.port_id where f.released_at is null"
        " and (f.id = %s::bigint or f.uuid = %s::uuid or host(a.address) = %s)"
        " order by f.id limit 1",
        (int(ref) if _DIGITS.fullmatch(ref) else None, parse_uuid(ref), ref),
    )


async def floating_ip_networks(querier: Any) -> list[Any]:
    """The networks that give floating IPs now: uuid and name."""
    rows: list[Any] = await querier.all(
        "select uuid::text as uuid, name from network where floating_ip_pool and external"
        " and state = 'active' and not drained and deleted_at is null order by id"
    )
    return rows


async def projects_of(querier: Any, user_id: str) -> list[Any]:
    """The enabled projects in which a user has a role: id, name, whether it is the default."""
    rows: list[Any] = await querier.all(
        "select p.id::text as id, p.name, coalesce(u.default_project_id = p.id, false) as usual"
        " from project p join user_account u on u.id = %s"
        " where p.enabled and exists (select from role_assignment a"
        " where a.user_id = u.id and a.project_id = p.id) order by p.name",
        (user_id,),
    )
    return rows


#: Who or what lists can be narrowed to, by the column.
_NARROWING = {
    "user": "select from user_account where id::text = %(it)s::text or name = %(it)s::text"
    " or email = %(it)s::text",
    "project": "select from project where id::text = %(it)s::text or name = %(it)s::text",
    "backend": "select from cluster where id::text = %(it)s::text or name = %(it)s::text",
}


async def unknown(querier: Any, column: str, ref: str) -> bool:
    """Whether a list that was narrowed to somebody is empty because there is no such one.

    :param column: the one that was compared; nothing is known of others.
    """
    sql = _NARROWING.get(column)
    return sql is not None and not await querier.value(f"select exists ({sql})", {"it": ref})


async def image_id(querier: Any, uuid: str) -> int | None:
    """The number of an image by its UUID."""
    found: int | None = await querier.value("select id from image where uuid = %s", (uuid,))
    return found
