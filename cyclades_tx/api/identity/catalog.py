"""Services, endpoints, regions and domains: what the configuration says, for reading only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclades_tx.api.call import Call, Handler, Reply
from cyclades_tx.api.identity.auth import DOMAIN_DOCUMENT
from cyclades_tx.api.identity.documents import list_document
from cyclades_tx.errors import NotFound
from cyclades_tx.identity.catalog import Catalog

#: Filters that these lists know; they compare a property with a text.
_FILTERS = ("name", "type", "interface", "service_id", "region", "region_id", "parent_region_id")


def domains(catalog: Catalog) -> list[dict[str, Any]]:
    """The one domain that there is."""
    url = f"{catalog.public_url}/identity/v3/domains/default"
    return [{**DOMAIN_DOCUMENT, "links": {"self": url}}]


def listed(collection: str, items: Callable[[], list[dict[str, Any]]]) -> Handler:
    """Make the endpoint that lists a collection."""

    async def handle(call: Call) -> Reply:
        wanted = {name: call.query(name) for name in _FILTERS}
        found = [
            item
            for item in items()
            if all(wish is None or item.get(name, wish) == wish for name, wish in wanted.items())
        ]
        url = f"{call.base_url}/identity/v3/{collection}"
        return Reply(200, list_document(collection, found, url))

    return handle


def shown(kind: str, items: Callable[[], list[dict[str, Any]]]) -> Handler:
    """Make the endpoint that shows one item of a collection."""

    async def handle(call: Call, item_id: str) -> Reply:
        for item in items():
            if item["id"] == item_id:
                return Reply(200, {kind: item})
        raise NotFound(f"Could not find {kind}: {item_id[:255]}.", kind)

    return handle
