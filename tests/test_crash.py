"""Crash points: counted in another process, since passing the last one kills."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from cyclades_tx.crash import VARIABLE, crash_points

PROGRAM = """
from cyclades_tx.crash import crash_points
passed = crash_points()
for point in ("before-commit:token.issue", "before-commit:server.create", "before-call:create",
              "after-commit:network.finish", "after-call:create"):
    passed(point)
    print(point, flush=True)
"""


@pytest.mark.parametrize("text", [None, "", "0", "-1", "x", "²"])
def test_without_a_number_nothing_is_counted(text: str | None) -> None:
    """A point costs nothing."""
    passed = crash_points({} if text is None else {VARIABLE: text})
    for _ in range(3):
        passed("before-call:create")


@pytest.mark.parametrize(
    ("number", "printed", "last"),
    [(1, 1, "before-commit:server.create"), (3, 3, "after-commit:network.finish"), (9, 5, None)],
)
def test_the_process_is_killed_at_the_point_of_that_number(
    number: int, printed: int, last: str | None
) -> None:
    """Transactions that concern neither servers nor networks do not count."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={VARIABLE: str(number), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert len(done.stdout.splitlines()) == printed
    assert done.returncode == (0 if last is None else -signal.SIGKILL)
    assert last is None or done.stderr == f"crash point: {last}\n"
