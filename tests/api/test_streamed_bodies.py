"""Bodies that are handed on while they come: refused before they are read, and never kept."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.threads import deferToThread

from cyclades_tx.api.call import Call, Reply, Service
from cyclades_tx.api.errors import nova_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.site import ApiSite
from cyclades_tx.errors import Conflict, CycladesError
from cyclades_tx.image_store.pieces import MOST_BYTES
from cyclades_tx.testing.loopback import Loopback
from cyclades_tx.testing.network_builders import a_member
from tests.console.proxied import certificate

PATIENCE_SECONDS = 60.0
SERVICE = Service("image", nova_fault)


class Taker:
    """Endpoints that read what comes, or refuse it."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.lengths: list[int | None] = []
        self.ended: list[str] = []
        self.incoming: Any = None
        self.most = 0
        #: What the reading waits for, if it should wait.
        self.gate: Deferred[None] | None = None
        self.begun: Deferred[None] = Deferred()

    def mount(self, frame: Frame) -> None:
        """Add them."""
        frame.mount("/x", SERVICE)
        frame.endpoint(SERVICE, "PUT", "/x/<ref>/file", self.take, stream=True)
        frame.endpoint(SERVICE, "PUT", "/x/<ref>/refused", self.refuse, stream=True)
        frame.endpoint(SERVICE, "GET", "/x/<ref>", self.show, token=False)

    async def take(self, call: Call, ref: str) -> Reply:
        """Read everything."""
        incoming: Any = getattr(call.request, "incoming", None)
        if incoming is None:
            return Reply(400)
        self.incoming = incoming
        self.lengths.append(incoming.length)
        if not self.begun.called:
            self.begun.callback(None)
        if self.gate is not None:
            await self.gate
        whole = []
        try:
            while piece := await incoming.read(least=1):
                whole.append(piece)
                self.most = max(self.most, len(piece))
        except CycladesError as error:
            self.ended.append(error.code)
            raise
        self.taken.append(b"".join(whole))
        return Reply(204)

    async def refuse(self, call: Call, ref: str) -> Reply:
        """Read nothing."""
        raise Conflict("Not now.")

    async def show(self, call: Call, ref: str) -> Reply:
        """Answer."""
        return Reply(200, {"ref": ref})


class Client(Protocol):
    """A client that sends what it is told."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.over: Deferred[None] = Deferred()
        self._waiting: list[tuple[bytes, Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data
        for wanted, found in list(self._waiting):
            if wanted in self.received:
                self._waiting.remove((wanted, found))
                found.callback(None)

    def connectionLost(self, reason: Any = None) -> None:
        """That was it."""
        self.over.callback(None)

    def until(self, wanted: bytes) -> Deferred[None]:
        """Wait for some bytes."""
        from twisted.internet import reactor

        found: Deferred[None] = Deferred()
        if wanted in self.received:
            found.callback(None)
        else:
            self._waiting.append((wanted, found))
            found.addTimeout(PATIENCE_SECONDS, reactor)  # type: ignore[arg-type]
        return found


@pytest_twisted.async_yield_fixture
async def wire(database: Any) -> Any:
    """The endpoints on loopback."""
    from twisted.internet import reactor

    taker = Taker()
    made: Any = Loopback(reactor, taker.mount)
    made.taker = taker
    made.token = made.identity.add(await a_member(database))
    made.clients = []

    async def connect() -> Client:
        point = TCP4ClientEndpoint(reactor, "127.0.0.1", made.number)
        client: Client = await connectProtocol(point, Client())
        made.clients.append(client)
        return client

    made.connect = connect
    yield made
    for client in made.clients:
        client.transport.abortConnection()
    await made.close()


def head(wire: Any, path: str, *more: str, token: bool = True) -> bytes:
    """The head of a PUT."""
    lines = [f"PUT {path} HTTP/1.1", "Host: x", *more]
    if token:
        lines.append(f"X-Auth-Token: {wire.token}")
    return "\r\n".join([*lines, "", ""]).encode()


async def test_a_body_comes_as_it_was_sent(wire: Any) -> None:
    """With its length, in chunks, or not at all; and the connection goes on after it."""
    client = await wire.connect()
    client.transport.write(head(wire, "/x/1/file", "Content-Length: 5") + b"he")
    client.transport.write(b"llo")
    await client.until(b" 204 ")
    client.received = b""
    chunks = b"3\r\nabc\r\n10\r\n" + b"d" * 16 + b"\r\n0\r\n\r\n"
    client.transport.write(head(wire, "/x/2/file", "Transfer-Encoding: chunked") + chunks)
    await client.until(b" 204 ")
    client.received = b""
    client.transport.write(head(wire, "/x/3/file", "Content-Length: 0"))
    await client.until(b" 204 ")
    client.received = b""
    client.transport.write(b"GET /x/4 HTTP/1.1\r\nHost: x\r\n\r\n")
    await client.until(b'{"ref":"4"}')
    assert wire.taker.taken == [b"hello", b"abc" + b"d" * 16, b""]
    assert wire.taker.lengths == [5, None, 0]


async def test_a_body_may_be_larger_than_others(wire: Any) -> None:
    """The site's limit is for bodies that are kept."""
    client = await wire.connect()
    body = bytes(range(256)) * 16_384
    assert len(body) > 1_048_576
    client.transport.write(head(wire, "/x/1/file", f"Content-Length: {len(body)}") + body)
    await client.until(b" 204 ")
    assert wire.taker.taken == [body]


async def test_without_a_token_nothing_is_read(wire: Any) -> None:
    """The answer comes at once, is the connection's last, and what follows is no request."""
    client = await wire.connect()
    smuggled = b"GET /x/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    client.transport.write(
        head(wire, "/x/1/file", "Content-Length: 1000000", token=False) + smuggled
    )
    await client.until(b"</h1>" if b"<h1>" in client.received else b"unauthorized")
    client.transport.write(b"a" * 10_000 + smuggled)
    client.transport.loseConnection()
    await client.over
    assert client.received.startswith(b"HTTP/1.1 401 ")
    assert client.received.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in client.received
    assert b"smuggled" not in client.received
    assert wire.taker.lengths == []


async def test_who_is_refused_reads_why_while_still_sending(wire: Any) -> None:
    """The rest is thrown away meanwhile, in chunks too."""
    for length in ("Content-Length: 30000000", "Transfer-Encoding: chunked"):
        client = await wire.connect()
        client.transport.write(head(wire, "/x/1/refused", length))
        for _ in range(20):
            client.transport.write(b"10000\r\n" + b"a" * 65_536 + b"\r\n")
        await client.until(b"Not now.")
        assert client.received.startswith(b"HTTP/1.1 409 ")
        assert client.received.count(b"HTTP/1.1") == 1
        client.transport.loseConnection()
        await client.over


async def test_who_sends_without_end_is_cut_off(wire: Any, monkeypatch: Any) -> None:
    """After so many bytes."""
    from cyclades_tx.api import site

    monkeypatch.setattr(site, "_DISCARD_BYTES", 100_000)
    client = await wire.connect()
    client.transport.write(head(wire, "/x/1/refused", "Content-Length: 90000000"))
    await client.until(b"Not now.")
    client.transport.write(b"a" * 10_000_000)
    await client.over


async def test_to_continue_is_said_when_the_body_is_wanted(wire: Any) -> None:
    """Not to who is refused."""
    expect = "Expect: 100-continue"
    client = await wire.connect()
    client.transport.write(head(wire, "/x/1/refused", "Content-Length: 3", expect))
    await client.until(b"Not now.")
    assert b"100 Continue" not in client.received
    other = await wire.connect()
    other.transport.write(head(wire, "/x/1/file", "Content-Length: 3", expect))
    await other.until(b"100 Continue")
    assert wire.taker.taken == []
    other.transport.write(b"abc")
    await other.until(b" 204 ")
    assert wire.taker.taken == [b"abc"]


async def test_a_fast_client_waits_for_a_slow_reader(wire: Any) -> None:
    """What it has sent stays on the wire, not in memory."""
    gate: Deferred[None] = Deferred()
    wire.taker.gate = gate
    client = await wire.connect()
    size = 20 * MOST_BYTES
    client.transport.write(head(wire, "/x/1/file", f"Content-Length: {size}"))
    await wire.taker.begun
    client.transport.write(b"a" * size)
    incoming = wire.taker.incoming
    await until(lambda: incoming.paused)
    assert incoming.waiting_bytes < 2 * MOST_BYTES
    gate.callback(None)
    await client.until(b" 204 ")
    assert [len(each) for each in wire.taker.taken] == [size]
    assert wire.taker.most < 2 * MOST_BYTES


async def test_a_client_that_goes_away_is_noticed(wire: Any) -> None:
    """By who reads."""
    client = await wire.connect()
    client.transport.write(head(wire, "/x/1/file", "Content-Length: 1000") + b"abc")
    await wire.taker.begun
    client.transport.abortConnection()
    await client.over
    await until(lambda: wire.taker.ended == ["cut_off"])
    assert wire.taker.taken == []


async def test_what_is_no_chunk_ends_it(wire: Any) -> None:
    """As if the client had gone away."""
    client = await wire.connect()
    client.transport.write(head(wire, "/x/1/file", "Transfer-Encoding: chunked") + b"3\r\nabcd\r\n")
    await client.over
    await until(lambda: wire.taker.ended == ["cut_off"])


async def test_a_path_that_is_written_otherwise_is_not_streamed(wire: Any) -> None:
    """It is an ordinary request, with the limit of those."""
    answer = await wire.ask("/x/1/fil%65", method="PUT", token=wire.token, body=b"abc")
    assert answer.status == 400
    answer = await wire.ask("/x/1/fil%65", method="PUT", token=wire.token, body=b"a" * 2_000_000)
    assert answer.status == 413
    assert (await wire.ask("/x//file", method="PUT", token=wire.token, body=b"a")).status == 404
    assert wire.taker.taken == []


async def test_the_same_over_tls(wire: Any) -> None:
    """Bodies come, and who is refused reads why."""
    from twisted.internet import reactor

    frame = Frame(reactor, wire.identity, "https://cloud.example")  # type: ignore[arg-type]
    wire.taker.mount(frame)
    site = ApiSite(frame.resource(), 1_048_576)
    listening: Any = reactor
    port = listening.listenSSL(0, site, certificate(), interface="127.0.0.1")

    def send(path: str, body: bytes) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", port.getHost().port), PATIENCE_SECONDS) as plain,
            context.wrap_socket(plain) as client,
        ):
            client.sendall(head(wire, path, f"Content-Length: {len(body)}") + body)
            return client.recv(65_536)

    body = bytes(range(256)) * 16_384
    assert (await deferToThread(send, "/x/1/file", body)).startswith(b"HTTP/1.1 204 ")
    assert wire.taker.taken == [body]
    refused = await deferToThread(send, "/x/1/refused", body)
    assert refused.startswith(b"HTTP/1.1 409 ")
    await port.stopListening()


async def until(holds: Any) -> None:
    """Wait for something to hold."""
    from twisted.internet import reactor, task

    clock: Any = reactor
    end = clock.seconds() + PATIENCE_SECONDS
    while not holds():
        assert clock.seconds() < end
        await ensureDeferred(_later(task, clock))


async def _later(task: Any, clock: Any) -> None:
    await task.deferLater(clock, 0.005)
