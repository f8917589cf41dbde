"""An operator changes a server: another size by the owner's flow, and tags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest_twisted

from cyclades_tx.model import quota
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud

Manage = Callable[..., Any]


@pytest_twisted.async_fixture
async def cloud(whole_cloud: Cloud) -> Cloud:
    """A cloud that is driven, with a larger flavor."""
    whole_cloud.larger = await builders.a_flavor(  # type: ignore[attr-defined]
        whole_cloud.database, "larger", vcpus=2, memory_mib=512, disk_gib=1, template="file"
    )
    await whole_cloud.drive()
    return whole_cloud


async def test_server_gets_another_size_and_keeps_it(manage: Manage, cloud: Any) -> None:
    """Confirmed at once, and charged."""
    server = await cloud.active()
    row = await cloud.row(server)
    said = await manage("server-modify", str(row.id), "--flavor", "larger")
    assert said.code == 0, said.err
    assert "has flavor larger" in said.out
    row = await cloud.row(server)
    assert (row.state, row.charge, row.vcpus, row.memory_mib) == ("active", "on", 2, 512)
    instance = cloud.ganeti.instances[cloud.instance(row)]
    assert (instance.vcpus, instance.memory) == (2, 512)
    assert await cloud.used(quota.TOTAL_CPU) == 2
    await cloud.check_books()


async def test_without_a_wait_the_owner_can_still_go_back(manage: Manage, cloud: Any) -> None:
    """It rests as one that somebody has resized."""
    server = await cloud.active()
    words = ("server-modify", server, "--flavor", cloud.larger.uuid, "--wait", "False")
    said = await manage(*words)
    assert (said.code, "begins" in said.out) == (0, True), said
    await cloud.settled()
    assert (await cloud.row(server)).state == "resized"
    await cloud.world.servers.revert_resize(cloud.who, server, "req-back")
    await cloud.settled()
    assert (await cloud.row(server)).vcpus == 1
    await cloud.check_books()


async def test_size_that_cannot_be_is_refused(manage: Manage, cloud: Any) -> None:
    """With a sentence, and nothing has changed."""
    server = await cloud.active()
    small = await builders.a_flavor(cloud.database, "other-kind", template="drbd")
    huge = await builders.a_flavor(
        cloud.database, "huge", vcpus=2, memory_mib=4096, disk_gib=1, template="file"
    )
    await cloud.database.run(
        "update holding set maximum = 2 * used where project_id = %s and resource = %s",
        (cloud.who.project_id, quota.TOTAL_RAM),
    )
    for words in (
        ("--flavor", cloud.flavor.uuid),
        ("--flavor", small.uuid),
        ("--flavor", huge.uuid),
        ("--flavor", "nowhere"),
        ("--flavor", "\u202e'; drop table server --"),
        ("--flavor", "larger", "--action", "stop", "--wait", "False"),
    ):
        said = await manage("server-modify", server, *words)
        assert said.code in (1, 2), said
        assert "Traceback" not in said.err
    row = await cloud.row(server)
    assert (row.state, row.vcpus) == ("active", 1)
    assert [each.kind for each in await cloud.operations(server)] == ["create"]


async def tags(cloud: Any, server: str) -> list[str]:
    """The tags of a server."""
    rows = await cloud.database.all(
        "select t.tag from server_tag t join server s on s.id = t.server_id where s.uuid = %s"
        " order by t.tag",
        (server,),
    )
    return [row.tag for row in rows]


async def test_tags_are_changed(manage: Manage, whole_cloud: Any) -> None:
    """In the order of the help; what cannot be a tag is refused before anything is changed."""
    server = await whole_cloud.create("s", tags=("old", "older"))
    for words, left in (
        (("--tag-add", "new", "--tag-add", "newer"), ["new", "newer", "old", "older"]),
        (("--tag-delete", "old", "--tag-add", "x"), ["new", "newer", "older", "x"]),
        (("--tag-replace-all", "a, b", "--tag-add", "c"), ["a", "b", "c"]),
        (("--tag-delete-all",), []),
    ):
        said = await manage("server-modify", server, *words)
        assert (said.code, await tags(whole_cloud, server)) == (0, left), said
    for words in (
        ("--tag-delete", "nothing"),
        ("--tag-add", "a/b"),
        ("--tag-add", "x" * 61),
        ("--tag-add", ""),
        ("--tag-add", "\u202e"),
        ("--tag-replace-all", "a", "--tag-delete-all"),
    ):
        said = await manage("server-modify", server, *words)
        assert said.code in (1, 2), said
        assert "Traceback" not in said.err
    assert await tags(whole_cloud, server) == []


async def test_server_is_rescued_and_comes_back(
    manage: Manage, cloud: Any, config_path: Path
) -> None:
    """From the configuration's image or a named one; without any it is told."""
    server = await cloud.active()
    said = await manage("server-modify", server, "--action", "rescue")
    assert (said.code, "Traceback" in said.err) == (1, False), said
    assert "rescue" in said.err
    text = config_path.read_text(encoding="utf-8")
    iso = 'rescue_image = "/srv/rescue.iso"'
    config_path.write_text(text.replace("[ganeti]\n", f"[ganeti]\n{iso}\n"), encoding="utf-8")
    for action, state in (("rescue", "rescued"), ("unrescue", "active")):
        said = await manage("server-modify", server, "--action", action)
        assert (said.code, (await cloud.row(server)).state) == (0, state), said
    for words in (
        ("--rescue-image", "x"),
        ("--action", "stop", "--rescue-image", "x"),
        ("--action", "rescue", "--rescue-image", "nowhere"),
    ):
        said = await manage("server-modify", server, *words)
        assert said.code in (1, 2), said
    await cloud.check_books()


async def test_server_named_by_its_name_is_told_its_number(
    manage: Manage, whole_cloud: Any
) -> None:
    """A name is free to be had twice, so nothing is done by it."""
    server = await whole_cloud.create("web")
    number = (await whole_cloud.row(server)).id
    said = await manage("server-modify", "web", "--suspended", "True")
    assert said.code == 1
    assert f"There is no server 'web'; named so: {number}." in said.err
    assert (await whole_cloud.row(server)).suspended is False
    said = await manage("operation-cancel", "web")
    assert said.code == 2
    assert "not the number of one" in said.err


async def test_list_of_somebody_who_is_not_there_is_not_just_empty(
    manage: Manage, whole_cloud: Any
) -> None:
    """A slip of the hand does not look like somebody who has nothing."""
    for words in (
        ("server-list", "-u", "nobody"),
        ("server-list", "-p", "nowhere"),
        ("server-list", "--backend-id", "77"),
        ("volume-list", "-u", whole_cloud.who.user_id, "-p", "\u202e'"),
    ):
        said = await manage(*words)
        assert said.code == 1, said
        assert "There is no" in said.err
    for words in (
        ("server-list", "-u", whole_cloud.who.user_id, "-p", str(whole_cloud.who.project_id)),
        ("server-list", "--backend-id", "c1"),
        ("server-list", "--build"),
    ):
        said = await manage(*words, "--no-headers")
        assert (said.code, said.out) == (0, ""), said
