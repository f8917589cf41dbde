"""Subnet pools: prefixes from which subnets are cut.

What is free is kept as prefixes (``subnet_pool_free``). Whoever takes or gives back has locked the
pool's row, after the network's: two subnets of one pool never overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.model import subnet_pool as arithmetic
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.subnet_pool import Prefix
from cyclades_tx.model.who import Who
from cyclades_tx.store import outbox

_COLUMNS = (
    "id, uuid::text, name, project_id, ip_version, min_prefixlen, default_prefixlen,"
    " max_prefixlen, default_quota, shared, is_default, revision"
)

_CHANGEABLE = frozenset(
    ("name", "description", "min_prefixlen", "default_prefixlen", "max_prefixlen", "default_quota",
     "is_default")
)  # fmt: skip


async def lock(tx: Any, who: Who | None, ref: str, *, own: bool = True) -> Any:
    """Lock a pool that the caller sees.

    :param who: None is the operator.
    :param own: whether a shared one of another project is of no use.
    :raise NotFound: when there is none; anything can stand in ``ref``.
    """
    uuid = parse_uuid(ref)
    admin, project_id = (True, None) if who is None else (who.admin, who.project_id)
    row = uuid and await tx.first(
        f"select {_COLUMNS} from subnet_pool where uuid = %s::uuid"
        " and (%s::boolean or project_id = %s::text or (shared and not %s::boolean)) for update",
        (uuid, admin, project_id, own),
    )
    if not row:
        raise NotFound(f"Subnet pool {ref} could not be found.", "subnetpool")
    return row


async def default_of(querier: Any, version: int) -> str | None:
    """The UUID of the pool that is cut from when none is named."""
    found: str | None = await querier.value(
        "select uuid::text from subnet_pool where is_default and ip_version = %s", (version,)
    )
    return found


async def insert(
    tx: Any, project_id: str, columns: Mapping[str, Any], prefixes: Iterable[Prefix]
) -> str:
    """Add a pool with every prefix free; return its UUID.

    :raise BadRequest: when it should be a second default one.
    """
    names = sorted(columns)
    row = await tx.first(
        f"insert into subnet_pool (project_id, {', '.join(names)})"
        f" values (%s{', %s' * len(names)}) on conflict (ip_version) where is_default do nothing"
        " returning id, uuid::text",
        (project_id, *(columns[name] for name in names)),
    )
    if row is None:
        raise _second_default()
    await add_prefixes(tx, row.id, prefixes, prefixes)
    await tell(tx, "subnet_pool.created", row.id)
    return str(row.uuid)


def _second_default() -> BadRequest:
    return BadRequest(
        "Invalid input for operation: A default subnetpool for this IP family has already been"
        " set. Only one default may exist per IP family.",
        neutron_type="InvalidInput",
    )


async def add_prefixes(
    tx: Any, pool_id: int, every: Iterable[Prefix], added: Iterable[Prefix]
) -> None:
    """Write all prefixes of a locked pool, and make those that are new free."""
    await tx.run("delete from subnet_pool_prefix where subnet_pool_id = %s", (pool_id,))
    await tx.run(
        "insert into subnet_pool_prefix (subnet_pool_id, prefix) select %s, unnest(%s::cidr[])",
        (pool_id, [str(each) for each in every]),
    )
    for each in added:
        await _give_back(tx, pool_id, each)


async def prefixes_of(querier: Any, pool_id: int) -> tuple[Prefix, ...]:
    """The prefixes of a pool."""
    rows = await querier.all(
        "select prefix::text from subnet_pool_prefix where subnet_pool_id = %s order by prefix",
        (pool_id,),
    )
    return tuple(ip_network(row.prefix) for row in rows)


async def change(tx: Any, pool: Any, columns: Mapping[str, Any]) -> None:
    """Set columns of a locked pool; its revision number grows, also when nothing is new.

    :raise BadRequest: when it should be a second default one.
    """
    names = sorted(_CHANGEABLE & columns.keys())
    if columns.get("is_default") and await tx.value(
        "select exists (select from subnet_pool where is_default and ip_version = %s and id <> %s)",
        (pool.ip_version, pool.id),
    ):
        raise _second_default()
    settings = "".join(f"{name} = %s, " for name in names)
    await tx.run(
        f"update subnet_pool set {settings}revision = revision + 1, updated_at = now()"
        " where id = %s",
        (*(columns[name] for name in names), pool.id),
    )
    await tell(tx, "subnet_pool.changed", pool.id)


async def delete(tx: Any, pool: Any) -> None:
    """Delete a locked pool that no subnet is of.

    :raise BadRequest: when one is.
    """
    if await tx.value("select exists (select from subnet where subnet_pool_id = %s)", (pool.id,)):
        raise BadRequest(
            "Unable to delete subnet pool: Subnet pool has existing allocations.",
            neutron_type="SubnetPoolDeleteError",
        )
    await tell(tx, "subnet_pool.deleted", pool.id)
    await tx.run("delete from subnet_pool where id = %s", (pool.id,))


async def used_by(querier: Any, pool: Any, project_id: str | None) -> int:
    """What a project has of a pool, as its quota counts."""
    rows = await querier.all(
        "select s.cidr::text from subnet s join network n on n.id = s.network_id"
        " where s.subnet_pool_id = %s and n.project_id is not distinct from %s::text",
        (pool.id, project_id),
    )
    return sum(arithmetic.weight(ip_network(row.cidr)) for row in rows)


async def take(tx: Any, pool: Any, length: int) -> Prefix:
    """Take the first free prefix of a length from a locked pool, of the smallest that will do.

    :raise Conflict: ``SubnetAllocationError`` when none is free.
    """
    found = await tx.value(
        "select prefix::text from subnet_pool_free where subnet_pool_id = %s"
        " and masklen(prefix) <= %s order by masklen(prefix) desc, prefix limit 1",
        (pool.id, length),
    )
    if found is None:
        raise Conflict(
            f"Failed to allocate subnet: Insufficient prefix space to allocate subnet size"
            f" /{length}.",
            "SubnetAllocationError",
        )
    block = ip_network(found)
    wanted = arithmetic.first_of(block, length)
    await _cut(tx, pool.id, block, wanted)
    return wanted


async def take_given(tx: Any, pool: Any, wanted: Prefix) -> None:
    """Take the prefix that was asked for from a locked pool.

    :raise Conflict: ``SubnetAllocationError`` when it is not free.
    """
    found = await tx.value(
        "select prefix::text from subnet_pool_free where subnet_pool_id = %s"
        " and prefix >>= %s::cidr",
        (pool.id, str(wanted)),
    )
    if found is None:
        raise Conflict(
            "Failed to allocate subnet: Cannot allocate requested subnet from the available set of"
            " prefixes.",
            "SubnetAllocationError",
        )
    await _cut(tx, pool.id, ip_network(found), wanted)


async def _cut(tx: Any, pool_id: int, block: Prefix, wanted: Prefix) -> None:
    await tx.run(
        "delete from subnet_pool_free where subnet_pool_id = %s and prefix = %s::cidr",
        (pool_id, str(block)),
    )
    rest = [str(each) for each in arithmetic.cut(block, wanted)]
    await tx.run(
        "insert into subnet_pool_free (subnet_pool_id, prefix) select %s, unnest(%s::cidr[])",
        (pool_id, rest),
    )


async def give_back_of(tx: Any, *, network_id: int | None = None, subnet_id: int = 0) -> None:
    """Give back what the subnets of a network, or one subnet, have of pools."""
    rows = await tx.all(
        "select s.id, s.cidr::text, s.subnet_pool_id from subnet s"
        " where s.subnet_pool_id is not null and (s.network_id = %s or s.id = %s)"
        " order by s.subnet_pool_id",
        (network_id, subnet_id),
    )
    for row in rows:
        await tx.run("select 1 from subnet_pool where id = %s for update", (row.subnet_pool_id,))
        await tx.run("update subnet set subnet_pool_id = null where id = %s", (row.id,))
        await _give_back(tx, row.subnet_pool_id, ip_network(row.cidr))


async def _give_back(tx: Any, pool_id: int, prefix: Prefix) -> None:
    beside = [str(each) for each in arithmetic.siblings(prefix)]
    rows = await tx.all(
        "select prefix::text from subnet_pool_free where subnet_pool_id = %s"
        " and prefix = any(%s::cidr[])",
        (pool_id, beside),
    )
    whole, gone = arithmetic.joined(prefix, {ip_network(row.prefix) for row in rows})
    await tx.run(
        "delete from subnet_pool_free where subnet_pool_id = %s and prefix = any(%s::cidr[])",
        (pool_id, [str(each) for each in gone]),
    )
    await tx.run(
        "insert into subnet_pool_free (subnet_pool_id, prefix) values (%s, %s)",
        (pool_id, str(whole)),
    )


async def tell(tx: Any, kind: str, pool_id: int) -> None:
    """Tell of a pool as it is now."""
    row = await tx.first(
        "select uuid::text, project_id, name from subnet_pool where id = %s", (pool_id,)
    )
    body = {"subnet_pool": {"id": row.uuid, "name": row.name}}
    await outbox.put(tx, kind, row.uuid, row.project_id, body)
