"""Some rounds of ``make fuzz``; the same ones each time."""

from __future__ import annotations

from tests.console import fuzz


def test_spoiled_bytes_from_both_ends() -> None:
    """Nothing raises, nothing is left open, nothing goes across that may not."""
    assert fuzz.run(1, 400) == 400
