"""Firewall tags on a real cluster, by its own word, when groups and rules change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.scenario.conftest import Cloud
from tests.scenario.real_servers import Machine, create, delete, machine_of, wait

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("machines")]


def words(machine: Machine) -> list[str]:
    """The words of the tags of a machine's interfaces, by the ports' ids."""
    (tags,) = machine.seen("tags")
    found = [tag.split(":") for tag in tags.split(",") if tag.startswith("synnefo:network:")]
    names = [nic["name"] for nic in machine.nics()]
    assert {parts[2] for parts in found} <= set(names)
    return [parts[3] for parts in sorted(found, key=lambda parts: names.index(parts[2]))]


def becomes(machine: Machine, wanted: list[str]) -> None:
    """Wait until a machine's tags are these, and its ports show what follows from them."""
    wait(
        machine.cloud,
        lambda: not machine.moving() and words(machine) == wanted,
        f"the tags of {machine.instance} are {wanted}",
    )
    meant = {"protected": "ENABLED", "limited": "PROTECTED"}
    shown = [port["binding:profile"].get("firewall_profile") for port in machine.ports()]
    assert [each for each in shown if each] == [meant[word] for word in wanted]


def test_tags_follow_groups_rules_and_interfaces(make_cloud: Callable[..., Cloud]) -> None:
    """From the creation on; a new interface has its tag when it comes, and takes it along."""
    cloud = make_cloud(real=True, ganeti='firewall_limited = ["tcp/22"]\n')
    cloud.service.start()
    wait(cloud, lambda: not cloud.books.open_operations(), "the networks are made")
    client = cloud.client()

    def send(method: str, path: str, body: Any = None) -> Any:
        return client.send(method, f"/network/v2.0/{path}", body)[2]

    machine = machine_of(cloud, client, create(cloud, client, "walled"))
    assert words(machine) == []
    group = send("POST", "security-groups", {"security_group": {"name": "closed"}})
    group_id = group["security_group"]["id"]
    (port,) = machine.ports()
    send("PUT", f"ports/{port['id']}", {"port": {"security_groups": [group_id]}})
    becomes(machine, ["protected"])
    rule = {
        "security_group_id": group_id, "direction": "ingress", "protocol": "tcp",
        "port_range_min": 22, "port_range_max": 22,
    }  # fmt: skip
    made = send("POST", "security-group-rules", {"security_group_rule": rule})
    becomes(machine, ["limited"])
    more = {"network_id": cloud.network, "security_groups": [group_id]}
    second = send("POST", "ports", {"port": more})["port"]["id"]
    machine.act("os-stop")
    machine.becomes("SHUTOFF")
    attached = {"interfaceAttachment": {"port_id": second}}
    client.send("POST", f"{machine.path}/os-interface", attached)
    becomes(machine, ["limited", "limited"])
    send("DELETE", f"security-group-rules/{made['security_group_rule']['id']}")
    becomes(machine, ["protected", "protected"])
    client.send("DELETE", f"{machine.path}/os-interface/{second}")
    becomes(machine, ["protected"])
    assert len(machine.nics()) == 1
    delete(client, machine.uuid)
    wait(cloud, lambda: not cloud.books.open_operations(), "the server is gone")
    assert cloud.books.faults() == []
