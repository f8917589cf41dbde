"""Servers: list, show, create, change, delete."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute import documents, paging
from cyclades_tx.api.compute.changed_server import changes_of
from cyclades_tx.api.compute.filters import (
    Order,
    Selection,
    bad_patterns,
    is_bad_pattern,
    order,
    select,
)
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.compute.new_server import new_server
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.documents import Document, one
from cyclades_tx.errors import BadRequest, NotFound
from cyclades_tx.flows.servers import Servers

#: Rows of servers that a caller sees: by uuid, in the project; administrators see all projects.
MINE = "server.uuid = %s::uuid and server.project_id = %s"
ANY = "server.uuid = %s::uuid and %s::text is not null"
LIVE = " and server.deleted_at is null"


_GIVEN = "(select %s::text as base, %s::text as prefix) as given"


def no_server(ref: str) -> NotFound:
    """The fault for a server that is not there or not the caller's to see."""
    return NotFound(f"Instance {ref} could not be found.", "server")


async def read(
    database: Any, call: Call, ref: str, sql: str, *more: Any, live: bool = True
) -> bytes:
    """Read one document that belongs to a server.

    :param sql: ends in ``where``; the condition on ``server`` is added.
    :param more: the arguments of ``sql``.
    :raise NotFound: when the caller sees no such server.
    """
    if UUID.fullmatch(ref) is None:
        raise no_server(ref)
    who = call.who
    sql += " " + (ANY if who.admin else MINE) + (LIVE if live else "")
    body: bytes | None = await database.document(sql, (*more, ref, who.project_id))
    if body is None:
        raise no_server(ref)
    return body


@lru_cache(maxsize=1024)
def show_text(document: Document, minor: int, admin: bool) -> str:
    """The statement that shows one server; ends in its condition."""
    return (
        f"select {one('server', document.text(minor, admin))} from {_GIVEN} cross join server"
        f"{documents.SERVER_ROWS} where {ANY if admin else MINE}{LIVE}"
    )


@lru_cache(maxsize=512)
def _list_text(
    document: Document,
    minor: int,
    admin: bool,
    filters: str,
    joined: bool,
    order: Order,
    marker: bool,
) -> str:
    source = "server" + (documents.SERVER_ROWS if joined else "")
    found, after, by = "", "", order.sql()
    if marker:
        found = (
            f", marker as materialized (select {order.columns()} from server"
            f" where {ANY if admin else MINE})"
        )
        filters += f" and {order.after()}"
        # A marker that is not there, or not the caller's to see, is told from an empty page.
        after = " having exists (select from marker)"
    rows = "" if document is documents.SERVER_ITEM else documents.SERVER_ROWS
    return (
        "with given as (select %s::text as base, %s::text as prefix, %s::bigint as most,"
        f" %s::text as link){found}, page as ("
        f"select server.id, server.uuid as marker, row_number() over (order by {by}) as place"
        f" from {source} where {filters} order by {by} limit %s::bigint),"
        f" items as (select page.place, {document.text(minor, admin)} as item"
        f" from given cross join page join server on server.id = page.id{rows}"
        f" where page.place <= given.most) {paging.list_text('servers')}{after}"
    )


class Views:
    """The endpoints of servers themselves.

    :param instance_prefix: what the names of the instances at Ganeti begin with.
    """

    def __init__(self, database: Any, servers: Servers, instance_prefix: str) -> None:
        self._database = database
        self._servers = servers
        self._prefix = instance_prefix

    def mount(self, routes: Routes) -> None:
        """Add the endpoints."""
        routes.add("GET", "/servers", self.list_items)
        routes.add("POST", "/servers", self.create)
        routes.add("GET", "/servers/detail", self.list_details, hot=True)
        routes.add("GET", "/servers/<server_id>", self.show, hot=True)
        routes.add("PUT", "/servers/<server_id>", self.update)
        routes.add("DELETE", "/servers/<server_id>", self.delete)

    async def show(self, call: Call, server_id: str) -> bytes:
        """``GET /servers/S``."""
        return await self.document_of(call, server_id, documents.SERVER)

    async def list_items(self, call: Call) -> bytes:
        """``GET /servers``."""
        return await self._list(call, documents.SERVER_ITEM)

    async def list_details(self, call: Call) -> bytes:
        """``GET /servers/detail``."""
        return await self._list(call, documents.SERVER_DETAIL)

    async def create(self, call: Call) -> Reply:
        """``POST /servers``."""
        asked = new_server(call)
        created = await self._servers.create(call.who, asked.server, call.request_id)
        uuid = created.uuids[0]
        base = call.base_url + "/compute"
        location = f"{base}/v2.1/servers/{uuid}"
        if asked.return_reservation_id:
            body: dict[str, Any] = {"reservation_id": created.reservation_id}
        else:
            body = {
                "server": {
                    "id": uuid,
                    "links": [
                        {"rel": "self", "href": location},
                        {"rel": "bookmark", "href": f"{base}/servers/{uuid}"},
                    ],
                    "adminPass": created.admin_password,
                    "security_groups": [{"name": name} for name in created.security_groups],
                    "OS-DCF:diskConfig": asked.server.disk_config,
                }
            }
        return Reply(202, body, {"location": location})

    async def update(self, call: Call, server_id: str) -> bytes:
        """``PUT /servers/S``."""
        changes = changes_of(call)
        await self._servers.update(call.who, server_id, changes)
        document = documents.SERVER if call.minor >= 75 else documents.SERVER_CHANGED
        return await self.document_of(call, server_id, document)

    async def delete(self, call: Call, server_id: str) -> Reply:
        """``DELETE /servers/S``."""
        await self._servers.delete(call.who, server_id, call.request_id)
        return Reply(204)

    async def document_of(self, call: Call, ref: str, document: Document) -> bytes:
        """A document of one server."""
        # The hottest path of all: one prepared statement, its bytes are the reply.
        if UUID.fullmatch(ref) is None:
            raise no_server(ref)
        who = call.who
        body: bytes | None = await self._database.document(
            show_text(document, call.minor, who.admin),
            (call.base_url + "/compute", self._prefix, ref, who.project_id),
        )
        if body is None:
            raise no_server(ref)
        return body

    async def _list(self, call: Call, document: Document) -> bytes:
        selection = select(call)
        try:
            return await self._page(call, document, selection)
        except Exception as error:
            if not is_bad_pattern(error):
                raise
        literal = await bad_patterns(self._database, selection.patterns)
        return await self._page(call, document, select(call, literal))

    async def _page(self, call: Call, document: Document, selection: Selection) -> bytes:
        marker = call.query("marker")
        if marker is not None and UUID.fullmatch(marker) is None:
            raise _no_marker(marker)
        most = paging.limit(call)
        by = order(call)
        sql = _list_text(
            document,
            call.minor,
            call.who.admin,
            " and ".join(selection.conditions),
            selection.joined,
            by.everywhere() if selection.project_id is None else by,
            marker is not None,
        )
        given = (call.base_url + "/compute", self._prefix, most, paging.next_url(call))
        before = () if marker is None else (marker, call.who.project_id)
        body: bytes | None = await self._database.document(
            sql, (*given, *before, *selection.arguments, most + 1)
        )
        if body is None:
            raise _no_marker(marker)
        return body


def _no_marker(marker: str | None) -> BadRequest:
    return BadRequest(f"marker [{marker}] not found")
