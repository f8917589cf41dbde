"""Servers created by several clients at once: what is lost, what waits, how late the reactor is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from bench import process
from bench.cloud import ROOT, Cloud
from bench.figures import Figure, percentile
from bench.lag import Lag

CLIENTS = 8
SUBMIT_SECONDS = 300.0
SETTLE_SECONDS = 300.0

_OPEN = "select count(*) from operation where finished_at is null"


def submit(cloud: Cloud, count: int, clients: int = CLIENTS) -> dict[str, Any]:
    """Have servers created from a process apart; return what it tells (see ``submit.py``)."""
    order = {
        "url": f"{cloud.url}/compute/v2.1/servers",
        "headers": {**cloud.headers(96), "Content-Type": "application/json"},
        "server": {
            "flavorRef": _uuid(cloud, "flavor", "tiny"),
            "imageRef": _uuid(cloud, "image", "debian-12"),
            "networks": [{"uuid": _uuid(cloud, "network", "shared")}],
        },
        "count": count,
        "clients": clients,
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench.submit"],
        check=False,
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=SUBMIT_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"the clients ended with {done.returncode}: {done.stderr[-2000:]}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def settle(cloud: Cloud) -> float:
    """Wait until no operation is open; return how many seconds that took."""
    begun = time.monotonic()
    while cloud.rows(_OPEN) != [(0,)]:
        cloud.service.check()
        if time.monotonic() - begun > SETTLE_SECONDS:
            raise TimeoutError(f"operations are still open after {SETTLE_SECONDS:g} s")
        time.sleep(0.25)
    return time.monotonic() - begun


def run(cloud: Cloud, count: int) -> list[Figure]:
    """Measure; the service was started with a sampler of its lag every 5 ms."""
    there = set(cloud.instances())
    before = Lag.read(cloud.metrics())
    said = submit(cloud, count)
    settling = settle(cloud)
    # The service's text of numbers is up to a second old.
    time.sleep(1.1)
    lag = Lag.read(cloud.metrics()).since(before)
    lost, doubled = compare(
        said["ids"],
        cloud.rows("select uuid::text, 'snf-' || id, state from server where deleted_at is null"),
        [name for name in cloud.instances() if name not in there],
    )
    replies = said["reply_seconds"]
    return [
        Figure("creates refused", len(said["refusals"]), "", "==", 0),
        Figure("creates lost", lost + count - len(said["ids"]), "", "==", 0),
        Figure("creates doubled", doubled, "", "==", 0),
        Figure("creates answered", count / said["seconds"], "per second"),
        Figure("create, p50 of the reply", 1000 * percentile(replies, 0.5), "ms"),
        Figure("create, p99 of the reply", 1000 * percentile(replies, 0.99), "ms"),
        Figure("all servers ACTIVE", count / (said["seconds"] + settling), "per second"),
        Figure("samples of the reactor's lag", lag.samples, ""),
        Figure("reactor lag, p50", 1000 * lag.seconds_at(0.5), "ms"),
        Figure("reactor lag, p99", 1000 * lag.seconds_at(0.99), "ms", "<", 20),
        Figure("reactor lag, maximum", 1000 * lag.worst_seconds, "ms", "<", 100),
        Figure(f"memory after {count} creates", process.memory_mib(cloud.service.pid), "MiB"),
    ]


def compare(
    promised: list[str], servers: list[tuple[str, str, str]], instances: list[str]
) -> tuple[int, int]:
    """Hold what was promised against what is there.

    :param promised: ids that the API has given out.
    :param servers: id, name of the instance and state of every server.
    :param instances: names on the clusters that were not there before.
    :return: how many are lost and how many there are too much.
    """
    names = {uuid: name for uuid, name, state in servers if state == "active"}
    counts = Counter(instances)
    wanted = {names.get(uuid, "") for uuid in promised}
    lost = sum(uuid not in names or not counts[names[uuid]] for uuid in promised)
    doubled = sum(counts[name] - (name in wanted) for name in counts)
    return lost, doubled + len(promised) - len(set(promised))


def _uuid(cloud: Cloud, table: str, name: str) -> str:
    ((uuid,),) = cloud.rows(f"select uuid::text from {table} where name = %s", name)
    return str(uuid)
