"""Routers: making, changing and deleting them, and their interfaces."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from cyclades_tx.api.call import Call, Reply, Service
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.network.collections import ROUTERS
from cyclades_tx.api.network.revisions import conditional, wanted_revision
from cyclades_tx.api.network.writing import document, one_or_many, only, project_of, text
from cyclades_tx.errors import BadRequest
from cyclades_tx.flows.routers import Routers


class Gateway(Struct, forbid_unknown_fields=True):
    """``external_gateway_info``; an empty one is none."""

    network_id: str | None = None
    enable_snat: bool = True
    external_fixed_ips: list[dict[str, Any]] | None = None


class _Both(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a new router and a change of one may both say."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    external_gateway_info: Gateway | UnsetType | None = UNSET
    routes: list[dict[str, Any]] | UnsetType | None = UNSET
    distributed: bool | UnsetType | None = UNSET
    ha: bool | UnsetType | None = UNSET
    availability_zone_hints: list[str] | UnsetType = UNSET


class NewRouter(_Both, forbid_unknown_fields=True, kw_only=True):
    """The ``router`` of a POST."""

    tenant_id: str | None = None
    project_id: str | None = None


class Change(_Both, forbid_unknown_fields=True, kw_only=True):
    """The ``router`` of a PUT."""


class Interface(Struct, forbid_unknown_fields=True):
    """What is to be tied to a router, or untied."""

    subnet_id: str | None = None
    port_id: str | None = None


_INTERFACE = msgspec.json.Decoder(Interface)


class RouterWriter:
    """``POST``, ``PUT`` and ``DELETE`` of routers.

    :param routers: the flows.
    """

    def __init__(self, database: Any, routers: Routers) -> None:
        self._database = database
        self._routers = routers

    async def create(self, call: Call) -> Reply:
        """Make one; 201."""
        (body, *more), several = one_or_many(call, ROUTERS, NewRouter)
        if more or several:
            raise BadRequest("Routers are made one at a time.")
        project = project_of(body.tenant_id, body.project_id)
        uuid = await self._routers.create(call.who, project, _wanted(body))
        return Reply(201, await document(self._database, call, ROUTERS, uuid))

    async def update(self, call: Call, ref: str) -> Reply:
        """Change one; 200."""
        wanted = _wanted(only(call, ROUTERS, Change))
        uuid = await conditional(self._routers.update(call.who, ref, wanted, wanted_revision(call)))
        return Reply(200, await document(self._database, call, ROUTERS, uuid))

    async def delete(self, call: Call, ref: str) -> Reply:
        """Delete one; 204."""
        await conditional(self._routers.delete(call.who, ref, wanted_revision(call)))
        return Reply(204)

    def mount(self, frame: Frame, service: Service, version: str) -> None:
        """Add the endpoints of interfaces."""

        async def add(call: Call, ref: str) -> Reply:
            subnet, port = _interface(call)
            if subnet is not None and port is not None:
                raise BadRequest("Cannot specify both subnet-id and port-id.")
            return Reply(200, await self._routers.add_interface(call.who, ref, subnet, port))

        async def remove(call: Call, ref: str) -> Reply:
            subnet, port = _interface(call)
            return Reply(200, await self._routers.remove_interface(call.who, ref, subnet, port))

        for name, handler in (("add", add), ("remove", remove)):
            path = f"{version}/routers/<ref>/{name}_router_interface"
            for suffix in ("", ".json"):
                frame.endpoint(service, "PUT", path + suffix, handler, slash=False)


def _interface(call: Call) -> tuple[str | None, str | None]:
    wanted = call.json(_INTERFACE)
    if wanted.subnet_id is None and wanted.port_id is None:
        raise BadRequest("Either subnet_id or port_id must be specified.")
    return wanted.subnet_id, wanted.port_id


def _wanted(body: _Both) -> dict[str, Any]:
    if body.routes is not UNSET and body.routes:
        raise BadRequest(
            "Routes need an interface behind which something forwards, and the hosts of a cluster"
            " take none from a router. A subnet's host_routes are told to its machines.",
            neutron_type="InvalidRoutes",
        )
    for name in ("distributed", "ha", "availability_zone_hints"):
        if getattr(body, name) not in (UNSET, None, False, []):
            raise BadRequest(f"'{name}' is not offered on this cloud.")
    wanted: dict[str, Any] = {}
    for name in ("name", "description"):
        value = getattr(body, name)
        if value is not UNSET:
            wanted[name] = text(name, value)
    if body.admin_state_up is not UNSET:
        wanted["admin_up"] = body.admin_state_up
    gateway = body.external_gateway_info
    if gateway is not UNSET:
        if gateway is not None and gateway.external_fixed_ips:
            raise BadRequest("The gateway of a router has no addresses on this cloud.")
        wanted["gateway"] = None if gateway is None else gateway.network_id
        wanted["snat"] = gateway is None or gateway.enable_snat
    return wanted
