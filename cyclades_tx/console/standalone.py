"""``twistd vncauthproxy``: the proxy alone, on a host of its own.

Whoever controls it speaks the original's protocol; viewers connect to one port for all.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from OpenSSL.crypto import Error as TlsError
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.threads import deferToThreadPool
from twisted.python import usage

from cyclades_tx.console.control import ControlPort, Forwardings
from cyclades_tx.console.interfaces import Reason, Session
from cyclades_tx.console.limits import ConsoleLimits
from cyclades_tx.console.proxy import ViewerPort
from cyclades_tx.console.relay import Relay
from cyclades_tx.console.screen import over_tcp
from cyclades_tx.console.sessions import Consoles
from cyclades_tx.console.users import BadUsers, Users
from cyclades_tx.steady import steady


class Options(usage.Options):
    """What can be said to ``twistd vncauthproxy``."""

    optParameters = [  # noqa: RUF012 - how usage.Options wants it
        ["listen-address", None, "127.0.0.1", "Where requests for forwardings are taken."],
        ["listen-port", None, 24999, "The port for them.", int],
        ["cert-file", None, "", "PEM with the certificate, and those between it and its root."],
        ["key-file", None, "", "PEM with its private key."],
        ["auth-file", None, "/var/lib/vncauthproxy/users", "NAME:$6$SALT$HASH, one a line."],
        ["proxy-listen-address", None, "127.0.0.1", "Where viewers connect."],
        ["proxy-port", None, 25000, "The one port for them.", int],
        ["proxy-address", None, "", "What viewers are told to connect to."],
        ["server-timeout", None, 20.0, "Seconds in which a screen must have let us in.", float],
        ["connect-timeout", None, 30.0, "Seconds in which a viewer must have come.", float],
        ["idle-timeout", None, 3600.0, "Seconds of silence after which a session ends.", float],
        ["sessions", None, 500, "Most sessions at a time.", int],
    ]
    optFlags = [  # noqa: RUF012
        ["enable-ssl", None, "TLS for requests; it must be used beyond the loopback."],
        ["viewer-ssl", None, "TLS for viewers that speak it (VeNCrypt, X509Vnc)."],
        ["viewer-ssl-only", None, "Viewers without TLS are not let in."],
    ]

    def postOptions(self) -> None:
        """Look at everything now, so that an error is told before anything starts.

        :raise UsageError: names the option and what is wrong with it.
        """
        for name in ("listen-address", "proxy-listen-address"):
            try:
                parsed = ip_address(self[name])
            except ValueError:
                raise usage.UsageError(f"--{name}: not an IP address") from None
            if name == "listen-address" and not (parsed.is_loopback or self["enable-ssl"]):
                raise usage.UsageError("--listen-address: beyond the loopback, --enable-ssl")
            if name == "proxy-listen-address" and not self["proxy-address"]:
                everywhere = parsed.is_unspecified
                self["proxy-address"] = socket.getfqdn() if everywhere else self[name]
        self["tls"] = None
        if self["enable-ssl"] or self["viewer-ssl"] or self["viewer-ssl-only"]:
            self["tls"] = _certificate(self["cert-file"], self["key-file"])
        try:
            self["users"] = Users.load(self["auth-file"])
        except BadUsers as error:
            raise usage.UsageError(f"--auth-file: {error}") from None
        if not len(self["users"]):
            raise usage.UsageError("--auth-file: there is nobody in it")


def _certificate(certificate_file: str, key_file: str) -> Any:
    try:
        text = Path(key_file).read_bytes() + b"\n" + Path(certificate_file).read_bytes()
        return PrivateCertificate.loadPEM(text).options()
    except (OSError, TlsError, ValueError):
        raise usage.UsageError("--cert-file, --key-file: PEM of both is needed") from None


def makeService(options: Options) -> IService:
    """Build the service for twistd."""
    from twisted.internet import reactor

    steady(reactor)
    return Standalone(reactor, options)


class Standalone(Service):
    """The proxy alone."""

    def __init__(self, reactor: Any, options: Options) -> None:
        self._reactor = reactor
        self._options = options
        limits = ConsoleLimits(
            sessions=options["sessions"],
            # It knows no users of its own.
            sessions_per_user=options["sessions"],
            idle_seconds=options["idle-timeout"],
            open_seconds=options["server-timeout"],
        )
        self._forwardings = Forwardings(reactor, options["connect-timeout"])
        self._reach = over_tcp(reactor, options["server-timeout"])
        self.consoles = Consoles(reactor, self._forwardings, self._reach, limits)
        self.ports: list[IListeningPort] = []

    def startService(self) -> None:
        """Listen on both ports."""
        super().startService()
        options, reactor = self._options, self._reactor
        tls = options["tls"] if options["viewer-ssl"] or options["viewer-ssl-only"] else None
        viewers = ViewerPort(self.consoles, tls, clear=not options["viewer-ssl-only"])
        address = options["proxy-listen-address"]
        port: Any = reactor.listenTCP(options["proxy-port"], viewers, interface=address)
        control = ControlPort(
            reactor,
            self._forwardings,
            self._knows,
            self._probe,
            port.getHost().port,
            options["proxy-address"],
            self.consoles.limits,
        )
        where = {"interface": options["listen-address"]}
        if options["enable-ssl"]:
            listening = reactor.listenSSL(options["listen-port"], control, options["tls"], **where)
        else:
            listening = reactor.listenTCP(options["listen-port"], control, **where)
        self.ports = [port, listening]
        self.consoles.start()

    def stopService(self) -> Deferred[None]:
        """End every session."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for port in self.ports:
            stopping: Any = port.stopListening()
            if stopping is not None:
                await stopping
        await self.consoles.stop()

    async def _knows(self, name: str, password: str) -> bool:
        """Some thousand hashes are not for the reactor's own thread."""
        pool = self._reactor.getThreadPool()
        known: bool = await deferToThreadPool(
            self._reactor, pool, self._options["users"].knows, name, password
        )
        return known

    async def _probe(self, session: Session) -> None:
        """See whether a screen would let us in."""
        now = datetime.fromtimestamp(self._reactor.seconds(), UTC)
        relay = Relay(session, _Nobody(), now, self._probed)
        try:
            await relay.reach(
                self._reach, self.consoles, self._reactor, self.consoles.limits.open_seconds
            )
        finally:
            relay.end(Reason.VIEWER_LEFT)

    def _probed(self, relay: Relay) -> None:
        if relay.screen is not None:
            self.consoles.linger(relay.screen)


class _Nobody:
    """A viewer that does not come."""

    client = ""
    kind = "probe"
    transport: Any = None

    def send(self, data: bytes) -> None:
        """Nothing is sent to it."""

    def leave(self, reason: Reason) -> None:
        """It was never there."""

    def still_there(self, now: float) -> bool:
        """Nor is it now."""
        return False
