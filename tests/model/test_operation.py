"""Operations as values: their trail, and the pauses between tries."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model.operation import Operation, backoff_seconds, trail_of

AT = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.integers(0, 10**6), st.floats(0.01, 10), st.floats(10, 1000))
def test_pauses_grow_up_to_the_limit(failures: int, first: float, limit: float) -> None:
    """And never past it, however long it goes on."""
    pause = backoff_seconds(failures, first, limit)
    assert first <= pause <= limit
    assert pause <= backoff_seconds(failures + 1, first, limit)


def test_the_pause_doubles() -> None:
    """Beginning with the first."""
    assert [backoff_seconds(number, 1.0, 5.0) for number in range(5)] == [1, 1, 2, 4, 5]


@given(st.integers(1), st.sampled_from(("create", "delete", "clean")), st.integers(0, 99))
def test_every_try_of_every_step_has_a_trail_of_its_own(
    number: int, step: str, attempt: int
) -> None:
    """ASCII, and none begins like another's whole text with a digit more."""
    trail = trail_of(number, step, attempt)
    assert trail.isascii()
    assert trail == f"cyclades:op:{number}:{step}.{attempt}"
    operation = Operation(number, "create", "pending", 1, AT, AT, step=step, attempt=attempt)
    assert operation.trail() == trail
