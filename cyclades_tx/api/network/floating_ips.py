"""Floating IPs: making, associating and deleting them."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.network.collections import FLOATING_IPS
from cyclades_tx.api.network.revisions import conditional, wanted_revision
from cyclades_tx.api.network.writing import document, only, project_of, text
from cyclades_tx.errors import BadRequest
from cyclades_tx.flows.floating_ips import FloatingIps, WantedFloatingIp


class NewFloatingIp(Struct, forbid_unknown_fields=True, kw_only=True):
    """The ``floatingip`` of a POST."""

    floating_network_id: str
    floating_ip_address: str | None = None
    subnet_id: str | None = None
    port_id: str | None = None
    fixed_ip_address: str | None = None
    description: str = ""
    tenant_id: str | None = None
    project_id: str | None = None


class Change(Struct, forbid_unknown_fields=True, kw_only=True):
    """The ``floatingip`` of a PUT; a null port takes it off."""

    port_id: str | UnsetType | None = UNSET
    fixed_ip_address: str | None = None
    description: str | UnsetType = UNSET


class FloatingIpWriter:
    """``POST``, ``PUT`` and ``DELETE`` of floating IPs.

    :param floating_ips: the flows.
    """

    def __init__(self, database: Any, floating_ips: FloatingIps) -> None:
        self._database = database
        self._floating_ips = floating_ips

    async def create(self, call: Call) -> Reply:
        """Make one; 201."""
        body = only(call, FLOATING_IPS, NewFloatingIp)
        if body.fixed_ip_address is not None and body.port_id is None:
            raise BadRequest("fixed_ip_address cannot be given without a port_id.")
        uuid = await self._floating_ips.create(
            call.who,
            WantedFloatingIp(
                network_ref=body.floating_network_id,
                subnet_ref=body.subnet_id,
                address=body.floating_ip_address,
                port_ref=body.port_id,
                fixed_ip=body.fixed_ip_address,
                description=text("description", body.description),
                project_id=project_of(body.tenant_id, body.project_id),
            ),
            call.request_id,
        )
        return Reply(201, await document(self._database, call, FLOATING_IPS, uuid))

    async def update(self, call: Call, ref: str) -> Reply:
        """Associate, disassociate or describe one; 200."""
        body = only(call, FLOATING_IPS, Change)
        changes: dict[str, Any] = {}
        if body.port_id is not UNSET:
            changes["port_ref"] = body.port_id
        if body.fixed_ip_address is not None:
            if body.port_id is UNSET:
                raise BadRequest("fixed_ip_address cannot be given without a port_id.")
            changes["fixed_ip"] = body.fixed_ip_address
        if body.description is not UNSET:
            changes["description"] = text("description", body.description)
        uuid = await conditional(
            self._floating_ips.update(
                call.who, ref, changes, call.request_id, wanted_revision(call)
            )
        )
        return Reply(200, await document(self._database, call, FLOATING_IPS, uuid))

    async def delete(self, call: Call, ref: str) -> Reply:
        """Give one back; 204."""
        await conditional(
            self._floating_ips.delete(call.who, ref, call.request_id, wanted_revision(call))
        )
        return Reply(204)
