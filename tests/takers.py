"""A process that takes secrets out of a memcached: ``python -m tests.takers HOST:PORT TAKERS``.

Each line on its standard input is an order: ``put N`` keeps N secrets, ``take I`` lets all takers
ask for secret I at once. It answers each with one line: how many secrets came, and of whom.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineReceiver

from cyclades_tx.vault import MemcachedSecretStore

LIFETIME_SECONDS = 600.0


def secret_of(number: int) -> bytes:
    """What is kept under a token."""
    return b"secret %d" % number


class Orders(LineReceiver):
    """Does what it is told, one order after another."""

    delimiter = b"\n"

    def __init__(self, store: MemcachedSecretStore, takers: int) -> None:
        self._store = store
        self._takers = takers

    def lineReceived(self, line: bytes) -> None:
        word, number = line.split()
        work = self._put if word == b"put" else self._take
        ensureDeferred(work(int(number))).addErrback(self._broken)

    def connectionLost(self, reason: Any = None) -> None:
        self._store.close()
        reactor.stop()

    async def _put(self, count: int) -> None:
        for number in range(count):
            await self._store.put(f"token {number}", secret_of(number), LIFETIME_SECONDS)
        self.sendLine(b"%d" % count)

    async def _take(self, number: int) -> None:
        token = f"token {number}"
        takers = [Deferred.fromCoroutine(self._store.take(token)) for _ in range(self._takers)]
        found = [each for each in await gatherResults(takers) if each is not None]
        assert found in ([], [secret_of(number)]), found
        self.sendLine(b"%d" % len(found))

    def _broken(self, failure: Any) -> None:
        failure.printTraceback(sys.stderr)
        self.sendLine(b"broken")


if __name__ == "__main__":
    StandardIO(Orders(MemcachedSecretStore(reactor, [sys.argv[1]]), int(sys.argv[2])))
    reactor.run()
