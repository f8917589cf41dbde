"""``make bench``: measure the service, say how it compares with its goals, write it down."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import consoles, creates, drain, idle, lists, load, reconcile, streams, uploads
from bench.cloud import ROOT, Cloud
from bench.figures import Figure, table
from bench.reads import Reads

RESULTS = ROOT / "bench" / "results"
LAG_PERIOD_SECONDS = 0.005
SHOWN_SERVERS = 100


def measure(
    folder: Path, seconds: float, rounds: int, count: int, connections: int = idle.COUNT
) -> list[Figure]:
    """Measure everything in a folder of its own.

    :param seconds: how long each load of each round is.
    :param count: how many servers are created at once.
    """
    cloud = Cloud(folder)
    try:
        _say("starting PostgreSQL, four simulated clusters and the service")
        cloud.start()
        cloud.start_service()
        _say(f"opening {connections} connections that stay idle")
        figures = idle.run(cloud, connections)
        _say(f"making {SHOWN_SERVERS} servers, then showing them")
        cloud.restart_service()
        uuids = creates.submit(cloud, SHOWN_SERVERS)["ids"]
        creates.settle(cloud)
        figures += Reads(cloud, uuids[0], seconds, rounds).run()
        _say(f"creating {count} servers at once by {creates.CLIENTS} clients")
        cloud.restart_service(LAG_PERIOD_SECONDS)
        figures += creates.run(cloud, count)
    finally:
        cloud.stop()
    return figures


def main(arguments: list[str] | None = None) -> int:
    """Run it; the exit code tells about the goals only with ``--strict``."""
    parser = argparse.ArgumentParser(prog="bench", description="How fast the service is.")
    parser.add_argument(
        "--seconds",
        type=float,
        default=float(os.environ.get("BENCH_SECONDS", "0.5")),
        help="how long each load of each round is (also BENCH_SECONDS)",
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--creates", type=int, default=500)
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a goal is missed")
    said = parser.parse_args(arguments)
    begun = time.monotonic()
    parts: dict[str, Callable[[], list[Figure]]] = {
        "service": lambda: _service(said.seconds, said.rounds, said.creates),
        "drain": drain.alone,
        "reconcile": reconcile.alone,
        "lists": lambda: lists.alone(seconds=said.seconds),
        "consoles": consoles.alone,
        "streams": streams.alone,
        "uploads": uploads.alone,
    }
    figures: list[Figure] = []
    failed = []
    for part, measured in parts.items():
        try:
            figures += measured()
        except Exception:  # What the other parts saw took minutes and is worth telling.
            traceback.print_exc()
            failed.append(part)
    took = time.monotonic() - begun
    facts = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "load_by": load.tool(),
        "seconds": round(took, 1),
    }
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    results = {"facts": facts, "figures": [figure.as_json() for figure in figures]}
    file.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\n{table(figures)}\n")
    if load.tool() == "python":
        print("The load came from our own client in Python; wrk (apt install wrk) disturbs less.")
    missed = sum(figure.met is False for figure in figures)
    print(
        f"{missed or 'No'} goal{'' if missed == 1 else 's'} missed; {took:.0f} s, "
        f"load average {facts['load_average']:.1f} on {facts['processors']} processors; "
        f"{file.relative_to(ROOT)}"
    )
    if failed:
        print(f"Not measured, see above: {', '.join(failed)}.")
    return 1 if failed or (missed and said.strict) else 0


def _service(seconds: float, rounds: int, count: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="cyclades-tx-bench-") as folder:
        return measure(Path(folder), seconds, rounds, count)


def _say(text: str) -> None:
    print(f"bench: {text} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
