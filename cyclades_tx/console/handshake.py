"""The beginning of RFB on both sides of the proxy: bytes in, bytes out, nothing else.

Each side is a conversation that takes what the other end has sent, in pieces of any size, and
returns what to send back. It never raises for what a stranger sends: it ends as ``FAILED``, with
a reason. ``DONE`` is reached only when the other end is authenticated; what it had sent by then
beyond the handshake is in ``rest``, and is the first that may go across.

The protocol: RFC 6143 (versions 3.3, 3.7, 3.8), and VeNCrypt 0.2 as QEMU and TigerVNC speak it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from enum import Enum, IntEnum

from cyclades_tx.console import passwords
from cyclades_tx.console.interfaces import SENTENCES, Reason

#: What an end may have sent that is not read yet; more is no handshake.
MOST_WAITING_BYTES = 4096
#: A screen's reason for refusing that is longer is not read.
MOST_REASON_BYTES = 2048

_VERSION_BYTES = 12
_GREETING = b"RFB 003.008\n"


class Security(IntEnum):
    """Security types (RFC 6143, section 7.1.2, and its registry)."""

    INVALID = 0
    NONE = 1
    VNC = 2
    VENCRYPT = 19


#: VeNCrypt's type for VNC authentication inside TLS with a certificate.
X509_VNC = 261


class State(Enum):
    """How far a conversation is."""

    #: It waits for the other end.
    GOING = "going"
    #: The viewer has answered: find out whether rightly, then ``accept`` or ``refuse``.
    ASKING = "asking"
    #: What was returned must go out in clear; from then on everything is TLS: ``tls_started``.
    START_TLS = "start_tls"
    #: The other end is authenticated.
    DONE = "done"
    #: It is over.
    FAILED = "failed"


class _Failed(Exception):
    """The other end does not keep to the protocol."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


#: Yields how many bytes are wanted next; 0: somebody else must do something first.
_Script = Generator[int, bytes, None]


class Conversation(ABC):
    """One end's handshake.

    :ivar state: how far it is.
    :ivar version: the minor version that is spoken, 3, 7 or 8; 0 as long as it is not known.
    :ivar reason: why it has failed.
    """

    def __init__(self) -> None:
        self.state = State.GOING
        self.version = 0
        self.reason: Reason | None = None
        self._in = bytearray()
        self._out = bytearray()
        self._script = self._talk()
        self._wanted = next(self._script)

    def has_failed(self) -> bool:
        """Whether it is over, without success."""
        return self.state is State.FAILED

    def begin(self) -> bytes:
        """What is sent before anything has come."""
        return self._taken()

    def receive(self, data: bytes) -> bytes:
        """Take what has come; return what to send.

        :param data: any piece of any size.
        """
        if self.state is State.FAILED:
            return b""
        self._in += data
        if self.state is State.START_TLS and data:
            # Whatever was sent in clear would be believed as if it had come through TLS.
            self._fail(self._fault)
        elif self.state is State.GOING:
            self._go_on()
        # Nobody has a reason to send so much before the other has answered.
        if self.state not in (State.DONE, State.FAILED) and len(self._in) > MOST_WAITING_BYTES:
            self._fail(self._fault)
        return self._taken()

    @property
    def rest(self) -> bytes:
        """What has come beyond the handshake; empty before it is ``DONE``; given once."""
        if self.state is not State.DONE:
            return b""
        rest, self._in = bytes(self._in), bytearray()
        return rest

    #: What is said of an end that does not keep to the protocol.
    _fault = Reason.FAULT

    @abstractmethod
    def _talk(self) -> _Script:
        """What is said in turn; ends when the other end is authenticated."""

    def _go_on(self) -> None:
        while self.state is State.GOING and len(self._in) >= self._wanted:
            piece = bytes(self._in[: self._wanted])
            del self._in[: self._wanted]
            try:
                self._wanted = self._script.send(piece)
            except StopIteration:
                self.state = State.DONE
            except _Failed as failed:
                self._fail(failed.reason)

    def _fail(self, reason: Reason) -> None:
        self.state = State.FAILED
        self.reason = reason
        self._in.clear()

    def _send(self, data: bytes) -> None:
        self._out += data

    def _taken(self) -> bytes:
        out, self._out = bytes(self._out), bytearray()
        return out


def _minor(greeting: bytes) -> int | None:
    """The version that an end means, as we speak it: 3, 7 or 8; None: it does not speak RFB."""
    if not (greeting.startswith(b"RFB ") and greeting[7:8] == b"." and greeting[11:] == b"\n"):
        return None
    major, minor = greeting[4:7], greeting[8:11]
    if not (major.isdigit() and minor.isdigit()) or int(major) < 3:
        return None
    if int(major) > 3 or int(minor) >= 8:
        return 8
    # Versions that were never published are to be taken as 3.3.
    return 7 if int(minor) == 7 else 3


def _word(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _reason_text(text: str) -> bytes:
    encoded = text.encode()
    return _word(len(encoded)) + encoded


class ViewerSide(Conversation):
    """The proxy as a server, towards a viewer.

    :param offers: the security types that the viewer may choose from, the best first. ``NONE``
        only where the viewer has shown its right in another way before.
    :param challenge: 16 random bytes; fresh ones by default.
    :param turned_away: refuse whoever comes, with this sentence.
    """

    _fault = Reason.VIEWER_SPEAKS_NOT

    def __init__(
        self,
        offers: tuple[Security, ...] = (Security.VNC,),
        challenge: bytes | None = None,
        turned_away: Reason | None = None,
    ) -> None:
        self._offers = offers
        self._turned_away = turned_away
        self.challenge = challenge if challenge is not None else passwords.new_challenge()
        #: What the viewer has answered, from ``ASKING`` on.
        self.answer = b""
        #: Whether the viewer speaks TLS.
        self.encrypted = False
        super().__init__()

    def accept(self) -> bytes:
        """The answer was right, and the screen is there: let the viewer in."""
        if self.state is not State.ASKING:
            return b""
        self._send(_word(0))
        self.state = State.DONE
        return self._taken()

    def refuse(self, reason: Reason) -> bytes:
        """The answer was wrong, or there is no screen: say so, as far as this version can."""
        if self.state is State.ASKING:
            self._send(_word(1))
            if self.version == 8:
                self._send(_reason_text(SENTENCES[reason]))
        if self.state is not State.FAILED:
            self._fail(reason)
        return self._taken()

    def tls_started(self) -> bytes:
        """From now on what is sent and received is inside of TLS."""
        if self.state is not State.START_TLS:
            return b""
        self.encrypted = True
        self.state = State.GOING
        self._wanted = self._script.send(b"")
        return self._taken()

    def _talk(self) -> _Script:
        self._send(_GREETING)
        version = _minor((yield _VERSION_BYTES))
        if version is None:
            raise _Failed(Reason.VIEWER_SPEAKS_NOT)
        self.version = version
        if self._turned_away is not None:
            self._send(_word(0) if version == 3 else b"\0")
            self._send(_reason_text(SENTENCES[self._turned_away]))
            raise _Failed(self._turned_away)
        chosen = yield from self._choose()
        if chosen == Security.VENCRYPT:
            yield from self._vencrypt()
        if chosen == Security.NONE:
            # Only 3.8 has a result then.
            if version == 8:
                self._send(_word(0))
            return
        self._send(self.challenge)
        self.answer = yield passwords.CHALLENGE_BYTES
        self.state = State.ASKING
        yield 0

    def _choose(self) -> Generator[int, bytes, int]:
        if self.version == 3:
            # The server decides, and knows nothing beyond these two.
            for known in (Security.NONE, Security.VNC):
                if known in self._offers:
                    self._send(_word(known))
                    return known
            self._send(_word(0) + _reason_text("This console wants a viewer that speaks TLS."))
            raise _Failed(Reason.VIEWER_SPEAKS_NOT)
        self._send(bytes([len(self._offers), *self._offers]))
        chosen = (yield 1)[0]
        if chosen not in self._offers:
            self._send(_word(1))
            if self.version == 8:
                self._send(_reason_text(SENTENCES[Reason.VIEWER_SPEAKS_NOT]))
            raise _Failed(Reason.VIEWER_SPEAKS_NOT)
        return chosen

    def _vencrypt(self) -> _Script:
        """VeNCrypt 0.2 with one type."""
        self._send(b"\0\2")
        if (yield 2) != b"\0\2":
            self._send(b"\xff")
            raise _Failed(Reason.VIEWER_SPEAKS_NOT)
        self._send(b"\0\1" + _word(X509_VNC))
        if (yield 4) != _word(X509_VNC):
            self._send(b"\0")
            raise _Failed(Reason.VIEWER_SPEAKS_NOT)
        if self._in:
            raise _Failed(Reason.VIEWER_SPEAKS_NOT)
        self._send(b"\1")
        self.state = State.START_TLS
        yield 0


class ScreenSide(Conversation):
    """The proxy as a viewer, towards the screen at the hypervisor.

    :param password: for a screen that wants VNC authentication.
    :ivar said: what the screen gave as its reason for refusing; its words, for the log only.
    """

    _fault = Reason.FAR_SPEAKS_NOT

    def __init__(self, password: str | None = None) -> None:
        self._password = password
        self.said = ""
        super().__init__()

    def _talk(self) -> _Script:
        version = _minor((yield _VERSION_BYTES))
        if version is None:
            raise _Failed(Reason.FAR_SPEAKS_NOT)
        self.version = version
        self._send(b"RFB 003.00%d\n" % version)
        if version == 3:
            chosen = int.from_bytes((yield 4), "big")
            if chosen == Security.INVALID:
                yield from self._refusal()
            self._check_offers(bytes([chosen]) if chosen < 256 else b"")
        else:
            count = (yield 1)[0]
            if not count:
                yield from self._refusal()
            chosen = self._check_offers((yield count))
            self._send(bytes([chosen]))
        if chosen == Security.VNC:
            challenge = yield passwords.CHALLENGE_BYTES
            self._send(passwords.response(self._password or "", challenge))
        elif version < 8:
            return
        if (yield 4) != _word(0):
            if version == 8:
                yield from self._refusal()
            raise _Failed(Reason.FAR_REFUSED)

    def _check_offers(self, offers: bytes) -> int:
        """The offer to take: a password is used where there is one for it."""
        if self._password is not None and Security.VNC in offers:
            return Security.VNC
        if Security.NONE in offers:
            return Security.NONE
        raise _Failed(Reason.FAR_REFUSED)

    def _refusal(self) -> _Script:
        length = int.from_bytes((yield 4), "big")
        if length > MOST_REASON_BYTES:
            raise _Failed(Reason.FAR_REFUSED)
        if length:
            text = (yield length).decode("latin-1")
            self.said = "".join(each for each in text if each.isprintable())
        raise _Failed(Reason.FAR_REFUSED)
