"""Gets the bytes of an image from a place that the operator allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer

from cyclades_tx.errors import BadRequest, CycladesError
from cyclades_tx.image_store.bodies import Body
from cyclades_tx.image_store.locations import Locations, PublicResolver
from cyclades_tx.image_store.pace import LEAST_BYTES_PER_SECOND, WINDOW_SECONDS, Pace

_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
CONNECT_SECONDS = 10.0
#: How long a place may say nothing.
SILENCE_SECONDS = 60.0


@dataclass
class Fetched:
    """A reply whose body is on its way.

    :ivar size_bytes: None: the place did not say.
    """

    size_bytes: int | None
    _body: Body = field(repr=False)
    _reactor: Any = field(repr=False)
    _pace: Pace = field(repr=False)

    async def read(self) -> bytes:
        """The next bytes; nothing at the end.

        :raise BadRequest: when they end too early, or do not come for too long.
        :raise TooSlow: when too little comes.
        """
        waiting = ensureDeferred(self._pace.read(self._body.pieces))
        waiting.addTimeout(SILENCE_SECONDS, self._reactor)
        try:
            return await waiting
        except DeferredTimeout:
            raise BadRequest("The location has stopped to send.") from None

    def close(self) -> None:
        """Let go of the connection."""
        self._body.close()


class Fetcher:
    """Fetches what the operator's list allows.

    :param reactor: provides time, connections and a name resolver.
    :param least_bytes_per_second: how fast a place must be, on average over a window.
    """

    def __init__(
        self,
        reactor: Any,
        locations: Locations,
        least_bytes_per_second: float = LEAST_BYTES_PER_SECOND,
        window_seconds: float = WINDOW_SECONDS,
    ) -> None:
        self._reactor = reactor
        self._locations = locations
        self._least = (least_bytes_per_second, window_seconds)
        # Nothing is kept open: each connection's address is judged when it is made.
        pool = HTTPConnectionPool(reactor, persistent=False)
        guarded: Any = _Guarded(reactor, locations)
        self._agent = Agent(guarded, connectTimeout=CONNECT_SECONDS, pool=pool)

    async def open(self, url: str) -> Fetched:
        """Ask for a URL and follow its redirects, each checked like the first.

        :raise BadRequest: when it cannot be had; the reason tells nothing about other networks.
        :raise Forbidden: when it, or what it leads to, is not allowed.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            location = self._locations.check(url)
            if location.scheme not in ("http", "https"):
                raise BadRequest("Images are fetched over http and https only.")
            response = await self._ask(location.url)
            body = Body()
            response.deliverBody(body)
            if response.code in _REDIRECTS:
                body.close()
                target = response.headers.getRawHeaders("location") or [""]
                url = urljoin(url, target[0])
                continue
            if response.code != 200:
                body.close()
                raise BadRequest(f"The location answered with the status {response.code}.")
            size = None if response.length is UNKNOWN_LENGTH else int(response.length)
            return Fetched(size, body, self._reactor, Pace(self._reactor, *self._least))
        raise BadRequest("The location leads on and on.")

    async def _ask(self, url: str) -> Any:
        headers = Headers({"User-Agent": ["cyclades_tx"], "Accept-Encoding": ["identity"]})
        asked = self._agent.request(b"GET", url.encode(), headers)
        asked.addTimeout(SILENCE_SECONDS, self._reactor)
        try:
            return await asked
        except CycladesError:
            raise
        except Exception:
            # Why exactly would tell what is open in a network that is not the asker's.
            raise BadRequest("The location cannot be reached.") from None


@implementer(IReactorPluggableNameResolver)
class _Guarded:
    """A reactor whose names resolve to public addresses only."""

    def __init__(self, reactor: Any, locations: Locations) -> None:
        self._reactor = reactor
        self.nameResolver = PublicResolver(reactor.nameResolver, locations)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def installNameResolver(self, resolver: Any) -> Any:
        """Refuse: another one would let private addresses through.

        :raise RuntimeError: always.
        """
        raise RuntimeError("The resolver of this reactor is its guard.")
