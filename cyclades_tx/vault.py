"""The secret store: passwords and files of a first boot, kept in memory until taken once.

The key of a secret is the SHA-256 of its token, so neither a listing of keys nor a comparison
tells the token.

A first boot has one token and up to five secrets: the parameters for the host, under a name that
is made of the token and does not tell it, and the files that the machine itself asks for.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectionClosed, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.memcache import MemCacheProtocol, ServerError
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from cyclades_tx.errors import BadRequest, Unavailable


class ISecretStore(Interface):
    """Where secrets wait to be taken."""

    async def put(token: str, secret: bytes, lifetime_seconds: float) -> None:
        """Keep a secret under a token.

        :raise BadRequest: when it is too large.
        :raise Unavailable: when the store does not answer or is full.
        """

    async def there(token: str) -> bool:
        """Whether a secret waits under the token."""

    async def take(token: str) -> bytes | None:
        """Give the secret out and forget it, in one step; None when there is none (any more)."""

    async def drop(token: str) -> None:
        """Forget a secret."""

    def lost_before() -> float | None:
        """Whatever was put away before this moment is gone; seconds since 1970, None: not known."""

    def close() -> None:
        """Let go of what is held open."""


@implementer(ISecretStore)
class MemorySecretStore:
    """Keeps secrets in this process: for a deployment of one.

    :param limit: most secrets at once.
    :param limit_bytes: most memory that they take together.
    """

    def __init__(
        self, clock: IReactorTime, limit: int = 20_000, limit_bytes: int = 256 * 2**20
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._began_seconds = clock.seconds()
        self._kept: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<MemorySecretStore with {len(self._kept)} secrets>"

    async def put(self, token: str, secret: bytes, lifetime_seconds: float) -> None:
        """See :class:`ISecretStore`."""
        _check_size(secret)
        self._expire()
        self._forget(_key(token))
        if len(self._kept) >= self._limit or self._bytes + len(secret) > self._limit_bytes:
            raise Unavailable("Too many new servers wait for their first boot.")
        self._kept[_key(token)] = (self._clock.seconds() + lifetime_seconds, secret)
        self._bytes += len(secret)

    async def there(self, token: str) -> bool:
        """See :class:`ISecretStore`."""
        self._expire()
        return _key(token) in self._kept

    async def take(self, token: str) -> bytes | None:
        """See :class:`ISecretStore`."""
        self._expire()
        return self._forget(_key(token))

    async def drop(self, token: str) -> None:
        """See :class:`ISecretStore`."""
        self._forget(_key(token))

    def lost_before(self) -> float | None:
        """The process before this one took its secrets with it."""
        return self._began_seconds

    def close(self) -> None:
        """See :class:`ISecretStore`."""
        self._kept.clear()
        self._bytes = 0

    def _forget(self, key: bytes) -> bytes | None:
        found = self._kept.pop(key, None)
        if found is None:
            return None
        self._bytes -= len(found[1])
        return found[1]

    def _expire(self) -> None:
        now = self._clock.seconds()
        # Lifetimes are alike, so the oldest expires first; one that does not waits a little.
        while self._kept:
            key, (until, _) = next(iter(self._kept.items()))
            if until > now:
                return
            self._forget(key)


def _key(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


#: What memcached takes by default is 1 MiB, with its own few bytes.
_LARGEST_SECRET_BYTES = 1_000_000


def _check_size(secret: bytes) -> None:
    if len(secret) > _LARGEST_SECRET_BYTES:
        raise BadRequest("The files and user data of this server are too large together.")


class _Peer(MemCacheProtocol):
    """A connection that knows when it is over."""

    over = False

    def hang_up(self) -> None:
        """End the connection."""
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.over = True
        super().connectionLost(reason)


#: memcached takes longer lifetimes for moments of the calendar.
_LONGEST_LIFETIME_SECONDS = 30 * 24 * 3600


@implementer(ISecretStore)
class MemcachedSecretStore:
    """Keeps secrets in memcached: for several processes that share the work.

    A secret is on one server, chosen by its key. memcached cannot give something out and delete it
    in one step, so a taker reads it, then deletes it, and has it only if the deletion succeeds:
    of any number of deletions of one item memcached confirms exactly one (``DELETED``), and the
    others find nothing (``NOT_FOUND``). Who gets no answer has nothing, and the secret is lost
    rather than given twice.

    :param servers: ``host:port`` of each; the same list, in the same order, in every process.
    :param timeout_seconds: the longest wait for an answer.
    """

    def __init__(self, reactor: Any, servers: Sequence[str], timeout_seconds: float = 5.0) -> None:
        self._reactor = reactor
        self._servers = tuple(servers)
        self._timeout_seconds = timeout_seconds
        self._connections: dict[str, _Peer] = {}

    async def put(self, token: str, secret: bytes, lifetime_seconds: float) -> None:
        """See :class:`ISecretStore`."""
        _check_size(secret)
        lifetime = max(1, min(int(lifetime_seconds), _LONGEST_LIFETIME_SECONDS))
        stored = await self._ask(token, lambda peer, key: peer.set(key, secret, 0, lifetime))
        if not stored:
            raise Unavailable("The store of first-boot secrets did not keep one; try again.")

    async def there(self, token: str) -> bool:
        """See :class:`ISecretStore`."""
        return (await self._get(token)) is not None

    async def take(self, token: str) -> bytes | None:
        """See :class:`ISecretStore`."""
        found = await self._get(token)
        if found is None:
            return None
        mine = await self._ask(token, lambda peer, key: peer.delete(key))
        return found if mine else None

    async def drop(self, token: str) -> None:
        """See :class:`ISecretStore`."""
        await self._ask(token, lambda peer, key: peer.delete(key))

    def lost_before(self) -> float | None:
        """Not known: it may have been restarted."""
        return None

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections.values():
            connection.hang_up()
        self._connections.clear()

    async def _get(self, token: str) -> bytes | None:
        _, value = await self._ask(token, lambda peer, key: peer.get(key))
        found: bytes | None = value
        return found

    async def _ask(self, token: str, call: Callable[[_Peer, bytes], Deferred[Any]]) -> Any:
        digest = _key(token)
        server = self._servers[int.from_bytes(digest[:8], "big") % len(self._servers)]
        try:
            peer = await self._peer(server)
            # The protocol itself gives a server up that falls silent.
            return await call(peer, b"cyclades:" + digest.hex().encode())
        except (ConnectError, ConnectionClosed, TimeoutError, DeferredTimeout, ServerError):
            pass
        except RuntimeError:
            # "not connected": what it says after it gave an answer up and has not hung up yet.
            self._connections.pop(server, None)
        raise Unavailable("The store of first-boot secrets does not answer.")

    async def _peer(self, server: str) -> _Peer:
        known = self._connections.get(server)
        if known is not None and not known.over:
            return known
        host, _, port = server.rpartition(":")
        endpoint = HostnameEndpoint(
            self._reactor, host.strip("[]"), int(port), timeout=self._timeout_seconds
        )
        made: Any = await endpoint.connect(
            Factory.forProtocol(lambda: _Peer(int(self._timeout_seconds)))
        )
        other = self._connections.get(server)
        if other is not None and not other.over:
            made.hang_up()
            return other
        peer: _Peer = made
        self._connections[server] = peer
        return peer


#: The files of a machine's own first boot; the secret ones are what the others are there for.
FILES = ("meta-data", "network-config", "user-data", "vendor-data")
_SECRET_FILES = ("user-data", "vendor-data")


def params_name(token: str) -> str:
    """Under which name the host asks for the parameters; who knows it does not know the token."""
    digest = sha256(b"server-params:" + token.encode()).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


async def arm(
    store: ISecretStore,
    token: str,
    params: bytes,
    files: Mapping[str, bytes],
    lifetime_seconds: float,
) -> None:
    """Put the secrets of a first boot away.

    :param files: all of :data:`FILES`, or none.
    :raise BadRequest: when one is too large.
    :raise Unavailable: when the store does not keep them.
    """
    for name, content in files.items():
        await store.put(_file_name(token, name), content, lifetime_seconds)
    await store.put(params_name(token), params, lifetime_seconds)


async def armed(store: ISecretStore, token: str, files: bool) -> bool:
    """Whether everything of a first boot still waits.

    :param files: whether it has files.
    """
    names = [params_name(token)]
    if files:
        names += [_file_name(token, name) for name in FILES]
    for name in names:
        if not await store.there(name):
            return False
    return True


async def disarm(store: ISecretStore, token: str, files: bool = True) -> None:
    """Forget the parameters of a first boot, and its files."""
    await store.drop(params_name(token))
    if files:
        for name in FILES:
            await store.drop(_file_name(token, name))


async def take_file(store: ISecretStore, token: str, name: str) -> bytes | None:
    """Give one file out, once; with the last of the secret ones all are gone.

    :return: None when there is none (any more).
    """
    if name not in FILES:
        return None
    found = await store.take(_file_name(token, name))
    if found is not None and name in _SECRET_FILES:
        # Whoever has it must get it, whatever becomes of the others.
        with suppress(Unavailable):
            for other in _SECRET_FILES:
                if await store.there(_file_name(token, other)):
                    return found
            await disarm(store, token)
    return found


def _file_name(token: str, name: str) -> str:
    return f"{token}/{name}"
