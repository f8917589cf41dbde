"""Volumes and images on a real cluster, used by the real client and looked at with Ganeti's own
commands.
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cyclades_tx.store.embedded import EmbeddedPostgres
from tests.scenario.cloud import OpenStack, until
from tests.scenario.conftest import Cloud, running_cloud
from tests.scenario.real_servers import (
    Machine,
    create,
    delete,
    machine_of,
    nothing_left,
    real_clusters,
    used,
    wait,
)

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("machines")]

GIB = 2**30
IMAGE_BYTES = 3 * 2**20 + 5


@pytest.fixture(scope="module")
def cloud(
    postgres: EmbeddedPostgres,
    administer: Callable[[str], None],
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    """One cluster with the fake hypervisor, whose machines must be stopped for a change."""
    administer(f"create database real_volumes template {template} strategy file_copy")
    folder = tmp_path_factory.mktemp("volumes")
    try:
        with running_cloud(
            folder, postgres.dsn("real_volumes"), real=True, more='[image]\ndirectory = "images"\n'
        ) as made:
            made.service.start()
            until(lambda: not made.books.open_operations(), "the networks are made")
            yield made
    finally:
        administer("drop database real_volumes with (force)")


def disks(machine: Machine) -> list[dict[str, str]]:
    """The further disks in ``gnt-instance info``."""
    return list(machine.info()["Disks"])[1:]


def sizes(machine: Machine) -> list[str]:
    """Their sizes, in MiB."""
    (said,) = machine.seen("disk.sizes")
    return said.split(",")[1:]


def attach(machine: Machine, volume: str, ends: bool) -> None:
    """Put a volume on a server, and wait."""
    wanted = {"volumeId": volume, "delete_on_termination": ends}
    path = f"{machine.path}/os-volume_attachments"
    machine.client.send("POST", path, {"volumeAttachment": wanted})
    machine.rests()


def test_a_volume_s_life_on_a_real_cluster(cloud: Cloud) -> None:
    """Attached, grown while the server runs, detached, on another server, gone with that."""
    client, openstack = cloud.client(), OpenStack(cloud.folder)
    servers = [create(cloud, client, name) for name in ("first", "second")]
    first, second = (machine_of(cloud, client, server) for server in servers)
    for machine in (first, second):
        machine.act("os-stop")
    for machine in (first, second):
        machine.becomes("SHUTOFF")
    others = loose_files(first)
    openstack("volume", "create", "--size", "1", "data")
    before = used(cloud)["cyclades.disk"]
    openstack("server", "add", "volume", "first", "data")
    first.rests()
    data = row_of(cloud)
    name = f"{real_clusters(cloud).prefix}vol-{data.id}"
    assert (data.status, sizes(first)) == ("in_use", ["1024"])
    assert [each["name"] for each in disks(first)] == [name]
    uuid = disks(first)[0]["UUID"]

    first.act("os-start")
    first.becomes("ACTIVE")
    openstack("volume", "set", "--size", "2", "data")
    first.rests()
    assert (row_of(cloud).size_gib, sizes(first)) == (2, ["2048"])
    assert used(cloud)["cyclades.disk"] == before + GIB

    first.act("os-stop")
    first.becomes("SHUTOFF")
    openstack("server", "remove", "volume", "first", "data")
    first.rests()
    assert (row_of(cloud).status, disks(first)) == ("available", [])
    attach(second, str(data.uuid), False)
    assert [(each["name"], each["UUID"]) for each in disks(second)] == [(name, uuid)]
    assert sizes(second) == ["2048"]

    # It outlives the second server, and ends with the first one.
    delete(client, second.uuid)
    wait(cloud, lambda: len(cloud.books.servers()) == 1, "the second server is gone")
    kept = row_of(cloud)
    assert (kept.status, kept.initialised, kept.server_id) == ("available", True, None)
    assert list(real_clusters(cloud).instances()) == [first.instance]

    # No server has it: it grows all the same, and no instance is left of that.
    openstack("volume", "set", "--size", "3", "data")
    wait(cloud, lambda: row_of(cloud).status == "available", "the kept volume has grown")
    assert row_of(cloud).size_gib == 3
    assert list(real_clusters(cloud).instances()) == [first.instance]
    attach(first, str(data.uuid), True)
    assert ([each["UUID"] for each in disks(first)], sizes(first)) == ([uuid], ["3072"])
    # What ends with its server, and what is deleted without one.
    openstack("volume", "create", "--size", "1", "spare")
    attach(first, str(row_of(cloud, "spare").uuid), False)
    delete(client, first.uuid)
    wait(cloud, lambda: len(cloud.books.servers()) == 0, "the first server is gone")
    assert (row_of(cloud).status, row_of(cloud, "spare").status) == ("deleted", "available")
    (file,) = loose_files(first) - others
    openstack("volume", "delete", "spare")
    wait(cloud, lambda: row_of(cloud, "spare").status == "deleted", "the kept volume is gone")
    assert not file.exists()
    assert loose_files(first) <= others
    wait(cloud, lambda: nothing_left(cloud), "nothing is left")
    assert cloud.books.faults() == []


def loose_files(machine: Machine) -> set[Path]:
    """The files of disks that no instance has."""
    return set(machine.ganeti.home.glob("disks/*.disk*"))


def test_a_server_of_an_uploaded_image_fetches_it_once(cloud: Cloud, tmp_path: Path) -> None:
    """By its signed URL; what was uploaded stands at the beginning of its disk."""
    client, openstack = cloud.client(), OpenStack(cloud.folder)
    data = os.urandom(IMAGE_BYTES)
    (tmp_path / "golden.raw").write_bytes(data)
    made = openstack.json(
        *("image", "create", "--disk-format", "raw", "--container-format", "bare"),
        *("--file", str(tmp_path / "golden.raw"), "golden"),
    )
    assert made["checksum"] == hashlib.md5(data).hexdigest()
    before = fetches(cloud)
    machine = machine_of(cloud, client, create(cloud, client, "golden", image=made["id"]))
    (disk,) = machine.ganeti.home.glob(f"disks/{machine.instance}/*.disk0")
    with disk.open("rb") as file:
        assert hashlib.md5(file.read(IMAGE_BYTES)).hexdigest() == made["checksum"]
    assert fetches(cloud) == before + 1
    # Installing it anew, with the same image, is the next time.
    machine.act("rebuild", {"imageRef": made["id"]})
    machine.becomes("ACTIVE")
    assert fetches(cloud) == before + 2
    delete(client, machine.uuid)
    wait(cloud, lambda: nothing_left(cloud), "nothing is left")
    assert cloud.books.faults() == []


def test_a_server_boots_from_the_disk_that_another_has_left(cloud: Cloud) -> None:
    """The same disk by Ganeti's own id, with what the first server has written on it."""
    client, openstack = cloud.client(), OpenStack(cloud.folder)
    first = machine_of(cloud, client, create(cloud, client, "first"))
    first.act("os-stop")
    first.becomes("SHUTOFF")
    openstack("volume", "create", "--size", "1", "--bootable", "root")
    attach(first, str(row_of(cloud, "root").uuid), False)
    uuid = disks(first)[0]["UUID"]
    (file,) = first.ganeti.home.glob(f"disks/{first.instance}/*.disk1")
    with file.open("r+b") as disk:
        disk.write(b"what the first server has left")
    openstack("server", "remove", "volume", "first", "root")
    first.rests()

    openstack(
        *("server", "create", "--flavor", "tiny", "--volume", "root", "--network", "shared"),
        *("--wait", "second"),
    )
    server = openstack.json("server", "show", "second")
    second = machine_of(cloud, client, server["id"])
    (root,) = list(second.info()["Disks"])
    name = f"{real_clusters(cloud).prefix}vol-{row_of(cloud, 'root').id}"
    assert (root["UUID"], root["name"]) == (uuid, name)
    assert second.seen("status,disk.count") == ["running", "1"]
    assert server["image"] == "N/A (booted from volume)"
    (file,) = second.ganeti.home.glob(f"disks/{second.instance}/*")
    assert file.read_bytes().startswith(b"what the first server has left")
    delete(client, second.uuid)
    wait(cloud, lambda: len(cloud.books.servers()) == 1, "the second server is gone")
    kept = row_of(cloud, "root")
    assert (kept.status, kept.ganeti_uuid, kept.initialised) == ("available", uuid, True)
    attach(first, str(kept.uuid), True)
    delete(client, first.uuid)
    wait(cloud, lambda: nothing_left(cloud), "nothing is left")
    assert cloud.books.faults() == []


def fetches(cloud: Cloud) -> int:
    """How often a cluster was given something, in whole: nobody takes what first boots need."""
    url = f"http://127.0.0.1:{cloud.service.admin_port}/metrics"
    with urllib.request.urlopen(url, timeout=30) as reply:
        told = reply.read().decode()
    counts = re.findall(r"^cyclades_requests_total\{(.*)\} ([0-9.]+)$", told, re.MULTILINE)
    return int(sum(float(count) for labels, count in counts if 'service="vmapi"' in labels))


def row_of(cloud: Cloud, name: str = "data") -> Any:
    """A volume as the database has it."""
    (row,) = cloud.books.rows("select * from volume where name = %s", name)
    return row
