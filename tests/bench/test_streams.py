"""The bench of consoles that are never still at its smallest: all go, and every figure is there."""

from __future__ import annotations

import pytest

from bench import streams


def test_every_figure_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few consoles for a moment; how slow the API was is not looked at."""
    monkeypatch.setattr(streams, "_SETTLE_SECONDS", 0.05)
    figures = {each.name: each.value for each in streams.alone(2, 1, 0.25)}
    assert len(figures) == 17
    for name, value in figures.items():
        assert value > 0, name
