"""``snf-manage floating-ip-*``: kept, put on a server, taken off, given back."""

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
    """A stopped server with an interface, and a pool of public addresses."""
    made = await Machine.make(world)
    inside = await builders.a_network(world.database, "inside")
    await builders.a_port(world.database, builders.Row(made.id, made.uuid), inside, "10.0.0.7")
    await made.network("192.0.2.0/28", name="outside", external=True, floating_ip_pool=True)
    return made


async def shown(manage: Manage, *words: str) -> Any:
    """What a command that works says, read."""
    said = await manage(*words, "--output-format=json")
    assert said.code == 0, said.err
    return json.loads(said.out)


async def used(machine: Machine) -> int:
    """How many floating IPs the project is charged for."""
    found: int = await machine.world.database.value(
        "select used from holding where project_id = %s and resource = 'cyclades.floating_ip'",
        (machine.who.project_id,),
    )
    return found


async def test_a_floating_ip_from_beginning_to_end(machine: Machine, manage: Manage) -> None:
    """Kept, shown, put on a server, taken off, given back; its history says who had it."""
    made = await shown(manage, "floating-ip-create", "--user=eve", "--address=192.0.2.9")
    assert (made["address"], made["project"], made["server"]) == ("192.0.2.9", "home", None)
    assert await used(machine) == 1
    for name in (str(made["id"]), made["uuid"], "192.0.2.9"):
        assert await shown(manage, "floating-ip-show", name) == made
    words = ("floating-ip-attach", "192.0.2.9", "--machine", machine.uuid)
    running = Deferred.fromCoroutine(shown(manage, *words))
    await machine.end("attach_port")
    attached = await running
    assert attached["server"] == machine.id
    (record,) = await shown(manage, "ip-list", "--address=192.0.2.9")
    assert (record["server"], record["user"], record["active"]) == (machine.id, "eve", True)
    running = Deferred.fromCoroutine(shown(manage, "floating-ip-detach", "192.0.2.9"))
    await machine.end("detach_port")
    assert (await running)["server"] is None
    (record,) = await shown(manage, "ip-list", "--address=192.0.2.9")
    assert (record["server"], record["active"]) == (machine.id, False)
    assert record["released_at"] >= record["allocated_at"]
    said = await manage("floating-ip-remove", "-f", made["uuid"])
    assert (said.code, said.out) == (0, "Floating IP 192.0.2.9 was removed.\n"), said.err
    assert await used(machine) == 0


async def test_one_on_a_server_is_given_back_when_its_interface_is_gone(
    machine: Machine, manage: Manage
) -> None:
    """The project is charged until then."""
    await shown(manage, "floating-ip-create", "--user=eve", "--address=192.0.2.9")
    words = ("floating-ip-attach", "192.0.2.9", f"--server=snf-{machine.id}", "--wait=False")
    await shown(manage, *words)
    await machine.end("attach_port")
    running = Deferred.fromCoroutine(manage("floating-ip-remove", "-f", "192.0.2.9"))
    await machine.end("detach_port")
    said = await running
    assert (said.code, said.out) == (0, "Floating IP 192.0.2.9 was removed.\n"), said.err
    assert await used(machine) == 0
    assert await shown(manage, "floating-ip-list") == []


async def test_quotas_hold_for_operators_too(machine: Machine, manage: Manage) -> None:
    """Whoever would be charged must have room."""
    await builders.a_holding(
        machine.world.database, str(machine.who.project_id), "cyclades.floating_ip", 1
    )
    await shown(manage, "floating-ip-create", "--user=eve")
    said = await manage("floating-ip-create", "--user=eve")
    assert said.code == 1
    assert "uota" in said.err
    assert len(await shown(manage, "floating-ip-list")) == 1


async def test_another_project_s_server_does_not_get_it(
    machine: Machine, manage: Manage, world: Any
) -> None:
    """A mistake in a number must not give an address away."""
    await world.people.create_project("other")
    await world.people.assign_role(
        machine.who.user_id, await world.people.find_project("other"), "member"
    )
    made = await shown(manage, "floating-ip-create", "--user=eve", "--project=other")
    said = await manage("floating-ip-attach", str(made["id"]), f"--server={machine.id}")
    assert said.code == 1
    assert await world.database.value("select count(*) from operation") == 0


async def test_a_pool_is_named_when_there_are_several(machine: Machine, manage: Manage) -> None:
    """And the complaint says which there are."""
    other = await machine.network(
        "198.51.100.0/28", name="beyond", external=True, floating_ip_pool=True
    )
    said = await manage("floating-ip-create", "--user=eve")
    assert said.code == 1
    assert "outside, beyond" in said.err
    made = await shown(manage, "floating-ip-create", "--user=eve", f"--network={other.id}")
    assert made["address"].startswith("198.51.100.")


async def test_one_on_no_server_cannot_be_taken_off(machine: Machine, manage: Manage) -> None:
    """It says so."""
    made = await shown(manage, "floating-ip-create", "--user=eve")
    said = await manage("floating-ip-detach", str(made["id"]))
    assert said.code == 1
    assert "on no server" in said.err


@pytest.mark.parametrize(
    "words",
    [
        ("floating-ip-create",),
        ("floating-ip-create", "--user=nobody"),
        ("floating-ip-create", "--user=eve", "--project=nothing"),
        ("floating-ip-create", "--user=eve", "--network=404"),
        ("floating-ip-create", "--user=eve", "--address=10.0.0.9"),
        ("floating-ip-create", "--user=eve", "--address=1"),
        ("floating-ip-attach", "192.0.2.9", "--server=1"),
        ("floating-ip-show", "192.0.2.999"),
        ("floating-ip-detach", "0"),
        ("floating-ip-remove", "-f", "1' or '1'='1"),
        ("floating-ip-remove", "-f", b"\xff"),
    ],
    ids=range(11),
)
async def test_what_cannot_be_is_refused_in_a_sentence(
    machine: Machine, manage: Manage, words: tuple[Any, ...]
) -> None:
    """Nothing is charged, and there is no traceback."""
    said = await manage(*words)
    assert said.code in (1, 2)
    assert said.err
    assert "Traceback" not in said.err
    assert await used(machine) == 0
