"""The proxy alone on a host: who may ask it, what for, and what viewers then get."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.python.usage import UsageError
from zope.interface import implementer
from zope.interface.verify import verifyObject

from cyclades_tx.console.control import REQUEST_SECONDS, BadRequest, ControlPort, Forwardings
from cyclades_tx.console.interfaces import SENTENCES, ITickets, Reason, Refused, Session
from cyclades_tx.console.standalone import Options, Standalone
from cyclades_tx.console.users import BadUsers, Users, sha512_crypt
from tests.console.peers import (
    HEIGHT,
    NAME,
    PIXELS,
    WIDTH,
    MemoryScreen,
    Refusal,
    Wire,
    dial,
    log_in,
    look,
    turn,
    until,
)
from tests.console.proxied import pem
from tests.real.ports import free_port

#: From the specification's own examples.
PASSWORD = "Hello world!"
HASH = "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
LINE = f"cyclades:$6$saltstring${HASH}\n"
SECRET = "aB3dE6gH9k"


class Alone:
    """A proxy that stands alone, and a screen."""

    def __init__(self, folder: Path, **options: Any) -> None:
        users, key = folder / "users", folder / "key.pem"
        users.write_text(LINE)
        key.write_bytes(pem())
        self.options = Options()
        files = ["--auth-file", str(users), "--cert-file", str(key), "--key-file", str(key)]
        ports = ["--listen-port", "0", "--proxy-port", "0"]
        more = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        self.options.parseOptions([*files, *ports, *[each.removesuffix("=True") for each in more]])
        self.service = Standalone(reactor, self.options)
        self.service.startService()
        self.viewer_port, self.control_port = (
            port.getHost().port  # type: ignore[attr-defined]
            for port in self.service.ports
        )
        self.screen = MemoryScreen()
        self._screen: Any = reactor.listenTCP(0, self.screen, interface="127.0.0.1")
        self.wires: list[Wire] = []

    def request(self, **changes: Any) -> bytes:
        """A right request, with some keys changed; None: without the key."""
        whole = {
            "source_port": 0,
            "destination_address": "127.0.0.1",
            "destination_port": self._screen.getHost().port,
            "password": SECRET,
            "auth_user": "cyclades",
            "auth_password": PASSWORD,
            "type": "vnc",
            **changes,
        }
        return json.dumps({key: each for key, each in whole.items() if each is not None}).encode()

    async def ask(self, *pieces: bytes) -> dict[str, Any]:
        """Send a request in pieces; the reply."""
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", self.control_port)
        if self.options["enable-ssl"]:
            anybody = CertificateOptions(verify=False)
            endpoint = wrapClientTLS(_Trusting(anybody), endpoint)
        wire = await connectProtocol(endpoint, Wire())
        self.wires.append(wire)
        for piece in pieces:
            wire.write(piece)
            await turn()
        return dict(json.loads(await wire.read_all()))

    async def dial(self) -> Wire:
        """Connect as a viewer."""
        self.wires.append(await dial(self.viewer_port))
        return self.wires[-1]

    async def close(self) -> None:
        """End everything."""
        stopping = self.service.stopService()
        for wire in (*self.wires, *self.screen.connections):
            await wire.close()
        await stopping
        await self._screen.stopListening()


@implementer(IOpenSSLClientConnectionCreator)
class _Trusting:
    """Takes any certificate."""

    def __init__(self, options: CertificateOptions) -> None:
        self._options = options

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return SSL.Connection(self._options.getContext(), None)


@pytest_twisted.async_yield_fixture
async def start(tmp_path: Path) -> Any:
    """Start proxies with chosen options."""
    made: list[Alone] = []

    def make(**options: Any) -> Alone:
        made.append(Alone(tmp_path, **options))
        return made[-1]

    yield make
    for alone in made:
        await alone.close()


def failed(reason: str) -> dict[str, Any]:
    """A reply that says no."""
    return {"status": "FAILED", "source_port": 0, "proxy_address": None, "reason": reason}


@pytest.mark.parametrize("tls", [False, True])
async def test_a_forwarding_is_asked_for_and_used(start: Any, tls: bool) -> None:
    """As the original's client asks; a viewer gets in with the password, once."""
    alone = start(**({"enable_ssl": True, "viewer_ssl": True} if tls else {}))
    reply = await alone.ask(alone.request())
    assert reply == {
        "status": "OK",
        "source_port": alone.viewer_port,
        "proxy_address": "127.0.0.1",
    }
    wire = await alone.dial()
    assert await log_in(wire, 8, SECRET.encode(), tls=tls) == (WIDTH, HEIGHT, NAME)
    assert await look(wire, WIDTH, HEIGHT) == PIXELS
    with pytest.raises(Refusal, match=SENTENCES[Reason.USED]):
        await log_in(await alone.dial(), 8, SECRET.encode())
    assert alone.screen.inside == 2  # the first came to see whether it is there


async def test_a_request_may_come_in_pieces(start: Any) -> None:
    """With a newline or without, and nothing counts that comes after it."""
    alone = start()
    for whole in (alone.request(password="one"), alone.request(password="two") + b"\r\n"):
        pieces = [whole[at : at + 40] for at in range(0, len(whole), 40)]
        assert (await alone.ask(*pieces))["status"] == "OK"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"auth_password": "wrong"}, "authentication failed"),
        ({"auth_user": "somebody"}, "authentication failed"),
        ({"auth_password": "x" * 1000}, "authentication failed"),
        ({"auth_user": None}, "auth_user must be given, as str"),
        ({"destination_port": "5900"}, "destination_port must be given, as int"),
        ({"source_port": True}, "source_port must be given, as int"),
        ({"source_port": 1}, "viewers connect to the port {port} only"),
        ({"type": "vnc-wss"}, "this proxy forwards the type vnc only"),
        ({"destination_port": 0}, "destination_port or password cannot be used"),
        ({"destination_port": 70_000}, "destination_port or password cannot be used"),
        ({"password": ""}, "destination_port or password cannot be used"),
        ({"destination_address": "no..such"}, SENTENCES[Reason.UNREACHABLE]),
        ({"destination_address": "\0"}, SENTENCES[Reason.UNREACHABLE]),
        ({"password": "x" * 9000}, "the request is too long"),
    ],
    ids=lambda value: None,
)
async def test_requests_that_fail(start: Any, changes: dict[str, Any], reason: str) -> None:
    """Each with its reason; nothing is forwarded."""
    alone = start()
    reply = await alone.ask(alone.request(**changes))
    assert reply == failed(reason.format(port=alone.viewer_port))
    with pytest.raises(Refusal):
        await log_in(await alone.dial(), 8, SECRET.encode())


@pytest.mark.parametrize("text", [b"[1, 2]", b'"text"', b"null"])
async def test_json_that_is_no_object(start: Any, text: bytes) -> None:
    """It is told so."""
    assert await start().ask(text) == failed("the request is not an object")


async def test_a_screen_that_lets_nobody_in(start: Any) -> None:
    """Whoever asks learns it before any viewer does."""
    alone = start()
    alone.screen.offers, alone.screen.password = b"\2", b"unknown"
    assert await alone.ask(alone.request()) == failed(SENTENCES[Reason.FAR_REFUSED])


async def test_wrong_passwords_are_few(start: Any) -> None:
    """After some the right one does not help, for a while."""
    alone = start()
    for _ in range(alone.service.consoles.limits.tries):
        assert (await alone.ask(alone.request(auth_password="x")))["status"] == "FAILED"
    reply = await alone.ask(alone.request())
    assert reply == failed("too many connections or failed authentications")


async def test_whoever_says_nothing_is_left() -> None:
    """So does one who says nothing that can be understood."""
    clock = Clock()
    port = ControlPort(clock, Forwardings(clock), None, None, 1, "")  # type: ignore[arg-type]
    listening: Any = reactor.listenTCP(0, port, interface="127.0.0.1")
    wire = await dial(listening.getHost().port)
    wire.write(b"[" * 5000)
    await until(clock.getDelayedCalls, "it is heard")
    clock.advance(REQUEST_SECONDS)
    assert json.loads(await wire.read_all()) == failed("no JSON object has come in time")
    await listening.stopListening()


async def test_forwardings_expire_and_are_forgotten() -> None:
    """A viewer that is late is told so, as long as anybody knows."""
    clock = Clock()
    forwardings = Forwardings(clock, wait_seconds=30.0, most=2)
    verifyObject(ITickets, forwardings)

    def add(password: str) -> Session:
        session = forwardings.session("127.0.0.1", 5900)
        forwardings.add(session, password)
        return session

    first = add("password one")
    with pytest.raises(BadRequest, match="with this password"):
        add("password two")
    second = add("secret")
    with pytest.raises(BadRequest, match="too many"):
        add("third")
    assert await forwardings.take(first.id, "") == first
    with pytest.raises(Refused, match="was used already"):
        await forwardings.take(first.id, "")
    clock.advance(31)
    with pytest.raises(Refused, match="has expired"):
        await forwardings.take(second.id, "")
    third = add("secret")
    assert [each.ticket_id for each in await forwardings.waiting()][-1] == third.id
    clock.advance(400)
    add("fourth")
    assert await forwardings.take(first.id, "") is None
    assert await forwardings.take_by_text("text", "") is None


def test_users_as_the_original_keeps_them(tmp_path: Path) -> None:
    """SHA-512 crypt, with its usual rounds and with others; comments are no users."""
    other = sha512_crypt(b"secret", b"salt", 1000)
    users = Users(f"# who may ask\n\n{LINE}ops:$6$rounds=1000$salt${other}\n")
    assert len(users) == 2
    assert users.knows("cyclades", PASSWORD) and users.knows("ops", "secret")
    assert not users.knows("cyclades", "secret")
    assert not users.knows("nobody", PASSWORD) and not users.knows("", "")
    assert not users.knows("cyclades", "\udcff")
    for text in ("cyclades:secret", LINE[:-2], LINE.replace("$6$", "$1$"), LINE + "x"):
        with pytest.raises(BadUsers) as caught:
            Users(text)
        assert "secret" not in str(caught.value) and HASH[:10] not in str(caught.value)
    with pytest.raises(BadUsers, match="rounds"):
        Users(f"ops:$6$rounds=9999999$salt${other}")
    (tmp_path / "odd").write_bytes(b"\xff")
    for name in ("odd", "missing"):
        with pytest.raises(BadUsers, match=name):
            Users.load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--listen-address", "0.0.0.0"], "--enable-ssl"),
        (["--listen-address", "here"], "not an IP address"),
        (["--enable-ssl"], "PEM of both"),
        (["--viewer-ssl", "--cert-file", "/dev/null", "--key-file", "/dev/null"], "PEM of both"),
        (["--auth-file", "/nonexistent"], "/nonexistent"),
        (["--auth-file", "/dev/null"], "nobody"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_options_that_cannot_be(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    """Each is named before anything starts."""
    users = tmp_path / "users"
    users.write_text(LINE)
    with pytest.raises(UsageError, match=complaint):
        Options().parseOptions(["--auth-file", str(users), *arguments])


def test_an_address_for_viewers_is_always_told(tmp_path: Path) -> None:
    """Where it listens, or its own name where it listens everywhere."""
    users = tmp_path / "users"
    users.write_text(LINE)
    options = Options()
    options.parseOptions(["--auth-file", str(users), "--proxy-listen-address", "0.0.0.0"])
    assert options["proxy-address"] and options["proxy-address"] != "0.0.0.0"


def test_twistd_knows_it(tmp_path: Path) -> None:
    """By the name that the original has."""
    port = str(free_port())
    done = subprocess.run(
        [sys.executable, "-m", "twisted", "vncauthproxy", "--proxy-port", port, "--help"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert "--proxy-listen-address" in done.stdout, done.stderr
