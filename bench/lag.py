"""The service's lag, out of two looks at its ``/metrics``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_BUCKET = re.compile(r'^cyclades_reactor_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)
_WORST = re.compile(r"^cyclades_reactor_lag_worst_seconds (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Lag:
    """How late the reactor's timer was, as the service has counted it.

    :ivar counts: samples up to each limit in seconds, the last limit infinite.
    :ivar worst_seconds: the longest lag of the last one to two minutes.
    """

    counts: tuple[tuple[float, float], ...]
    worst_seconds: float

    @classmethod
    def read(cls, text: str) -> Lag:
        """Take it from the text of ``/metrics``.

        :raise ValueError: when it is not there.
        """
        counts = tuple((float(limit), float(count)) for limit, count in _BUCKET.findall(text))
        worst = _WORST.search(text)
        if not counts or worst is None:
            raise ValueError("the metrics tell nothing of the reactor's lag")
        return cls(counts, float(worst[1]))

    def since(self, earlier: Lag) -> Lag:
        """The samples that came after an earlier look."""
        counts = tuple(
            (limit, now - before)
            for (limit, now), (_, before) in zip(self.counts, earlier.counts, strict=True)
        )
        return Lag(counts, self.worst_seconds)

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return int(self.counts[-1][1])

    def seconds_at(self, share: float) -> float:
        """The lag that this share of the samples does not exceed, as Prometheus estimates it."""
        wanted = share * self.counts[-1][1]
        lower = below = 0.0
        for limit, count in self.counts:
            if count >= wanted:
                upper = min(limit, self.worst_seconds) if limit > lower else limit
                upper = self.worst_seconds if math.isinf(limit) else max(upper, lower)
                inside = count - below
                return lower + (upper - lower) * ((wanted - below) / inside if inside else 1.0)
            lower, below = limit, count
        return self.worst_seconds
