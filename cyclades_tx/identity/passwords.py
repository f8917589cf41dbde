"""Hashing and checking passwords, in threads of their own: the reactor never waits for it.

The stored text says how it was made: ``scrypt$LOG2N$R$P$SALT$HASH``, salt and hash in base64.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from cyclades_tx.errors import Unavailable

T = TypeVar("T")

ALGORITHM = "scrypt"
BLOCK = 8
PARALLEL = 1
SALT_BYTES = 16
HASH_BYTES = 32
#: What a stored text may ask for at most: 2**20 * 8 * 128 bytes are 1 GiB.
MOST_LOG2N = 20
MOST_BLOCK = 16
MOST_PARALLEL = 4


def hash_now(password: str, log2n: int) -> str:
    """Hash a password; takes some hundredths of a second, so call it in a thread.

    :param log2n: the cost; each step doubles time and memory (15: 32 MiB).
    """
    salt = secrets.token_bytes(SALT_BYTES)
    digest = _derive(password, salt, log2n, BLOCK, PARALLEL, HASH_BYTES)
    texts = (b64encode(salt).decode(), b64encode(digest).decode())
    return f"{ALGORITHM}${log2n}${BLOCK}${PARALLEL}${texts[0]}${texts[1]}"


def matches_now(password: str, stored: str) -> bool:
    """Check a password in a time that tells nothing about it; call it in a thread.

    A stored text that cannot be understood matches nothing.
    """
    try:
        algorithm, log2n, block, parallel, salt_text, digest_text = stored.split("$")
        cost = (int(log2n), int(block), int(parallel))
        salt, digest = b64decode(salt_text, validate=True), b64decode(digest_text, validate=True)
    except ValueError:
        return False
    sane = (
        algorithm == ALGORITHM
        and 1 <= cost[0] <= MOST_LOG2N
        and 1 <= cost[1] <= MOST_BLOCK
        and 1 <= cost[2] <= MOST_PARALLEL
        and len(digest) == HASH_BYTES
    )
    return sane and hmac.compare_digest(_derive(password, salt, *cost, len(digest)), digest)


def _derive(
    password: str, salt: bytes, log2n: int, block: int, parallel: int, length: int
) -> bytes:
    needed = 128 * block * ((1 << log2n) + parallel + 2)
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=1 << log2n,
        r=block,
        p=parallel,
        dklen=length,
        maxmem=needed + (1 << 20),
    )


class Passwords:
    """Hashes and checks passwords, a few at a time; the others wait in a line with an end.

    :param reactor: provides IReactorThreads.
    :param log2n: the cost of new hashes.
    :param threads: how many are worked on at once.
    :param most_waiting: how many may wait; more are told to come again.
    """

    def __init__(
        self, reactor: Any, log2n: int = 15, threads: int = 2, most_waiting: int = 100
    ) -> None:
        self._reactor = reactor
        self._log2n = log2n
        self._threads = threads
        self._most_waiting = most_waiting
        self._running = 0
        self._waiting: deque[Deferred[None]] = deque()
        self._pool: ThreadPool | None = None
        self._closed = False
        # The same work is done for a user who does not exist.
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """Hash a password for storing.

        :raise Unavailable: when too many wait already.
        """
        return await self._work(hash_now, password, self._log2n)

    async def matches(self, password: str, stored: str | None) -> bool:
        """Whether a password is the one whose hash is stored.

        :param stored: None for nobody's: False, after the same work.
        :raise Unavailable: when too many wait already.
        """
        if stored is None:
            if self._nobody is None:
                self._nobody = _unknown_hash(self._log2n)
            await self._work(matches_now, password, self._nobody)
            return False
        return await self._work(matches_now, password, stored)

    def close(self) -> None:
        """Refuse new work and those who wait, and end the threads; what runs is waited for."""
        self._closed = True
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            each.errback(_closing())
        if self._pool is not None:
            self._pool.stop()
            self._pool = None

    async def _work(self, work: Callable[..., T], *args: Any) -> T:
        if self._closed:
            raise _closing()
        if self._running < self._threads:
            self._running += 1
        elif len(self._waiting) < self._most_waiting:
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn  # the place of whoever has finished is handed over
        else:
            raise Unavailable("Too many people log in right now; try again.", 1)
        try:
            if self._pool is None:
                self._pool = ThreadPool(0, self._threads, name="passwords")
                self._pool.start()
            result: T = await deferToThreadPool(self._reactor, self._pool, work, *args)
            return result
        finally:
            if self._waiting:
                self._waiting.popleft().callback(None)
            else:
                self._running -= 1


def _unknown_hash(log2n: int) -> str:
    """A stored text of the usual cost that no password has."""
    salt, digest = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(HASH_BYTES)
    texts = (b64encode(salt).decode(), b64encode(digest).decode())
    return f"{ALGORITHM}${log2n}${BLOCK}${PARALLEL}${texts[0]}${texts[1]}"


def _closing() -> Unavailable:
    return Unavailable("The service is being stopped; try again.", 5)
