"""The whole service on real Ganeti clusters, used by the real client.

Their machines only pretend to run; all else is a Ganeti as an operator would have it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cyclades_tx.store.embedded import EmbeddedPostgres
from tests.real.ganeti import RealGaneti, purge_ganeti
from tests.scenario.cloud import OpenStack, Refused, free_port, until
from tests.scenario.conftest import Cloud, running_cloud
from tests.scenario.real_servers import (
    PROMPT_SECONDS,
    act,
    becomes,
    create,
    delete,
    instance_of,
    nothing_left,
    place_of,
    real_clusters,
    register,
    seen,
    status,
    used,
)

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
#: The slowest reply of the API that is still fast there.
REPLY_SECONDS = 2.0
#: More points than a create passes.
MOST_POINTS = 30


@pytest.fixture(scope="module")
def whole(
    postgres: EmbeddedPostgres,
    administer: Callable[[str], None],
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    """Two real clusters and a service that runs, with the networks made."""
    administer(f"create database real_ganeti template {template} strategy file_copy")
    folder = tmp_path_factory.mktemp("real")
    try:
        with running_cloud(folder, postgres.dsn("real_ganeti"), clusters=2, real=True) as cloud:
            cloud.service.start()
            until(lambda: not cloud.books.open_operations(), "the networks are made")
            yield cloud
    finally:
        administer("drop database real_ganeti with (force)")


@pytest.fixture
def cloud(whole: Cloud) -> Iterator[Cloud]:
    """The same, with no server before the test and none after it."""
    yield whole
    client = whole.client()
    for row in client.get("/compute/v2.1/servers")["servers"]:
        delete(client, row["id"])
    until(lambda: not whole.books.servers(), "the test's servers are gone")


# The life -----------------------------------------------------------------------------------


def test_the_real_client_lives_through_a_servers_life_on_a_real_cluster(cloud: Cloud) -> None:
    """``gnt-instance list`` shows the server in each of its states, and loses it."""
    openstack = OpenStack(cloud.folder)
    client = cloud.client()
    assert openstack("token", "issue", "-f", "value", "-c", "id")
    made = openstack.json(
        *("server", "create", "--flavor", "tiny", "--image", "debian-12"),
        *("--network", "shared", "--wait", "life"),
    )
    server = made["id"]
    ganeti, instance = place_of(cloud, server), instance_of(cloud, server)
    assert seen(ganeti, instance, "status") == "running"
    assert seen(ganeti, instance, "be/memory,be/vcpus,disk_template").split() == [
        *("128M", "1", "file")
    ]
    shown = openstack.json("server", "show", "life")
    assert shown["status"] == "ACTIVE"
    assert shown["OS-EXT-AZ:availability_zone"] == ganeti.name
    assert shown["addresses"] == {"shared": [seen(ganeti, instance, "nic.ips")]}
    (listed,) = openstack.json("server", "list", "--long")
    assert (listed["ID"], listed["Status"]) == (server, "ACTIVE")

    openstack("server", "stop", "life")
    becomes(client, server, "SHUTOFF")
    assert seen(ganeti, instance, "status") == "ADMIN_down"
    openstack("server", "start", "life")
    becomes(client, server, "ACTIVE")
    assert seen(ganeti, instance, "status") == "running"
    openstack("server", "reboot", "--hard", "--wait", "life")
    until(lambda: not cloud.books.open_operations(), "the reboot is over")
    assert seen(ganeti, instance, "status") == "running"
    events = {row["Action"] for row in openstack.json("server", "event", "list", server)}
    assert events == {"create", "stop", "start", "reboot"}

    openstack("server", "delete", "--wait", "life")
    assert openstack.json("server", "list") == []
    assert nothing_left(cloud)
    assert cloud.books.faults() == []


def test_two_clusters_share_the_servers_and_users_see_what_ganeti_has(cloud: Cloud) -> None:
    """Addresses and MAC addresses are the same on both sides."""
    client = cloud.client()
    servers = [create(cloud, client, f"share-{number}") for number in range(6)]
    for server in servers:
        becomes(client, server, "ACTIVE", 90)
    where = real_clusters(cloud).instances()
    assert {instance_of(cloud, server) for server in servers} == set(where)
    assert sorted(list(where.values()).count(name) for name in set(where.values())) == [3, 3]
    for server in servers:
        (nic,) = client.get(f"/compute/v2.1/servers/{server}")["server"]["addresses"]["shared"]
        ganeti = place_of(cloud, server)
        assert seen(ganeti, instance_of(cloud, server), "nic.ips,nic.macs").split() == [
            nic["addr"],
            nic["OS-EXT-IPS-MAC:mac_addr"],
        ]
    for server in servers:
        delete(client, server)
    for server in servers:
        becomes(client, server, "gone", 90)
    assert nothing_left(cloud)
    assert cloud.books.faults() == []


# Outages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("go_away", "come_back"),
    [(RealGaneti.stop, RealGaneti.start), (RealGaneti.hang, RealGaneti.go_on)],
    ids=["stopped", "hanging"],
)
def test_a_cluster_that_is_away_slows_nobody_and_heals_by_itself(
    cloud: Cloud,
    go_away: Callable[[RealGaneti], None],
    come_back: Callable[[RealGaneti], None],
) -> None:
    """Its servers stay as they are, what is asked of them waits and says why."""
    client = cloud.client()
    away, there = real_clusters(cloud).ganetis.values()
    to_stop, to_delete, to_keep = (
        create(cloud, client, name, zone=away.name) for name in ("stop", "delete", "keep")
    )
    for server in (to_stop, to_delete, to_keep):
        becomes(client, server, "ACTIVE", 60)
    instances = {server: instance_of(cloud, server) for server in (to_stop, to_delete, to_keep)}
    go_away(away)
    try:
        act(client, to_stop, "os-stop")
        delete(client, to_delete)
        replies: list[float] = []

        def timely(server: str, wanted: str) -> None:
            def reached() -> bool:
                began = time.monotonic()
                found = status(client, server)
                replies.append(time.monotonic() - began)
                return found == wanted

            until(reached, f"the server is {wanted}", PROMPT_SECONDS)

        other = create(cloud, client, "other", zone=there.name)
        timely(other, "ACTIVE")
        act(client, other, "os-stop")
        timely(other, "SHUTOFF")
        delete(client, other)
        timely(other, "gone")
        until(
            lambda: [row.reachable for row in clusters(cloud)] == [False, True],
            "the cluster is known not to answer",
            PROMPT_SECONDS,
        )
        replies.sort()
        assert replies[-1] < REPLY_SECONDS, f"slow replies: {replies[-3:]}"
        elsewhere = create(cloud, client, "elsewhere")
        timely(elsewhere, "ACTIVE")
        assert instance_of(cloud, elsewhere) in there.instances()
        with pytest.raises(Refused, match="clusters take no servers at the moment"):
            create(cloud, client, "nowhere", zone=away.name)
        with pytest.raises(Refused, match=f"{away.name}: it does not answer"):
            create(cloud, cloud.client(name="admin"), "nowhere", zone=away.name)

        assert {status(client, server) for server in instances} == {"ACTIVE"}
        until(
            lambda: (
                # The try that finds out says the second.
                {
                    row.kind: bool(re.search("does not answer|cannot be reached", row.reason))
                    for row in cloud.books.open_operations()
                }
                == {"stop": True, "delete": True}
            ),
            lambda: f"the waiting operations say why: {cloud.books.open_operations()}",
            PROMPT_SECONDS,
        )
    finally:
        come_back(away)
    until(lambda: not cloud.books.open_operations(), "what waited is done", PROMPT_SECONDS)
    assert [status(client, server) for server in (to_stop, to_delete, to_keep)] == [
        *("SHUTOFF", "gone", "ACTIVE")
    ]
    assert seen(away, instances[to_stop], "status") == "ADMIN_down"
    assert seen(away, instances[to_keep], "status") == "running"
    assert instances[to_delete] not in away.instances()
    assert cloud.books.faults() == []


def clusters(cloud: Cloud) -> list[Any]:
    """The rows of the clusters, in the order in which they were made."""
    return cloud.books.rows("select name, reachable from cluster order by id")


# Failures -----------------------------------------------------------------------------------


def test_a_failed_creation_says_why_and_leaves_nothing(cloud: Cloud) -> None:
    """The half-made instance is removed, quota and address are given back."""
    client = cloud.client()
    server = create(cloud, client, "fails", image=register(cloud, "test:fail"))
    becomes(client, server, "ERROR")
    fault = client.get(f"/compute/v2.1/servers/{server}")["server"]["fault"]
    assert "OS create script failed" in fault["message"]
    assert nothing_left(cloud)
    assert cloud.books.faults() == []
    delete(client, server)
    becomes(client, server, "gone")
    assert cloud.books.faults() == []


def test_what_is_done_by_hand_at_the_cluster_is_followed(cloud: Cloud) -> None:
    """A shutdown, a start and a removal by an operator; the quota follows too."""
    client = cloud.client()
    server = create(cloud, client, "by-hand")
    becomes(client, server, "ACTIVE")
    ganeti, instance = place_of(cloud, server), instance_of(cloud, server)
    running = used(cloud)
    ganeti.command("gnt-instance", "shutdown", "--timeout=0", instance)
    becomes(client, server, "SHUTOFF", 15)
    assert running.keys() - used(cloud).keys() == {"cyclades.cpu", "cyclades.ram"}
    ganeti.command("gnt-instance", "startup", instance)
    becomes(client, server, "ACTIVE", 15)
    assert used(cloud) == running
    ganeti.command("gnt-instance", "remove", "--force", "--shutdown-timeout=0", instance)
    becomes(client, server, "gone", 15)
    assert nothing_left(cloud)
    assert cloud.books.faults() == []


def test_a_deletion_follows_a_creation_that_still_runs(cloud: Cloud) -> None:
    """The creation's job is not disturbed; then the instance is removed."""
    client = cloud.client()
    server = create(cloud, client, "short-lived", image=register(cloud, "test:sleep=8"))
    until(
        lambda: cloud.books.rows(
            "select 1 from operation where job_status = 'running' and server_id ="
            " (select id from server where uuid = %s)",
            server,
        ),
        "the creation runs",
        PROMPT_SECONDS,
    )
    delete(client, server)
    assert status(client, server) != "gone"
    becomes(client, server, "gone")
    ends = cloud.books.rows(
        "select kind, state from operation where server_id ="
        " (select id from server where uuid = %s) order by id",
        server,
    )
    assert [tuple(row) for row in ends] == [("create", "succeeded"), ("delete", "succeeded")]
    assert nothing_left(cloud)
    assert cloud.books.faults() == []


# Crashes ------------------------------------------------------------------------------------


def test_a_kill_at_every_step_of_a_create_leaves_one_instance_or_none(
    make_cloud: Callable[..., Cloud],
) -> None:
    """Crash point after crash point; every server that was made before must still be there."""
    cloud = make_cloud(clusters=1, real=True)
    cloud.service.start()
    until(lambda: not cloud.books.open_operations(), "the networks are made")
    cloud.service.kill()
    for point in range(1, MOST_POINTS):
        crashed = create_until_crash(cloud, point)
        if crashed:
            cloud.service.start()
        until(lambda: not cloud.books.open_operations(), f"all is over after point {point}")
        rows = cloud.books.servers()
        assert {row.state for row in rows} <= {"active", "error"}, rows
        assert len({row.name for row in rows}) == len(rows), rows
        standing = {
            f"{real_clusters(cloud).prefix}{row.id}" for row in rows if row.charge != "none"
        }
        assert set(real_clusters(cloud).instances()) == standing, f"after point {point}"
        assert cloud.books.faults() == [], f"after point {point}"
        cloud.service.kill()
        if not crashed:
            break
    else:
        raise AssertionError("every run crashed: there is no end of points")
    assert point > 8, f"only {point - 1} points were passed"


def create_until_crash(cloud: Cloud, point: int) -> bool:
    """Create a server; True when the process was killed on the way."""
    cloud.service.start(crash_at=point)
    try:
        client = cloud.client()
        server = cloud.create(client, f"crash-{point}")
        until(lambda: status(client, server) in ("ACTIVE", "ERROR"), "made or failed")
    except (OSError, Refused):
        until(cloud.service.dead, "the process is dead")
    return cloud.service.dead()


# The trial run ------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a trial run; its clusters and its database are removed with it."""
    with tempfile.TemporaryDirectory(prefix="cyclades-tx-trial-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
        for file in (folder / "var").glob("real-ganeti*.number"):
            purge_ganeti(int(file.read_text()))
        EmbeddedPostgres(folder / "var").remove()


def test_the_trial_run_starts_real_clusters_and_finds_them_again(folder: Path) -> None:
    """What ``make run-ganeti`` does: two clusters, a server, Ctrl-C, and once more."""
    port = free_port()
    openstack = OpenStack(folder / "var")
    create_words = ("server", "create", "--flavor", "tiny", "--image", "debian-12", "--wait")
    with trial_run(folder, port):
        assert openstack.json(*create_words, "kept")["status"] == "ACTIVE"
        first, second = (
            int(file.read_text()) for file in (folder / "var").glob("real-ganeti*.number")
        )
        assert sorted([instances_of(first), instances_of(second)]) == [[], ["snf-1"]]
    with trial_run(folder, port):
        assert openstack.json("server", "show", "kept")["status"] == "ACTIVE"
        openstack("server", "delete", "--wait", "kept")
        assert [instances_of(first), instances_of(second)] == [[], []]


@contextmanager
def trial_run(folder: Path, port: int) -> Iterator[None]:
    """Run it until it is ready; Ctrl-C in the end."""
    output = folder / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "cyclades_tx.trial", f"--port={port}"),
                *(f"--state={folder / 'var'}", f"--ganeti={ROOT / 'tests' / 'real'}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        until(
            lambda: "is ready at" in output.read_text() or process.poll() is not None,
            "the cloud is ready",
            120,
        )
        assert process.poll() is None, output.read_text()
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert process.returncode == 0, output.read_text()
    assert "Traceback" not in output.read_text()


def instances_of(number: int) -> list[str]:
    """The instances of the cluster with this number."""
    words = ["gnt-instance", "list", "--no-headers", "-o", "name"]
    done = subprocess.run(
        [f"/srv/cytx/{number}/command", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split()
