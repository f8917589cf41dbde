"""``snf-manage volume-*``: made, listed, changed, put on a server, removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest_twisted

from cyclades_tx.testing import builders
from tests.manage.a_machine import Machine

Manage = Callable[..., Any]


@pytest_twisted.async_fixture
async def machine(world: Any) -> Machine:
    """A stopped server of eve's, and a type of volumes that it can have."""
    return await Machine.make(world)


async def shown(manage: Manage, *words: str) -> Any:
    """What a command that works says, read."""
    said = await manage(*words, "--output-format=json")
    assert said.code == 0, said.err
    return json.loads(said.out)


async def used_gib(machine: Machine) -> int:
    """How much disk the books of the project have."""
    found: int = await machine.world.database.value(
        "select coalesce(sum(used), 0)::bigint from holding where project_id = %s"
        " and resource = 'cyclades.disk'",
        (machine.who.project_id,),
    )
    return found // 2**30


async def test_volume_from_beginning_to_end(machine: Machine, manage: Manage) -> None:
    """Found by each of its names; whoever it is for is charged."""
    before = await used_gib(machine)
    made = await shown(
        manage, "volume-create", "--size=2", "--user=eve", "--name=data", "--description=d"
    )
    assert (made["name"], made["size"], made["status"]) == ("data", 2, "available")
    assert (made["user"], made["project"], made["has_disk"]) == ("eve", "home", False)
    assert await used_gib(machine) == before + 2
    for name in (str(made["id"]), made["uuid"], f"snf-vol-{made['id']}"):
        assert await shown(manage, "volume-show", name) == made
    (listed,) = await shown(manage, "volume-list", "--user=eve", "--filter-by=status=available")
    assert (listed["id"], listed["server"]) == (made["id"], None)
    seen = await shown(manage, "volume-inspect", str(made["id"]))
    assert seen["disk"] == "none: no server has it"
    changed = await shown(manage, "volume-modify", str(made["id"]), "--name=other")
    assert (changed["name"], changed["description"]) == ("other", "d")
    said = await manage("volume-remove", "-f", made["uuid"])
    assert (said.code, said.out) == (0, f"Volume {made['id']} was removed.\n"), said.err
    assert await used_gib(machine) == before
    assert await shown(manage, "volume-list", "--user=eve", "--filter-by=root=false") == []
    (gone,) = await shown(manage, "volume-list", "-d", "--filter-by=root=false")
    assert gone["id"] == made["id"]


async def test_volume_is_put_on_a_server(machine: Machine, manage: Manage) -> None:
    """By an operation, which the command waits for."""
    await builders.a_flavor(machine.world.database)
    words = ("volume-create", "--size=1", "--user=eve", f"--server=snf-{machine.id}")
    made = await shown(manage, *words, "--wait=False")
    assert (made["status"], made["server"]) == ("attaching", machine.id)
    kinds = await machine.world.database.all("select kind, server_id from operation")
    assert [(row.kind, row.server_id) for row in kinds] == [("attach_volume", machine.id)]


async def test_own_disk_of_a_server_is_only_looked_at(machine: Machine, manage: Manage) -> None:
    """It goes with its server."""
    number = await machine.world.database.value(
        "insert into volume (user_id, project_id, size_gib, volume_type_id, local, status,"
        " server_id, position) select s.user_id, s.project_id, 1, f.volume_type_id, true,"
        " 'in_use', s.id, 0 from server s join flavor f on f.id = s.flavor_id where s.id = %s"
        " returning id",
        (machine.id,),
    )
    assert (await shown(manage, "volume-show", str(number)))["root"] is True
    for words in (
        ("volume-remove", "-f", str(number)),
        ("volume-detach", "-f", str(number)),
        ("volume-modify", str(number), "--name=x"),
    ):
        said = await manage(*words)
        assert said.code == 1
        assert f"is the own disk of server {machine.id}" in said.err


async def test_removal_that_fails_at_once_is_told_as_one(machine: Machine, manage: Manage) -> None:
    """The cluster may refuse it before the command looks for the first time."""
    database = machine.world.database
    made = await shown(manage, "volume-create", "--size=1", "--user=eve")
    await database.run(
        "update volume set initialised = true, ganeti_uuid = 'd1', node = 'n1',"
        " cluster_id = (select id from cluster) where id = %s",
        (made["id"],),
    )
    await database.run(
        "create function refuse() returns trigger language plpgsql as $$ begin"
        " update operation set state = 'failed', reason = 'The cluster refused.',"
        " finished_at = now() where id = new.id; return null; end $$"
    )
    await database.run(
        "create trigger refuse after insert on operation for each row execute function refuse()"
    )
    said = await manage("volume-remove", "-f", str(made["id"]))
    assert (said.code, said.out) == (1, "")
    assert "delete failed: The cluster refused." in said.err


async def test_mistakes_are_told(machine: Machine, manage: Manage) -> None:
    """In a sentence, without a trace."""
    for words, code, why in (
        (("volume-show", "x"), 1, "There is no volume 'x'"),
        (("volume-create", "--size=0", "--user=eve"), 2, "0"),
        (("volume-create", "--size=1", "--user=eve", "--volume-type=x"), 1, "x"),
        (("volume-create", "--size=1", "--user=eve", f"--name={'x' * 256}"), 2, "255"),
        (("volume-modify", "1"), 2, "Nothing to change"),
    ):
        said = await manage(*words)
        assert said.code == code, said.err
        assert why in said.err
        assert "Traceback" not in said.err
    await builders.a_holding(
        machine.world.database, str(machine.who.project_id), "cyclades.disk", 1 << 30
    )
    said = await manage("volume-create", "--size=2", "--user=eve")
    assert said.code == 1
    assert "gigabytes" in said.err


async def test_volume_waits_for_its_image(machine: Machine, manage: Manage) -> None:
    """It is marked as one to boot from; no running server gets it."""
    await builders.a_flavor(machine.world.database)
    image = await builders.an_image(machine.world.database)
    words = ("volume-create", "--size=20", "--user=eve", f"--image={image.uuid}")
    made = await shown(manage, *words)
    bootable = "select bootable from volume where id = %s"
    assert await machine.world.database.value(bootable, (made["id"],)) is True
    for more, code in ((("--server", str(machine.id)), 2), (("--image", "nowhere"), 1)):
        said = await manage(*words, *more)
        assert said.code == code, said.err
        assert "Traceback" not in said.err
