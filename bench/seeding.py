"""Fills a cloud's database, in a process of its own: ``python -m bench.seeding``.

A process runs its reactor once, and a run of the bench makes several clouds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cyclades_tx.config import Config
from cyclades_tx.trial_seed import TrialCluster, run

if __name__ == "__main__":
    said = json.load(sys.stdin)
    run(
        Config.load(said["config"]),
        [TrialCluster(**each) for each in said["clusters"]],
        Path(said["clouds"]),
        said["url"],
    )
