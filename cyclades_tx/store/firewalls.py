"""The rules of servers' interfaces, and the servers whose firewall tags must be looked at.

Whoever changes rules or memberships leaves a wish for the servers; the loop of the server's cluster
takes it when nothing else is done to the server. A floating IP's interface has the rules of the
port that it was put on.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

from cyclades_tx.model.firewall import MOST_TRIES, PortRule, PortRules
from cyclades_tx.store import operations

_RULES = (
    "select p.id, p.firewall_profile, r.direction, r.ethertype, r.protocol,"
    " r.port_range_min as first, r.port_range_max as last,"
    " r.remote_group_id is not null as by_group from port p"
    " left join address a on a.port_id = p.id and p.device_owner = 'network:floatingip'"
    " left join floating_ip f on f.address_id = a.id"
    " left join port_security_group m on m.port_id = coalesce(f.port_id, p.id)"
    " left join security_group_rule r on r.security_group_id = m.security_group_id"
    " and r.direction = 'ingress'"
)

#: Whether the cluster ``c`` does, as far as anybody knows.
_ANSWERS = "(c.reachable is distinct from false and not c.offline)"


async def of_server(querier: Any, server_id: int) -> tuple[PortRules, ...]:
    """The ports of a server, each with the rules that let something in."""
    return _read(
        await querier.all(f"{_RULES} where p.server_id = %s order by p.id, r.id", (server_id,))
    )


async def of_port(querier: Any, port_id: Any) -> tuple[PortRules, ...]:
    """The same of one port; empty when there is none."""
    return _read(await querier.all(f"{_RULES} where p.id = %s order by r.id", (port_id,)))


def _read(rows: list[Any]) -> tuple[PortRules, ...]:
    return tuple(
        PortRules(
            port_id,
            profile,
            tuple(
                PortRule(
                    row.direction, row.ethertype, row.protocol, row.first, row.last, row.by_group
                )
                for row in found
                if row.direction is not None
            ),
        )
        for (port_id, profile), found in groupby(
            rows, key=lambda row: (row.id, row.firewall_profile)
        )
    )


async def wish_of_group(tx: Any, group_id: int) -> None:
    """Have the tags of every server looked at that has an interface in a group."""
    await _wish(
        tx,
        "select p.server_id as id from port_security_group m join port p on p.id = m.port_id"
        " where m.security_group_id = %s and p.server_id is not null",
        group_id,
    )


async def wish_of_port(tx: Any, port_id: int) -> None:
    """Have the tags of a port's server looked at, if it has one."""
    await _wish(
        tx, "select server_id as id from port where id = %s and server_id is not null", port_id
    )


async def wish_of_server(tx: Any, server_id: int) -> None:
    """Have the tags of a server looked at."""
    await _wish(tx, "select %s::bigint as id", server_id)


async def _wish(tx: Any, servers: str, argument: int) -> None:
    # In order, so that two who wish for the same servers do not wait for each other.
    asked = await tx.all(
        f"with asked as (insert into firewall_wish (server_id) select distinct id from ({servers})"
        " as meant order by id on conflict do nothing returning server_id)"
        " select s.cluster_id, s.id from asked join server s on s.id = asked.server_id"
        " where s.cluster_id is not null",
        (argument,),
    )
    for row in asked:
        await operations.wake(tx, row.cluster_id, row.id)


async def wished(querier: Any, cluster_id: int, limit: int) -> list[int]:
    """The servers of a cluster that have a wish and nothing else in motion.

    None as long as the cluster does not answer.
    """
    rows = await querier.all(
        "select w.server_id from firewall_wish w join server s on s.id = w.server_id"
        f" join cluster c on c.id = s.cluster_id where c.id = %s and {_ANSWERS}"
        " and not exists (select from operation o"
        " where o.server_id = s.id and o.finished_at is null) order by w.server_id limit %s",
        (cluster_id, limit),
    )
    return [row.server_id for row in rows]


#: The operations that failed since the last one that did not; so many are looked at.
_FAILED = (
    "select finished_at from (select finished_at,"
    " bool_and(state = 'failed') over (order by id desc) as failed from (select id, state,"
    " finished_at from operation where operation.server_id = {server} and kind = 'firewall'"
    f" and finished_at is not null order by id desc limit {MOST_TRIES}) as newest) as ended"
    " where failed"
)


class Wish(NamedTuple):
    """That the tags of a server must be looked at.

    :ivar failures: how often in a row that has failed.
    :ivar since_seconds: how long ago the last time was; 0 where it has not failed.
    :ivar answers: whether its cluster does; without one: True.
    """

    failures: int
    since_seconds: float
    answers: bool


async def wish(querier: Any, server_id: int) -> Wish | None:
    """The wish that the tags of a server are looked at; None: there is none."""
    row = await querier.first(
        "select count(tried.finished_at) as failures,"
        " coalesce(extract(epoch from now() - max(tried.finished_at)), 0)::float8 as since_seconds,"
        f" coalesce(bool_and({_ANSWERS}), true) as answers"
        " from firewall_wish join server s on s.id = firewall_wish.server_id"
        " left join cluster c on c.id = s.cluster_id"
        f" left join lateral ({_FAILED.format(server='firewall_wish.server_id')}"
        ") as tried on true where firewall_wish.server_id = %s group by firewall_wish.server_id",
        (server_id,),
    )
    return None if row is None else Wish(row.failures, row.since_seconds, row.answers)


async def failures(querier: Any, server_id: int) -> int:
    """How often in a row it has failed to set the tags of a server."""
    found: int = await querier.value(
        f"select count(*) from ({_FAILED.format(server='%s')}) as tried", (server_id,)
    )
    return found


async def take_wish(tx: Any, server_id: int) -> None:
    """Take a server's wish away: it is seen to now."""
    await tx.run("delete from firewall_wish where server_id = %s", (server_id,))
