"""What is over for long is thrown away: the SQL.

Each table is walked by id, some rows at a time, so that no statement takes long however much
there is, and no index is needed that every write would have to pay for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

#: Rows that one step looks at.
MOST = 500

#: In this order, what is pointed at comes after what points at it.
KINDS = ("operation", "snapshot", "volume", "server", "image", "network", "address_history")

_OLD = "{column} < now() - make_interval(secs => %(age)s)"
_NO_OPEN = (
    " and not exists (select from operation o where o.{kind}_id = t.id and o.finished_at is null)"
)

#: What may go, besides its age: ``t`` is the row.
_CONDITIONS: dict[str, str] = {
    # A server's creation is its first action for its owner, and says whose its instance is; the
    # last attachment of a volume says since when it is there.
    "operation": (
        " and not (t.kind = 'create' and exists"
        " (select from server s where s.id = t.server_id and s.deleted_at is null))"
        " and not (t.kind = 'attach_volume' and exists (select from volume v"
        " where v.id = t.volume_id and v.server_id = t.server_id and v.deleted_at is null))"
    ),
    "snapshot": "",
    "volume": _NO_OPEN.format(kind="volume")
    + " and not exists (select from snapshot s where s.volume_id = t.id)",
    # While an instance of it is somewhere, its row tells whose that is.
    "server": _NO_OPEN.format(kind="server")
    + " and not exists (select from volume v where v.server_id = t.id)"
    " and not exists (select from port p where p.server_id = t.id)"
    " and not exists (select from drift_finding d"
    " where d.server_id = t.id and d.remedied_at is null)",
    "image": " and t.object_name is null and t.upload_name is null"
    " and not exists (select from server s where s.image_id = t.id)"
    " and not exists (select from server s where s.rescue_image_id = t.id)",
    "network": _NO_OPEN.format(kind="network")
    + " and not exists (select from port p where p.network_id = t.id)"
    " and not exists (select from cluster_network c where c.network_id = t.id)"
    " and not exists (select from floating_ip f where f.network_id = t.id)"
    " and not exists (select from router r where r.external_network_id = t.id)",
    "address_history": "",
}

#: When it was over.
_ENDED = {"operation": "t.finished_at", "address_history": "t.released_at"}
#: When it began: later ids began later, so that a walk ends at the first that is too young.
_BEGAN = {"address_history": "t.taken_at"}

#: What goes with it, before it.
_WITH: dict[str, tuple[str, ...]] = {
    "volume": ("delete from operation where volume_id = any(%s::bigint[])",),
    "server": (
        "delete from operation where server_id = any(%s::bigint[])",
        "delete from firewall_wish where server_id = any(%s::bigint[])",
    ),
    "network": (
        "delete from operation where network_id = any(%s::bigint[])",
        "delete from address where subnet_id in"
        " (select id from subnet where network_id = any(%s::bigint[]))",
        "delete from subnet where network_id = any(%s::bigint[])",
    ),
}

_PAGE = """
with page as materialized (
  select t.id, {began} < now() - make_interval(secs => %(age)s) as old
  from {kind} t where t.id > %(after)s order by t.id limit %(most)s)
select max(id) as last, count(*) = %(most)s and (array_agg(old order by id desc))[1] as more
from page"""

_DOOMED = """
select t.id from {kind} t where t.id > %(after)s and t.id <= %(last)s and {old}{condition}
order by t.id for update of t skip locked"""


class Step(NamedTuple):
    """One step of a walk.

    :ivar removed: how many rows went, without what went with them.
    :ivar after_id: where the next step begins; None: this was the last.
    """

    removed: int
    after_id: int | None


async def step(tx: Any, kind: str, after_id: int, age_seconds: float, most: int = MOST) -> Step:
    """Look at the next rows of a table, and throw away what is over for long.

    :param kind: one of :data:`KINDS`.
    :param after_id: 0 for the first step, then what the one before has said.
    :param age_seconds: how long something is kept after its end.
    :param most: rows to look at.
    """
    page = await tx.first(
        _PAGE.format(kind=kind, began=_BEGAN.get(kind, "t.created_at")),
        {"after": after_id, "age": age_seconds, "most": most},
    )
    if page.last is None:
        return Step(0, None)
    rows = await tx.all(
        _DOOMED.format(
            kind=kind,
            old=_OLD.format(column=_ENDED.get(kind, "t.deleted_at")),
            condition=_CONDITIONS[kind],
        ),
        {"after": after_id, "last": page.last, "age": age_seconds},
    )
    ids = [row.id for row in rows]
    if ids:
        for statement in _WITH.get(kind, ()):
            await tx.run(statement, (ids,))
        await tx.run(f"delete from {kind} where id = any(%s::bigint[])", (ids,))
    return Step(len(ids), page.last if page.more else None)
