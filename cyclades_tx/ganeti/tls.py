"""How a RAPI is reached: TLS that is pinned or verified, plain HTTP to the loopback only.

The endpoints here hand a connection over only after its TLS handshake. So a request is
written to a connection that works, "nothing was sent" can be told from "perhaps it was",
and the guard of a change runs when its bytes really leave.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import alsoProvides, implementer


@dataclass(frozen=True)
class RapiAddress:
    """Where a cluster's RAPI listens and how its identity is known.

    :param host: a name or an address.
    :param scheme: ``https``; ``http`` only for the loopback, with ``allow_plain_http``.
    :param certificate_pem: the one certificate that the server must show (self-signed as a
        rule); without it the host name is verified against the system's authorities.
    :raise ValueError: for an address that would be spoken to in clear over a network, or a
        certificate that cannot be read.
    """

    host: str
    port: int = 5080
    scheme: str = "https"
    certificate_pem: str | None = None
    allow_plain_http: bool = False

    def __post_init__(self) -> None:
        if not self.host or not self.host.isascii() or not 0 < self.port < 65536:
            raise ValueError("A cluster needs a host and a port between 1 and 65535.")
        if self.scheme == "http":
            if not (self.allow_plain_http and _is_loopback(self.host)):
                raise ValueError("Plain http is for a simulated cluster on the loopback only.")
        elif self.scheme != "https":
            raise ValueError("A RAPI is reached by https.")
        if self.certificate_pem is not None:
            _der(self.certificate_pem)

    @property
    def url(self) -> str:
        """The base URL without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _der(pem: str) -> bytes:
    try:
        certificate = crypto.load_certificate(crypto.FILETYPE_PEM, pem.encode("ascii"))
    except (crypto.Error, ValueError):
        raise ValueError("The pinned certificate is not a PEM certificate.") from None
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


@implementer(IOpenSSLClientConnectionCreator)
class PinnedCertificate:
    """TLS to a server that shows exactly this certificate; names and dates do not matter."""

    def __init__(self, pem: str) -> None:
        self._der = _der(pem)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_verify(SSL.VERIFY_PEER, self._verify)
        self._context = context

    def _verify(
        self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
    ) -> bool:
        if depth:  # whoever signed it is of no interest
            return True
        shown = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        return hmac.compare_digest(shown, self._der)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """Make the connection for one handshake."""
        return SSL.Connection(self._context, None)


@implementer(IProtocolFactory)
class _Announcing:
    """A protocol factory that tells when the handshake of its protocol is over."""

    def __init__(self, factory: Any, ready: Deferred[Any]) -> None:
        self._factory = factory
        self._ready = ready

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        protocol: Any = self._factory.buildProtocol(addr)
        lost = protocol.connectionLost

        def handshake_completed() -> None:
            if not self._ready.called:
                self._ready.callback(protocol)

        def connection_lost(reason: Failure) -> None:
            if not self._ready.called:
                self._ready.errback(reason)
            lost(reason)

        protocol.handshakeCompleted = handshake_completed
        protocol.connectionLost = connection_lost
        alsoProvides(protocol, IHandshakeListener)
        return protocol  # type: ignore[no-any-return]


@implementer(IStreamClientEndpoint)
class _ShakenHands:
    """An endpoint whose connection is ready only when TLS is."""

    def __init__(self, endpoint: IStreamClientEndpoint, seconds: float, reactor: Any) -> None:
        self._endpoint = endpoint
        self._seconds = seconds
        self._reactor = reactor

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        protocols: list[Any] = []

        def give_up(_: Deferred[Any]) -> None:
            for protocol in protocols:
                protocol.transport.abortConnection()

        ready: Deferred[Any] = Deferred(give_up)

        def wait(protocol: Any) -> Deferred[Any]:
            protocols.append(protocol)
            return ready

        result = self._endpoint.connect(_Announcing(protocolFactory, ready))
        result.addCallback(wait)
        result.addTimeout(self._seconds, self._reactor)
        return result


@implementer(IAgentEndpointFactory)
class RapiEndpoints:
    """Endpoints for the agent of one cluster; the address of the URL is that of the cluster."""

    def __init__(self, reactor: Any, address: RapiAddress, connect_timeout_seconds: float) -> None:
        self._reactor = reactor
        self._address = address
        self._seconds = connect_timeout_seconds
        self._tls: IOpenSSLClientConnectionCreator | None = None
        if address.scheme == "https":
            self._tls = (
                PinnedCertificate(address.certificate_pem)
                if address.certificate_pem is not None
                else optionsForClientTLS(address.host)
            )

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        """Return the one endpoint, whatever the URI."""
        plain = HostnameEndpoint(
            self._reactor, self._address.host, self._address.port, timeout=self._seconds
        )
        if self._tls is None:
            return plain
        return _ShakenHands(wrapClientTLS(self._tls, plain), self._seconds, self._reactor)
