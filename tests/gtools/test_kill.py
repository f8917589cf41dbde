"""``kill -9`` between publishing and writing it down: nothing is lost, little comes twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from cyclades_tx.gtools.sender import WINDOW
from tests.gtools.jobs import Queue, shutdown

ROOT = Path(__file__).parents[2]
JOBS = 60
KILLS = (1, 25, 7)
WAIT_SECONDS = 60.0


def published(folder: Path) -> list[tuple[int, str]]:
    """Job and state of each message that went out, in order."""
    file = folder / "published"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(each["jobId"], each["status"]) for each in map(json.loads, lines)]


def start(folder: Path, kill_after: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.gtools.doomed", str(folder), str(kill_after)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )


def test_killed_again_and_again_it_tells_everything(tmp_path: Path) -> None:
    """While jobs go on and some are archived."""
    queue = Queue(tmp_path / "ganeti")
    for number in range(1, JOBS + 1):
        queue.write(shutdown(number, "running"))
    for turn, kill_after in enumerate(KILLS, start=1):
        child = start(tmp_path, kill_after)
        assert child.wait(WAIT_SECONDS) == -signal.SIGKILL
        for number in range(turn, JOBS + 1, len(KILLS)):
            queue.write(shutdown(number, "success"))
            if number % 5 == 0:
                queue.archive(number)
    before = len(published(tmp_path))
    assert before == sum(KILLS)
    wanted = {(number, "success") for number in range(1, JOBS + 1)}
    child = start(tmp_path, 0)
    try:
        end = time.monotonic() + WAIT_SECONDS
        while not wanted <= set(published(tmp_path)):
            assert child.poll() is None and time.monotonic() < end, published(tmp_path)
            time.sleep(0.05)
        child.terminate()
        assert child.wait(WAIT_SECONDS) == 0
    finally:
        child.kill()
        child.wait()
    told = published(tmp_path)
    for number in range(1, JOBS + 1):
        states = [status for each, status in told if each == number]
        assert states[-1] == "success"
        assert states.count("success") <= 1 + len(KILLS)
    # Each kill can repeat no more than what was on its way.
    assert len(told) <= 2 * JOBS + len(KILLS) * min(WINDOW, max(KILLS))
