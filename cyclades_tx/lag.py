"""How late the reactor is: a timer that should fire every 100 ms, and when it really does.

``CYCLADES_TX_LAG_PERIOD_SECONDS=0.005`` in the environment has it looked at more often, for
measurements.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

PERIOD_VARIABLE = "CYCLADES_TX_LAG_PERIOD_SECONDS"
USUAL_PERIOD_SECONDS = 0.1

#: A delay from which one line is logged, in seconds.
LATE_SECONDS = 0.25


def period_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """The time between two samples; what the environment says counts from 1 ms to 1 s."""
    try:
        asked = float(environment.get(PERIOD_VARIABLE, ""))
    except ValueError:
        return USUAL_PERIOD_SECONDS
    return asked if 0.001 <= asked <= 1.0 else USUAL_PERIOD_SECONDS


class LagSampler(Service):
    """Measures the reactor's lag as long as it runs.

    :param clock: the reactor, or a test's clock.
    :param observe: is given each lag in seconds.
    :param period_seconds: the time between two samples.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        observe: Callable[[float], None],
        period_seconds: float = USUAL_PERIOD_SECONDS,
    ) -> None:
        self._clock = clock
        self._observe = observe
        self._period_seconds = period_seconds
        self._due = 0.0
        self._timer: IDelayedCall | None = None

    def startService(self) -> None:
        """Take the first sample one period from now."""
        super().startService()
        self._again()

    def stopService(self) -> None:
        """Take no more samples."""
        super().stopService()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _again(self) -> None:
        self._due = self._clock.seconds() + self._period_seconds
        self._timer = self._clock.callLater(self._period_seconds, self._sample)

    def _sample(self) -> None:
        lag_seconds = max(0.0, self._clock.seconds() - self._due)
        self._again()
        self._observe(lag_seconds)
        if lag_seconds >= LATE_SECONDS:
            self.log.warn("reactor.late", seconds=round(lag_seconds, 3))
