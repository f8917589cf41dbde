"""Zones, services and extensions: what clients ask for before they begin."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.documents import (
    BOOLEAN,
    MICROSECOND,
    NULL,
    TEXT,
    array,
    microsecond,
    record,
)
from cyclades_tx.api.documents import Document, Member, many
from cyclades_tx.api.volume.routes import Routes

_AVAILABLE = "not cluster.offline and not cluster.drained and coalesce(cluster.reachable, true)"
_ZONES = (
    "select json_build_object('availabilityZoneInfo', coalesce(json_agg(json_build_object("
    f"'zoneName', cluster.name, 'zoneState', json_build_object('available', {_AVAILABLE}))"
    " order by cluster.name), '[]'))::text from cluster where cluster.public or exists (select 1"
    " from cluster_project where cluster_project.cluster_id = cluster.id"
    " and cluster_project.project_id = %s)"
)
ZONES = record(
    availabilityZoneInfo=array(record(zoneName=TEXT, zoneState=record(available=BOOLEAN)))
)

SERVICE = Document(
    "VolumeService",
    (
        Member("binary", "'cinder-volume'::text", {"enum": ["cinder-volume"]}),
        Member("host", "cluster.name", TEXT),
        Member("zone", "cluster.name", TEXT),
        Member(
            "status",
            "case when cluster.drained then 'disabled' else 'enabled' end",
            {"enum": ["enabled", "disabled"]},
        ),
        Member(
            "state",
            "case when not cluster.offline and coalesce(cluster.reachable, false) then 'up'"
            " else 'down' end",
            {"enum": ["up", "down"]},
        ),
        Member("updated_at", microsecond("cluster.statistics_at"), MICROSECOND),
        Member("disabled_reason", "null::text", NULL),
        Member("replication_status", "'disabled'::text", {"enum": ["disabled"]}),
        Member("active_backend_id", "null::text", NULL),
        Member("frozen", "false", BOOLEAN),
        Member("cluster", "null::text", NULL, first=7),
        Member(
            "backend_state",
            "case when coalesce(cluster.reachable, false) then 'up' else 'down' end",
            {"enum": ["up", "down"]},
            first=49,
        ),
    ),
)

_KNOWN = (
    ("AvailabilityZones", "os-availability-zone", "The zones that volumes are in."),
    ("QuotaClasses", "os-quota-class-sets", "The limits of projects that have no others."),
    ("Quotas", "os-quota-sets", "The limits of a project."),
    ("Services", "os-services", "The clusters that keep disks."),
    ("TypesExtraSpecs", "os-types-extra-specs", "What a type of volumes is made with."),
    ("TypesManage", "os-types-manage", "Types of volumes are made and changed."),
    ("VolumeActions", "os-volume-actions", "What can be done with a volume."),
    ("VolumeTenantAttribute", "os-vol-tenant-attr", "The project of a volume."),
    ("VolumeTransfer", "os-volume-transfer", "Volumes are given to other projects."),
)
EXTENSIONS = [
    {
        "name": name,
        "alias": alias,
        "description": description,
        "updated": "2016-02-08T00:00:00+00:00",
        "links": [],
    }
    for name, alias, description in _KNOWN
]
EXTENSION = record(
    **dict.fromkeys(("name", "alias", "description", "updated"), TEXT),
    links={"type": "array", "maxItems": 0},
)


def mount(routes: Routes, database: Any) -> None:
    """Add the endpoints."""

    async def zones(call: Call) -> bytes:
        body: bytes = await database.document(_ZONES, (call.who.project_id,))
        return body

    async def services(call: Call) -> bytes:
        host, binary = call.query("host"), call.query("binary")
        body: bytes = await database.document(
            f"select '{{\"services\": ' || {many('page.item', 'page.name')} || '}}' from ("
            f"select cluster.name, {SERVICE.text(call.minor, True)} as item from cluster where"
            " (%s::text is null or cluster.name = %s::text)"
            " and (%s::text is null or %s::text = 'cinder-volume')) as page",
            (host, host, binary, binary),
        )
        return body

    async def extensions(_call: Call) -> Reply:
        return Reply(200, {"extensions": EXTENSIONS})

    routes.add("GET", "/os-availability-zone", zones)
    routes.add("GET", "/os-services", services, admin=True)
    routes.add("GET", "/extensions", extensions)
