"""Subnet pools: making, changing and deleting them."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.network.collections import SUBNET_POOLS
from cyclades_tx.api.network.revisions import conditional, wanted_revision
from cyclades_tx.api.network.writing import (
    document,
    documents,
    given,
    number,
    one_or_many,
    only,
    project_of,
)
from cyclades_tx.errors import BadRequest
from cyclades_tx.flows.subnet_pools import SubnetPools, WantedPool


class NewPool(Struct, forbid_unknown_fields=True):
    """The ``subnetpool`` of a POST."""

    name: str
    prefixes: list[str]
    description: str = ""
    min_prefixlen: int | str | None = None
    default_prefixlen: int | str | None = None
    max_prefixlen: int | str | None = None
    default_quota: int | str | None = None
    shared: bool = False
    is_default: bool = False
    address_scope_id: str | None = None
    tenant_id: str | None = None
    project_id: str | None = None


class Change(Struct, forbid_unknown_fields=True):
    """The ``subnetpool`` of a PUT: what is absent stays as it is."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    prefixes: list[str] | UnsetType = UNSET
    min_prefixlen: int | str | UnsetType = UNSET
    default_prefixlen: int | str | UnsetType = UNSET
    max_prefixlen: int | str | UnsetType = UNSET
    default_quota: int | str | UnsetType | None = UNSET
    is_default: bool | UnsetType = UNSET
    address_scope_id: str | UnsetType | None = UNSET


#: Network's names of what the flow calls otherwise.
_NUMBERS = {
    "min_prefixlen": "least",
    "default_prefixlen": "default",
    "max_prefixlen": "most",
    "default_quota": "quota",
}


class SubnetPoolWriter:
    """``POST``, ``PUT`` and ``DELETE`` of subnet pools.

    :param pools: the flows.
    """

    def __init__(self, database: Any, pools: SubnetPools) -> None:
        self._database = database
        self._pools = pools

    async def create(self, call: Call) -> Reply:
        """Make one, or several or none of them; 201."""
        bodies, several = one_or_many(call, SUBNET_POOLS, NewPool)
        uuids = await self._pools.create(call.who, [_wanted(body) for body in bodies])
        if several:
            return Reply(201, await documents(self._database, call, SUBNET_POOLS, uuids))
        return Reply(201, await document(self._database, call, SUBNET_POOLS, uuids[0]))

    async def update(self, call: Call, ref: str) -> Reply:
        """Change one; 200."""
        changes = given(only(call, SUBNET_POOLS, Change))
        _refuse_scope(changes.pop("address_scope_id", None))
        for name, word in _NUMBERS.items():
            if name in changes:
                changes[word] = number(name, changes.pop(name))
        uuid = await conditional(self._pools.update(call.who, ref, changes, wanted_revision(call)))
        return Reply(200, await document(self._database, call, SUBNET_POOLS, uuid))

    async def delete(self, call: Call, ref: str) -> Reply:
        """Delete one that no subnet is of; 204."""
        await conditional(self._pools.delete(call.who, ref, wanted_revision(call)))
        return Reply(204)


def _wanted(body: NewPool) -> WantedPool:
    _refuse_scope(body.address_scope_id)
    return WantedPool(
        name=body.name,
        prefixes=tuple(body.prefixes),
        description=body.description,
        least=number("min_prefixlen", body.min_prefixlen),
        default=number("default_prefixlen", body.default_prefixlen),
        most=number("max_prefixlen", body.max_prefixlen),
        quota=number("default_quota", body.default_quota),
        shared=body.shared,
        is_default=body.is_default,
        project_id=project_of(body.tenant_id, body.project_id),
    )


def _refuse_scope(scope: str | None) -> None:
    if scope is not None:
        raise BadRequest("There are no address scopes on this cloud.", neutron_type="InvalidInput")
