"""What operators are told of how much there is of everything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest_twisted

from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.manage.statistics import pretty
from tests.loops.cloud import Cloud

Manage = Callable[..., Any]
GIB = 2**30


@pytest_twisted.async_fixture
async def cloud(whole_cloud: Cloud) -> Cloud:
    """Two clusters; a server that runs, one that is stopped, one whose creation waits."""
    await whole_cloud.a_cluster("c2")
    await whole_cloud.drive()
    first, second = whole_cloud.ganetis
    await whole_cloud.active("runs", cluster_id=first)
    stopped = await whole_cloud.active("stopped", cluster_id=second)
    await whole_cloud.world.servers.stop(whole_cloud.who, stopped, "req-stop")
    await whole_cloud.world.networks.create(
        None,
        WantedNetwork(
            name="public",
            flavor="CUSTOM",
            external=True,
            subnets=(WantedSubnet("192.0.2.0/29"), WantedSubnet("2001:db8::/64")),
        ),
    )
    await whole_cloud.settled()
    await whole_cloud.stop()
    await whole_cloud.create("waits", cluster_id=first, networks=())
    return whole_cloud


async def counted(manage: Manage, *words: str) -> Any:
    """The numbers."""
    said = await manage("stats-cyclades", "--output-format=json", *words)
    assert said.code == 0, said.err
    return json.loads(said.out)


async def test_everything_is_counted(manage: Manage, cloud: Any) -> None:
    """In bytes, by state, size and place."""
    numbers = await counted(manage)
    ram = str(512 * 2**20)
    started = numbers["servers"]["started"]
    assert (started["count"], started["cpu"], started["ram"]) == (2, {"1": 2}, {ram: 2})
    assert started["disk"] == {"file": {str(GIB): 2}}
    assert numbers["servers"]["stopped"]["count"] == 1
    assert numbers["servers"]["error"] == {"count": 0, "cpu": {}, "ram": {}, "disk": {}}
    assert numbers["networks"] == {
        "CUSTOM": {"active": 1, "error": 0},
        "IP_LESS_ROUTED": {"active": 1, "error": 0},
    }
    assert numbers["ip_pools"] == {
        "active": {"count": 1, "free": 5, "total": 5},
        "drained": {"count": 0, "free": 0, "total": 0},
    }
    assert numbers["images"] == {"system:unknown:unknown": 3}
    one = numbers["clusters"]["c1"]
    assert (one["virtual_servers"], one["virtual_cpu"], one["virtual_disk"]) == (2, 2, 2 * GIB)
    assert (one["drained"], one["offline"], "file" in one["disk_templates"]) == (False, False, True)
    nodes = await cloud.world.clusters.questions(
        await cloud.database.first("select * from cluster where name = 'c1'")
    ).nodes()
    assert set(one["nodes"]) == {node.name for node in nodes}
    node = one["nodes"][nodes[0].name]
    assert node["ram"]["total"] == nodes[0].memory_total_mib * 2**20
    assert (node["vm_capable"], node["cpu"]) == (True, nodes[0].cpus)


async def test_one_backend_and_single_parts(manage: Manage, cloud: Any, tmp_path: Path) -> None:
    """What is not asked for is left out."""
    numbers = await counted(manage, "--backend=c2", "--cluster-details=False")
    assert sorted(numbers) == ["clusters", "datetime", "images", "servers"]
    assert (list(numbers["clusters"]), numbers["clusters"]["c2"]["nodes"]) == (["c2"], {})
    assert numbers["servers"]["stopped"]["count"] == 1
    assert numbers["servers"]["started"]["count"] == 0
    parts = [f"--{part}=False" for part in ("clusters", "servers", "ip-pools", "images")]
    target = tmp_path / "numbers.json"
    assert sorted(await counted(manage, *parts, f"--json-file={target}")) == [
        "datetime",
        "networks",
    ]
    assert sorted(json.loads(target.read_text())) == ["datetime", "networks"]


async def test_people_read_tables(manage: Manage, cloud: Any) -> None:
    """One for each part."""
    said = await manage("stats-cyclades")
    assert said.code == 0, said.err
    for words in ("servers by cores", "file disks by size", "IPv4 pools", "nodes of c1", "1 GiB"):
        assert words in said.out


async def test_cluster_that_does_not_answer_is_told(manage: Manage, cloud: Any) -> None:
    """The rest is counted; one that is offline is not asked."""
    first, second = cloud.ganetis
    await cloud.forget_cluster(first)
    await cloud.database.run("update cluster set offline = true where id = %s", (second,))
    said = await manage("stats-cyclades", "--output-format=json")
    assert said.code == 0, said.err
    assert "c1: its nodes are not known" in said.err
    assert "c2" not in said.err
    clusters = json.loads(said.out)["clusters"]
    assert [clusters[name]["nodes"] for name in ("c1", "c2")] == [{}, {}]


async def test_wrong_words_are_refused(manage: Manage, whole_cloud: Any, tmp_path: Path) -> None:
    """With a sentence, and no file is made."""
    for words in (
        ("--backend=nowhere",),
        ("--backend=\u202e",),
        ("--servers=perhaps",),
        ("--json-file=/nowhere/at/all",),
        (f"--json-file={tmp_path}",),
        ("more",),
    ):
        said = await manage("stats-cyclades", *words)
        assert said.code in (1, 2), said
        assert "Traceback" not in said.err


def test_large_sizes_have_units() -> None:
    """Up to tebibytes."""
    facts = {"count": 1, "cpu": {"1": 1}, "ram": {str(2**31): 1}, "disk": {"drbd": {str(2**52): 1}}}
    nothing: dict[str, Any] = {"count": 0, "cpu": {}, "ram": {}, "disk": {}}
    servers = {"started": facts, "stopped": nothing, "error": nothing}
    shown = pretty({"datetime": "now", "servers": servers})
    assert shown["servers"][0] == {
        "state": "started", "servers": 1, "cpus": 1, "ram": "2 GiB", "disk": "4096 TiB",
    }  # fmt: skip
    assert [row["size"] for row in shown["drbd disks by size"]] == ["4096 TiB"]
