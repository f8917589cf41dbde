"""How a broker is reached: TCP, or TLS that is verified or pinned; never TLS to just anybody."""

from __future__ import annotations

import hmac
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint

from cyclades_tx.mq.urls import BrokerAddress

_KEEP_ALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 10))
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True)
class Trust:
    """Whom we believe.

    :param authorities_pem: certificates of the authorities; empty: those of this system.
    :param certificate_pem: the one certificate that a broker must show, whoever signed it and
        whatever name it bears; empty: the name is verified by the authorities.
    :raise ValueError: when one of them holds no certificate.
    """

    authorities_pem: str = ""
    certificate_pem: str = ""

    def __post_init__(self) -> None:
        for pem in (self.authorities_pem, self.certificate_pem):
            if pem:
                _certificates(pem)

    @cached_property
    def _options(self) -> dict[str, Any]:
        """For verification by name."""
        if not self.authorities_pem:
            return {}
        from twisted.internet.ssl import Certificate, trustRootFromCertificates

        found = [Certificate.loadPEM(pem.encode()) for pem in _certificates(self.authorities_pem)]
        return {"trustRoot": trustRootFromCertificates(found)}

    @cached_property
    def _pinned(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(_certificates(self.certificate_pem)[0])

    def endpoint(
        self, reactor: Any, address: BrokerAddress, timeout_seconds: float
    ) -> IStreamClientEndpoint:
        """Where to connect to."""
        plain = HostnameEndpoint(reactor, address.host, address.port, timeout=timeout_seconds)
        if not address.tls:
            return plain
        from twisted.internet.ssl import CertificateOptions, TLSVersion, optionsForClientTLS

        if self.certificate_pem:
            # Who it is, is seen by ``check`` before anything secret is sent.
            anybody: Any = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2)
            return wrapClientTLS(anybody, plain)
        return wrapClientTLS(optionsForClientTLS(address.host, **self._options), plain)

    def check(self, address: BrokerAddress) -> Callable[[Any], None] | None:
        """What looks at the peer of a transport after the handshake, if anything must."""
        return self._is_pinned if address.tls and self.certificate_pem else None

    def _is_pinned(self, transport: Any) -> None:
        from twisted.internet.ssl import Certificate

        shown = Certificate.peerFromTransport(transport).dump()
        if not hmac.compare_digest(shown, self._pinned):
            raise ValueError("the broker does not show the pinned certificate")


def _certificates(pem: str) -> list[str]:
    """Each certificate of a PEM text."""
    found = []
    for piece in pem.split(_BEGIN)[1:]:
        body, end, _ = piece.partition(_END)
        if end:
            found.append(f"{_BEGIN}{body}{_END}\n")
    try:
        for each in found:
            ssl.PEM_cert_to_DER_cert(each)
    except ValueError:
        found = []
    if not found:
        raise ValueError("there is no PEM certificate in it")
    return found


def keep_alive(transport: Any) -> None:
    """Let the kernel notice a peer that is gone, and send small frames at once."""
    transport.setTcpKeepAlive(True)
    transport.setTcpNoDelay(True)
    handle = transport.getHandle()
    if isinstance(handle, socket.socket):
        for name, value in _KEEP_ALIVE:
            if hasattr(socket, name):
                handle.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
