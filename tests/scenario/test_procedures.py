"""Resize, rebuild and rescue with the real client, and with a process that is killed on the way."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.scenario.cloud import OpenStack, Refused, until
from tests.scenario.conftest import Cloud

RESCUE = 'rescue_image = "/srv/rescue.iso"\n'
#: More points than the way passes; when this many runs all crashed, something loops.
MOST_POINTS = 60
#: Every point takes its time, so a run looks at each seventh and begins anywhere. A job passes
#: six points: each kind of moment has its turn, and every point has it sooner or later.
EVERY = 7


def a_larger_flavor(cloud: Cloud) -> str:
    """A flavor of the same disks, with more of everything; its id."""
    cloud.books.rows(
        "insert into flavor (name, vcpus, memory_mib, disk_gib, volume_type_id)"
        " select 'larger', 2, 256, 2, volume_type_id from flavor where name = 'tiny'"
        " on conflict do nothing"
    )
    (row,) = cloud.books.rows("select uuid::text from flavor where name = 'larger'")
    found: str = row.uuid
    return found


def instance(cloud: Cloud) -> Any:
    """The only instance, as its cluster tells it."""
    (row,) = cloud.simulators.ask(cloud.simulators.clusters[0], "/2/instances?bulk=1")
    return row


def test_the_real_client_resizes_rebuilds_and_rescues(make_cloud: Callable[..., Cloud]) -> None:
    """Each command waits for what it should, and the cluster has what was asked for."""
    cloud = make_cloud(job_seconds=0.1, ganeti=RESCUE)
    cloud.service.start()
    a_larger_flavor(cloud)
    openstack = OpenStack(cloud.folder)

    def status() -> str:
        found: str = openstack("server", "show", "life", "-f", "value", "-c", "status")
        return found

    openstack(
        *("server", "create", "--flavor", "tiny", "--image", "debian-12"),
        *("--network", "shared", "--wait", "life"),
    )
    openstack("server", "resize", "--flavor", "larger", "--wait", "life")
    assert status() == "VERIFY_RESIZE"
    assert (instance(cloud)["beparams"]["vcpus"], instance(cloud)["disk.sizes"]) == (2, [2048])
    openstack("server", "resize", "revert", "life")
    until(lambda: status() == "ACTIVE", "it is active again")
    assert instance(cloud)["beparams"]["vcpus"] == 1
    openstack("server", "resize", "--flavor", "larger", "--wait", "life")
    openstack("server", "resize", "confirm", "life")
    assert status() == "ACTIVE"
    assert openstack("server", "show", "life", "-f", "value", "-c", "flavor").find("larger") >= 0
    openstack(
        *("server", "rebuild", "--image", "debian-12", "--name", "life"),
        *("--property", "a=b", "--wait", "life"),
    )
    assert status() == "ACTIVE"
    openstack("server", "rescue", "life")
    until(lambda: status() == "RESCUE", "it is rescued")
    openstack("server", "unrescue", "life")
    until(lambda: status() == "ACTIVE", "it is active again")
    openstack("server", "lock", "--reason", "mine", "life")
    refused(openstack, "server", "delete", "life", why="is locked")
    openstack("server", "unlock", "life")
    openstack("server", "set", "--name", "other", "--property", "c=d", "life")
    refused(openstack, "server", "pause", "other", why="not possible on this cloud")
    openstack("server", "delete", "--wait", "other")
    until(lambda: cloud.simulators.instances() == {}, "nothing is left")
    assert cloud.books.faults() == []


def refused(openstack: OpenStack, *words: str, why: str) -> None:
    """A command fails with a sentence."""
    try:
        openstack(*words)
    except AssertionError as error:
        assert why in str(error), error
    else:
        raise AssertionError(f"{words} was not refused")


def test_a_kill_at_every_step_of_a_resize_and_a_rebuild_leaves_one_sound_server(
    make_cloud: Callable[..., Cloud],
) -> None:
    """Crash point after crash point: whatever was begun is finished, once, and paid for."""
    cloud = make_cloud(job_seconds=0.15)
    cloud.service.start()
    larger = a_larger_flavor(cloud)
    until(lambda: not cloud.books.open_operations(), "the networks are made")
    cloud.service.stop()
    for point in range(random.randint(1, EVERY), MOST_POINTS, EVERY):
        cloud.service.start()
        client = cloud.client()
        server = cloud.create(client, f"crash-{point}")
        wait_for(client, server, "ACTIVE")
        cloud.service.stop()
        crashed = run_until_crash(cloud, point, server, larger)
        cloud.service.start()
        until(partial(rests, cloud), f"all is over after point {point}")
        check(cloud, point)
        client = cloud.client()
        client.send("DELETE", f"/compute/v2.1/servers/{server}")
        until(lambda: not cloud.books.servers(), "all servers are gone")
        cloud.service.stop()
        if not crashed:
            break
    else:
        raise AssertionError("every run crashed: there is no end of points")
    assert point >= 14, f"only {point} points were passed"
    assert cloud.simulators.instances() == {}


def rests(cloud: Cloud) -> bool:
    """Whether nothing is in motion."""
    return not cloud.books.open_operations()


def check(cloud: Cloud, point: int) -> None:
    """The database and the cluster say the same, each job was done once, and the sums are right."""
    (row,) = cloud.books.rows(
        "select s.id, s.state, s.vcpus, s.memory_mib, v.size_gib from server s"
        " join volume v on v.server_id = s.id where s.deleted_at is null"
    )
    assert row.state in ("active", "resized"), f"after point {point}: {row}"
    seen = instance(cloud)
    sizes = (seen["beparams"]["vcpus"], seen["beparams"]["maxmem"], seen["disk.sizes"])
    assert sizes == (row.vcpus, row.memory_mib, [row.size_gib * 1024]), f"after point {point}"
    assert seen["status"] == "running", f"after point {point}"
    assert cloud.books.faults() == [], f"after point {point}"
    twice = cloud.books.rows(
        "select s.step, count(*) from operation_step s join operation o on o.id = s.operation_id"
        " where o.server_id = %s group by o.id, s.step having count(*) > 1",
        row.id,
    )
    assert twice == [], f"after point {point}"


def run_until_crash(cloud: Cloud, point: int, server: str, flavor: str) -> bool:
    """Resize, confirm and rebuild; True when the process was killed on the way."""
    cloud.service.start(crash_at=point)
    path = f"/compute/v2.1/servers/{server}/action"
    try:
        client = cloud.client()
        client.send("POST", path, {"resize": {"flavorRef": flavor}})
        wait_for(client, server, "VERIFY_RESIZE")
        client.send("POST", path, {"confirmResize": None})
        client.send("POST", path, {"rebuild": {"imageRef": cloud.image}})
        wait_for(client, server, "ACTIVE")
    except (OSError, Refused):
        until(cloud.service.dead, "the process is dead")
    dead = cloud.service.dead()
    if not dead:
        cloud.service.stop()
    return dead


def wait_for(client: Any, server: str, wanted: str) -> None:
    """Wait for a status; an answer that does not come means that the process has been killed."""
    end_at = time.monotonic() + 30
    while time.monotonic() < end_at:
        status = client.get(f"/compute/v2.1/servers/{server}")["server"]["status"]
        if status == wanted:
            return
        assert status != "ERROR"
        time.sleep(0.05)
    raise AssertionError(f"the server did not become {wanted}")
