"""How often a cluster is looked at."""

from __future__ import annotations

import math

import pytest

from cyclades_tx.model.pace import look_due, tick_seconds

ACTIVE, IDLE = 0.5, 10.0


def due_after(took: float = 0.05, busy: bool = False, told: bool = False) -> float:
    """The first tick at which a look is due."""
    tick = tick_seconds(ACTIVE, IDLE)
    for number in range(1, 100):
        if look_due(number * tick - 0.001, took, busy, told, ACTIVE, IDLE):
            return number * tick
    raise AssertionError("never")


def test_the_first_look_is_at_once() -> None:
    """Nobody knows anything yet."""
    assert look_due(math.inf, 0.0, False, False, ACTIVE, IDLE)


@pytest.mark.parametrize(
    ("situation", "seconds"),
    [
        ({}, 10.0),
        ({"busy": True}, 2.0),
        ({"busy": True, "told": True}, 10.0),
        ({"told": True}, 10.0),
        ({"busy": True, "took": 0.5}, 6.0),
        ({"busy": True, "took": 60.0}, 10.0),
        ({"took": 60.0}, 10.0),
    ],
)
def test_fast_while_something_happens_that_nobody_tells(
    situation: dict[str, float], seconds: float
) -> None:
    """Slow at rest, slow when told, and never so often that it burdens the cluster."""
    assert due_after(**situation) == pytest.approx(seconds, abs=tick_seconds(ACTIVE, IDLE) / 2)


def test_a_short_interval_at_rest_is_kept() -> None:
    """Shorter than the one of a busy cluster would be."""
    assert tick_seconds(5.0, 0.1) == 0.1
    assert look_due(0.1, 60.0, True, False, 5.0, 0.1)
