"""The bench of drift at its smallest: everything planted is found, nothing is invented."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 180


def test_every_planted_fault_is_found_and_none_invented() -> None:
    """A hundred instances, in processes of their own."""
    code = (
        "from bench import reconcile; reconcile.LOOK_SECONDS = 4.0;"
        " print(*(f'{each.name}={each.value}' for each in reconcile.alone(100)), sep='\\n')"
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
    figures = dict(line.split("=") for line in done.stdout.splitlines())
    wrong = "drift, 100 instances, 1 % of each wrong"
    assert float(figures["drift, 100 instances, nothing wrong: invented"]) == 0
    assert float(figures[f"{wrong}: planted"]) == 14
    for name in ("not found", "invented", "holdings off"):
        assert float(figures[f"{wrong}: {name}"]) == 0
    assert float(figures[f"{wrong}: left to an operator"]) == 3
