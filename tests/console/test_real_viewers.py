"""The port for viewers before real viewers: TigerVNC's over TLS, and one of RFB 3.3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import reactor
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from cyclades_tx.console.interfaces import SENTENCES, Reason
from cyclades_tx.doors import viewer_tls
from cyclades_tx.ganeti.simulator.picture import COLORS, FIRST_BAR, HEIGHT, LAST_BAR, WIDTH
from cyclades_tx.ganeti.simulator.screens import _Machine
from cyclades_tx.sections import ConsoleSection
from tests.console.proxied import SECRET, Proxy
from tests.real.viewers import Display, NotLetIn, snapshot, tiger

pytestmark = pytest.mark.real

PATIENCE_SECONDS = 90.0


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._folder = folder
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self._signed(self._key, self._name, None).public_bytes(Encoding.PEM))

    def tls(self, host: str) -> CertificateOptions | None:
        """As the service speaks it with a certificate for a host."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        certificate, private = self._folder / "server.pem", self._folder / "server.key"
        certificate.write_bytes(self._signed(key, name, host).public_bytes(Encoding.PEM))
        private.touch(0o600)
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return viewer_tls(
            ConsoleSection(
                viewer_tls_certificate_file=str(certificate), viewer_tls_key_file=str(private)
            )
        )

    def _signed(self, key: Any, name: x509.Name, host: str | None) -> x509.Certificate:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), True)
        )
        if host is not None:
            names = x509.SubjectAlternativeName([x509.DNSName(host)])
            made = made.add_extension(names, False)
        return made.sign(self._key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The one that is trusted."""
    return Authority(tmp_path, "trusted")


@pytest.fixture(scope="module")
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Display]:
    """An X server."""
    made = Display(tmp_path_factory.mktemp("display"))
    yield made
    made.close()


@pytest.fixture
def machine() -> Iterator[_Machine]:
    """A screen with bars in colors."""
    made = _Machine(reactor, "snf-7")
    yield made
    made.stop()


async def until(holds: Callable[[], Any], what: Callable[[], str]) -> None:
    """Let the reactor turn until something holds; real viewers take their time."""
    end = reactor.seconds() + PATIENCE_SECONDS  # type: ignore[attr-defined]
    while not holds():
        assert reactor.seconds() < end, what()  # type: ignore[attr-defined]
        await deferLater(reactor, 0.05)  # type: ignore[arg-type]


def is_seen(display: Display) -> bool:
    """Whether the bars are on the display."""
    taken = display.picture()
    return all(taken.count(COLORS[color]) > 2000 for color in range(FIRST_BAR, LAST_BAR + 1))


def is_empty(display: Display) -> bool:
    """Whether there is no window."""
    taken = display.picture()
    return taken.count((0, 0, 0), 0) == taken.width * taken.height


async def test_tigervnc_sees_it_over_tls_once(
    proxy: Proxy, authority: Authority, display: Display, machine: _Machine, tmp_path: Path
) -> None:
    """It knows the certificate's authority, and takes nothing but TLS; so does the port."""
    number = proxy.ticket(proxy.listen(machine))
    port = proxy.open_port(tls=authority.tls("localhost"), clear=False)
    log = tmp_path / "viewer.log"
    trusting = ("-SecurityTypes=X509Vnc", f"-X509CA={authority.path}")
    assert not is_seen(display)
    with tiger(display, tmp_path, port, SECRET, *trusting):
        await until(lambda: is_seen(display), log.read_text)
        (seen,) = proxy.consoles.open_sessions()
        assert (seen.session.id, seen.kind) == (number, "vnc")
    assert await proxy.ended(number) is Reason.VIEWER_LEFT
    # Neither a second time, nor with a password that was never given: each with its own words.
    for password, reason in ((SECRET, Reason.USED), ("another1", Reason.WRONG_PASSWORD)):
        with tiger(display, tmp_path, port, password, *trusting) as viewer:
            await until(lambda viewer=viewer: viewer.poll() is not None, log.read_text)
        assert SENTENCES[reason] in " ".join(log.read_text().split())
    # Nor without TLS.
    proxy.ticket(proxy.listen(machine), "another2")
    with tiger(display, tmp_path, port, "another2", "-SecurityTypes=VncAuth") as viewer:
        await until(lambda: viewer.poll() is not None, log.read_text)
    assert not proxy.consoles.open_sessions() and not machine.viewers
    assert len(proxy.tickets.ends) == 1


@pytest.mark.parametrize("fault", ["authority", "host"])
async def test_tigervnc_does_not_tell_its_password_to_another(
    proxy: Proxy,
    authority: Authority,
    display: Display,
    machine: _Machine,
    tmp_path: Path,
    fault: str,
) -> None:
    """To one whose certificate nobody knows who is trusted, or who has another name."""
    proxy.ticket(proxy.listen(machine))
    other = Authority(tmp_path, "other")
    by, host = (other, "localhost") if fault == "authority" else (authority, "console.example.org")
    port = proxy.open_port(tls=by.tls(host), clear=False)
    log = tmp_path / "viewer.log"
    trusting = ("-SecurityTypes=X509Vnc", f"-X509CA={authority.path}")
    said = "server cert signer not found" if fault == "authority" else "hostname mismatch"
    with tiger(display, tmp_path, port, SECRET, *trusting):
        await until(lambda: said in log.read_text(), log.read_text)
        # It asks what to do, and nobody answers.
        await until(lambda: not is_empty(display), log.read_text)
        assert not proxy.consoles.open_sessions() and not machine.viewers
    await until(lambda: not proxy.consoles._connections, log.read_text)
    assert not proxy.tickets.ends


async def test_viewer_of_3_3_sees_it_once(proxy: Proxy, machine: _Machine, tmp_path: Path) -> None:
    """One that was written before there was a choice of security."""
    number = proxy.ticket(proxy.listen(machine))
    port = proxy.open_port()
    with pytest.raises(NotLetIn):
        await deferToThread(snapshot, port, "wrong", tmp_path)
    taken = await deferToThread(snapshot, port, SECRET, tmp_path)
    assert taken.startswith(b"\xff\xd8")
    size = HEIGHT.to_bytes(2, "big") + WIDTH.to_bytes(2, "big")
    assert b"\x08" + size + b"\x03" in taken
    assert await proxy.ended(number) is Reason.VIEWER_LEFT
    with pytest.raises(NotLetIn):
        await deferToThread(snapshot, port, SECRET, tmp_path)
