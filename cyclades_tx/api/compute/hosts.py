"""What belongs to the operators of the clusters, and what is not offered: honest refusals."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.compute.servers import read
from cyclades_tx.api.errors import HttpError
from cyclades_tx.errors import NotSupported

#: What only the operators' commands do: method and path.
OPERATORS = (
    ("PUT", "/os-services/<service_id>"),
    ("DELETE", "/os-services/<service_id>"),
    ("POST", "/os-aggregates"),
    ("GET", "/os-aggregates/<aggregate_id>"),
    ("POST", "/os-server-external-events"),
    ("POST", "/os-assisted-volume-snapshots"),
    ("DELETE", "/os-assisted-volume-snapshots/<snapshot_id>"),
)
#: What Compute once had and has no more.
GONE = (
    *("/os-agents", "/os-cells", "/os-cells/<ref>", "/os-certificates", "/os-cloudpipe"),
    *("/os-consoles", "/os-fixed-ips/<ref>", "/os-floating-ip-dns", "/os-floating-ips-bulk"),
    *("/os-fping", "/os-security-group-default-rules", "/servers/<ref>/os-virtual-interfaces"),
    "/servers/<ref>/consoles",
)

_THERE = "select '{}' from server where"


def mount(routes: Routes, database: Any) -> None:
    """Add the endpoints."""

    async def operators_only(call: Call, **_: str) -> Reply:
        raise NotSupported("The clusters are managed by the operators' commands.")

    async def no_diagnostics(call: Call, server_id: str) -> Reply:
        await read(database, call, server_id, _THERE)
        raise NotSupported("Diagnostics of servers are not offered on this cloud.")

    async def gone(call: Call, **_: str) -> Reply:
        raise HttpError(410, "This resource has been removed from Compute.")

    async def no_aggregates(call: Call) -> Reply:
        return Reply(200, {"aggregates": []})

    async def no_migrations(call: Call) -> Reply:
        return Reply(200, {"migrations": []})

    for method, path in OPERATORS:
        routes.add(method, path, operators_only, admin=True)
    for path in GONE:
        routes.add("GET", path, gone)
    # Servers stay on their clusters, and the clusters are in no groups.
    routes.add("GET", "/os-aggregates", no_aggregates, admin=True)
    routes.add("GET", "/os-migrations", no_migrations, admin=True)
    routes.add("GET", "/servers/<server_id>/diagnostics", no_diagnostics)
