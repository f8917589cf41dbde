"""The secret store: passwords and files of a first boot, kept in memory until taken once.

The key of a secret is the SHA-256 of its token, so neither a listing of keys nor a comparison
tells the token.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256

from twisted.internet.interfaces import IReactorTime
from zope.interface import Interface, implementer

from cyclades_tx.errors import Unavailable


class ISecretStore(Interface):
    """Where secrets wait to be taken."""

    async def put(token: str, secret: bytes, lifetime_seconds: float) -> None:
        """Keep a secret under a token.

        :raise Unavailable: when the store does not answer or is full.
        """

    async def there(token: str) -> bool:
        """Whether a secret waits under the token."""

    async def take(token: str) -> bytes | None:
        """Give the secret out and forget it, in one step; None when there is none (any more)."""

    async def drop(token: str) -> None:
        """Forget a secret."""


@implementer(ISecretStore)
class MemorySecretStore:
    """Keeps secrets in this process: for a deployment of one.

    :param limit: most secrets at once.
    """

    def __init__(self, clock: IReactorTime, limit: int = 20_000) -> None:
        self._clock = clock
        self._limit = limit
        self._kept: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<MemorySecretStore with {len(self._kept)} secrets>"

    async def put(self, token: str, secret: bytes, lifetime_seconds: float) -> None:
        """See :class:`ISecretStore`."""
        self._expire()
        if len(self._kept) >= self._limit:
            raise Unavailable("Too many new servers wait for their first boot.")
        self._kept[_key(token)] = (self._clock.seconds() + lifetime_seconds, secret)

    async def there(self, token: str) -> bool:
        """See :class:`ISecretStore`."""
        self._expire()
        return _key(token) in self._kept

    async def take(self, token: str) -> bytes | None:
        """See :class:`ISecretStore`."""
        self._expire()
        found = self._kept.pop(_key(token), None)
        return None if found is None else found[1]

    async def drop(self, token: str) -> None:
        """See :class:`ISecretStore`."""
        self._kept.pop(_key(token), None)

    def _expire(self) -> None:
        now = self._clock.seconds()
        # Lifetimes are alike, so the oldest expires first; one that does not waits a little.
        while self._kept:
            key, (until, _) = next(iter(self._kept.items()))
            if until > now:
                return
            del self._kept[key]


def _key(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
