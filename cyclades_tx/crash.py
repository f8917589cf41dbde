"""Crash points: moments at which a test kills the process, to see that nothing is lost.

``CYCLADES_TX_CRASH_AT=7`` in the environment kills the process with SIGKILL when it passes
the seventh point. Points are before and after each commit of a named transaction that concerns
servers, networks and volumes, and before and after each change that is sent to a cluster. Without
the variable a point costs one call of an empty function.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

VARIABLE = "CYCLADES_TX_CRASH_AT"

_COUNTED = ("server.", "network.", "volume.")


def crash_points(environment: Mapping[str, str] = os.environ) -> Callable[[str], None]:
    """The function to call with the name of each point that is passed."""
    text = environment.get(VARIABLE, "")
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        return _live_on
    left = int(text)

    def passed(point: str) -> None:
        nonlocal left
        moment, _, what = point.partition(":")
        if moment.endswith("-commit") and not what.startswith(_COUNTED):
            return
        left -= 1
        if left == 0:
            os.write(2, f"crash point: {point}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    return passed


def _live_on(point: str) -> None:
    """Nothing happens."""
