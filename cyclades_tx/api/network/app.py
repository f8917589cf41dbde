"""The Network service: which path leads to which endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.api import openapi
from cyclades_tx.api.call import Call, Handler, Reply, Service
from cyclades_tx.api.errors import neutron_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.network import extensions, listing
from cyclades_tx.api.network import tags as network_tags
from cyclades_tx.api.network.collections import COLLECTIONS, Collection, seen_by
from cyclades_tx.api.network.openapi import REFERENCE
from cyclades_tx.api.network.quotas import Quotas
from cyclades_tx.api.network.routers import RouterWriter
from cyclades_tx.api.network.writing import IWriter
from cyclades_tx.errors import NotFound, NotSupported
from cyclades_tx.flows.network_tags import NetworkTags
from cyclades_tx.model.ids import parse_uuid

SERVICE = Service("network", neutron_fault)
VERSION = "/network/v2.0"

#: Collections that nobody has anything in: path, plural, the noun of the missing thing.
_EMPTY = (
    ("availability_zones", "availability_zones", "availability_zone"),
    ("agents", "agents", "agent"),
    ("service-providers", "service_providers", "service_provider"),
    ("rbac-policies", "rbac_policies", "rbac_policy"),
    ("address-scopes", "address_scopes", "address_scope"),
    ("qos/policies", "policies", "policy"),
)


def mount(
    frame: Frame,
    database: Any,
    limits: Mapping[str, int] | None = None,
    writers: Mapping[str, IWriter] | None = None,
    tags: NetworkTags | None = None,
) -> None:
    """Add the endpoints of Network.

    :param limits: of a new project, by the name of the holding (for ``quotas/P/default``).
    :param writers: what makes, changes and deletes the things of a collection, by its path; one
        that is not named here is only read.
    :param tags: of things that can have some.
    """
    frame.mount("/network", SERVICE)
    _mount_versions(frame)
    for collection in COLLECTIONS:
        writer = (writers or {}).get(collection.path)
        _mount_collection(frame, database, collection, writer)
        if isinstance(writer, RouterWriter):
            writer.mount(frame, SERVICE, VERSION)
    for path, plural, kind in _EMPTY:
        _get(frame, f"{VERSION}/{path}", _nothing(plural), slash=False)
        _get(frame, f"{VERSION}/{path}.json", _nothing(plural), slash=False)
        _get(frame, f"{VERSION}/{path}/<ref>", _nowhere(kind))
    for path in ("extensions", "extensions.json"):
        _get(frame, f"{VERSION}/{path}", extensions.list_extensions, slash=False)
    _get(frame, f"{VERSION}/extensions/<alias>", extensions.show_extension)
    if tags is not None:
        network_tags.mount(frame, SERVICE, VERSION, tags)
    quotas = Quotas(database, limits or {})
    for suffix in ("", ".json"):
        # "details.json" is what clients send.
        _get(frame, f"{VERSION}/quotas/<project>/details{suffix}", quotas.details)
        _get(frame, f"{VERSION}/quotas/<project>/default{suffix}", quotas.default)
    one = f"{VERSION}/quotas/<project>"
    _get(frame, one, _without_suffix(quotas.show))
    frame.endpoint(SERVICE, "PUT", one, _without_suffix(quotas.change), admin=True)
    frame.endpoint(SERVICE, "DELETE", one, _without_suffix(quotas.reset), admin=True)
    openapi.mount(frame, SERVICE, REFERENCE)


def _get(frame: Frame, path: str, handler: Handler, slash: bool = True, hot: bool = False) -> None:
    frame.endpoint(SERVICE, "GET", path, handler, slash=slash, hot=hot)


def _without_suffix(show: Handler) -> Handler:
    async def handler(call: Call, project: str) -> Reply | bytes:
        return await show(call, project.removesuffix(".json"))

    return handler


def _mount_versions(frame: Frame) -> None:
    base = f"{frame.public_url}{VERSION}"
    versions = {
        "versions": [
            {"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": f"{base}/"}]}
        ]
    }
    resources = {
        "resources": [
            {
                "name": collection.singular,
                "collection": collection.plural,
                "links": [{"rel": "self", "href": f"{base}/{collection.path}"}],
            }
            for collection in COLLECTIONS
        ]
    }

    async def root(_call: Call) -> Reply:
        return Reply(200, versions)

    async def version(_call: Call) -> Reply:
        return Reply(200, resources)

    frame.endpoint(SERVICE, "GET", "/network", root, token=False)
    frame.endpoint(SERVICE, "GET", VERSION, version, token=False)


def _mount_collection(
    frame: Frame, database: Any, collection: Collection, writer: IWriter | None
) -> None:
    async def list_all(call: Call) -> Reply | bytes:
        return await listing.list_all(database, call, collection)

    async def show(call: Call, ref: str) -> bytes:
        return await listing.show(database, call, collection, ref)

    async def create(call: Call) -> Reply:
        if writer is not None:
            return await writer.create(call)
        raise NotSupported(f"This service cannot make a {collection.label.lower()} yet.")

    async def update(call: Call, ref: str) -> Reply:
        if writer is not None:
            return await writer.update(call, ref.removesuffix(".json"))
        return await change(call, ref)

    async def delete(call: Call, ref: str) -> Reply:
        if writer is not None:
            return await writer.delete(call, ref.removesuffix(".json"))
        return await change(call, ref)

    async def change(call: Call, ref: str) -> Reply:
        uuid = parse_uuid(ref.removesuffix(".json"))
        seen = uuid and await database.value(
            f"select {collection.table}.id from {collection.source}"
            f" where {collection.table}.uuid = %s::uuid and {collection.condition}",
            (uuid, *seen_by(call.who)),
        )
        if not seen:
            raise listing.missing(collection, ref)
        raise NotSupported(f"This service cannot change a {collection.label.lower()} yet.")

    for suffix in ("", ".json"):
        path = f"{VERSION}/{collection.path}{suffix}"
        _get(frame, path, list_all, slash=False, hot=True)
        if not collection.read_only:
            frame.endpoint(SERVICE, "POST", path, create, slash=False)
    one = f"{VERSION}/{collection.path}/<ref>"
    _get(frame, one, show, hot=True)
    if collection.read_only:
        return
    frame.endpoint(SERVICE, "PUT", one, update)
    frame.endpoint(SERVICE, "DELETE", one, delete)


def _nothing(plural: str) -> Handler:
    async def handler(_call: Call) -> Reply:
        return Reply(200, {plural: []})

    return handler


def _nowhere(kind: str) -> Handler:
    async def handler(_call: Call, ref: str) -> Reply:
        raise NotFound(f"{kind.replace('_', ' ').capitalize()} {ref} could not be found.", kind)

    return handler
