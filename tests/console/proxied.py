"""A proxy with its tickets in memory, on the loopback, under a clock of the test's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import Clock

from cyclades_tx.console.interfaces import Reason
from cyclades_tx.console.limits import ConsoleLimits
from cyclades_tx.console.memory import MemoryTickets
from cyclades_tx.console.proxy import ViewerPort
from cyclades_tx.console.screen import over_tcp
from cyclades_tx.console.sessions import Consoles
from tests.console.peers import MemoryScreen, Wire, dial, until

SECRET = "aB3dE6gH"
NOW_SECONDS = 1_800_000_000.0


class Proxy:
    """A proxy, and what a test does with it.

    :param limits: those of :class:`ConsoleLimits` that are not as usual.
    """

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.clock.advance(NOW_SECONDS)
        self.tickets = MemoryTickets(self.clock)
        self.consoles = Consoles(
            self.clock, self.tickets, over_tcp(reactor, 20.0), ConsoleLimits(**limits)
        )
        self.consoles.start()
        self._dialed: list[Wire] = []
        self._ports: list[Any] = []
        self._screens: list[MemoryScreen] = []

    def listen(self, factory: Any) -> int:
        """Serve something on a port of the loopback; return the port."""
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self._ports.append(port)
        return port.getHost().port

    def show(self, screen: MemoryScreen | None = None) -> int:
        """Put a screen on a port of the loopback; return the port."""
        screen = screen or MemoryScreen()
        self._screens.append(screen)
        return self.listen(screen)

    def open_port(self, **options: Any) -> int:
        """Open the port for viewers; return its number."""
        return self.listen(ViewerPort(self.consoles, **options))

    def ticket(self, port: int, secret: str = SECRET, **fields: Any) -> int:
        """Make a ticket for a screen on a port."""
        return self.tickets.add("127.0.0.1", port, secret, **fields)

    async def dial(self, port: int) -> Wire:
        """Connect to a port; the connection is closed after the test."""
        wire = await dial(port)
        self._dialed.append(wire)
        return wire

    async def ended(self, session_id: int) -> Reason:
        """Why a session has ended; waits until it has."""
        ends = self.tickets.ends
        await until(lambda: any(each[0] == session_id for each in ends), "the session has ended")
        (found,) = [each for each in ends if each[0] == session_id]
        return found[1]

    async def close(self) -> None:
        """End everything."""
        stopping = Deferred.fromCoroutine(self.consoles.stop())
        for wire in self._dialed:
            await wire.close()
        for screen in self._screens:
            for wire in screen.connections:
                await wire.close()
        await until(lambda: stopping.called, "the proxy has stopped")
        assert not self.consoles.open_sessions()
        for port in self._ports:
            await port.stopListening()


def pem() -> bytes:
    """A server's key, and a certificate of its own hand."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "console.example.org")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + made.public_bytes(Encoding.PEM)


def certificate() -> CertificateOptions:
    """The same, for connections."""
    options: CertificateOptions = PrivateCertificate.loadPEM(pem()).options()
    return options
