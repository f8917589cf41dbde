"""The process is killed between any two steps; afterwards everything adds up."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.scenario.cloud import Refused, until
from tests.scenario.conftest import Cloud

#: More points than a create and a delete pass; when this many runs all crashed, something loops.
MOST_POINTS = 60


def test_a_kill_at_every_step_of_a_create_and_a_delete_leaves_one_instance_or_none(
    make_cloud: Callable[..., Cloud],
) -> None:
    """Crash point after crash point: kill there, start again, count everything."""
    cloud = make_cloud(job_seconds=0.2)
    cloud.service.start()
    until(lambda: not cloud.books.open_operations(), "the networks are made")
    cloud.service.stop()
    crashes = 0
    for point in range(1, MOST_POINTS):
        crashed = run_until_crash(cloud, point)
        cloud.service.start()
        until(lambda: not cloud.books.open_operations(), f"all is over after point {point}")
        left = {
            f"snf-{row.id}"
            for row in cloud.books.servers()
            if row.charge != "none" or row.state == "building"
        }
        assert set(cloud.simulators.instances()) == left, f"after point {point}"
        assert len(left) <= 1
        assert cloud.books.faults() == [], f"after point {point}"
        clean_up(cloud)
        cloud.service.stop()
        if not crashed:
            break
        crashes += 1
    else:
        raise AssertionError("every run crashed: there is no end of points")
    assert crashes >= 14, f"only {crashes} points were passed"
    assert cloud.simulators.instances() == {}


def run_until_crash(cloud: Cloud, point: int) -> bool:
    """Create a server and delete it; True when the process was killed on the way."""
    cloud.service.start(crash_at=point)
    try:
        client = cloud.client()
        server = cloud.create(client, f"crash-{point}")
        wait_or_die(cloud, client, server, "ACTIVE")
        client.send("DELETE", f"/compute/v2.1/servers/{server}")
        wait_or_die(cloud, client, server, "gone")
    except (OSError, Refused):
        until(cloud.service.dead, "the process is dead")
    dead = cloud.service.dead()
    if not dead:
        cloud.service.stop()
    return dead


def wait_or_die(cloud: Cloud, client: object, server: str, wanted: str) -> None:
    """Wait for a state; an answer that does not come means that the process has been killed."""
    end_at = time.monotonic() + 30
    while time.monotonic() < end_at:
        try:
            status = client.get(f"/compute/v2.1/servers/{server}")["server"]["status"]  # type: ignore[attr-defined]
        except Refused as refused:
            if refused.status == 404 and wanted == "gone":
                return
            raise
        if status in (wanted, "ERROR"):
            return
        time.sleep(0.05)
    raise AssertionError(f"the server did not become {wanted}")


def clean_up(cloud: Cloud) -> None:
    """Delete what is left, so that the next point begins with nothing."""
    client = cloud.client()
    for row in client.get("/compute/v2.1/servers")["servers"]:
        client.send("DELETE", f"/compute/v2.1/servers/{row['id']}")
    until(lambda: not cloud.books.servers(), "all servers are gone")
