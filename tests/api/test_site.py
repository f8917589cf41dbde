"""The site: bodies up to the limit, and no further."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from cyclades_tx.api.site import ApiSite

LIMIT = 100
#: About a page of a thousand servers, in bytes.
MUCH = 1_700_000


class Echo(Resource):
    """Says how long a body was."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.queries: list[dict[bytes, list[bytes]]] = []

    def render(self, request: Any) -> bytes:
        self.queries.append(request.args)
        self.seen.append(len(request.content.read()))
        return b"ok"


class Reader(protocol.Protocol):
    """Keeps what comes until the end."""

    def __init__(self) -> None:
        self.received = b""
        self.over: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.over.callback(self.received)


@pytest_twisted.async_yield_fixture
async def served() -> Any:
    """The resource behind the site, and a function that sends bytes to it."""
    from twisted.internet import reactor

    echo = Echo()
    port = reactor.listenTCP(0, ApiSite(echo, LIMIT), interface="127.0.0.1")

    async def send(data: bytes) -> bytes:
        point = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        reader: Any = await connectProtocol(point, Reader())
        reader.transport.write(data)
        reader.over.addTimeout(10, reactor)
        received: bytes = await reader.over
        return received

    yield echo, send
    await port.stopListening()


def announced(size: int) -> bytes:
    """A request with its length."""
    head = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + b"a" * size


def chunked(*sizes: int) -> bytes:
    """A request in chunks."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (size, b"a" * size) for size in (*sizes, 0))


@pytest.mark.parametrize("data", [announced(LIMIT), announced(0), chunked(60, 40)])
async def test_a_body_up_to_the_limit_is_read(served: Any, data: bytes) -> None:
    """The limit itself too."""
    echo, send = served
    assert (await send(data)).startswith(b"HTTP/1.1 200")
    assert echo.seen in ([LIMIT], [0])


@pytest.mark.parametrize("data", [announced(LIMIT + 1), chunked(60, 41), chunked(LIMIT + 1)])
async def test_a_longer_one_is_refused_and_never_seen(served: Any, data: bytes) -> None:
    """With one reply, an id, and the end of the connection."""
    echo, send = served
    reply = await send(data + announced(1))
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert reply.count(b"HTTP/1.1") == 1
    assert b"\r\nX-Openstack-Request-Id: req-" in reply
    assert echo.seen == []


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
async def test_a_form_is_a_body_like_any_other(served: Any, kind: str) -> None:
    """Neither read as a query nor answered before the resource has seen it."""
    echo, send = served
    form = b"limit=1&all_tenants=1"
    head = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    received = await send(head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(form), form))
    assert received.startswith(b"HTTP/1.1 200 ")
    assert (echo.seen, echo.queries) == ([len(form)], [{}])


class Large(Resource):
    """Answers with much, and twice with one header."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        request.responseHeaders.setRawHeaders(b"x-many", [b"1", b"2"])
        request.setHeader(b"content-length", b"%d" % MUCH)
        return b"a" * MUCH


class Wire(StringTransport):
    """Keeps each piece that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.pieces.append(data)


def test_an_answer_is_its_head_and_its_body() -> None:
    """Each in one piece, and of the body the connection may send all at once."""
    channel: Any = ApiSite(Large(), LIMIT).buildProtocol(None)
    wire = Wire()
    channel.makeConnection(wire)
    channel.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    channel.connectionLost(Failure(ConnectionDone()))
    head, body = wire.pieces
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert [line for line in lines if line.startswith(b"X-Many")] == [b"X-Many: 1", b"X-Many: 2"]
    assert b"Content-Length: %d" % MUCH in lines
    assert lines[-2:] == [b"", b""]
    assert body == b"a" * MUCH
    assert wire.SEND_LIMIT >= MUCH


class Where(Resource):
    """Says which path it was asked for."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return b"at " + bytes(request.uri)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://cloud.example:8774/compute/v2.1/?a=b", b"/compute/v2.1/?a=b"),
        (b"HTTPS://cloud.example/", b"/"),
        (b"http://cloud.example", b"/"),
        (b"http://cloud.example?a=b", b"/?a=b"),
        (b"/http://cloud.example/x", b"/http://cloud.example/x"),
        (b"//compute/v2.1", b"//compute/v2.1"),
    ],
    ids=["whole", "upper-case", "bare", "query", "in-a-path", "two-slashes"],
)
def test_request_that_is_written_for_a_proxy_means_the_same(target: bytes, path: bytes) -> None:
    """As RFC 9112 (3.2.2) wants it of every server."""
    channel: Any = ApiSite(Where(), LIMIT).buildProtocol(None)
    wire = Wire()
    channel.makeConnection(wire)
    channel.dataReceived(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
    channel.connectionLost(Failure(ConnectionDone()))
    assert wire.pieces[-1] == b"at " + path


class Closing(Wire):
    """Notices its end at once."""

    def abortConnection(self) -> None:
        """End."""
        self.loseConnection()


def slow_channel(clock: Clock) -> tuple[Any, Closing]:
    """A connection of a site that gives each request a minute."""
    site = ApiSite(Where(), LIMIT, timeout=60, reactor=clock)
    channel: Any = site.buildProtocol(None)
    wire = Closing()
    channel.makeConnection(wire)
    return channel, wire


@pytest.mark.parametrize(
    ("first", "more"),
    [(b"", b"G"), (b"GET / HTTP/1.1\r\n", b"X-A: b\r\n"),
     (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n", b"a")],
    ids=["line", "headers", "body"],
)  # fmt: skip
def test_request_that_comes_bit_by_bit_has_its_time(first: bytes, more: bytes) -> None:
    """However often something comes, it ends."""
    clock = Clock()
    channel, wire = slow_channel(clock)
    channel.dataReceived(first)
    for _ in range(12):
        channel.dataReceived(more)
        assert not wire.disconnecting
        clock.advance(5)
    assert b"".join(wire.pieces).startswith(b"HTTP/1.1 408 ")
    assert wire.disconnecting
    channel.dataReceived(b"\r\n\r\n")
    channel.connectionLost(Failure(ConnectionDone()))
    assert len(wire.pieces) == 1
    assert clock.getDelayedCalls() == []


def test_request_in_pieces_is_answered_and_the_next_one_has_its_own_time() -> None:
    """A connection may live on as long as its requests come."""
    clock = Clock()
    channel, wire = slow_channel(clock)
    for number in range(5):
        channel.dataReceived(b"GET /%d HTTP/1.1\r\nHo" % number)
        clock.advance(40)
        channel.dataReceived(b"st: x\r\n\r\n")
        assert wire.pieces[-1] == b"at /%d" % number
    assert not wire.disconnecting
    channel.connectionLost(Failure(ConnectionDone()))
    assert clock.getDelayedCalls() == []


def test_nothing_but_http_1_is_agreed_on() -> None:
    """Whatever else is installed beside."""
    assert ApiSite(Large(), LIMIT).acceptableProtocols() == [b"http/1.1"]
