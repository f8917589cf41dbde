"""Ports: making, changing and deleting them."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.network.collections import PORTS
from cyclades_tx.api.network.revisions import conditional, wanted_revision
from cyclades_tx.api.network.writing import (
    document,
    documents,
    given,
    one_or_many,
    only,
    project_of,
    text,
)
from cyclades_tx.errors import BadRequest
from cyclades_tx.flows.ports import Ports, WantedAddress, WantedPort


class FixedIp(Struct, forbid_unknown_fields=True):
    """One of ``fixed_ips``."""

    subnet_id: str | None = None
    ip_address: str | None = None


class _Both(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a new port and a change of one may both say."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    mac_address: str | UnsetType = UNSET
    fixed_ips: list[FixedIp] | UnsetType = UNSET
    security_groups: list[str] | UnsetType | None = UNSET
    device_id: str | UnsetType = UNSET
    device_owner: str | UnsetType = UNSET
    allowed_address_pairs: list[dict[str, Any]] | UnsetType | None = UNSET
    extra_dhcp_opts: list[dict[str, Any]] | UnsetType | None = UNSET
    port_security_enabled: bool | UnsetType = UNSET
    vnic_type: str | UnsetType = field(default=UNSET, name="binding:vnic_type")
    profile: dict[str, Any] | UnsetType | None = field(default=UNSET, name="binding:profile")
    host: str | UnsetType | None = field(default=UNSET, name="binding:host_id")


class NewPort(_Both, forbid_unknown_fields=True, kw_only=True):
    """The ``port`` of a POST."""

    network_id: str
    tenant_id: str | None = None
    project_id: str | None = None


class Change(_Both, forbid_unknown_fields=True, kw_only=True):
    """The ``port`` of a PUT."""


class PortWriter:
    """``POST``, ``PUT`` and ``DELETE`` of ports.

    :param ports: the flows.
    """

    def __init__(self, database: Any, ports: Ports) -> None:
        self._database = database
        self._ports = ports

    async def create(self, call: Call) -> Reply:
        """Make one port or several; 201."""
        bodies, several = one_or_many(call, PORTS, NewPort)
        wanted = [_wanted(body) for body in bodies]
        uuids = await self._ports.create(call.who, wanted)
        if several:
            return Reply(201, await documents(self._database, call, PORTS, uuids))
        return Reply(201, await document(self._database, call, PORTS, uuids[0]))

    async def update(self, call: Call, ref: str) -> Reply:
        """Change a port; 200."""
        body = only(call, PORTS, Change)
        _refuse_unknowable(body)
        if body.device_id is not UNSET or body.device_owner is not UNSET:
            await self._same_device(call, ref, body)
        said = _common(body)
        if body.mac_address is not UNSET:
            said["mac"] = body.mac_address
        if body.fixed_ips is not UNSET:
            said["addresses"] = _addresses(body.fixed_ips)
        if body.security_groups is not UNSET:
            said["security_groups"] = tuple(body.security_groups or ())
        uuid = await conditional(self._ports.update(call.who, ref, said, wanted_revision(call)))
        return Reply(200, await document(self._database, call, PORTS, uuid))

    async def delete(self, call: Call, ref: str) -> Reply:
        """Delete a port, from its server too; 204."""
        await conditional(self._ports.delete(call.who, ref, call.request_id, wanted_revision(call)))
        return Reply(204)

    async def _same_device(self, call: Call, ref: str, body: Change) -> None:
        """Clients send back what they were shown; anything else is Compute's to change."""
        now = await self._ports.device(call.who, ref)
        for name, value in zip(("device_id", "device_owner"), now, strict=True):
            if getattr(body, name) not in (UNSET, value):
                raise _of_compute(name)


def _wanted(body: NewPort) -> WantedPort:
    _refuse_unknowable(body)
    for name in ("device_id", "device_owner"):
        if getattr(body, name):
            raise _of_compute(name)
    said = given(body)
    groups = said.get("security_groups")
    return WantedPort(
        network_ref=body.network_id,
        **_common(body),
        addresses=_addresses(said["fixed_ips"]) if "fixed_ips" in said else None,
        mac=said.get("mac_address"),
        security_groups=None if groups is None else tuple(groups),
        project_id=project_of(body.tenant_id, body.project_id),
    )


def _common(body: _Both) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name in ("name", "description"):
        value = getattr(body, name)
        if value is not UNSET:
            said[name] = text(name, value)
    if body.admin_state_up is not UNSET:
        said["admin_up"] = body.admin_state_up
    return said


def _addresses(fixed_ips: list[FixedIp]) -> tuple[WantedAddress, ...]:
    for each in fixed_ips:
        if each.subnet_id is None and each.ip_address is None:
            raise BadRequest("IP allocation requires subnet_id or ip_address.")
    return tuple(WantedAddress(each.subnet_id, each.ip_address) for each in fixed_ips)


def _refuse_unknowable(body: _Both) -> None:
    """Refuse what no cluster can do, and take the words that ask for what is so anyway."""
    if body.port_security_enabled is False:
        raise BadRequest("Security of a port cannot be switched off.")
    if body.vnic_type not in (UNSET, "normal"):
        raise BadRequest("Ports are of the binding:vnic_type 'normal'.")
    for name, value in (
        ("allowed_address_pairs", body.allowed_address_pairs),
        ("extra_dhcp_opts", body.extra_dhcp_opts),
        ("binding:profile", body.profile),
        ("binding:host_id", body.host),
    ):
        if value is not UNSET and value:
            raise BadRequest(f"'{name}' is not offered on this cloud.")


def _of_compute(name: str) -> BadRequest:
    return BadRequest(
        f"'{name}' cannot be written: ports come to servers and leave them by Compute's "
        "os-interface."
    )
