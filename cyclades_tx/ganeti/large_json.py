"""Large JSON texts are parsed in a worker process.

A parser holds the interpreter's lock for as long as it runs, so that a thread would stop
the reactor just the same.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

LargeJson = Callable[..., Awaitable[Any]]


class LargeJsonWorkers:
    """A few processes that parse; they start with the first text and end with :meth:`close`.

    Call it with the bytes; the awaited result is the parsed value, or ValueError is raised.

    :param reactor: gets the results, and lends a thread for the end (IReactorThreads).
    :param processes: how many at most.
    """

    def __init__(self, reactor: Any, processes: int = 1) -> None:
        self._reactor = reactor
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, text: bytes, read: Callable[[bytes], Any] | None = None) -> Awaitable[Any]:
        """Parse ``text`` in a worker.

        :param read: a function of a module that reads the text in the worker, and returns what
            is cheap to hand over; None: :func:`parse`.
        """
        result: Deferred[Any] = Deferred(lambda _: None)
        try:
            future = self._workers().submit(read or parse, text)
        except BrokenProcessPool:  # a worker was killed: the next text gets new ones
            self._pool = None
            future = self._workers().submit(read or parse, text)

        def deliver(done: Future[Any]) -> None:
            self._reactor.callFromThread(_hand_over, done, result)

        future.add_done_callback(deliver)
        return result

    def _workers(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._processes, mp_context=multiprocessing.get_context("spawn")
            )
        return self._pool

    async def close(self) -> None:
        """End the processes; texts that still wait are dropped, one that is read is waited for."""
        pool, self._pool = self._pool, None
        if pool is not None:
            # It waits for threads and processes: not where signals are handled.
            await deferToThreadPool(
                self._reactor, self._reactor.getThreadPool(), pool.shutdown, cancel_futures=True
            )


def parse(text: bytes) -> Any:
    """Parse one JSON text.

    :raise ValueError: when it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("The JSON text is nested too deeply.") from None


def _hand_over(done: Future[Any], result: Deferred[Any]) -> None:
    if done.cancelled():
        result.errback(Failure(ValueError("The worker was stopped.")))
        return
    failure = done.exception()
    if isinstance(failure, BrokenProcessPool):
        failure = ValueError("The worker that parsed the text died.")
    if failure is not None:
        result.errback(Failure(failure))
    else:
        result.callback(done.result())
