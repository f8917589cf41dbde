"""The process in the middle: a console proxy, or Twisted's own port forwarder beside it.

``python -m bench.consoles_side KIND SCREEN_PORT [PEM]`` prints the port on which it listens, and
ends when its standard input does.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.stdio import StandardIO
from twisted.protocols.portforward import ProxyFactory
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from cyclades_tx.api.site import ApiSite
from cyclades_tx.console.interfaces import Reason, Session, Waiting
from cyclades_tx.console.limits import ConsoleLimits
from cyclades_tx.console.proxy import ViewerPort
from cyclades_tx.console.screen import over_tcp
from cyclades_tx.console.sessions import Consoles
from cyclades_tx.console.websocket import ConsoleSocket
from cyclades_tx.limits import raise_descriptor_limit

reactor: Any = _reactor

#: What opens every console of a bench.
PASSWORD = "benchpwd"
_MANY = 100_000


class EndlessTickets:
    """Always one more ticket for the same screen."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers = itertools.count(1)

    async def take_by_text(self, text: str, client: str) -> Session | None:
        """Any text opens it."""
        return self._session()

    async def waiting(self) -> Sequence[Waiting]:
        """One, with the password that everybody knows."""
        return [Waiting(1, PASSWORD)]

    async def take(self, ticket_id: int, client: str) -> Session | None:
        """One more session."""
        return self._session()

    async def ended(self, session_id: int, reason: Reason, bytes_in: int, bytes_out: int) -> None:
        """Nobody asks."""

    def _session(self) -> Session:
        until = datetime.now(UTC) + timedelta(days=1)
        return Session(next(self._numbers), "u", "p", 1, "s", "127.0.0.1", self._port, until)


class _UntilEnd(Protocol):
    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        reactor.stop()


def main(kind: str, screen_port: int, pem: str = "") -> None:
    """Serve until nobody listens any more."""
    raise_descriptor_limit()
    tls = PrivateCertificate.loadPEM(Path(pem).read_bytes()).options() if pem else None
    limits = ConsoleLimits(_MANY, _MANY, _MANY, _MANY)
    consoles = Consoles(reactor, EndlessTickets(screen_port), over_tcp(reactor, 10.0), limits)
    consoles.start()
    if kind == "forwarder":
        factory: Any = ProxyFactory("127.0.0.1", screen_port)
        factory.noisy = False
    elif kind == "viewers":
        factory = ViewerPort(consoles, tls)
    else:
        root = Resource()
        root.putChild(b"ws", ConsoleSocket(consoles))
        factory = ApiSite(root, 65_536)
    if kind == "forwarder" and tls is not None:
        port = reactor.listenSSL(0, factory, tls, backlog=1024, interface="127.0.0.1")
    else:
        port = reactor.listenTCP(0, factory, backlog=1024, interface="127.0.0.1")
    StandardIO(_UntilEnd())
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
