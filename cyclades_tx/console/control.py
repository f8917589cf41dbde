"""The control protocol of the original's proxy, for a proxy that stands alone on another host.

One JSON object in, one out, then the connection is closed. The original took whatever one read
gave; here an object may come in any number of pieces, with or without a newline behind it. Each
forwarding gets a password instead of a port: all viewers connect to the same one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cyclades_tx.console.interfaces import ITickets, Reason, Refused, Session, Waiting
from cyclades_tx.console.limits import ConsoleLimits, Strangers

#: The longest request, and how long it may take to come.
MOST_REQUEST_BYTES = 8192
REQUEST_SECONDS = 10.0
#: How long somebody who comes with an old password is told that it is old.
REMEMBERED_SECONDS = 300.0
_KEYS = (
    ("source_port", int),
    ("destination_address", str),
    ("destination_port", int),
    ("password", str),
    ("auth_user", str),
    ("auth_password", str),
    ("type", str),
)


class BadRequest(Exception):
    """What was asked for cannot be done; the message is told to who asked."""


@dataclass
class _Forwarding:
    session: Session
    password: str = field(repr=False)
    until_seconds: float
    taken: bool = False


@implementer(ITickets)
class Forwardings:
    """The forwardings of a proxy that stands alone; they are forgotten when it ends.

    :param wait_seconds: how long a forwarding waits for its viewer.
    :param session_seconds: the longest session.
    :param most: how many may wait at a time.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wait_seconds: float = 30.0,
        session_seconds: float = 86_400.0,
        most: int = 1000,
    ) -> None:
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._session_seconds = session_seconds
        self._most = most
        self._numbers = itertools.count(1)
        self._forwardings: dict[int, _Forwarding] = {}

    def session(self, host: str, port: int) -> Session:
        """What would be forwarded; nothing waits for a viewer yet."""
        until = datetime.fromtimestamp(self._clock.seconds(), UTC) + timedelta(
            seconds=self._session_seconds
        )
        return Session(next(self._numbers), "", "", 0, "", host, port, until)

    def add(self, session: Session, password: str) -> None:
        """Let a viewer with this password in, once.

        :raise BadRequest: when there are too many already, or one with this password.
        """
        now = self._clock.seconds()
        for number, each in list(self._forwardings.items()):
            if now > each.until_seconds + REMEMBERED_SECONDS:
                del self._forwardings[number]
        waiting = [each for each in self._forwardings.values() if self._waits(each)]
        if len(waiting) >= self._most:
            raise BadRequest("too many forwardings wait for their viewers")
        if any(each.password[:8] == password[:8] for each in waiting):
            raise BadRequest("another forwarding waits with this password")
        self._forwardings[session.id] = _Forwarding(session, password, now + self._wait_seconds)

    async def take_by_text(self, text: str, client: str) -> Session | None:
        """There are no tickets of browsers."""
        return None

    async def waiting(self) -> Sequence[Waiting]:
        """Those that wait, and after them those of lately."""
        found = sorted(self._forwardings.items(), key=lambda item: self._waits(item[1]))
        return [Waiting(number, each.password) for number, each in found]

    async def take(self, ticket_id: int, client: str) -> Session | None:
        """Take one."""
        found = self._forwardings.get(ticket_id)
        if found is None:
            return None
        if found.taken:
            raise Refused(Reason.USED)
        if not self._waits(found):
            raise Refused(Reason.TICKET_EXPIRED)
        found.taken = True
        return found.session

    async def ended(self, session_id: int, reason: Reason, bytes_in: int, bytes_out: int) -> None:
        """The log has it."""

    def _waits(self, forwarding: _Forwarding) -> bool:
        return not forwarding.taken and self._clock.seconds() <= forwarding.until_seconds


class ControlPort(Factory):
    """Takes requests for forwardings.

    :param knows: whether a user has a password; the work is done elsewhere than in the reactor.
    :param probe: connects to a screen and leaves it again; raises :exc:`Refused`.
    :param viewer_port: where viewers connect.
    :param proxy_address: what viewers are told to connect to.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        forwardings: Forwardings,
        knows: Callable[[str, str], Awaitable[bool]],
        probe: Callable[[Session], Awaitable[None]],
        viewer_port: int,
        proxy_address: str,
        limits: ConsoleLimits | None = None,
    ) -> None:
        self.clock = clock
        self.forwardings = forwardings
        self.knows = knows
        self.probe = probe
        self.viewer_port = viewer_port
        self.proxy_address = proxy_address
        self.strangers = Strangers(clock, limits or ConsoleLimits())

    def buildProtocol(self, address: Any) -> Control:
        """A connection of somebody who asks."""
        return Control(self, getattr(address, "host", ""))

    async def forward(self, request: dict[str, Any], client: str) -> dict[str, Any]:
        """Make a forwarding; return the reply.

        :raise BadRequest: when it cannot be made.
        """
        for key, kind in _KEYS:
            # True is an int in Python only.
            if not isinstance(request.get(key), kind) or isinstance(request.get(key), bool):
                raise BadRequest(f"{key} must be given, as {kind.__name__}")
        if not self.strangers.may_try(client):
            raise BadRequest("too many failed authentications")
        if not await self.knows(request["auth_user"], request["auth_password"]):
            self.strangers.failed(client)
            raise BadRequest("authentication failed")
        if request["type"] != "vnc":
            raise BadRequest("this proxy forwards the type vnc only")
        if request["source_port"] not in (0, self.viewer_port):
            raise BadRequest(f"viewers connect to the port {self.viewer_port} only")
        if not 1 <= request["destination_port"] <= 65_535 or not request["password"]:
            raise BadRequest("destination_port or password cannot be used")
        session = self.forwardings.session(
            request["destination_address"], request["destination_port"]
        )
        try:
            await self.probe(session)
        except Refused as refused:
            raise BadRequest(refused.sentence) from None
        self.forwardings.add(session, request["password"])
        return {
            "status": "OK",
            "source_port": self.viewer_port,
            "proxy_address": self.proxy_address,
        }


class Control(Protocol):
    """One request."""

    log = Logger()
    transport: Any

    def __init__(self, port: ControlPort, client: str) -> None:
        self._port = port
        self._client = client
        self._received = bytearray()
        self._deadline: IDelayedCall | None = None
        self._asked = False
        self._lost = False

    def connectionMade(self) -> None:
        """Wait for the request."""
        self._deadline = self._port.clock.callLater(REQUEST_SECONDS, self._late)
        if self._port.strangers.enter(self._client) is not None:
            self._answer({"reason": "too many connections or failed authentications"})

    def dataReceived(self, data: bytes) -> None:
        """Take a piece of the request; answer it when it is whole."""
        if self._asked:
            return
        self._received += data
        if len(self._received) > MOST_REQUEST_BYTES:
            self._answer({"reason": "the request is too long"})
            return
        try:
            request = json.loads(bytes(self._received))
        except (ValueError, RecursionError):
            return  # not whole yet, or nothing at all: more may come, until it is too late
        if not isinstance(request, dict):
            self._answer({"reason": "the request is not an object"})
            return
        self._asked = True
        self._end_deadline()
        Deferred.fromCoroutine(self._serve(request)).addErrback(self._broken)

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        """Whoever asked is gone."""
        self._lost = True
        self._end_deadline()
        self._port.strangers.leave(self._client)

    async def _serve(self, request: dict[str, Any]) -> None:
        try:
            reply = await self._port.forward(request, self._client)
        except BadRequest as error:
            self.log.info("console.refused", client=self._client, reason=str(error))
            reply = {"reason": str(error)}
        self._answer(reply)

    def _answer(self, reply: dict[str, Any]) -> None:
        self._asked = True
        self._end_deadline()
        whole = {"status": "FAILED", "source_port": 0, "proxy_address": None, **reply}
        if not self._lost:
            self.transport.write(json.dumps(whole).encode())
            self.transport.loseConnection()

    def _broken(self, failure: Failure) -> None:
        self.log.failure("console.failed", failure, client=self._client)
        self._answer({})

    def _late(self) -> None:
        self._deadline = None
        self._answer({"reason": "no JSON object has come in time"})

    def _end_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
