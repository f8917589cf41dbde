"""The statements that the service's own endpoints run, found out by running the endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twisted.internet.defer import ensureDeferred

from cyclades_tx.api.compute.app import SERVICE
from cyclades_tx.api.compute.servers import Views
from cyclades_tx.api.frame import Call
from cyclades_tx.model.who import Who


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


def statement_of(
    endpoint: Callable[[Views, Call], Awaitable[Any]],
    target: str,
    who: Who,
    minor: int,
    public_url: str,
    instance_prefix: str = "snf-",
) -> Statement:
    """What an endpoint asks PostgreSQL.

    :param target: path and query of the request.
    """
    recorder = _Recorder()
    call = Call(_Request(target), SERVICE, 0.0, public_url)  # type: ignore[arg-type]
    call.who = who
    call.minor = minor
    views = Views(recorder, None, instance_prefix)  # type: ignore[arg-type]

    async def ask() -> None:
        await endpoint(views, call)

    failures: list[Any] = []
    ensureDeferred(ask()).addErrback(failures.append)
    if failures:
        failures[0].raiseException()
    (only,) = recorder.asked
    return only
