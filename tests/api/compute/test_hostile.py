"""Requests that no client sends: bytes straight on the wire."""

from __future__ import annotations

import json

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol


class Raw(Protocol):
    """Sends bytes, in pieces while the other side reads, and keeps all that comes back."""

    def __init__(self, pieces):
        self.pieces = iter(pieces)
        self.received = b""
        self.done = Deferred()

    def connectionMade(self):
        self.transport.registerProducer(self, False)

    def resumeProducing(self):
        piece = next(self.pieces, None)
        if piece is None:
            self.transport.unregisterProducer()
        else:
            self.transport.write(piece)

    def stopProducing(self):
        self.pieces = iter(())

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.done.callback(self.received)


async def raw(wire, *pieces):
    """Send bytes; return status, headers and body of the reply."""
    from twisted.internet import reactor

    protocol = Raw(pieces)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", wire.port)
    await connectProtocol(endpoint, protocol)
    protocol.done.addTimeout(20, reactor)
    received = await protocol.done
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
    return int(first.split()[1]), headers, body


def head(wire, method, path, *lines):
    """The beginning of a request of somebody with a good token."""
    return b"\r\n".join(
        [
            method + b" " + path + b" HTTP/1.1",
            b"Host: x",
            b"Connection: close",
            b"X-Auth-Token: " + wire.token.encode(),
            *lines,
            b"",
            b"",
        ]
    )


def is_fault(body, code, kind):
    """Check that a body is one fault of Compute."""
    document = json.loads(body)
    assert list(document) == [kind]
    assert document[kind]["code"] == code
    return True


@pytest.mark.parametrize(
    "path",
    [b"/compute/v2.1/servers/%FF", b"/compute/v2.1/%C3%28",
     b"/compute/v2.1/flavors/%80/os-extra_specs", b"/compute/%FF"],
)  # fmt: skip
async def test_path_that_is_not_utf_8_is_400(wire, path):
    """In the dialect of the service."""
    status, headers, body = await raw(wire, head(wire, b"GET", path))
    assert status == 400
    assert headers["content-type"] == "application/json"
    assert is_fault(body, 400, "badRequest")


@pytest.mark.parametrize(
    "line",
    [b"X-Auth-Token: \xff\xfe", b"OpenStack-API-Version: \xff", b"Host: \xff",
     b"OpenStack-API-Version: compute \xb2.1", b"X-OpenStack-Nova-API-Version: \x80"],
)  # fmt: skip
async def test_header_that_is_not_utf_8_is_4xx(wire, line):
    """Whichever header it is."""
    name = line.partition(b":")[0]
    lines = head(wire, b"GET", b"/compute/v2.1/servers").split(b"\r\n")
    kept = [each for each in lines if each.partition(b":")[0] != name]
    kept.insert(1, line)
    status, _, body = await raw(wire, b"\r\n".join(kept))
    assert status in (200, 400, 401)
    assert status == 200 or list(json.loads(body)) in (["badRequest"], ["unauthorized"])


@pytest.mark.parametrize("method", [b"BREW", b"TRACE", b"OPTIONS", b"\xff"])
async def test_unknown_method_is_405_or_400(wire, method):
    """And names those that there are."""
    status, headers, body = await raw(wire, head(wire, method, b"/compute/v2.1/servers"))
    if status == 405:
        assert headers["allow"] == "GET, HEAD, POST"
        assert is_fault(body, 405, "badMethod")
    else:
        assert status == 400


@pytest.mark.parametrize("announced", [True, False])
async def test_body_of_50_mb_is_413_and_not_kept(wire, announced):
    """By its announced length, or while it comes in chunks."""
    chunk = b"a" * 65_536
    if announced:
        lines = [b"Content-Length: %d" % (50 * 2**20)]
        pieces = [chunk] * 800
    else:
        lines = [b"Transfer-Encoding: chunked"]
        pieces = [b"%x\r\n%b\r\n" % (len(chunk), chunk)] * 800
    lines.append(b"Content-Type: application/json")
    status, _, body = await raw(
        wire, head(wire, b"POST", b"/compute/v2.1/servers", *lines), *pieces
    )
    assert status == 413
    assert is_fault(body, 413, "overLimit")
    assert wire.servers.calls == []
    assert (await wire.get("/servers")).status == 200


@pytest.mark.parametrize("path", ["/nothing", "/servers/x/nothing", "/servers/x/action/y", "/..",
                                  "/servers/%2e%2e/x", "/os-nothing", "/os-volumes"])  # fmt: skip
async def test_unknown_path_is_404_in_the_dialect(wire, path):
    """With the request id."""
    answer = await wire.get(path)
    answer.fault(404, "itemNotFound")
    assert answer.header("x-compute-request-id") == answer.header("x-openstack-request-id")
