"""``reconcile-servers``: shows what is wrong, and has the driving process mend it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.loops.cloud import Cloud
from tests.loops.test_drift import quiet

Manage = Callable[..., Any]


@pytest.fixture
def cloud(whole_cloud: Cloud) -> Cloud:
    """A cloud that is not driven yet."""
    return whole_cloud


async def shown(manage: Manage, *options: str) -> tuple[Any, list[dict[str, Any]]]:
    """What the command says, and its table."""
    said = await manage("reconcile-servers", "--output-format=json", *options)
    return said, json.loads(said.out) if said.out else []


async def test_it_shows_the_plan_and_changes_nothing(manage: Manage, cloud: Cloud) -> None:
    """What is wrong, since when, and what is done about it."""
    await cloud.drive()
    quiet(cloud)
    uuid = await cloud.active()
    row = await cloud.row(uuid)
    cloud.ganeti.by_hand.stop(cloud.instance(row))
    cloud.ganeti.by_hand.add("snf-777777")
    said, table = await shown(manage)
    assert said.code == 0
    assert "c1: 1 servers, 2 instances, 2 differences." in said.err
    assert [line["kind"] for line in table] == ["power_differs", "stranger"]
    assert table[0]["subject"] == f"server {row.id}"
    assert "stopped at the cluster" in table[0]["what"]
    assert table[0]["plan"] == "The record follows the cluster."
    assert "never touched" in table[1]["plan"]
    assert await cloud.state(uuid) == ("active", "on")
    assert await cloud.database.value("select count(*) from drift_finding") == 0


async def test_it_has_one_kind_fixed_and_leaves_the_others(manage: Manage, cloud: Cloud) -> None:
    """By the process that drives the cluster, while the command waits."""
    await cloud.drive()
    quiet(cloud)
    first, second = await cloud.active("a"), await cloud.active("b")
    cloud.ganeti.by_hand.stop(cloud.instance(await cloud.row(first)))
    cloud.ganeti.by_hand.resize(cloud.instance(await cloud.row(second)), 2, 1024)
    said, table = await shown(manage, "--fix-unsynced")
    assert (said.code, [line["result"] for line in table]) == (0, ["fixed", "left"])
    assert await cloud.state(first) == ("stopped", "off")
    assert (await cloud.row(second)).vcpus != 2
    await cloud.check_books()


async def test_it_has_everything_fixed(manage: Manage, cloud: Cloud) -> None:
    """An orphan too, although nobody removes it otherwise."""
    await cloud.drive()
    quiet(cloud)
    gone, kept = await cloud.active("a"), await cloud.active("b")
    name = cloud.instance(await cloud.row(gone))
    await cloud.world.servers.delete(cloud.who, gone, "r")
    await cloud.settled()
    cloud.ganeti.by_hand.add(name)
    cloud.ganeti.by_hand.grow_disk(cloud.instance(await cloud.row(kept)), 0, 3072)
    said, table = await shown(manage, "--fix-all", "--backend-name=c1")
    assert said.code == 0, said.err
    assert [(line["kind"], line["result"]) for line in table] == [
        ("disk_differs", "fixed"),
        ("orphan", "fixed"),
    ]
    assert name not in cloud.ganeti.instances
    await cloud.check_books()


async def test_it_says_what_could_not_be_fixed(
    manage: Manage, cloud: Cloud, logged_errors: Any
) -> None:
    """With the reason, and the exit code of a failure."""
    await cloud.drive()
    quiet(cloud)
    uuid = await cloud.active()
    cloud.ganeti.by_hand.add_nic(cloud.instance(await cloud.row(uuid)), None)
    said, table = await shown(manage, "--fix-unsynced-nics")
    assert said.code == 1
    assert "not one of our networks" in table[0]["result"]
    assert "1 could not be fixed" in said.err


async def test_it_fixes_nothing_when_nobody_drives_the_cluster(
    manage: Manage, cloud: Cloud
) -> None:
    """It says so, and nothing happens later by surprise."""
    await cloud.drive()
    quiet(cloud)
    uuid = await cloud.active()
    await cloud.stop()
    await cloud.database.run("update process set beaten_at = now() - interval '1 hour'")
    cloud.ganeti.by_hand.stop(cloud.instance(await cloud.row(uuid)))
    said, table = await shown(manage, "--fix-all")
    assert said.code == 1
    assert "No process drives c1" in said.err
    assert table[0]["result"] == "not fixed"
    assert await cloud.database.value("select count(*) from drift_finding") == 0


async def test_it_names_a_cluster_that_does_not_answer(manage: Manage, cloud: Cloud) -> None:
    """And one that there is not."""
    await cloud.sites.pop(cloud.cluster_id).stopListening()
    said, _ = await shown(manage)
    assert said.code == 1
    assert "c1 cannot be looked at" in said.err
    said, _ = await shown(manage, "--backend-id=4711")
    assert said.code == 1
    assert "There is no backend 4711" in said.err
