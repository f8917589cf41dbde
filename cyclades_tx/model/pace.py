"""How often a cluster is looked at as a whole: fast while something happens, slowly at rest."""

from __future__ import annotations

#: A look costs a cluster at most this share of the time.
_SHARE = 0.1

#: How much slower than the poll of jobs the look at all instances is: it asks for more.
_SLOWER = 4.0


def tick_seconds(active_seconds: float, idle_seconds: float) -> float:
    """How often to see whether a look is due.

    :param active_seconds: the interval of the poll of jobs.
    :param idle_seconds: the interval of looks at rest.
    """
    return min(idle_seconds, active_seconds * _SLOWER)


def look_due(
    since_seconds: float,
    took_seconds: float,
    busy: bool,
    told: bool,
    active_seconds: float,
    idle_seconds: float,
) -> bool:
    """Whether a cluster should be looked at now.

    :param since_seconds: the time since the last look began; infinite: there was none.
    :param took_seconds: how long the last look took: a large cluster is not asked all the time.
    :param busy: whether operations run there.
    :param told: whether messages come from there; then looks only make sure.
    """
    tick = tick_seconds(active_seconds, idle_seconds)
    wanted = idle_seconds
    if busy and not told:
        wanted = min(wanted, max(tick, took_seconds / _SHARE))
    # Ticks come a little early or late.
    return since_seconds >= wanted - tick / 2
