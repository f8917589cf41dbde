"""Volumes on a real cluster, used by the real client and looked at with Ganeti's own commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@pytest.fixture
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
        with running_cloud(folder, postgres.dsn("real_volumes"), real=True) as made:
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
    attach(first, str(data.uuid), True)
    assert [each["UUID"] for each in disks(first)] == [uuid]
    delete(client, first.uuid)
    wait(cloud, lambda: nothing_left(cloud), "nothing is left")
    assert row_of(cloud).status == "deleted"
    assert cloud.books.faults() == []


def row_of(cloud: Cloud, name: str = "data") -> Any:
    """A volume as the database has it."""
    (row,) = cloud.books.rows("select * from volume where name = %s", name)
    return row
