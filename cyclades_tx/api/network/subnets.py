"""Subnets: made one by one or several at once, changed, deleted."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.network.collections import SUBNETS
from cyclades_tx.api.network.revisions import conditional, wanted_revision
from cyclades_tx.api.network.writing import (
    document,
    documents,
    given,
    number,
    one_or_many,
    only,
)
from cyclades_tx.errors import BadRequest, Forbidden
from cyclades_tx.flows.subnets import Subnets, WantedSubnet

_FIRST = "first"
_DEFAULT = "default"


class Pool(Struct, forbid_unknown_fields=True):
    """A range of addresses that are given out."""

    start: str
    end: str


class Route(Struct, forbid_unknown_fields=True):
    """A route that DHCP tells."""

    destination: str
    nexthop: str


class New(Struct, forbid_unknown_fields=True):
    """The ``subnet`` of a POST."""

    network_id: str
    ip_version: int | str
    cidr: str | None = None
    name: str = ""
    description: str = ""
    gateway_ip: str | UnsetType | None = UNSET
    allocation_pools: list[Pool] | None = None
    dns_nameservers: list[str] | None = None
    host_routes: list[Route] | None = None
    enable_dhcp: bool = True
    ipv6_ra_mode: str | None = None
    ipv6_address_mode: str | None = None
    tenant_id: str | None = None
    project_id: str | None = None
    subnetpool_id: str | None = None
    use_default_subnetpool: bool = False
    prefixlen: int | str | None = None
    segment_id: str | None = None
    service_types: list[str] = []


class Change(Struct, forbid_unknown_fields=True):
    """The ``subnet`` of a PUT: what is absent stays as it is."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    gateway_ip: str | UnsetType | None = UNSET
    allocation_pools: list[Pool] | UnsetType = UNSET
    dns_nameservers: list[str] | UnsetType | None = UNSET
    host_routes: list[Route] | UnsetType | None = UNSET
    enable_dhcp: bool | UnsetType = UNSET
    service_types: list[str] = []


class SubnetWriter:
    """What the collection of subnets is written by."""

    def __init__(self, database: Any, subnets: Subnets) -> None:
        self._database = database
        self._subnets = subnets

    async def create(self, call: Call) -> Reply:
        """One subnet, or several or none of them."""
        bodies, many = one_or_many(call, SUBNETS, New)
        wanted = [(each.network_id, _wanted(call, each)) for each in bodies]
        rows = await self._subnets.create_all(call.who, wanted, call.request_id)
        uuids = [row.uuid for row in rows]
        if many:
            return Reply(201, await documents(self._database, call, SUBNETS, uuids))
        return Reply(201, await document(self._database, call, SUBNETS, uuids[0]))

    async def update(self, call: Call, ref: str) -> Reply:
        """Change what the body names."""
        body = only(call, SUBNETS, Change)
        changes = given(body)
        _refuse_service_types(changes.pop("service_types"))
        if "gateway_ip" in changes:
            changes["gateway"] = _gateway(changes.pop("gateway_ip"))
        if "enable_dhcp" in changes:
            changes["dhcp"] = changes.pop("enable_dhcp")
        if "dns_nameservers" in changes:
            changes["dns_nameservers"] = tuple(changes["dns_nameservers"] or ())
        if "host_routes" in changes:
            changes["host_routes"] = _routes(changes["host_routes"])
        if "allocation_pools" in changes:
            changes["pools"] = _pools(changes.pop("allocation_pools"))
        row = await conditional(
            self._subnets.change(
                call.who,
                ref,
                changes,
                revision=wanted_revision(call),
                request_id=call.request_id,
            )
        )
        return Reply(200, await document(self._database, call, SUBNETS, row.uuid))

    async def delete(self, call: Call, ref: str) -> Reply:
        """Delete it, if no port has an address of it."""
        await conditional(
            self._subnets.delete(
                call.who, ref, revision=wanted_revision(call), request_id=call.request_id
            )
        )
        return Reply(204)


def _wanted(call: Call, body: New) -> WantedSubnet:
    pool = _pool(body)
    if body.segment_id is not None:
        raise BadRequest("segment_id cannot be set on this cloud.", neutron_type="InvalidInput")
    _refuse_service_types(body.service_types)
    for project_id in (body.project_id, body.tenant_id):
        if project_id not in (None, call.who.project_id) and not call.who.admin:
            raise Forbidden("Only an administrator can make a subnet of another project.")
    version = str(body.ip_version)
    if version not in ("4", "6"):
        raise BadRequest(
            f"Invalid input for ip_version. Reason: {version[:20]!r} is not in [4, 6].",
            neutron_type="InvalidInput",
        )
    if body.cidr is not None and (":" in body.cidr) != (version == "6"):
        raise BadRequest(
            f"Invalid input for operation: ip_version {version} does not match cidr"
            f" {body.cidr[:80]!r}.",
            neutron_type="InvalidInput",
        )
    pools = body.allocation_pools
    if version == "6" and not pools:
        pools = None
    return WantedSubnet(
        cidr=body.cidr or "",
        pool=pool,
        version=int(version),
        prefixlen=number("prefixlen", body.prefixlen),
        name=body.name,
        description=body.description,
        gateway=_FIRST if body.gateway_ip is UNSET else _gateway(body.gateway_ip),
        pools=None if pools is None else _pools(pools),
        dhcp=body.enable_dhcp,
        dns_nameservers=tuple(body.dns_nameservers or ()),
        host_routes=_routes(body.host_routes),
        ra_mode=body.ipv6_ra_mode,
        address_mode=body.ipv6_address_mode,
    )


def _pool(body: New) -> str | None:
    """The pool that a subnet is cut from: its UUID or "default"; None: the cidr is named."""
    if body.subnetpool_id is not None and body.use_default_subnetpool:
        raise BadRequest("subnetpool_id and use_default_subnetpool cannot both be specified.")
    if body.cidr and body.prefixlen is not None:
        raise BadRequest("cidr and prefixlen must not be supplied together.")
    if body.subnetpool_id is None and not body.use_default_subnetpool:
        if not body.cidr:
            raise BadRequest(
                "a subnetpool must be specified in the absence of a cidr",
                neutron_type="BadRequest",
            )
        if body.prefixlen is not None:
            raise BadRequest("allocating from a prefixlen requires a subnetpool.")
        return None
    return body.subnetpool_id or _DEFAULT


def _refuse_service_types(sent: list[str]) -> None:
    if sent:
        raise BadRequest("service_types cannot be set on this cloud.", neutron_type="InvalidInput")


def _gateway(text: Any) -> str | None:
    if text == _FIRST:
        raise BadRequest(f"{_FIRST!r} is not a valid gateway.", neutron_type="InvalidInput")
    return None if text is None else str(text)


def _pools(sent: list[Pool]) -> tuple[tuple[str, str], ...]:
    return tuple((pool.start, pool.end) for pool in sent)


def _routes(sent: list[Route] | None) -> tuple[tuple[str, str], ...]:
    return tuple((route.destination, route.nexthop) for route in sent or ())
