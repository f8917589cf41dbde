"""Calls that are repeated at an interval, also after one has failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.errors import CycladesError, LostLease
from cyclades_tx.trouble import Trouble


def every(clock: IReactorTime, work: Callable[[], Awaitable[Any]]) -> LoopingCall:
    """A call that is repeated, once it was started, although a turn of it fails."""
    log = Logger()
    trouble = Trouble(log, "loop.turn_delayed", "loop.goes_on")

    def turn() -> Deferred[None]:
        return ensureDeferred(_guarded(work, log, trouble))

    call = LoopingCall(turn)
    call.clock = clock
    return call


async def _guarded(work: Callable[[], Awaitable[Any]], log: Logger, trouble: Trouble) -> None:
    try:
        await work()
    except LostLease:
        pass
    except CycladesError as error:
        # Something outside does not answer; a traceback would tell nothing more.
        trouble.tell(None, error.message, loop=_name(work))
    except Exception:
        log.failure("loop.turn_failed", Failure(), loop=_name(work))
    else:
        trouble.over(None, loop=_name(work))


def _name(work: Callable[[], Awaitable[None]]) -> str:
    return str(getattr(work, "__qualname__", "loop"))
