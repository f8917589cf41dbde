"""A frame behind a real socket on loopback, and a client that can also send what none would."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from cyclades_tx.api.frame import Frame
from cyclades_tx.api.site import ApiSite
from cyclades_tx.identity.memory import MemoryIdentity
from cyclades_tx.model.who import Who

_MOST_BODY_BYTES = 1_048_576


@dataclass
class Answer:
    """A reply as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)


class _Reader(protocol.Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.over: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.over.callback(self.received)


class Loopback:
    """A frame that listens; ``url`` is where.

    :param mount: adds the endpoints to the frame.
    """

    def __init__(self, reactor: Any, mount: Callable[[Frame], None]) -> None:
        self._reactor = reactor
        self.identity = MemoryIdentity(reactor)
        frame = Frame(reactor, self.identity, "http://cloud.example:8774")
        mount(frame)
        self._port = reactor.listenTCP(
            0, ApiSite(frame.resource(), _MOST_BODY_BYTES), interface="127.0.0.1"
        )
        self.number: int = self._port.getHost().port

    async def ask(
        self,
        path: str | bytes,
        who: Who | None = None,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        token: str | None = None,
    ) -> Answer:
        """Send one request on a connection of its own.

        :param path: sent as it is, whatever bytes it holds.
        :param who: whose token is sent; None: none.
        """
        raw = path if isinstance(path, bytes) else path.encode()
        lines = [method.encode() + b" " + raw + b" HTTP/1.1", b"Host: cloud.example:8774"]
        if who is not None:
            token = self.identity.add(who)
        sent = {"Connection": "close", **(headers or {})}
        if token is not None:
            sent["X-Auth-Token"] = token
        if body or method not in ("GET", "HEAD", "DELETE"):
            sent.setdefault("Content-Length", str(len(body)))
        lines += [f"{name}: {value}".encode() for name, value in sent.items()]
        reader = _Reader()
        point = TCP4ClientEndpoint(self._reactor, "127.0.0.1", self.number)
        connected: Any = await connectProtocol(point, reader)
        connected.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        received = await reader.over
        head, _, rest = received.partition(b"\r\n\r\n")
        status_line, *fields = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in fields)
        return Answer(
            int(status_line.split(" ")[1]),
            {name.lower(): value.strip() for name, _, value in pairs},
            rest,
        )

    async def close(self) -> None:
        """Stop listening."""
        await self._port.stopListening()
