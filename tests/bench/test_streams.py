"""The bench of consoles that are never still at its smallest: all go, and every figure is there."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import process, streams
from bench.streams_side import NOBODY, SCATTERED, VIEWERS


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        yield stranger


def test_every_figure_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few consoles for a moment; how slow the API was is not looked at."""
    monkeypatch.setattr(streams, "_SETTLE_SECONDS", 0.05)
    figures = {each.name: each.value for each in streams.alone(2, 1, 0.25)}
    assert len(figures) == 17
    for name, value in figures.items():
        assert value > 0, name


def test_screens_where_somebody_else_listens_are_an_error(
    tmp_path: Path, taken: socket.socket
) -> None:
    """It is told with the reason, at once, and not waited for."""
    port = str(taken.getsockname()[1])
    with (
        streams._side(SimpleNamespace(folder=tmp_path), "screens", port) as screens,
        pytest.raises(RuntimeError, match="Address already in use"),
    ):
        screens.tell(NOBODY, SCATTERED)


def test_an_eye_that_is_not_let_in_is_an_error(tmp_path: Path, taken: socket.socket) -> None:
    """The thread that has failed takes its process along; whoever asked learns why."""

    def shut_the_door() -> None:
        taken.accept()[0].close()

    threading.Thread(target=shut_the_door, daemon=True).start()
    with (
        streams._side(SimpleNamespace(folder=tmp_path), "eyes") as eyes,
        pytest.raises(RuntimeError, match="closed after"),
    ):
        eyes.tell(VIEWERS, taken.getsockname()[1], "password")


def test_a_process_that_says_nothing_is_not_waited_for() -> None:
    """It is ended, and that is an error."""
    with subprocess.Popen(
        [sys.executable, "-c", "import time; print('half', end='', flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
        text=True,
    ) as silent:
        with pytest.raises(RuntimeError, match="no answer within"):
            process.line_from(silent, 0.5)
        assert silent.returncode is not None
