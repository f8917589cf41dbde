"""The bench of images at its smallest: everything is sent and read, and every figure is there."""

from __future__ import annotations

from bench import uploads


def test_every_figure_is_measured() -> None:
    """Of a few megabytes; how fast it was is not looked at."""
    figures = {each.name: each.value for each in uploads.alone(2**21, 1, 0.1)}
    assert len(figures) == 11
    for name in ("image upload", "image download", "4 uploads at once"):
        assert figures[name] > 0
