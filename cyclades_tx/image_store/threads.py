"""Threads of a store's own: what waits for a disk or computes checksums is not the reactor's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from cyclades_tx.errors import Unavailable

T = TypeVar("T")

#: Linux has a niceness for each thread; computing checksums is what can wait.
_NICENESS = 5
_this_thread = threading.local()


class Threads:
    """Some threads, which begin when there is something to do.

    :param reactor: provides IReactorThreads.
    :param most: how much is done at once.
    """

    def __init__(self, reactor: Any, most: int) -> None:
        self._reactor = reactor
        self._most = most
        self._pool: ThreadPool | None = None
        self._closed = False

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Do something in one of them.

        :raise Unavailable: when they were closed.
        """
        if self._closed:
            raise Unavailable("The service is being stopped; try again.")
        if self._pool is None:
            self._pool = ThreadPool(0, self._most, name="images")
            self._pool.start()
        result: T = await deferToThreadPool(self._reactor, self._pool, _politely, work, *args)
        return result

    def close(self) -> None:
        """End them; what runs is waited for."""
        self._closed = True
        if self._pool is not None:
            self._pool.stop()
            self._pool = None


def _politely(work: Callable[..., T], *args: Any) -> T:
    """Do something in a thread that lets the reactor's go first, where there are few processors."""
    if not getattr(_this_thread, "polite", False):
        _this_thread.polite = True
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    return work(*args)
