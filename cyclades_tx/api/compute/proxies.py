"""What Compute passes on to Image and Network in its older microversions.

There is none of it from 2.36 on, but for the metadata of images, which go with 2.39. Old clients
ask it at 2.1. The ids are those of the other services, and the same flows do what is
asked; only the documents are Compute's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cyclades_tx.api.call import Call, Handler, Reply
from cyclades_tx.api.compute import paging
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.documents import many, one
from cyclades_tx.errors import NotFound
from cyclades_tx.flows.floating_ips import FloatingIps
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.security_groups import SecurityGroups

#: The last microversion that has them, and the one that has the metadata of images.
LAST = 35
IMAGE_METADATA_LAST = 38


@dataclass(frozen=True)
class Flows:
    """The flows that do what is asked of Compute here."""

    floating_ips: FloatingIps
    security_groups: SecurityGroups
    images: Images


class Proxies:
    """Adds endpoints that are there up to a microversion, and 404 from then on."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    def add(self, method: str, path: str, handler: Handler, last: int = LAST) -> None:
        """Add one endpoint; see :meth:`.routes.Routes.add`.

        :param last: the last microversion that has it.
        """
        self._routes.add(method, path, _until(last, handler))


def _until(last: int, handler: Handler) -> Handler:
    async def handle(call: Call, **arguments: str) -> Reply | bytes:
        if call.minor > last:
            raise NotFound("The resource could not be found.")
        return await handler(call, **arguments)

    return handle


def listing(plural: str, text: str, rows: str, order: str) -> str:
    """The SQL of ``{"plural": [DOCUMENT, …]}``; the last arguments are limit and offset.

    :param rows: the tables and conditions that a document stands over.
    """
    items = many("page.item", "page.place")
    return (
        f"select '{{\"{plural}\": ' || {items} || '}}' from (select {text} as item,"
        f" row_number() over (order by {order}) as place from {rows} order by {order}"
        " limit %s::bigint offset %s::bigint) as page"
    )


def showing(singular: str, text: str, rows: str) -> str:
    """The SQL of ``{"singular": DOCUMENT}``."""
    return f"select {one(singular, text)} from {rows}"


def part(call: Call) -> tuple[int, int]:
    """How much of a list is shown: limit and offset.

    :raise BadRequest: when one is no whole number of at least 0.
    """
    return paging.limit(call), paging.number(call, "offset") or 0


async def found(database: Any, call: Call, sql: str, arguments: tuple[Any, ...], why: str) -> bytes:
    """One document, or the fault that there is none.

    :param why: what the fault says.
    """
    body: bytes | None = await database.document(sql, arguments)
    if body is None:
        raise NotFound(why)
    return body
