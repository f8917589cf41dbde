"""The admin address: /metrics and /healthz."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.server import Site

from cyclades_tx.api.admin import AdminResource, Check
from cyclades_tx.errors import SchemaError
from cyclades_tx.metrics import Metrics


class Admin:
    """The admin site without a socket, driven by a clock."""

    def __init__(self, checks: Mapping[str, Check] | None = None) -> None:
        self.clock = Clock()
        self.metrics = Metrics(self.clock, process=False)
        self.site = Site(AdminResource(self.clock, self.metrics, checks or {}))

    def send(self, line: str) -> StringTransport:
        """Send one request; the transport collects the reply."""
        transport = StringTransport()
        channel = self.site.buildProtocol(None)
        channel.callLater = self.clock.callLater
        channel.makeConnection(transport)
        channel.dataReceived(f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        self.channel = channel
        return transport

    def ask(self, line: str) -> tuple[int, bytes, bytes]:
        """Status, head and body of the reply to one request."""
        return reply(self.send(line))


def reply(transport: StringTransport) -> tuple[int, bytes, bytes]:
    """Status, head and body of what was written."""
    head, _, body = transport.value().partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower(), body


async def well() -> Mapping[str, Any]:
    """A check that finds nothing wrong."""
    return {"connections": 4}


async def broken() -> None:
    """A check that finds what an operator should be told."""
    raise SchemaError("The schema is older than this release needs.")


async def crashing() -> None:
    """A check with a bug."""
    raise ValueError("postgresql://u:hush@h/")


async def hanging() -> None:
    """A check that never ends."""
    await Deferred()


def test_metrics_are_shown_as_prometheus_wants_them() -> None:
    """With the content type of the text format."""
    admin = Admin()
    admin.metrics.login("accepted")
    status, head, body = admin.ask("GET /metrics")
    assert status == 200
    assert b"text/plain; version=0.0.4" in head
    assert b'cyclades_logins_total{outcome="accepted"} 1.0' in body
    assert b"content-length: %d" % len(body) in head


def test_health_without_looking_deep_is_always_well() -> None:
    """It says that the process answers."""
    for path in ("/healthz", "/healthz?shallow&deeper"):
        status, _head, body = Admin({"database": broken}).ask(f"GET {path}")
        assert (status, body) == (200, b'{"status":"ok"}')


def test_deep_health_shows_each_check() -> None:
    """With the facts that the check found, and the time that it took."""
    status, _head, body = Admin({"database": well}).ask("GET /healthz?deep")
    assert status == 200
    assert json.loads(body) == {
        "status": "ok",
        "checks": {"database": {"ok": True, "connections": 4, "seconds": 0.0}},
    }


def test_one_bad_check_makes_it_503() -> None:
    """The others are shown beside it, and the reason in words."""
    status, _head, body = Admin({"database": well, "schema": broken}).ask("GET /healthz?deep")
    document = json.loads(body)
    assert status == 503
    assert document["status"] == "failing"
    assert document["checks"]["database"]["ok"] is True
    assert "older" in document["checks"]["schema"]["reason"]


def test_a_check_that_crashes_has_failed_and_tells_no_secret(logged_errors: Any) -> None:
    """Its traceback is in the log."""
    status, _head, body = Admin({"database": crashing}).ask("GET /healthz?deep")
    assert status == 503
    assert json.loads(body)["checks"]["database"]["reason"] == "ValueError"
    assert len(logged_errors.flush(ValueError)) == 1


def test_a_check_that_hangs_has_failed_after_its_time() -> None:
    """It does not hold the others, nor the reply for ever."""
    admin = Admin({"loops": hanging, "database": well})
    transport = admin.send("GET /healthz?deep")
    assert transport.value() == b""
    admin.clock.advance(3)
    status, _head, body = reply(transport)
    assert status == 503
    assert json.loads(body)["checks"]["loops"]["reason"] == "no answer in 3 seconds"


def test_a_client_that_goes_away_is_no_error() -> None:
    """The check runs to its end, the reply is dropped."""
    admin = Admin({"loops": hanging})
    transport = admin.send("GET /healthz?deep")
    admin.channel.connectionLost(ConnectionResetError())
    admin.clock.advance(3)
    assert transport.value() == b""


def test_head_has_no_body() -> None:
    """But the same length."""
    status, head, body = Admin().ask("HEAD /healthz")
    assert (status, body) == (200, b"")
    assert b"content-length: 15" in head


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed_here(method: str) -> None:
    """The admin address only shows."""
    assert Admin().ask(f"{method} /metrics")[0] in (405, 501)


@pytest.mark.parametrize("path", ["/", "/other", "/metrics/x", "/healthz/../metrics/x"])
def test_other_paths_are_not_found(path: str) -> None:
    """There are two pages."""
    assert Admin().ask(f"GET {path}")[0] == 404
