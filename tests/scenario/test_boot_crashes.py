"""The process is killed while a server is made that boots from a disk that is there already."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from tests.scenario.cloud import Client, Refused, until
from tests.scenario.conftest import Cloud

#: The points around the second and the third job; ``BOOT_POINTS=40`` in the environment means
#: every point up to the fortieth.
POINTS = (9, 12, 18)
SERVERS = "/compute/v2.1/servers"


def test_a_kill_at_any_step_loses_no_disk(make_cloud: Callable[..., Cloud]) -> None:
    """It is on the machine that runs, or free; and the same disk boots the next server."""
    cloud = make_cloud(job_seconds=0.05)
    cloud.service.start()
    until(lambda: not cloud.books.open_operations(), "the networks are made")
    asked = "select 1 from cluster where disk_templates <> '{}'"
    until(lambda: cloud.books.rows(asked), "the cluster was asked what it has")
    client = cloud.client()
    old = boot(cloud, client, {"uuid": cloud.image, "source_type": "image", "volume_size": 1})
    at_rest(cloud, "the first server is made")
    (volume,) = cloud.books.rows("select uuid::text from volume where not local")
    disk = disks(cloud)
    client.send("DELETE", f"{SERVERS}/{old}")
    at_rest(cloud, "it is gone, its volume is not")
    cloud.service.stop()
    most = int(os.environ.get("BOOT_POINTS", "0"))
    for point in range(1, most) if most else POINTS:
        crashed = run_until_crash(cloud, point, volume.uuid)
        cloud.service.start()
        at_rest(cloud, f"all is over after point {point}")
        check(cloud, point, disk)
        for row in cloud.books.rows("select uuid::text from server where deleted_at is null"):
            cloud.client().send("DELETE", f"{SERVERS}/{row.uuid}")
        at_rest(cloud, f"the server of point {point} is gone")
        assert cloud.simulators.instances() == {}, f"after point {point}"
        cloud.service.stop()
        if not crashed:
            assert most, f"point {point} was not passed"
            break
    cloud.service.start()
    boot(cloud, cloud.client(), {"uuid": volume.uuid, "source_type": "volume"})
    at_rest(cloud, "the last server is made")
    assert disks(cloud) == disk
    assert cloud.books.faults() == []


def at_rest(cloud: Cloud, what: str) -> None:
    """Wait until nothing is in motion."""
    until(lambda: not cloud.books.open_operations(), what)


def boot(cloud: Cloud, client: Client, first: dict[str, Any]) -> str:
    """Ask for a server with this first disk, which outlives it; its UUID."""
    mapping = {"boot_index": 0, "destination_type": "volume", **first}
    body = {
        "name": "s",
        "flavorRef": cloud.flavor,
        "networks": [{"uuid": cloud.network}],
        "block_device_mapping_v2": [mapping],
    }
    made: str = client.send("POST", SERVERS, {"server": body})[2]["server"]["id"]
    return made


def disks(cloud: Cloud) -> list[str]:
    """Ganeti's ids of the disks of the only instance at the cluster."""
    (name,) = cloud.simulators.instances()
    (cluster,) = cloud.simulators.clusters
    shown: Any = cloud.simulators.ask(cluster, f"/2/instances/{name}")  # type: ignore[union-attr]
    return list(shown["disk.uuids"])


def run_until_crash(cloud: Cloud, point: int, volume: str) -> bool:
    """Boot a server from the volume; True when the process was killed on the way."""
    cloud.service.start(crash_at=point)
    try:
        boot(cloud, cloud.client(), {"uuid": volume, "source_type": "volume"})
        end_at = time.monotonic() + 60
        while cloud.books.open_operations() and not cloud.service.dead():
            assert time.monotonic() < end_at, "the server was not made"
            time.sleep(0.02)
    except (OSError, Refused):
        until(cloud.service.dead, "the process is dead")
    dead = cloud.service.dead()
    if not dead:
        cloud.service.stop()
    return dead


def check(cloud: Cloud, point: int, disk: list[str]) -> None:
    """The server runs from the volume's disk; or there is none, and the volume is free."""
    servers = cloud.books.rows("select uuid, state from server where deleted_at is null")
    (row,) = cloud.books.rows(
        "select v.status, v.server_id is not null as attached, v.cluster_id is not null as kept"
        " from volume v where not v.local"
    )
    if servers:
        assert [server.state for server in servers] == ["active"], f"after point {point}"
        assert disks(cloud) == disk, f"after point {point}"
        assert tuple(row) == ("in_use", True, False), f"after point {point}"
    else:
        assert cloud.simulators.instances() == {}, f"after point {point}"
        assert tuple(row) == ("available", False, True), f"after point {point}"
    assert cloud.books.faults() == [], f"after point {point}"
