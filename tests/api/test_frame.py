"""What stands around every endpoint."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher

from cyclades_tx.api.call import Call, Reply, Service
from cyclades_tx.api.errors import HttpError, keystone_fault, nova_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.errors import (
    BadRequest,
    Conflict,
    NoCapacity,
    OverQuota,
    TooManyRequests,
    Unavailable,
)
from cyclades_tx.model.who import ADMIN, MEMBER, READER, Who
from cyclades_tx.testing.loopback import Loopback

NOVA = Service("compute", nova_fault)
STONE = Service("identity", keystone_fault)
DECODER = msgspec.json.Decoder(dict[str, int])


class Stage:
    """Some endpoints on a socket."""

    def __init__(self, reactor: Any) -> None:
        self.failure: Exception = ValueError("secret detail")
        self.gate: Deferred[None] | None = None
        self.ended: list[str] = []
        self.wire = Loopback(reactor, self.mount)

    def mount(self, frame: Frame) -> None:
        """Add them."""
        frame.mount("/compute", NOVA)
        frame.mount("/identity", STONE)
        frame.endpoint(NOVA, "GET", "/compute/things/<name>", self.show)
        frame.endpoint(NOVA, "GET", "/compute/open", self.show_open, token=False)
        frame.endpoint(NOVA, "POST", "/compute/things", self.make)
        frame.endpoint(NOVA, "POST", "/compute/read", self.make, write=False)
        frame.endpoint(NOVA, "GET", "/compute/admin", self.show_open, admin=True)
        frame.endpoint(NOVA, "GET", "/compute/unscoped", self.show_open, scoped=False)
        frame.endpoint(NOVA, "GET", "/compute/fails", self.fail, token=False)
        frame.endpoint(NOVA, "GET", "/compute/denied", self.fail)
        frame.endpoint(NOVA, "GET", "/compute/waits", self.wait, token=False)
        frame.endpoint(NOVA, "GET", "/compute/query", self.query, token=False)
        frame.endpoint(NOVA, "DELETE", "/compute/things/<name>", self.empty)
        frame.endpoint(STONE, "GET", "/identity/fails", self.fail, token=False)

    async def show(self, call: Call, name: str) -> Reply:
        return Reply(200, {"name": name, "user": call.who.user_id, "base": call.base_url})

    async def show_open(self, call: Call) -> bytes:
        return b'{"open": true}'

    async def make(self, call: Call) -> Reply:
        return Reply(202, call.json(DECODER), {"location": "/there"})

    async def fail(self, call: Call) -> Reply:
        raise self.failure

    async def wait(self, call: Call) -> Reply:
        if self.gate is not None:
            await self.gate
        self.ended.append(call.request_id)
        return Reply(204)

    async def query(self, call: Call) -> Reply:
        return Reply(200, {"all": call.queries("a"), "last": call.query("a")})

    async def empty(self, call: Call, name: str) -> Reply:
        return Reply(204)


@pytest_twisted.async_yield_fixture
async def stage() -> Any:
    """A stage that listens."""
    from twisted.internet import reactor

    made = Stage(reactor)
    yield made
    await made.wire.close()


def somebody(*roles: str, project_id: str | None = "p" * 32) -> Who:
    """A person."""
    return Who("u" * 32, "u", project_id, "p", frozenset(roles))


async def test_a_reply_has_a_request_id_of_ours_and_a_length(stage: Stage) -> None:
    """Whatever id the client wished for."""
    answer = await stage.wire.ask(
        "/compute/things/a%20b", somebody(MEMBER), headers={"X-Openstack-Request-Id": "req-mine"}
    )
    assert answer.json == {"name": "a b", "user": "u" * 32, "base": "http://cloud.example:8774"}
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    assert answer.headers["x-openstack-request-id"] != "req-mine"
    assert int(answer.headers["content-length"]) == len(answer.body)


@pytest.mark.parametrize(
    ("method", "path", "who", "status"),
    [
        ("GET", "/compute/things/x", None, 401),
        ("GET", "/compute/open", None, 200),
        ("GET", "/compute/things/x", somebody(READER), 200),
        ("DELETE", "/compute/things/x", somebody(READER), 403),
        ("DELETE", "/compute/things/x", somebody(), 403),
        ("DELETE", "/compute/things/x", somebody(MEMBER), 204),
        ("GET", "/compute/things/x", somebody(ADMIN, project_id=None), 403),
        ("GET", "/compute/unscoped", somebody(project_id=None), 200),
        ("GET", "/compute/admin", somebody(MEMBER), 403),
        ("GET", "/compute/admin", somebody(ADMIN), 200),
        ("PATCH", "/compute/things/x", somebody(ADMIN), 405),
        ("GET", "/compute/nothing", somebody(ADMIN), 404),
        ("GET", "/elsewhere", None, 404),
    ],
)
async def test_who_may_do_what(
    stage: Stage, method: str, path: str, who: Who | None, status: int
) -> None:
    """By token, scope and role; every refusal is a fault of the service."""
    answer = await stage.wire.ask(path, who, method=method)
    assert answer.status == status
    assert answer.headers["x-openstack-request-id"]
    if status >= 400:
        ((_, fault),) = answer.json.items()
        assert fault["code"] == status
    if status == 401:
        assert "Keystone uri=" in answer.headers["www-authenticate"]
    if status == 405:
        assert answer.headers["allow"] == "DELETE, GET, HEAD"


async def test_a_reader_may_ask_with_a_post_that_only_reads(stage: Stage) -> None:
    """Where the endpoint says so."""
    reader = somebody(READER)
    answer = await stage.wire.ask("/compute/read", reader, method="POST", body=b'{"a": 1}')
    assert (answer.status, answer.json, answer.headers["location"]) == (202, {"a": 1}, "/there")
    assert (await stage.wire.ask("/compute/things", reader, method="POST")).status == 403


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadRequest("b"), 400),
        (Conflict("c"), 409),
        (OverQuota("q"), 403),
        (TooManyRequests("t", 7), 429),
        (Unavailable("u", 9), 503),
        (HttpError(406, "n", {"vary": "x"}), 406),
    ],
)
async def test_an_error_has_the_status_and_shape_of_its_service(
    stage: Stage, error: Any, status: int
) -> None:
    """With its headers."""
    stage.failure = error
    nova = await stage.wire.ask("/compute/fails")
    stone = await stage.wire.ask("/identity/fails")
    assert nova.status == stone.status == status
    ((_, fault),) = nova.json.items()
    assert (fault["code"], fault["message"]) == (status, error.message)
    assert stone.json["error"]["message"] == error.message
    retry = error.details.get("retry_after_seconds")
    assert nova.headers.get("retry-after") == (None if retry is None else str(retry))


async def test_what_nobody_expected_is_500_without_details(
    stage: Stage, logged_errors: Any
) -> None:
    """The log has them, under the request id that the client sees."""
    answer = await stage.wire.ask("/compute/fails")
    assert answer.status == 500
    assert b"secret detail" not in answer.body
    assert answer.headers["x-openstack-request-id"].encode() in answer.body
    assert [str(each) for each in logged_errors.flush(ValueError)] == ["secret detail"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"a": 1}', "application/json; charset=UTF-8", 202),
        (b'{"a": 1}', "Application/JSON", 202),
        (b'{"a": 1}', "text/plain", 415),
        (b"", "application/json", 400),
        (b'{"a": "x"}', "application/json", 400),
        (b'{"a": "\\u0000"}', "application/json", 400),
        (b'{"a":' * 10_000, "application/json", 400),
        (b"\xff", "application/json", 400),
    ],
)
async def test_a_body_is_json_that_fits(stage: Stage, body: bytes, kind: str, status: int) -> None:
    """Or a fault."""
    answer = await stage.wire.ask(
        "/compute/things", somebody(MEMBER), method="POST", body=body,
        headers={"Content-Type": kind},
    )  # fmt: skip
    assert answer.status == status


@pytest.mark.parametrize(
    ("encoding", "status"), [("gzip", 415), ("br, gzip", 415), ("identity", 202), ("", 202)]
)
async def test_a_packed_body_is_named_as_what_it_is(
    stage: Stage, encoding: str, status: int
) -> None:
    """Not told to be bad JSON."""
    answer = await stage.wire.ask(
        "/compute/things", somebody(MEMBER), method="POST", body=b'{"a": 1}',
        headers={"Content-Type": "application/json", "Content-Encoding": encoding},
    )  # fmt: skip
    assert answer.status == status


@pytest.mark.parametrize(
    ("query", "status"), [("?a=1&a=2", 200), ("", 200), ("?a=%FF", 400), ("?a=%00", 400)]
)
async def test_a_query_is_text(stage: Stage, query: str, status: int) -> None:
    """The last value counts where one is wanted."""
    answer = await stage.wire.ask(f"/compute/query{query}")
    assert answer.status == status
    if query == "?a=1&a=2":
        assert answer.json == {"all": ["1", "2"], "last": "2"}


async def test_what_a_client_that_has_gone_began_is_ended(stage: Stage) -> None:
    """Its handler is never cancelled."""
    from twisted.internet import reactor

    stage.gate = Deferred()
    point = TCP4ClientEndpoint(reactor, "127.0.0.1", stage.wire.number)
    connected: Any = await connectProtocol(point, Protocol())
    connected.transport.write(b"GET /compute/waits HTTP/1.1\r\nHost: x\r\n\r\n")
    await deferLater(reactor, 0.1)
    connected.transport.abortConnection()
    await deferLater(reactor, 0.1)
    assert stage.ended == []
    stage.gate.callback(None)
    assert len(stage.ended) == 1


async def test_figures_of_the_clusters_are_for_administrators_and_the_log(stage: Stage) -> None:
    """Users read the kind of it."""
    lines: list[Any] = []
    globalLogPublisher.addObserver(lines.append)
    try:
        stage.failure = NoCapacity("not enough memory is free", inside="c1 has 7 MiB.")
        answer = await stage.wire.ask("/compute/denied", somebody(MEMBER))
        said = "No valid host was found (not enough memory is free)."
        fault = {"code": 503, "message": said}
        assert (answer.status, answer.json) == (503, {"serviceUnavailable": fault})
        assert [line["reason"] for line in lines if line["log_format"] == "request.refused"] == [
            f"{said} c1 has 7 MiB."
        ]
        stage.failure = NoCapacity("not enough memory is free", inside="c1 has 7 MiB.")
        answer = await stage.wire.ask("/compute/denied", somebody(ADMIN))
        assert answer.json["serviceUnavailable"]["message"] == f"{said} c1 has 7 MiB."
    finally:
        globalLogPublisher.removeObserver(lines.append)


async def test_a_head_is_a_get_without_a_body(stage: Stage) -> None:
    """And the length that it would have."""
    answer = await stage.wire.ask("/compute/open", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
