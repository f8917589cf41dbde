"""The process is killed between any two steps of attaching, growing and detaching a volume."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.scenario.cloud import Client, Refused, until
from tests.scenario.conftest import Cloud

MOST_POINTS = 90
VOLUMES = "/volume/v3/volumes"
#: The first microversion that grows volumes of servers.
EXTEND_IN_USE = 42


def test_a_kill_at_every_step_loses_and_doubles_nothing(make_cloud: Callable[..., Cloud]) -> None:
    """Crash point after crash point: kill there, start again, count everything."""
    cloud = make_cloud(job_seconds=0.05)
    cloud.service.start()
    until(lambda: not cloud.books.open_operations(), "the networks are made")
    client = cloud.client()
    server = cloud.create(client, "s")
    until(lambda: not cloud.books.open_operations(), "the server is made")
    client.send("POST", VOLUMES, {"volume": {"size": 1, "name": "v"}})
    path = f"/compute/v2.1/servers/{server}/os-volume_attachments"
    cloud.service.stop()
    begun: set[str] = set()
    passed = 0
    for point in range(1, MOST_POINTS):
        if nothing_happens_after(cloud):
            forget(cloud)
            continue
        passed += 1
        last = run_until_crash(cloud, point, path)
        cloud.service.start()
        until(lambda: not cloud.books.open_operations(), f"all is over after point {point}")
        check(cloud, f"after point {point} ({last})")
        clean_up(cloud, path)
        cloud.service.stop()
        if not last:
            break
        begun.add(last)
    else:
        raise AssertionError("every run crashed: there is no end of points")
    assert begun == {"attach", "extend", "detach"}
    assert passed >= 18, f"only {passed} points were passed"


def nothing_happens_after(cloud: Cloud) -> bool:
    """Whether the next point finds everything as the last one did.

    Between a commit and the call that it is for nothing happens, nor between a call, or the record
    of its job, and the next commit.
    """
    told = re.findall(r"crash point: (\S+)", errors(cloud).read_text())
    same = ("after-commit:server.submit.", "after-call:", "after-commit:server.submitted.")
    return bool(told) and told[-1].startswith(same)


def forget(cloud: Cloud) -> None:
    """Forget which point was the last."""
    errors(cloud).write_text("")


def errors(cloud: Cloud) -> Path:
    """What the service said when it was killed."""
    path = cloud.folder / "service.err"
    path.touch()
    return path


def volume(cloud: Cloud) -> Any:
    """The volume that all this is about."""
    (row,) = cloud.books.rows(
        "select id, uuid::text, status, server_id is not null as attached, size_gib from volume"
        " where not local"
    )
    return row


def disks(cloud: Cloud) -> list[tuple[str, int]]:
    """Names and sizes (GiB) of the further disks of the only instance at the cluster."""
    (name,) = cloud.simulators.instances()
    (cluster,) = cloud.simulators.clusters
    shown: Any = cloud.simulators.ask(cluster, f"/2/instances/{name}")  # type: ignore[union-attr]
    sizes = [size // 1024 for size in shown["disk.sizes"]]
    return list(zip(shown["disk.names"], sizes, strict=True))[1:]


def run_until_crash(cloud: Cloud, point: int, path: str) -> str:
    """Attach, grow and detach; what was under way when the process was killed; empty: it lives."""
    cloud.service.start(crash_at=point)
    doing = "attach"
    try:
        client = cloud.client()
        row = volume(cloud)
        wishes: dict[str, tuple[str, str, Any]] = {
            "attach": ("POST", path, {"volumeAttachment": {"volumeId": row.uuid}}),
            "extend": (
                "POST",
                f"{VOLUMES}/{row.uuid}/action",
                {"os-extend": {"new_size": row.size_gib + 1}},
            ),
            "detach": ("DELETE", f"{path}/{row.uuid}", None),
        }
        for doing, wish in wishes.items():  # noqa: B007
            if not ask(cloud, client, *wish):
                break
    except (OSError, Refused):
        until(cloud.service.dead, "the process is dead")
    if cloud.service.dead():
        return doing
    cloud.service.stop()
    return ""


def ask(cloud: Cloud, client: Client, method: str, path: str, body: Any = None) -> bool:
    """Ask for something, and wait until it is over; False: the process was killed on the way."""
    client.send(method, path, body, volume_minor=EXTEND_IN_USE)
    end_at = time.monotonic() + 30
    while cloud.books.open_operations() and not cloud.service.dead():
        assert time.monotonic() < end_at, f"not over: {method} {path}"
        time.sleep(0.02)
    return not cloud.service.dead()


def check(cloud: Cloud, when: str) -> None:
    """The volume is on the server with its disk, or free without one; all is as large as told."""
    row, there = volume(cloud), disks(cloud)
    assert there in ([], [(f"snf-vol-{row.id}", row.size_gib)]), when
    assert (row.status, row.attached) == (("in_use", True) if there else ("available", False)), when
    assert cloud.books.faults() == [], when


def clean_up(cloud: Cloud, path: str) -> None:
    """Take the volume off, so that the next point begins with a free one, which has a disk."""
    if disks(cloud):
        ask(cloud, cloud.client(), "DELETE", f"{path}/{volume(cloud).uuid}")
    assert disks(cloud) == []
