"""Requests that may be read in two ways, or have no end: refused, with their connection."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from cyclades_tx.api.call import Call, Reply, Service
from cyclades_tx.api.errors import glance_fault, keystone_fault, neutron_fault, nova_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.site import ApiSite
from cyclades_tx.errors import Conflict
from cyclades_tx.identity.memory import MemoryIdentity
from cyclades_tx.testing.loopback import Loopback

LIMIT_BYTES = 100
HEAD = b"POST /a HTTP/1.1\r\nHost: x\r\n"
#: Seen by the resource only if somebody takes it for a request.
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class Seen(Resource):
    """Remembers what gets through."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[bytes] = []
        self.bodies: list[bytes] = []

    def render(self, request: Any) -> bytes:
        self.paths.append(request.path)
        self.bodies.append(request.content.read())
        return b"ok"


class Wire(StringTransport):
    """A connection that can be closed for one direction."""

    half_closed = False

    def loseWriteConnection(self) -> None:
        """Nothing more is said."""
        self.half_closed = True

    def abortConnection(self) -> None:
        """End."""
        self.loseConnection()


class Talk:
    """One connection to a site."""

    def __init__(self, resource: Resource) -> None:
        self.clock = Clock()
        site = ApiSite(resource, LIMIT_BYTES, timeout=60, reactor=self.clock)
        self.channel: Any = site.buildProtocol(None)
        self.wire = Wire()
        self.channel.makeConnection(self.wire)

    def say(self, data: bytes, piece_bytes: int = 65_536) -> bytes:
        """What is answered to what comes in pieces."""
        for place in range(0, len(data), piece_bytes):
            self.channel.dataReceived(data[place : place + piece_bytes])
        return self.wire.value()

    def end(self) -> None:
        """The client closes; nothing is left behind."""
        self.channel.connectionLost(Failure(ConnectionDone()))
        assert self.clock.getDelayedCalls() == []


#: Heads of requests -> the status; what follows is no request.
REFUSED: dict[str, tuple[int, bytes]] = {
    "no-host": (400, b"GET /a HTTP/1.1\r\n\r\n"),
    "two-hosts": (400, b"GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
    "two-hosts-1.0": (400, b"GET /a HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n"),
    "host-with-space": (400, b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "host-with-path": (400, b"GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "host-with-user": (400, b"GET /a HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "host-list": (400, b"GET /a HTTP/1.1\r\nHost: a, b;c\r\n\r\n"),
    "host-not-ascii": (400, b"GET /a HTTP/1.1\r\nHost: \xff\r\n\r\n"),
    "host-open-bracket": (400, b"GET /a HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    "host-odd-port": (400, b"GET /a HTTP/1.1\r\nHost: a:8x\r\n\r\n"),
    "host-odd-percent": (400, b"GET /a HTTP/1.1\r\nHost: a%2\r\n\r\n"),
    "length-and-chunked": (400, HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "chunked-and-length": (400, HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"),
    "two-lengths": (400, HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n"),
    "lengths-in-one": (400, HEAD + b"Content-Length: 3, 4\r\n\r\n"),
    "length-plus": (400, HEAD + b"Content-Length: +3\r\n\r\n"),
    "length-minus": (400, HEAD + b"Content-Length: -3\r\n\r\n"),
    "length-underscore": (400, HEAD + b"Content-Length: 1_0\r\n\r\n"),
    "length-hexadecimal": (400, HEAD + b"Content-Length: 0x3\r\n\r\n"),
    "length-empty": (400, HEAD + b"Content-Length:\r\n\r\n"),
    "length-other-digits": (400, HEAD + b"Content-Length: \xb2\r\n\r\n"),
    "length-endless": (400, HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"),
    "length-large": (413, HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n"),
    "length-and-expect": (413, HEAD + b"Content-Length: 101\r\nExpect: 100-continue\r\n\r\n"),
    "identity": (400, HEAD + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\n"),
    "chunked-twice": (400, HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n"),
    "chunked-first": (400, HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n"),
    "chunked-last": (400, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
    "chunked-two-lines": (400, HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n"),
    "chunked-and-identity": (
        400,
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    ),
    "chunked-quoted": (400, HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n'),
    "chunked-vertical-tab": (400, HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n"),
    "chunked-1.0": (400, b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "chunked-space-colon": (400, HEAD + b"Transfer-Encoding : chunked\r\n\r\n"),
    "no-colon": (400, HEAD + b"Transfer-Encoding\r\n\r\n"),
    "no-name": (400, HEAD + b": chunked\r\n\r\n"),
    "folded": (400, HEAD + b"X-A: b\r\n Content-Length: 3\r\n\r\n"),
    "folded-tab": (400, HEAD + b"X-A: b\r\n\tc\r\n\r\n"),
    "folded-first": (400, b"POST /a HTTP/1.1\r\n Host: x\r\n\r\n"),
    "bare-lf": (400, b"POST /a HTTP/1.1\nHost: x\nContent-Length: 3\n\n\r\n\r\n"),
    "bare-lf-in-a-value": (400, HEAD + b"X-A: b\nContent-Length: 3\r\n\r\n"),
    "bare-cr-in-a-value": (400, HEAD + b"X-A: b\rContent-Length: 3\r\n\r\n"),
    "nul-in-a-value": (400, HEAD + b"X-A: b\0\r\n\r\n"),
    "size-plus": (400, CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n"),
    "size-minus": (400, CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n"),
    "size-underscore": (400, CHUNKED + b"0_3\r\nabc\r\n0\r\n\r\n"),
    "size-0x": (400, CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    "size-space": (400, CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n"),
    "size-empty": (400, CHUNKED + b"\r\nabc\r\n0\r\n\r\n"),
    "size-endless": (400, CHUNKED + b"0" * 2000 + b"3\r\nabc\r\n0\r\n\r\n"),
    "size-bare-lf": (400, CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    "extension-bare-lf": (400, CHUNKED + b"3;a\nbc\r\nabc\r\n0\r\n\r\n"),
    "chunk-too-long": (400, CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n"),
    "chunk-beyond-the-limit": (413, CHUNKED + b"f" * 40 + b"\r\n" + b"a" * 101),
    "trailer-bare-lf": (400, CHUNKED + b"0\r\nX-A: b\n\nGET /c HTTP/1.1\r\n\r\n"),
    "trailer-no-colon": (400, CHUNKED + b"0\r\nGET /c HTTP/1.1\r\n\r\n"),
    "other-version": (400, b"GET /a HTTP/2.0\r\nHost: x\r\n\r\n"),
    "no-version": (400, b"GET /a\r\nHost: x\r\n\r\n"),
    "two-spaces": (400, b"GET  /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "space-first": (400, b" GET /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "long-header": (431, HEAD + b"X-A: " + b"b" * 20_000 + b"\r\n\r\n"),
    "long-header-unended": (431, HEAD + b"X-A: " + b"b" * 20_000),
    "long-name": (431, HEAD + b"a" * 20_000 + b": b\r\n\r\n"),
    "large-headers": (431, HEAD + b"".join(b"X-%d: %b\r\n" % (i, b"b" * 90) for i in range(200))),
    "many-headers": (431, HEAD + b"".join(b"X-%d: b\r\n" % i for i in range(501)) + b"\r\n"),
    "long-url": (414, b"GET /a?" + b"b" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "long-url-unended": (414, b"GET /a?" + b"b" * 20_000),
    "long-method": (414, b"G" * 20_000),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("piece_bytes", [1_000_000, 7], ids=["at-once", "in-pieces"])
def test_what_is_refused_is_the_last_of_its_connection(name: str, piece_bytes: int) -> None:
    """With one answer; what comes behind it reaches nobody, and neither does it itself."""
    status, data = REFUSED[name]
    seen = Seen()
    talk = Talk(seen)
    answer = talk.say(data + HIDDEN + b"\r\n\r\n" + HIDDEN, piece_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert (answer.count(b"HTTP/1.1"), seen.paths) == (1, [])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in head
    assert b"\r\nX-Openstack-Request-Id: req-" in head
    assert head.endswith(b"Content-Length: %d" % len(body))
    # The client has time to read it, however much it still sends; but not for ever.
    assert talk.wire.half_closed
    assert not talk.wire.disconnecting
    talk.clock.advance(60)
    assert talk.wire.disconnecting
    talk.end()


TAKEN: dict[str, tuple[bytes, bytes]] = {
    "1.0-without-host": (b"GET /a HTTP/1.0\r\n\r\n", b""),
    "host-empty": (b"GET /a HTTP/1.1\r\nHost:\r\n\r\n", b""),
    "host-and-port": (b"GET /a HTTP/1.1\r\nHost: a.example:8774\r\n\r\n", b""),
    "host-6": (b"GET /a HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", b""),
    "host-odd-but-right": (b"GET /a HTTP/1.1\r\nhOST: \t a_b.~%2f! \r\n\r\n", b""),
    "for-a-proxy": (b"GET http://b.example/a HTTP/1.1\r\nHost: c\r\n\r\n", b""),
    "empty-line-first": (b"\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "length": (HEAD + b"Content-Length: 003\r\n\r\nabc", b"abc"),
    "chunked": (CHUNKED + b"3;a=b\r\nabc\r\n00a\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789"),
    "chunked-upper-case": (HEAD + b"transfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n", b""),
    "trailer": (CHUNKED + b"1\r\na\r\n0\r\nContent-Length: 9\r\n\r\n", b"a"),
    "many-headers": (HEAD + b"".join(b"X-%d: b\r\n" % i for i in range(499)) + b"\r\n", b""),
    "long-url": (b"GET /a?" + b"b" * 16_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b""),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("piece_bytes", [1_000_000, 7], ids=["at-once", "in-pieces"])
def test_what_is_unusual_and_right_is_taken(name: str, piece_bytes: int) -> None:
    """And the next request of the connection begins where it ends."""
    data, body = TAKEN[name]
    seen = Seen()
    talk = Talk(seen)
    talk.say(data + HIDDEN, piece_bytes)
    assert (seen.paths[:1], seen.bodies[:1]) == ([b"/a"], [body])
    assert seen.paths[1:] == ([] if b"HTTP/1.0" in data else [b"/hidden"])
    talk.end()


class Slow(Resource):
    """Answers when it is told to."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.request: Any = None

    def render(self, request: Any) -> int:
        self.request = request
        return NOT_DONE_YET


def test_what_was_asked_for_before_is_answered_first() -> None:
    """A refusal is of the request that it is for."""
    slow = Slow()
    talk = Talk(slow)
    assert talk.say(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\n\r\n") == b""
    slow.request.write(b"done")
    slow.request.finish()
    first, _, second = talk.wire.value().partition(b"done")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 " in second
    assert second.count(b"HTTP/1.1") == 1
    talk.end()


SERVICES = {
    "/compute": (nova_fault, b'{"badRequest":{"code":'),
    "/network": (neutron_fault, b'{"NeutronError":{"type":"HTTP'),
    "/identity": (keystone_fault, b'{"error":{"code":'),
    "/image": (glance_fault, b"<html>"),
    "/elsewhere": (None, b'{"error":{"code":'),
}


@pytest.mark.parametrize("path", SERVICES)
@pytest.mark.parametrize("name", ["no-host", "long-header", "long-url", "size-plus"])
def test_a_refusal_is_written_as_the_service_of_the_path_does(path: str, name: str) -> None:
    """Also where only the beginning of the URL has come."""
    clock: Any = Clock()
    frame = Frame(clock, MemoryIdentity(clock), "https://cloud.example")
    for prefix, (fault, _) in SERVICES.items():
        if fault is not None:
            frame.mount(prefix, Service(prefix[1:], fault))
    status, data = REFUSED[name]
    talk = Talk(frame.resource())  # type: ignore[arg-type]
    answer = talk.say(data.replace(b" /a", f" {path}/a".encode(), 1))
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.partition(b"\r\n\r\n")[2].startswith(SERVICES[path][1])
    talk.end()


class Nibbler:
    """Reads a little, and refuses."""

    def mount(self, frame: Frame) -> None:
        """Add the endpoint."""
        service = Service("image", nova_fault)
        frame.mount("/x", service)
        frame.endpoint(service, "PUT", "/x/<ref>/file", self.nibble, token=False, stream=True)

    async def nibble(self, call: Call, ref: str) -> Reply:
        """Refuse after the first piece."""
        incoming: Any = call.request.incoming  # type: ignore[attr-defined]
        await incoming.read(least=1)
        raise Conflict("Not that.")


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"],
    ids=["length", "chunked"],
)
def test_a_body_that_is_refused_while_its_end_is_read(body: bytes) -> None:
    """The end that came together with the rest is nobody's; nothing breaks."""
    clock: Any = Clock()
    frame = Frame(clock, MemoryIdentity(clock), "https://cloud.example")
    Nibbler().mount(frame)
    talk = Talk(frame.resource())  # type: ignore[arg-type]
    head, _, rest = body.partition(b"\r\n\r\n")
    talk.say(b"PUT /x/1/file HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
    answer = talk.say(rest + HIDDEN)
    assert answer.startswith(b"HTTP/1.1 409 ")
    assert answer.count(b"HTTP/1.1") == 1
    talk.end()


@pytest_twisted.async_yield_fixture
async def listening() -> Any:
    """A service on loopback."""
    from twisted.internet import reactor

    loopback = Loopback(reactor, Nibbler().mount)
    yield loopback
    await loopback.close()


async def test_a_client_with_much_to_say_reads_why_it_is_refused(listening: Any) -> None:
    """It is not cut off while it is still sending."""
    answer = await listening.ask("/x/1", headers={"X-Much": "a" * 3_000_000})
    assert answer.status == 431
    answer = await listening.ask("/x/1?" + "a" * 3_000_000)
    assert answer.status == 414
