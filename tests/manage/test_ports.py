"""``snf-manage port-*``: made, shown, put on a server, removed from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from cyclades_tx.testing import builders
from tests.manage.a_machine import Machine

Manage = Callable[..., Any]


@pytest_twisted.async_fixture
async def machine(world: Any) -> Machine:
    """A stopped server."""
    return await Machine.make(world)


async def shown(manage: Manage, *words: str) -> Any:
    """What a command that works says, read."""
    said = await manage(*words, "--output-format=json")
    assert said.code == 0, said.err
    return json.loads(said.out)


async def test_a_user_s_port_from_beginning_to_end(machine: Machine, manage: Manage) -> None:
    """Made with an address of its own, shown by each of its names, listed, removed."""
    network = await machine.network("10.0.0.0/24")
    made = await shown(
        manage, "port-create", f"--network={network.id}", "--user=eve", "--name=door",
        "--ipv4-address=10.0.0.77",
    )  # fmt: skip
    assert (made["name"], made["user"], made["project"]) == ("door", "eve", "home")
    assert (made["fixed_ips"], made["server"], made["state"]) == ("10.0.0.77", None, "down")
    assert made["security_groups"] == ["default"]
    (address,) = made["addresses"]
    assert (address["cidr"], address["floating"]) == ("10.0.0.0/24", False)
    for name in (str(made["id"]), made["uuid"], f"snf-nic-{made['id']}"):
        assert await shown(manage, "port-show", name) == made
    assert await shown(manage, "port-inspect", made["uuid"]) == {
        **made, "ganeti": "no server has it",
    }  # fmt: skip
    (listed,) = await shown(manage, "port-list", "--network", str(network.id))
    assert listed["id"] == made["id"]
    assert await shown(manage, "port-list", "--public") == []
    said = await manage("port-remove", "-f", str(made["id"]))
    assert (said.code, said.out) == (0, f"Port {made['id']} was removed.\n"), said.err
    assert await shown(manage, "port-list") == []


async def test_a_port_becomes_an_interface_of_a_server_and_leaves_it(
    machine: Machine, manage: Manage
) -> None:
    """By operations on the server, for which the command waits."""
    network = await machine.network("10.0.0.0/24")
    running = Deferred.fromCoroutine(
        shown(manage, "port-create", f"--network={network.uuid}", "--server=snf-" + str(machine.id))
    )
    await machine.end("attach_port")
    made = await running
    assert (made["server"], made["user"], made["project"]) == (machine.id, "eve", "home")
    assert (made["state"], made["owner"]) == ("active", "compute:nova")
    removing = Deferred.fromCoroutine(manage("port-remove", "-f", made["uuid"]))
    await machine.end("detach_port")
    said = await removing
    assert (said.code, said.out) == (0, f"Port {made['id']} was removed.\n"), said.err
    assert await machine.world.database.value("select count(*) from port") == 0


async def test_a_port_that_leaves_only_at_a_restart_is_said_to(
    machine: Machine, manage: Manage
) -> None:
    """It is not called removed while the machine has it."""
    database = machine.world.database
    await database.run("update server set state = 'active', charge = 'on'")
    await database.run("update cluster set hotplug = true")
    network = await builders.a_network(database)
    server = builders.Row(machine.id, machine.uuid)
    port = await builders.a_port(database, server, network, "10.0.0.7")
    removing = Deferred.fromCoroutine(manage("port-remove", "-f", str(port.id)))
    await machine.end("detach_port", pending_restart=True)
    said = await removing
    assert said.out == f"Port {port.id} goes when its server is next restarted.\n"
    (row,) = await shown(manage, "port-list", "-o", "id,pending_restart")
    assert row == {"id": port.id, "pending_restart": "detach"}


async def test_a_port_that_its_server_cannot_take_leaves_nothing(
    machine: Machine, manage: Manage
) -> None:
    """The address is free again."""
    database = machine.world.database
    network = await machine.network("10.0.0.0/24")
    await database.run("update server set state = 'building'")
    said = await manage("port-create", f"--network={network.id}", f"--server={machine.uuid}")
    assert said.code == 1
    assert "building" in said.err
    assert await database.value("select count(*) from port") == 0
    assert await database.value("select count(*) from address where port_id is not null") == 0


async def test_an_error_of_one_port_does_not_stop_the_rest(
    machine: Machine, manage: Manage
) -> None:
    """And removing is asked for."""
    network = await machine.network("10.0.0.0/24")
    made = await shown(manage, "port-create", f"--network={network.id}", "--user=eve")
    number = str(made["id"])
    assert (await manage("port-remove", number, given=b"n\n")).code in (1, 130)
    said = await manage("port-remove", "-f", "404", number, number)
    assert (said.code, said.out) == (1, f"Port {number} was removed.\n")
    assert "port-list" in said.err


@pytest.mark.parametrize(
    "words",
    [
        ("port-create", "--network=1"),
        ("port-create", "--network=1", "--server=1", "--user=eve"),
        ("port-create", "--network=1", "--server=1", "--project=home"),
        ("port-create", "--network=404", "--user=eve"),
        ("port-create", "--network=1", "--user=nobody"),
        ("port-create", "--network=1", "--user=eve", "--ipv4-address=10.0.0.0.7"),
        ("port-create", "--network=1", "--user=eve", "--ipv4-address=10.9.9.9"),
        ("port-create", "--network=1", "--user=eve", "--ipv4-address=::1"),
        ("port-create", "--network=1", "--user=eve", "--security-groups=pigs"),
        ("port-create", "--network=1", "--server='; drop table port; --"),
        ("port-show", "snf-nic-0"),
        ("port-show", "9" * 40),
        ("port-inspect", b"\xff"),
        ("port-remove",),
        ("port-remove", "-f", "\x1b[2J"),
    ],
    ids=range(15),
)
async def test_what_cannot_be_is_refused_in_a_sentence(
    machine: Machine, manage: Manage, words: tuple[Any, ...]
) -> None:
    """Without a traceback, a change, or anything that a terminal would obey."""
    await machine.network("10.0.0.0/24")
    said = await manage(*words)
    assert said.code in (1, 2)
    assert said.err
    assert "Traceback" not in said.err
    assert "\x1b" not in said.err
    assert await machine.world.database.value("select count(*) from port") == 0
