"""The process is killed between any two steps of attaching a volume."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.scenario.cloud import Refused, until
from tests.scenario.conftest import Cloud

MOST_POINTS = 30


def test_a_kill_at_every_step_leaves_one_disk_or_none(make_cloud: Callable[..., Cloud]) -> None:
    """Crash point after crash point: kill there, start again, count everything."""
    cloud = make_cloud(job_seconds=0.05)
    cloud.service.start()
    until(lambda: not cloud.books.open_operations(), "the networks are made")
    client = cloud.client()
    server = cloud.create(client, "s")
    until(lambda: not cloud.books.open_operations(), "the server is made")
    act(cloud, client, "POST", "/volume/v3/volumes", {"volume": {"size": 1, "name": "v"}})
    (volume,) = cloud.books.rows("select id, uuid::text from volume where not local")
    path = f"/compute/v2.1/servers/{server}/os-volume_attachments"
    cloud.service.stop()
    crashes = 0
    for point in range(1, MOST_POINTS):
        crashed = run_until_crash(cloud, point, path, volume.uuid)
        cloud.service.start()
        until(lambda: not cloud.books.open_operations(), f"all is over after point {point}")
        check(cloud, point, f"snf-vol-{volume.id}")
        clean_up(cloud, path, volume.uuid)
        cloud.service.stop()
        if not crashed:
            break
        crashes += 1
    else:
        raise AssertionError("every run crashed: there is no end of points")
    assert crashes >= 8, f"only {crashes} points were passed"


def act(cloud: Cloud, client: Any, method: str, path: str, body: Any = None) -> None:
    """Ask for something, and wait until it is over."""
    client.send(method, path, body)
    until(lambda: not cloud.books.open_operations(), f"{method} {path} is over")


def disks(cloud: Cloud) -> list[str]:
    """The names of the further disks of the only instance at the cluster."""
    (name,) = cloud.simulators.instances()
    (cluster,) = cloud.simulators.clusters
    shown: Any = cloud.simulators.ask(cluster, f"/2/instances/{name}")  # type: ignore[union-attr]
    return list(shown["disk.names"][1:])


def run_until_crash(cloud: Cloud, point: int, path: str, volume: str) -> bool:
    """Attach; True when the process was killed on the way."""
    cloud.service.start(crash_at=point)
    try:
        client = cloud.client()
        client.send("POST", path, {"volumeAttachment": {"volumeId": volume}})
        end_at = time.monotonic() + 30
        while cloud.books.open_operations() and not cloud.service.dead():
            assert time.monotonic() < end_at, "the volume was not attached"
            time.sleep(0.02)
    except (OSError, Refused):
        until(cloud.service.dead, "the process is dead")
    dead = cloud.service.dead()
    if not dead:
        cloud.service.stop()
    return dead


def check(cloud: Cloud, point: int, disk: str) -> None:
    """The volume is on the server with its disk, or free without one."""
    (row,) = cloud.books.rows(
        "select status, server_id is not null as attached, cluster_id from volume where not local"
    )
    there = disks(cloud)
    assert there in ([], [disk]), f"after point {point}"
    assert (row.status, row.attached) == (("in_use", True) if there else ("available", False)), (
        f"after point {point}"
    )
    assert cloud.books.faults() == [], f"after point {point}"


def clean_up(cloud: Cloud, path: str, volume: str) -> None:
    """Take the volume off, so that the next point begins with a free one, which has a disk."""
    if disks(cloud):
        act(cloud, cloud.client(), "DELETE", f"{path}/{volume}")
    assert disks(cloud) == []
