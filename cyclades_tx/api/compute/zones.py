"""Availability zones: each cluster that the project may use is one."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.call import Call
from cyclades_tx.api.compute.documents import (
    BOOLEAN,
    MICROSECOND,
    NULL,
    TEXT,
    array,
    mapping,
    microsecond,
    record,
)
from cyclades_tx.api.compute.routes import Routes

_AVAILABLE = "not cluster.offline and not cluster.drained and coalesce(cluster.reachable, true)"
_MINE = (
    "cluster.public or exists (select 1 from cluster_project where"
    " cluster_project.cluster_id = cluster.id and cluster_project.project_id = %s)"
)


def _list(hosts: str) -> str:
    return (
        "select json_build_object('availabilityZoneInfo', coalesce(json_agg(json_build_object("
        "'zoneName', cluster.name, 'zoneState', json_build_object('available',"
        f" {_AVAILABLE}), 'hosts', {hosts}) order by cluster.name), '[]'))::text"
        f" from cluster where {_MINE}"
    )


_PLAIN = _list("null::text")
_DETAIL = _list(
    "json_build_object(cluster.name, json_build_object('nova-compute', json_build_object("
    f"'available', {_AVAILABLE}, 'active', not cluster.drained, 'updated_at',"
    f" {microsecond('cluster.statistics_at')})))"
)

_ZONE_FACTS = {"zoneName": TEXT, "zoneState": record(available=BOOLEAN)}
_HOST = record(
    **{"nova-compute": record(available=BOOLEAN, active=BOOLEAN, updated_at=MICROSECOND)}
)
#: The schemas of the replies, for everyone and for administrators.
ZONES = record(availabilityZoneInfo=array(record(**_ZONE_FACTS, hosts=NULL)))
ZONES_DETAIL = record(availabilityZoneInfo=array(record(**_ZONE_FACTS, hosts=mapping(_HOST))))


def mount(routes: Routes, database: Any) -> None:
    """Add the endpoints."""

    async def show(call: Call) -> bytes:
        body: bytes = await database.document(_PLAIN, (call.who.project_id,))
        return body

    async def show_detail(call: Call) -> bytes:
        body: bytes = await database.document(_DETAIL, (call.who.project_id,))
        return body

    routes.add("GET", "/os-availability-zone", show)
    # Clients fall back to the other one only when they get a 403 here.
    routes.add("GET", "/os-availability-zone/detail", show_detail, admin=True)
