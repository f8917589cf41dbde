"""Flavors, images, networks, people and limits, as an operator makes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.flows.flavors import Flavors
from cyclades_tx.identity.logins import PasswordLogin, Person, Scope
from cyclades_tx.manage import tables
from cyclades_tx.manage.options import quantity
from cyclades_tx.testing import builders

Manage = Callable[..., Any]


async def test_flavors_are_made_of_every_combination_once(world: Any) -> None:
    """Memory is rounded up; what is there already is reported and left alone."""
    flavors = Flavors(world.database)
    await flavors.create_volume_type("drbd", "drbd")
    made = await flavors.create([2, 4], [4095], [40], ["drbd"])
    assert [(each.name, each.new) for each in made] == [
        ("C2R4096D40drbd", True),
        ("C4R4096D40drbd", True),
    ]
    again = await flavors.create([2], [4096, 1024], [40], ["1", "drbd"][:1], dry_run=True)
    assert [(each.id, each.new) for each in again] == [(made[0].id, False), (None, True)]
    assert await world.database.value("select count(*) from flavor") == 2


async def test_a_volume_type_that_is_missing_stops_all(world: Any) -> None:
    """Nothing is made by half, and the message tells how to make the type."""
    flavors = Flavors(world.database)
    await flavors.create_volume_type("plain", "plain")
    with pytest.raises(NotFound, match="volume-type-create --name drbd"):
        await flavors.create([1], [512], [5], ["plain", "drbd"])
    assert await world.database.value("select count(*) from flavor") == 0


@pytest.mark.parametrize("kind", ["", "ext", "plain_x", "zfs", "ext_"])
async def test_disk_templates_that_ganeti_does_not_have(world: Any, kind: str) -> None:
    """A wrong template is refused; ext needs its provider."""
    with pytest.raises(BadRequest):
        await Flavors(world.database).create_volume_type("x", kind)


async def test_a_deleted_flavors_name_can_be_given_again(world: Any) -> None:
    """Then the deleted one cannot come back under it."""
    flavors = Flavors(world.database)
    await flavors.create_volume_type("plain", "plain")
    (old,) = await flavors.create([1], [512], [5], ["plain"])
    await flavors.modify(str(old.id), {"deleted": True})
    await flavors.create([1], [512], [5], ["plain"])
    with pytest.raises(Conflict):
        await flavors.modify(str(old.id), {"deleted": False})


async def test_specs_are_added_and_deleted(world: Any) -> None:
    """Adding and deleting the same key contradicts itself; an unknown key is told."""
    flavors = Flavors(world.database)
    await flavors.create_volume_type("plain", "plain", {"GNT-EXTP:pool": "fast"})
    await flavors.create([1], [512], [5], ["plain"])
    await flavors.modify("1", {}, add_specs={"a": "1", "b": "2"})
    await flavors.modify("1", {}, delete_specs=["a"])
    with pytest.raises(BadRequest):
        await flavors.modify("1", {}, add_specs={"b": "3"}, delete_specs=["b"])
    with pytest.raises(NotFound):
        await flavors.modify("1", {}, delete_specs=["a"])
    rows = await world.database.all("select key, value from flavor_spec")
    assert [tuple(row) for row in rows] == [("b", "2")]


async def test_flavor_commands_in_a_row(manage: Manage) -> None:
    """The seeds' command works once the volume type is there, and lists agree."""
    assert (await manage("flavor-create", "2,4", "4096", "40", "drbd")).code == 1
    made = await manage("volume-type-create", "--name", "drbd", "--disk-template", "drbd")
    assert made.code == 0
    assert (await manage("flavor-create", "2,4", "4096", "40", "drbd")).code == 0
    csv = await manage("flavor-list", "--output-format", "csv", "-o", "id,name,ram")
    assert csv.out == "id,name,ram\n1,C2R4096D40drbd,4096\n2,C4R4096D40drbd,4096\n"
    assert (await manage("flavor-modify", "--deleted=True", "1")).code == 0
    assert (await manage("flavor-show", "C4R4096D40drbd")).code == 0
    left = await manage("flavor-list", "--no-headers", "-o", "id")
    assert left.out.split() == ["2"]
    types = await manage("volume-type-list", "--output-format", "json")
    assert json.loads(types.out)[0]["flavors"] == 1


async def test_a_volume_type_goes_with_its_flavors(manage: Manage, world: Any) -> None:
    """And comes back alone; its specs are changed one by one."""
    flavors = Flavors(world.database)
    await flavors.create_volume_type("fast", "ext_ceph", {"GNT-EXTP:pool": "a"})
    await flavors.create([1], [512], [5], ["fast"])
    words = ("volume-type-modify", "fast", "--output-format=json")
    said = await manage(*words, "--spec-add=class=gold,x=1", "--spec-delete=GNT-EXTP:pool")
    assert json.loads(said.out)["specs"] == "class=gold,x=1", said.err
    assert (await manage("volume-type-show", "fast")).code == 0
    said = await manage(*words, "--deleted=True")
    assert (json.loads(said.out)["deleted"], json.loads(said.out)["flavors"]) == (True, 0)
    assert (await manage("flavor-list", "--no-headers")).out == ""
    assert (await manage("volume-type-show", "fast")).code == 1
    said = await manage("volume-type-modify", "1", "--deleted=False", "--output-format=json")
    assert json.loads(said.out)["deleted"] is False
    assert (await manage("flavor-list", "--no-headers")).out == ""
    for wrong in (("fast",), ("none", "--deleted=True"), ("fast", "--spec-delete=none"),
                  ("fast", "--spec-add=a=1", "--spec-delete=a"), ("fast", "--deleted=perhaps"),
                  ("9" * 30, "--deleted=True"), ("fast", "--spec-add=\x1b=1")):  # fmt: skip
        said = await manage("volume-type-modify", *wrong)
        assert said.code in (1, 2), wrong
        assert "Traceback" not in said.err
        assert "\x1b" not in said.err
    await manage("volume-type-modify", "fast", "--deleted=True")
    await flavors.create_volume_type("fast", "plain")
    assert "by now" in (await manage("volume-type-modify", "1", "--deleted=False")).err


async def test_a_project_gets_a_flavor_of_its_own(manage: Manage, world: Any) -> None:
    """Access is given once, listed, and taken."""
    flavors = Flavors(world.database)
    await flavors.create_volume_type("plain", "plain")
    await flavors.create([1], [512], [5], ["plain"], public=False)
    await world.people.create_project("p")
    given = ("--flavor", "1", "--project", "p")
    assert (await manage("flavor-access-add", *given)).code == 0
    assert (await manage("flavor-access-add", *given)).code == 1
    listed = await manage("flavor-access-list", "--no-headers", "-o", "project,flavor")
    assert listed.out.split() == ["p", "1"]
    assert (await manage("flavor-access-remove", "--flavor", "1")).code == 0
    assert (await manage("flavor-access-remove")).code == 1


async def test_an_image_from_register_to_remove(manage: Manage) -> None:
    """An image is found by id, UUID and name, as long as the name says which."""
    made = await manage("image-register", "--name", "debian", "--location", "x:y",
                        "--properties", "os=debian", "--output-format", "json")  # fmt: skip
    assert made.code == 0, made.err
    uuid = json.loads(made.out)["uuid"]
    for ref in ("1", uuid, "debian"):
        assert (await manage("image-show", ref)).code == 0
    changed = await manage("image-modify", "debian", "--status", "deactivated", "--tags", "old",
                           "--size", "7", "--output-format", "json")  # fmt: skip
    shown = json.loads(changed.out)
    assert (shown["status"], shown["size_bytes"]) == ("deactivated", 7)
    assert (await manage("image-register", "--name", "debian", "--location", "x:z")).code == 0
    ambiguous = await manage("image-remove", "-f", "debian")
    assert ambiguous.code == 1
    assert "2 images" in ambiguous.err
    assert (await manage("image-remove", "-f", uuid)).code == 0
    assert uuid not in (await manage("image-list", "--public")).out


async def test_an_image_without_data_is_shown_as_it_is(manage: Manage, world: Any) -> None:
    """One of a user's, who gave it no name either; it cannot be made active so."""
    who = await builders.somebody(world.database)
    uuid = await world.images.create(who, attributes={}, properties={})
    listed = await manage("image-list", "--output-format=json")
    assert [each["status"] for each in json.loads(listed.out)] == ["queued"]
    shown = await manage("image-show", uuid, "--output-format=json")
    assert json.loads(shown.out)["name"] is None
    for form in ("pretty", "csv"):
        assert (await manage("image-show", uuid, f"--output-format={form}")).code == 0
        assert (await manage("image-list", f"--output-format={form}")).code == 0
    refused = await manage("image-modify", uuid, "--status", "active")
    assert (refused.code, "it has no data yet" in refused.err) == (1, True)
    assert (await manage("image-remove", "-f", uuid)).code == 0


async def test_an_image_is_shared_by_the_operator(manage: Manage, world: Any) -> None:
    """With a project, which has it at once if that was said; and taken back."""
    project_id = await world.people.create_project("p")
    await manage("image-register", "--name", "debian", "--location", "x:y")
    share = ("image-share", "debian", "--project", "p")
    refused = await manage(*share)
    assert (refused.code, "Only shared images have members." in refused.err) == (1, True)
    await manage("image-modify", "debian", "--visibility", "shared")
    assert (await manage(*share, "--accepted")).code == 0
    assert (await manage(*share)).code == 1
    listed = await manage("image-members", "1", "--output-format", "json")
    assert json.loads(listed.out) == [
        {"project": "p", "project.id": project_id, "status": "accepted"}
    ]
    unshare = ("image-unshare", "1", "--project", project_id)
    assert (await manage(*unshare)).code == 0
    assert (await manage(*unshare)).code == 1
    assert json.loads((await manage("image-members", "1", "--output-format", "json")).out) == []
    for wrong in (("image-share", "none", "--project", "p"), ("image-share", "1", "--project", "q"),
                  ("image-members", "none"), ("image-share", "1")):  # fmt: skip
        said = await manage(*wrong)
        assert said.code in (1, 2), wrong
        assert "Traceback" not in said.err


async def test_a_network_of_a_user(manage: Manage, world: Any) -> None:
    """The owner's project is charged; the network is found by its Ganeti name."""
    project_id = await world.people.create_project("p")
    user_id = await world.people.create_user("demo", None, default_project_id=project_id)
    create = ("network-create", "--owner", "demo", "--name=prv_net-1", "--subnet=192.168.2.0/24",
              "--gateway=192.168.2.1", "--dhcp=True", "--flavor=CUSTOM")  # fmt: skip
    assert (await manage(*create)).code == 1
    await world.people.assign_role(user_id, project_id, "member")
    said = await manage(*create, "--allocation-pool", "192.168.2.10,192.168.2.20")
    assert said.code == 0, said.err
    used = await manage("quota-list", "-p", "p", "--filter-by", "resource=cyclades.network.private",
                        "-o", "used", "--no-headers")  # fmt: skip
    assert used.out.split() == ["1"]
    shown = json.loads((await manage("network-show", "snf-net-1", "--output-format", "json")).out)
    assert (shown["user"], shown["project"]) == ("demo", "p")
    assert [(each["cidr"], each["free"]) for each in shown["subnets"]] == [("192.168.2.0/24", 11)]
    inspected = await manage("network-inspect", "1")
    assert "snf-net-1" in inspected.out
    assert (await manage("network-list", "--user", "demo", "--no-headers", "-o", "id")).out == "1\n"
    assert (await manage("network-list", "--public", "--no-headers")).out == ""
    wrong = await manage("network-create", "--name", "x", "--flavor", "CUSTOM", "--subnet", "300/8")
    assert wrong.code == 1


async def test_a_user_from_a_password_on_standard_input(manage: Manage, world: Any) -> None:
    """The password that was piped in opens the door, and is printed nowhere."""
    assert (await manage("project-create", "p")).code == 0
    said = await manage("user-create", "demo", "--project", "p", "--role", "member",
                        "--password-stdin", given=b"a long secret\n")  # fmt: skip
    assert said.code == 0, said.err
    assert "a long secret" not in said.out + said.err
    login = PasswordLogin(Person("name", "demo"), "a long secret")
    issued = await world.identity.log_in(login, Scope("name", "p"), "127.0.0.1")
    assert issued.who.roles == {"member"}
    changed = await manage("user-modify", "demo", "--enabled", "False")
    assert changed.code == 0
    assert (await manage("user-create", "demo", "--no-password")).code == 1


async def test_a_generated_password_is_in_its_file_only(
    manage: Manage, world: Any, tmp_path: Path
) -> None:
    """The file is private, never overwritten, and gone again when there is no such user."""
    file = tmp_path / "password"
    said = await manage("user-create", "demo", "--generate-password", str(file))
    assert said.code == 0, said.err
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().strip() not in said.out + said.err
    assert (await manage("user-create", "eve", "--generate-password", str(file))).code == 1
    other = tmp_path / "other"
    assert (await manage("user-create", "demo", "--generate-password", str(other))).code == 1
    assert not other.exists()


async def test_a_role_that_is_not_there_leaves_no_user(manage: Manage, world: Any) -> None:
    """Making a user with a role is one thing."""
    await world.people.create_project("p")
    said = await manage("user-create", "x", "--no-password", "--project", "p", "--role", "king")
    assert said.code == 1
    assert (await manage("user-list", "--no-headers")).out == ""


async def test_roles_come_and_go(manage: Manage, world: Any) -> None:
    """A role is listed with its project; taking what is not there is an error."""
    await world.people.create_project("p")
    await world.people.create_user("demo", None)
    given = ("--user", "demo", "--project", "p", "--role", "reader")
    assert (await manage("role-assign", *given)).code == 0
    assert "reader@p" in (await manage("user-list")).out
    assert (await manage("role-remove", *given)).code == 0
    assert (await manage("role-remove", *given)).code == 1


async def test_limits_are_changed_in_their_units(manage: Manage, world: Any) -> None:
    """A number without a unit is in the unit that is shown; unlimited is no limit."""
    project_id = await world.people.create_project("p")
    said = await manage("quota-modify", "p", "vm=3,ram=64GiB,cyclades.disk=5,floating_ip=unlimited")
    assert said.code == 0, said.err
    rows = await world.database.all(
        "select resource, maximum from holding where project_id = %s", (project_id,)
    )
    limits = {row.resource: row.maximum for row in rows}
    assert limits["cyclades.vm"] == 3
    assert limits["cyclades.ram"] == 64 * 2**30
    assert limits["cyclades.disk"] == 5 * 2**30
    assert limits["cyclades.floating_ip"] is None
    for wrong in ("vm=-1", "vm=1GiB", "moon=1", "ram=99999999999999999TiB", "vm="):
        assert (await manage("quota-modify", "p", wrong)).code in (1, 2), wrong


async def test_a_user_is_limited_within_a_project(manage: Manage, world: Any) -> None:
    """To servers, CPUs and memory; unlimited lets the project's limit count alone."""
    await world.people.create_project("p")
    user_id = await world.people.create_user("demo", None)
    said = await manage("quota-modify", "p", "--user=demo", "vm=3,total_ram=2GiB")
    assert said.code == 0, said.err
    words = ("user-quota-list", "--user", user_id, "-o", "resource,limit,used,unit", "--no-headers")
    said = await manage(*words, "--output-format=csv")
    assert said.out.split() == ["cyclades.vm,3,0,", "cyclades.total_ram,2048,0,MiB"]
    assert (await manage("quota-modify", "p", "-u", "demo", "vm=unlimited")).code == 0
    assert (await manage(*words, "--output-format=csv")).out == "cyclades.total_ram,2048,0,MiB\n"
    for wrong in (
        ("p", "disk=3"),
        ("p", "vm=-1"),
        ("q", "vm=3"),
        ("p", "vm=1,vm"),
        ("p", "\x1b=1"),
    ):
        said = await manage("quota-modify", *wrong, "--user=demo")
        assert said.code in (1, 2), wrong
        assert "Traceback" not in said.err
        assert "\x1b" not in said.err
    assert (await manage("quota-modify", "p", "vm=3", "--user=nobody")).code == 1


@pytest.mark.parametrize("text", ["", "1.5", "-1", "1 MB", "١", "9" * 16, "999999999999TiB"])
def test_quantities_that_make_no_sense(text: str) -> None:
    """Only whole numbers with a known unit that fit are limits."""
    with pytest.raises(BadRequest):
        quantity(text, 2**20)


def test_tables_have_numbers_to_the_right_and_no_loose_blanks() -> None:
    """What people read is aligned; a missing value is a dash."""
    assert tables.table(("id", "name"), [(1, "a"), (20, None)], tables.PRETTY) == (
        "id  name\n--  ----\n 1  a\n20  -\n"
    )


def test_a_csv_value_with_a_comma_is_quoted() -> None:
    """Another program reads back what was there."""
    assert tables.table(("a",), [("x,y",)], tables.CSV, headers=False) == '"x,y"\n'


class _Terminal(StringIO):
    """Standard output of somebody at a terminal."""

    def isatty(self) -> bool:
        return True


def test_list_that_is_wider_than_the_terminal_has_a_line_for_each_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What another program reads stays a table."""
    names, rows = ("id", "name"), [(1, "a" * 30), (2, "b")]
    narrow = tables.table(names, rows, tables.PRETTY)
    monkeypatch.setattr("sys.stdout", _Terminal())
    monkeypatch.setenv("COLUMNS", "80")
    assert tables.table(names, rows, tables.PRETTY) == narrow
    monkeypatch.setenv("COLUMNS", "20")
    assert tables.table(names, rows, tables.PRETTY) == (
        f"id   : 1\nname : {'a' * 30}\n\nid   : 2\nname : b\n"
    )
    assert tables.table(names, rows, tables.PRETTY, headers=False).count("\n") == 2
    assert tables.table(names, [], tables.PRETTY) == "id  name\n--  ----\n"
    assert tables.table(names, rows, tables.CSV).startswith("id,name\n")
