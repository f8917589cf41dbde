"""Ports, floating IPs and volumes by the commands, down to the simulated cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.flows.volumes import NewVolume
from cyclades_tx.ganeti.simulator.behaviors import Misbehavior
from tests.loops.cloud import Cloud

Manage = Callable[..., Any]


async def shown(manage: Manage, *words: str) -> Any:
    """What a command that works says, read."""
    said = await manage(*words, "--output-format=json")
    assert said.code == 0, said.err
    return json.loads(said.out)


async def test_what_is_plugged_in_is_at_the_cluster(manage: Manage, whole_cloud: Cloud) -> None:
    """Each command waits until it is, and until it is gone again."""
    cloud = whole_cloud
    await cloud.drive()
    await cloud.world.networks.create(
        None,
        WantedNetwork(
            name="outside", external=True, floating_ip_pool=True,
            subnets=(WantedSubnet("192.0.2.0/28"),),
        ),
    )  # fmt: skip
    uuid = await cloud.active()
    row = await cloud.row(uuid)
    await cloud.world.servers.stop(cloud.who, uuid, "req-stop")
    await cloud.until_state(uuid, "stopped", "off")
    name = cloud.instance(row)

    def addresses() -> list[str | None]:
        return [nic.ip for nic in cloud.ganeti.instances[name].nics]

    (first,) = addresses()
    port = await shown(
        manage, "port-create", f"--server={name}", f"--network={cloud.network}",
        "--ipv4-address=10.1.0.77",
    )  # fmt: skip
    assert addresses() == [first, "10.1.0.77"]
    seen = await shown(manage, "port-inspect", str(port["id"]))
    assert (seen["ganeti.ip"], seen["ganeti.mac"]) == ("10.1.0.77", port["mac_address"])
    await cloud.database.run(
        "insert into role_assignment (user_id, project_id, role_id)"
        " select %s, %s, id from role where name = 'member'",
        (cloud.who.user_id, cloud.who.project_id),
    )
    owner = ("--user", cloud.who.user_id, "--project", str(cloud.who.project_id))
    await shown(manage, "floating-ip-create", "--address=192.0.2.9", *owner)
    await shown(manage, "floating-ip-attach", "192.0.2.9", f"--machine={uuid}")
    assert addresses() == [first, "10.1.0.77", "192.0.2.9"]
    said = await manage("port-remove", "-f", str(port["id"]))
    assert said.code == 0, said.err
    assert addresses() == [first, "192.0.2.9"]
    assert (await shown(manage, "floating-ip-detach", "192.0.2.9"))["server"] is None
    assert addresses() == [first]
    (history,) = await shown(manage, "ip-list", "--address=192.0.2.9", f"--server={row.id}")
    assert (history["user"], history["active"]) == (cloud.who.user_name, False)
    assert (await manage("floating-ip-remove", "-f", "192.0.2.9")).code == 0
    await cloud.check_books()


async def test_kept_volume_is_removed_when_the_command_ends(
    manage: Manage, whole_cloud: Cloud
) -> None:
    """The disk is gone from the cluster then, although no server has it; or it is told why not."""
    cloud = whole_cloud
    await cloud.drive()
    uuid = await cloud.active()
    await cloud.world.servers.stop(cloud.who, uuid, "req-stop")
    await cloud.until_state(uuid, "stopped", "off")
    made = await cloud.world.volumes.create(cloud.who, NewVolume(1, "kept"))
    volume = await shown(manage, "volume-show", made)
    number = str(volume["id"])
    assert (await manage("volume-attach", number, f"--server={uuid}")).code == 0
    assert (await manage("volume-detach", "-f", number)).code == 0
    (disk,) = cloud.ganeti.inventory.detached.values()
    seen = await shown(manage, "volume-inspect", number)
    assert seen["disk"] == f"kept by backend c1, node {disk.pnode}: no server has it"
    cloud.ganeti.misbehave(Misbehavior.FAIL_JOB, times=3, path="instances$")
    said = await manage("volume-remove", "-f", number)
    assert (said.code, "delete failed: " in said.err) == (1, True), said.err
    assert (await shown(manage, "volume-show", number))["status"] == "error_deleting"
    said = await manage("volume-remove", "-f", number)
    assert (said.code, said.out) == (0, f"Volume {number} was removed.\n"), said.err
    assert len(cloud.ganeti.inventory.detached) == 0
    await cloud.check_books()
