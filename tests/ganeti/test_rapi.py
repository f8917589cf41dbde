"""The RAPI client against a wire that does everything wrong."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.web.server import Site

from cyclades_tx.errors import LostLease
from cyclades_tx.ganeti import instance_slices
from cyclades_tx.ganeti.interfaces import (
    GanetiError,
    GanetiRefused,
    GanetiUnavailable,
    GanetiUncertain,
)
from cyclades_tx.ganeti.large_json import LargeJsonWorkers
from cyclades_tx.ganeti.rapi import RapiAddress, RapiCluster, RapiCredentials, RapiLimits
from cyclades_tx.ganeti.replies import OddReply
from cyclades_tx.ganeti.simulator import MemoryGaneti
from cyclades_tx.testing.expected import raised


class Scripted(Protocol):
    """Answers each request with the bytes it was made with, or keeps silent."""

    def __init__(self, answer: bytes | None, log: list[bytes], close: bool) -> None:
        self.answer, self.log, self.close = answer, log, close

    def dataReceived(self, data: bytes) -> None:
        self.log.append(data)
        if self.answer is not None:
            self.transport.write(self.answer)
        if self.close:
            self.transport.loseConnection()


@pytest_twisted.async_yield_fixture
async def scripted() -> Any:
    """Return a function that makes a client of a server with one fixed answer."""
    ports: list[Any] = []
    clients: list[RapiCluster] = []

    def start(answer: bytes | None, close: bool = True, **options: Any) -> Any:
        log: list[bytes] = []
        factory = Factory.forProtocol(lambda: Scripted(answer, log, close))
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        ports.append(port)
        address = RapiAddress("127.0.0.1", port.getHost().port, "http", None, True)
        client = RapiCluster(reactor, address, RapiCredentials("u", "hidden"), **options)
        clients.append(client)
        return client, log

    yield start
    for client in clients:
        await client.close()
    for port in ports:
        await port.stopListening()


def http(status: int, body: bytes, length: int | None = None) -> bytes:
    """Return the bytes of a reply."""
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "bad", GanetiRefused),
        (401, "Unauthorized", GanetiRefused),
        (404, "Not Found", GanetiRefused),
        (500, "(&#x27;Instance name nope not found&#x27;, &#x27;unknown_entity&#x27;)",
         GanetiRefused),
        (500, "Queue drained", GanetiUnavailable),
        (500, "something broke", GanetiUncertain),
        (501, "no", GanetiRefused),
        (502, "Failed to parse request: SubmitJob", GanetiRefused),
        (502, "Bad Gateway", GanetiUncertain),
        (503, "Job queue is full", GanetiUnavailable),
        (504, "Gateway Timeout", GanetiUncertain),
        (302, "elsewhere", GanetiUnavailable),
    ],
)  # fmt: skip
async def test_change_ends_as_the_status_says(scripted, status, message, kind) -> None:
    """Refused: no job, nor later; unavailable: no job now; uncertain: perhaps a job."""
    body = b'{"code": 0, "message": "%s", "explain": ""}' % message.encode()
    client, _ = scripted(http(status, body))
    failure = await raised(GanetiError, client.start_instance("snf-1", "r"))
    assert type(failure) is kind
    assert "&#x27;" not in failure.message


@pytest.mark.parametrize(
    "answer",
    [
        http(200, b"<html>"),
        http(200, b'{"a": 1}'),
        http(200, b"null"),
        http(200, b"true"),
        http(200, b"[" * 100_000),
        http(200, b'"12x"'),
        http(200, b"12", length=50),
        http(500, b"not json"),
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ],
)
async def test_change_is_uncertain_when_the_reply_makes_no_sense(scripted, answer) -> None:
    """Once sent, only a clear answer tells what became of it."""
    client, _ = scripted(answer)
    await raised(GanetiUncertain, client.start_instance("snf-1", "r"))


@pytest.mark.parametrize(
    "answer", [http(200, b"<html>"), http(200, b"[]"), http(500, b""), http(504, b"x"), b"", b"zz"]
)
async def test_question_is_unavailable_when_the_reply_makes_no_sense(scripted, answer) -> None:
    """A question without an answer has changed nothing."""
    client, _ = scripted(answer)
    await raised(GanetiUnavailable, client.info())
    await raised(GanetiUnavailable, client.glance("snf-"))


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12"])
async def test_time_limit_covers_headers_and_body(scripted, answer) -> None:
    """A server that stalls before or within its reply is not waited for."""
    limits = RapiLimits(question_timeout_seconds=0.1, change_timeout_seconds=0.1)
    client, _ = scripted(answer, close=False, limits=limits)
    unanswered = await raised(GanetiUnavailable, client.info())
    assert "0.1 s" in unanswered.message
    await raised(GanetiUncertain, client.start_instance("snf-1", "r"))


async def test_reply_is_dropped_when_it_is_too_long(scripted) -> None:
    """A reply over the limit is not kept in memory."""
    client, _ = scripted(http(200, b'"' + b"x" * 5000 + b'"'), limits=RapiLimits(reply_bytes=4000))
    failure = await raised(GanetiUnavailable, client.info())
    assert "too long" in failure.message


async def test_refused_connection_is_unavailable() -> None:
    """Where nobody listens, nothing was sent."""
    port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
    number = port.getHost().port
    await port.stopListening()
    address = RapiAddress("127.0.0.1", number, "http", None, True)
    client = RapiCluster(reactor, address, RapiCredentials("u", "hidden"))
    await raised(GanetiUnavailable, client.start_instance("snf-1", "r"))
    await client.close()


async def test_guard_that_raises_lets_no_byte_out(scripted) -> None:
    """The request of a lost lease is never written, not even in part."""

    def lost() -> None:
        raise LostLease("gone")

    client, log = scripted(http(200, b"1"), guard=lost)
    await raised(LostLease, client.start_instance("snf-1", "r"))
    assert log == []


async def test_every_change_has_a_body_and_a_reason(scripted) -> None:
    """The bytes of a change end with its body, which Ganeti must have whole."""
    client, log = scripted(http(200, b"7"))
    assert await client.start_instance("snf-1", "cyclades:op:5") == 7
    head, _, body = b"".join(log).partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /2/instances/snf-1/startup?reason=cyclades%3Aop%3A5 HTTP/1.1")
    assert body == b"{}" and b"Content-Length: 2" in head and b"dry-run" not in head


@pytest.mark.parametrize("name", ["\u00e9", "a\0", "", ".."])
async def test_name_is_refused_before_sending(scripted, name) -> None:
    """A name that is no name for Ganeti never reaches it."""
    client, log = scripted(http(200, b"7"))
    refused = await raised(GanetiRefused, client.start_instance(name, "r"))
    assert refused.status == 0 and log == []


async def test_hotplug_follows_the_clusters_version(scripted) -> None:
    """The word for hot-plugging changed with Ganeti 3.1."""
    info = (
        b'{"name": "c", "software_version": "3.1.0", "master": "m", "default_hypervisor": "kvm",'
        b' "enabled_hypervisors": ["kvm"], "enabled_disk_templates": []}'
    )
    client, log = scripted(http(200, info))
    await client.info()
    await raised(GanetiUncertain, client.remove_nic("snf-1", "r", "n", True))
    assert b'"hotplug":true' in b"".join(log)


def test_no_secret_in_a_repr() -> None:
    """Credentials do not show when they are printed."""
    assert "hidden" not in repr(RapiCredentials("u", "hidden"))


@pytest.mark.parametrize(
    "parts",
    [
        {"host": "10.0.0.1", "scheme": "http", "allow_plain_http": True},
        {"host": "127.0.0.1", "scheme": "http"},
        {"host": "x", "scheme": "ftp"},
        {"host": "", "port": 5080},
        {"host": "x", "port": 0},
        {"host": "x", "certificate_pem": "nonsense"},
    ],
)
def test_address_is_refused_when_it_is_not_safe(parts) -> None:
    """Clear text over a network and certificates that are none are errors at once."""
    with pytest.raises(ValueError, match=r"\w"):
        RapiAddress(**parts)


async def test_large_reply_is_parsed_in_a_worker(serve: Callable[..., Any]) -> None:
    """A reply over the limit goes through the worker process, with the same result."""
    workers = LargeJsonWorkers(reactor)
    try:
        served = serve(MemoryGaneti(reactor))
        sizes: list[int] = []

        def parse(text: bytes) -> Any:
            sizes.append(len(text))
            return workers(text)

        client = served.connect(limits=RapiLimits(large_reply_bytes=10), large_json=parse)
        assert (await client.info()).name == served.ganeti.name
        assert len(sizes) == 1 and sizes[0] > 10
        with pytest.raises(ValueError, match=r"\w"):
            await workers(b"[" * 200_000)
    finally:
        await workers.close()


def a_certificate() -> tuple[PrivateCertificate, str]:
    """Return a fresh self-signed certificate with its key, and its PEM alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ganeti.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return PrivateCertificate.loadPEM(pem + secret), pem.decode()


@pytest_twisted.async_yield_fixture
async def tls() -> Any:
    """A simulated cluster behind TLS: (port, PEM, ganeti)."""
    private, pem = a_certificate()
    ganeti = MemoryGaneti(reactor)
    port = reactor.listenSSL(0, Site(ganeti.resource()), private.options(), interface="127.0.0.1")
    yield port.getHost().port, pem, ganeti
    await port.stopListening()
    ganeti.stop()


async def test_pinned_certificate_is_accepted_whatever_its_name(tls) -> None:
    """The pin is the identity: the name in a self-signed certificate does not matter."""
    port, pem, ganeti = tls
    address = RapiAddress("127.0.0.1", port, certificate_pem=pem)
    client = RapiCluster(reactor, address, RapiCredentials(ganeti.username, ganeti.password))
    assert (await client.info()).name == ganeti.name
    await client.check_write_access()
    await client.close()


async def test_other_certificate_is_unavailable_and_nothing_is_sent(tls) -> None:
    """A server that shows another certificate gets no credentials and no change."""
    port, _, ganeti = tls
    address = RapiAddress("127.0.0.1", port, certificate_pem=a_certificate()[1])
    client = RapiCluster(reactor, address, RapiCredentials(ganeti.username, ganeti.password))
    failure = await raised(GanetiUnavailable, client.start_instance("snf-1", "r"))
    assert "certificate" in failure.message
    assert not ganeti.jobs
    await client.close()


async def test_guard_is_asked_after_the_handshake(tls) -> None:
    """The guard runs when the bytes leave: once, and not for a connection that failed."""
    port, pem, ganeti = tls
    asked: list[float] = []
    credentials = RapiCredentials(ganeti.username, ganeti.password)

    def guard() -> None:
        asked.append(reactor.seconds())

    wrong = RapiAddress("127.0.0.1", port, certificate_pem=a_certificate()[1])
    client = RapiCluster(reactor, wrong, credentials, guard=guard)
    await raised(GanetiUnavailable, client.start_instance("snf-1", "r"))
    assert asked == []
    right = RapiAddress("127.0.0.1", port, certificate_pem=pem)
    good = RapiCluster(reactor, right, credentials, guard=guard)
    await good.start_instance("snf-1", "r")
    assert len(asked) == 1
    await client.close()
    await good.close()


async def test_handshake_that_stalls_is_unavailable() -> None:
    """A server that never answers the handshake is given up, and nothing was sent."""
    _, pem = a_certificate()
    port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
    address = RapiAddress("127.0.0.1", port.getHost().port, certificate_pem=pem)
    limits = RapiLimits(connect_timeout_seconds=0.1)
    client = RapiCluster(reactor, address, RapiCredentials("u", "hidden"), limits=limits)
    await raised(GanetiUnavailable, client.start_instance("snf-1", "r"))
    await port.stopListening()
    await client.close()


async def test_many_instances_are_read_in_another_process(quick: Any) -> None:
    """They come in slices; what the worker finds odd is told as such."""
    workers = LargeJsonWorkers(reactor)
    try:
        client = quick.connect(limits=RapiLimits(large_reply_bytes=10), large_json=workers)
        quick.ganeti.seed(250, prefix="m-")
        assert len(await client.glance("m-")) == 250
        slices = [len(part) for part in await client.instances_with("m-")]
        assert slices == [200, 50]
        seen = {each.name: each for part in await client.instances_with("m-") for each in part}
        assert seen["m-7"] == await client.instance("m-7")
    finally:
        await workers.close()


def test_an_odd_reply_of_many_instances_is_told_as_such() -> None:
    """A worker cannot raise our own errors: they come as text."""
    packed = instance_slices.pack(b'{"data": [[]]}')
    with pytest.raises(OddReply, match="unexpected query row"):
        instance_slices.slices_of(packed, instance_slices.read)
    with pytest.raises(ValueError, match="line 1"):
        instance_slices.pack(b"{")
