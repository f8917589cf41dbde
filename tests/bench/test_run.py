"""The whole bench at its smallest: every figure is there, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 180


def test_the_bench_runs_and_loses_nothing(tmp_path: Path) -> None:
    """A short round of everything, with the client in Python, in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from bench import load, __main__ as bench;"
        " load.shutil.which = lambda name: None; bench.SHOWN_SERVERS = 3;"
        " figures = bench.measure(Path(sys.argv[1]), 0.2, 1, 8, 5);"
        " print(*(f'{each.name}={each.value}' for each in figures), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = dict(line.split("=") for line in done.stdout.splitlines())
    for name in ("creates refused", "creates lost", "creates doubled"):
        assert float(figures[name]) == 0
    for name in (
        "show one server, 2.96: ratio to the same SQL",
        "show one server, 2.1: ratio to bare Klein",
        "list 100 servers in detail: CPU per request",
        "create, p99 of the reply",
        "samples of the reactor's lag",
    ):
        assert float(figures[name]) > 0
