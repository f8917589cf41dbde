"""The statements that the service's own endpoints run, found out by running the endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twisted.internet.defer import ensureDeferred

from cyclades_tx.api.call import Call, Service
from cyclades_tx.api.compute.app import SERVICE as COMPUTE
from cyclades_tx.api.compute.servers import Views
from cyclades_tx.api.network import listing
from cyclades_tx.api.network.app import SERVICE as NETWORK
from cyclades_tx.api.network.collections import COLLECTIONS
from cyclades_tx.model.who import Who

#: An endpoint with the database that it asks.
Endpoint = Callable[[Any, Call], Awaitable[Any]]


@dataclass(frozen=True)
class Statement:
    """A prepared statement's text and the arguments of one use."""

    sql: str
    arguments: tuple[Any, ...]


class _Recorder:
    """A database that answers nothing and keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Statement] = []

    async def document(self, sql: str, arguments: Any) -> bytes:
        self.asked.append(Statement(sql, tuple(arguments)))
        return b"{}"


class _Request:
    """As much of a request as the endpoints look at."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.path = parts.path.encode()
        self.args = parse_qs(parts.query.encode(), keep_blank_values=True)

    def getHeader(self, name: bytes) -> None:
        """Say that no header was sent."""


def list_of(target: str) -> tuple[Service, Endpoint]:
    """The service and the endpoint of a list of servers, or of a collection of Network.

    :param target: path and query of the request.
    """
    path = urlsplit(target).path.strip("/").split("/")
    if path[0] == "compute":

        async def servers(database: Any, call: Call) -> Any:
            views = Views(database, None, "snf-")  # type: ignore[arg-type]
            return await (views.list_details if path[-1] == "detail" else views.list_items)(call)

        return COMPUTE, servers
    (collection,) = [each for each in COLLECTIONS if each.path == path[-1]]

    async def things(database: Any, call: Call) -> Any:
        return await listing.list_all(database, call, collection)

    return NETWORK, things


def one_server(uuid: str) -> tuple[Service, Endpoint]:
    """The service and the endpoint that shows a server."""

    async def show(database: Any, call: Call) -> Any:
        return await Views(database, None, "snf-").show(call, uuid)  # type: ignore[arg-type]

    return COMPUTE, show


def statement_of(
    of: tuple[Service, Endpoint], target: str, who: Who, minor: int, public_url: str
) -> Statement:
    """What an endpoint asks PostgreSQL.

    :param of: its service and itself.
    :param target: path and query of the request.
    """
    service, endpoint = of
    recorder = _Recorder()
    call = Call(_Request(target), service, 0.0, public_url)  # type: ignore[arg-type]
    call.who = who
    call.minor = minor

    async def ask() -> None:
        await endpoint(recorder, call)

    failures: list[Any] = []
    ensureDeferred(ask()).addErrback(failures.append)
    if failures:
        failures[0].raiseException()
    (only,) = recorder.asked
    return only
