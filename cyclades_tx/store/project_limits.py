"""Limits that are not held: defaults, server groups, and what one user of a project may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cyclades_tx.errors import OverQuota

#: What stands for no limit.
UNLIMITED = -1


async def defaults(querier: Any) -> dict[str, int]:
    """What an administrator set in place of the configuration's limits, by name."""
    rows = await querier.all("select name, maximum from quota_default")
    return {row.name: row.maximum for row in rows}


async def set_defaults(tx: Any, maxima: Mapping[str, int]) -> None:
    """Set what projects may have when nothing else was said for them."""
    await tx.run(
        "insert into quota_default (name, maximum)"
        " select name, maximum from unnest(%s::text[], %s::bigint[]) as given (name, maximum)"
        " order by name on conflict (name) do update set maximum = excluded.maximum",
        (list(maxima), list(maxima.values())),
    )


async def project_exists(querier: Any, project_id: str) -> bool:
    """Whether there is such a project."""
    sql = "select 1 from project where id::text = %s::text"
    return await querier.value(sql, (project_id,)) is not None


async def user_exists(querier: Any, user_id: str) -> bool:
    """Whether there is such a user."""
    sql = "select 1 from user_account where id::text = %s::text"
    return await querier.value(sql, (user_id,)) is not None


async def limit_of(querier: Any, project_id: str, name: str, otherwise: int) -> int:
    """What a project may have of server groups or their members; -1 is no limit."""
    found: int = await querier.value(
        "select coalesce((select maximum from project_limit where project_id = %s and name = %s),"
        " (select maximum from quota_default where name = %s), %s::bigint)",
        (project_id, name, name, otherwise),
    )
    return found


async def set_limits(tx: Any, project_id: str, maxima: Mapping[str, int]) -> None:
    """Set what a project may have of server groups and their members."""
    await tx.run(
        "insert into project_limit (project_id, name, maximum)"
        " select %s, name, maximum from unnest(%s::text[], %s::bigint[]) as given (name, maximum)"
        " on conflict (project_id, name) do update set maximum = excluded.maximum",
        (project_id, list(maxima), list(maxima.values())),
    )


async def forget_limits(tx: Any, project_id: str) -> None:
    """Let the defaults count for a project again, and for each of its users the project's."""
    await tx.run("delete from project_limit where project_id = %s", (project_id,))
    await tx.run("delete from user_limit where project_id = %s", (project_id,))


class Use(NamedTuple):
    """What a user has of a project's servers; those that are being made count too."""

    instances: int
    cores: int
    ram: int


async def use_of_user(querier: Any, project_id: str, user_id: str) -> Use:
    """Count what a user has in a project."""
    row = await querier.first(
        "select count(*)::bigint as instances, coalesce(sum(vcpus), 0)::bigint as cores,"
        " coalesce(sum(memory_mib), 0)::bigint as ram from server"
        " where project_id = %s and user_id = %s and deleted_at is null"
        " and (charge <> 'none' or state = 'building')",
        (project_id, user_id),
    )
    return Use(row.instances, row.cores, row.ram)


async def user_limits(querier: Any, project_id: str, user_id: str) -> dict[str, int]:
    """The limits of one user in a project, by Compute's names; those that there are."""
    rows = await querier.all(
        "select name, maximum from user_limit where project_id = %s and user_id = %s",
        (project_id, user_id),
    )
    return {row.name: row.maximum for row in rows}


async def largest_user_limits(querier: Any, project_id: str) -> dict[str, int]:
    """The largest limit of any user in a project, by Compute's names."""
    rows = await querier.all(
        "select name, max(maximum) as maximum from user_limit where project_id = %s group by name",
        (project_id,),
    )
    return {row.name: row.maximum for row in rows}


async def set_user_limits(
    tx: Any, project_id: str, user_id: str, maxima: Mapping[str, int]
) -> None:
    """Set limits of one user in a project; -1 lets the project's count alone."""
    gone = [name for name, maximum in maxima.items() if maximum == UNLIMITED]
    kept = {name: maximum for name, maximum in maxima.items() if maximum != UNLIMITED}
    await tx.run(
        "delete from user_limit where project_id = %s and user_id = %s and name = any(%s::text[])",
        (project_id, user_id, gone),
    )
    await tx.run(
        "insert into user_limit (project_id, user_id, name, maximum)"
        " select %s, %s, name, maximum"
        " from unnest(%s::text[], %s::bigint[]) as given (name, maximum)"
        " on conflict (project_id, user_id, name) do update set maximum = excluded.maximum",
        (project_id, user_id, list(kept), list(kept.values())),
    )


async def forget_user_limits(tx: Any, project_id: str, user_id: str) -> None:
    """Let the project's limits count alone for a user."""
    await tx.run(
        "delete from user_limit where project_id = %s and user_id = %s", (project_id, user_id)
    )


async def refuse_user_shortage(
    tx: Any, project_id: str, user_id: str, *, instances: int = 0, cores: int = 0, ram_mib: int = 0
) -> None:
    """Raise when a user may not have that much more in a project.

    The project's holdings are locked, so nobody else adds to what is counted here.

    :raise OverQuota: names each resource that is short.
    """
    limits = await user_limits(tx, project_id, user_id)
    if not limits:
        return
    use = (await use_of_user(tx, project_id, user_id))._asdict()
    wanted = {"cores": cores, "instances": instances, "ram": ram_mib}
    short = [
        name
        for name, amount in wanted.items()
        if amount > 0 and name in limits and use[name] + amount > limits[name]
    ]
    if short:
        facts = "; ".join(
            f"Requested {wanted[name]}, but already used {use[name]} of {limits[name]} {name}"
            for name in short
        )
        raise OverQuota(f"Quota exceeded for {', '.join(short)}: {facts}.")
