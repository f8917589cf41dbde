"""What belongs to the operators of the clusters, and what is not offered: honest refusals."""

from __future__ import annotations

from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.frame import Call, Reply
from cyclades_tx.errors import NotSupported

_OPERATORS = (
    "/os-hypervisors",
    "/os-hypervisors/detail",
    "/os-hypervisors/statistics",
    "/os-hypervisors/<hypervisor_id>",
    "/os-services",
    "/os-aggregates",
    "/os-migrations",
)


def mount(routes: Routes) -> None:
    """Add the endpoints."""

    async def operators_only(call: Call, **_: str) -> Reply:
        raise NotSupported("The clusters are managed by the operators' commands.")

    async def no_diagnostics(call: Call, server_id: str) -> Reply:
        raise NotSupported("Diagnostics of servers are not offered on this cloud.")

    async def no_console(call: Call, server_id: str) -> Reply:
        raise NotSupported("Consoles are not offered yet.")

    for path in _OPERATORS:
        routes.add("GET", path, operators_only, admin=True)
    routes.add("GET", "/servers/<server_id>/diagnostics", no_diagnostics)
    routes.add("POST", "/servers/<server_id>/remote-consoles", no_console)
