"""A service over the real wire: a site on loopback, and somebody who asks it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import treq
from twisted.web.client import HTTPConnectionPool

from cyclades_tx.api.frame import Frame
from cyclades_tx.api.site import ApiSite
from cyclades_tx.identity.memory import MemoryIdentity
from cyclades_tx.model.who import Who

LIMIT_BYTES = 1_048_576
PUBLIC = "https://cloud.example.org"
#: Nobody gives up because this machine is busy with other things.
PATIENCE_SECONDS = 60.0


class Later:
    """A factory that hands on to a site which is made after the port is known."""

    site: Any = None
    noisy = False

    def doStart(self) -> None:
        """Nothing to prepare."""

    def doStop(self) -> None:
        """Nothing to end."""

    def buildProtocol(self, address: Any) -> Any:
        """Let the site answer."""
        return self.site.buildProtocol(address)


@dataclass
class Answer:
    """A reply; ``length`` is what its ``Content-Length`` says."""

    status: int
    headers: Any
    body: bytes
    length: Any = None

    @property
    def json(self) -> Any:
        """The body as a document."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """One header."""
        values = self.headers.getRawHeaders(name)
        return None if values is None else values[0]

    def fault(self, status: int, kind: str) -> str:
        """Check that it is a fault in Nova's shape, whole and nothing else; return its message."""
        assert self.status == status, (self.status, self.body)
        document = self.json
        assert list(document) == [kind], document
        assert set(document[kind]) == {"code", "message"}
        assert document[kind]["code"] == status
        assert self.header("x-openstack-request-id")
        message: str = document[kind]["message"]
        return message


@dataclass
class Asking:
    """Asks a service as somebody.

    :ivar who: who asks when nobody else is named.
    """

    database: Any
    identity: MemoryIdentity
    port: int
    who: Who
    pool: Any

    async def send(
        self,
        method: str,
        root: str,
        path: str,
        *,
        version: str | None = None,
        body: Any = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = None,
    ) -> Answer:
        """Send a request to a path below ``root``, or to a whole path with ``//``.

        :param version: what ``OpenStack-API-Version`` says.
        :param body: sent as JSON; ``data`` is sent as it is.
        """
        sent = dict(headers or {})
        if token is not None:
            sent["X-Auth-Token"] = token
        if version is not None:
            sent["OpenStack-API-Version"] = version
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        response = await treq.request(
            method,
            f"http://127.0.0.1:{self.port}{path[1:] if path.startswith('//') else root + path}",
            headers=sent,
            data=data,
            pool=self.pool,
            timeout=PATIENCE_SECONDS,
            allow_redirects=False,
        )
        text = await response.content()
        return Answer(response.code, response.headers, text, response.length)


@asynccontextmanager
async def listening(reactor: Any, frame: Frame) -> AsyncIterator[tuple[int, HTTPConnectionPool]]:
    """Serve a frame on loopback; its port, and connections for those who ask."""
    site = ApiSite(frame.resource(), max_body_bytes=LIMIT_BYTES)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    pool = HTTPConnectionPool(reactor, persistent=False)
    try:
        yield port.getHost().port, pool
    finally:
        await pool.closeCachedConnections()
        await port.stopListening()
