"""Shortcuts past the router: plain GETs only, and the same answers as by the usual way."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from cyclades_tx.api.shortcuts import Shortcuts

UUID = "5f19bd42-3585-4509-93e9-b47f5e58afe5"


class _Leaf(Resource):
    isLeaf = True

    def __init__(self, shortcuts: Shortcuts) -> None:
        super().__init__()
        self._shortcuts = shortcuts

    def render(self, request: Request) -> int | bytes:
        return NOT_DONE_YET if self._shortcuts.take(request) else b"router"


def _shortcuts(waiting: Deferred[bytes] | None = None) -> Shortcuts:
    def show(request: Request, thing_id: str) -> Deferred[bytes]:
        return succeed(b"one " + thing_id.encode()) if waiting is None else waiting

    shortcuts = Shortcuts()
    shortcuts.add("/things/detail", lambda request: succeed(b"all"))
    shortcuts.add("/things/<thing_id>", show)
    shortcuts.add("/<string(length=32):project_id>/things/<thing_id>", show)
    return shortcuts


def _talk(
    target: str,
    method: str = "GET",
    host: str | None = "a.example:80",
    shortcuts: Shortcuts | None = None,
) -> tuple[StringTransport, object]:
    site = Site(_Leaf(shortcuts or _shortcuts()))
    site.log = lambda request: None  # type: ignore[method-assign]
    channel = site.buildProtocol(None)
    transport = StringTransport()
    assert channel is not None
    channel.makeConnection(transport)
    named = "" if host is None else f"Host: {host}\r\n"
    channel.dataReceived(
        f"{method} {target} HTTP/1.1\r\nConnection: close\r\n{named}\r\n".encode("latin-1")
    )
    return transport, channel


def _ask(target: str, method: str = "GET", host: str | None = "a.example:80") -> bytes:
    return _talk(target, method, host)[0].value()


def test_a_plain_get_goes_past_the_router() -> None:
    """A fixed path, and one with a UUID at its end; a query changes nothing."""
    assert b"all" in _ask("/things/detail?limit=1")
    assert b"one " + UUID.encode() in _ask(f"/things/{UUID}")


@pytest.mark.parametrize(
    "target",
    [
        "/things/name",
        f"/things/{UUID.upper()}",
        f"/things/{UUID}/",
        f"/things/{UUID}%00",
        "/things/%64etail",
        f"//things/{UUID}",
        f"/<string(length=32):project_id>/things/{UUID}",
    ],
)
def test_a_path_that_is_not_quite_plain_takes_the_usual_way(target: str) -> None:
    """Names, capitals, slashes, escapes, and the text of a rule."""
    assert b"router" in _ask(target)


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_another_method_takes_the_usual_way(method: str) -> None:
    """It may be an endpoint of its own, or a 405."""
    assert b"router" in _ask(f"/things/{UUID}", method)


@pytest.mark.parametrize("host", [None, "a..b", "x" * 70, "[::1]:80", "\xff"])
def test_a_host_that_werkzeug_might_refuse_takes_the_usual_way(host: str | None) -> None:
    """The answer is then that of every other path."""
    assert b"router" in _ask("/things/detail", host=host)


def test_an_answer_for_a_client_that_has_gone_is_dropped() -> None:
    """Nothing is written, nothing is raised."""
    waiting: Deferred[bytes] = Deferred()
    transport, channel = _talk(f"/things/{UUID}", shortcuts=_shortcuts(waiting))
    from twisted.internet.error import ConnectionLost
    from twisted.python.failure import Failure

    channel.connectionLost(Failure(ConnectionLost()))  # type: ignore[attr-defined]
    waiting.callback(b"late")
    assert b"late" not in transport.value()
