"""The bench of consoles at its smallest: each kind is opened, and every figure is there."""

from __future__ import annotations

import pytest

from bench import consoles


def test_every_figure_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few megabytes and a few consoles; how fast it was is not looked at."""
    monkeypatch.setattr(consoles, "_SETTLE_SECONDS", 0.0)
    figures = {each.name: each.value for each in consoles.alone(10, 4 * 2**20, 1)}
    assert len(figures) == 11
    for kind in ("viewer port", "WebSocket", "Twisted's forwarder"):
        assert figures[f"consoles, one stream: {kind}"] > 0
    for how in ("plain", "TLS"):
        assert f"consoles, 10 idle, {how}: viewer port / forwarder" in figures
