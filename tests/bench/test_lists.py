"""The bench of lists at its smallest, and the reactor that measures its own turns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.held import Turns

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 180


class Poller:
    """Waits for nothing, and knows one method more."""

    def poll(self, *arguments: float) -> list[float]:
        """Return what it was asked with."""
        return list(arguments)

    def register(self, number: int) -> int:
        """What the turns hand on."""
        return number + 1


def work(seconds: float) -> None:
    """Take so much of the processor."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_the_longest_turn_between_two_waits_is_told_once() -> None:
    """By the processor's time, whatever the clock on the wall says."""
    turns = Turns(Poller())
    for seconds in (0.0, 0.02, 0.001):
        assert turns.poll(0.5, 8) == [0.5, 8]
        work(seconds)
    turns.poll(0.5, 8)
    assert turns.take() >= 0.02
    assert turns.take() == 0.0
    assert turns.register(1) == 2


def test_waiting_is_no_turn() -> None:
    """A poller that takes the processor while it waits does not hold the reactor."""

    class Slow(Poller):
        def poll(self, *arguments: float) -> list[float]:
            work(0.02)
            return []

    turns = Turns(Slow())
    turns.poll(1.0)
    turns.take()
    turns.poll(1.0)
    turns.poll(1.0)
    assert turns.take() < 0.02


def test_the_bench_of_lists_measures_everything() -> None:
    """A few rows, in processes of their own, with the client in Python."""
    code = (
        "from bench import lists, load; load.shutil.which = lambda name: None;"
        " figures = lists.alone(5_000, 0.1, 1, 3);"
        " print(*(f'{each.name}={each.value}' for each in figures), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = dict(line.rsplit("=", 1) for line in done.stdout.splitlines())
    for name in ("servers", "networks", "ports"):
        end = f"100 {name} at the end of 5000"
        assert float(figures[f"{end}: blocks read, ratio to the front"]) < 1.1
        assert 200 <= float(figures[f"{end}: rows read"]) < 1500
        for size in (100, 1000):
            what = f"list {size} {name}"
            assert float(figures[f"{what}: ratio to the same SQL"]) > 0
            assert float(figures[f"{what}: the reactor is held, p95"]) > 0
