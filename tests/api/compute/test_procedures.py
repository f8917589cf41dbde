"""Resize, rebuild, rescue over the wire with the real flows: replies, statuses, refusals."""

from __future__ import annotations

import json
import random

import pytest
from twisted.internet.task import Clock

from cyclades_tx.api.compute import rebuilt_server
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.servers import Servers
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.model import quota
from cyclades_tx.sections import GanetiSection, OperationsSection, QuotaSection, VmapiSection
from cyclades_tx.store import quotas
from cyclades_tx.testing import builders
from cyclades_tx.vault import MemorySecretStore


@pytest.fixture
def flow(database):
    """The real flows, with a rescue image."""
    return Servers(
        database,
        MemorySecretStore(Clock()),
        Keyring([b"k" * 32]),
        Networks(database),
        Images(database),
        GanetiSection(rescue_image="/srv/rescue.iso"),
        OperationsSection(),
        VmapiSection(),
        random.Random(1),
    )


async def a_server(wire, state="active", charge="on", **columns):
    """A server that is charged, with a disk of 2 GiB; return its row."""
    database = wire.database
    await database.transaction(
        lambda tx: quotas.make_holdings(tx, wire.who.project_id, QuotaSection().limits())
    )
    flavor = await builders.a_flavor(database)
    server = await builders.a_server(
        database, wire.who, flavor, cluster=await builders.a_cluster(database), state=state,
        image=await builders.an_image(database), charge=charge, **columns,
    )  # fmt: skip
    await database.run(
        "insert into volume (user_id, project_id, size_gib, volume_type_id, local, status,"
        " server_id, position) select %s, %s, 2, volume_type_id, true, 'in_use', %s, 0"
        " from flavor where id = %s",
        (wire.who.user_id, wire.who.project_id, server.id, flavor.id),
    )
    amounts = quota.server_amounts(charge, 1, 512, 2)
    await database.transaction(lambda tx: quotas.add(tx, wire.who.project_id, amounts))
    return server


async def act(wire, server, document, version="2.96", **options):
    """Ask for an action."""
    path = f"/servers/{server.uuid}/action"
    return await wire.post(path, document, version=version, **options)


async def seen(wire, server):
    """Status and task of a server."""
    shown = (await wire.get(f"/servers/{server.uuid}", version="2.96")).json["server"]
    return shown["status"], shown["OS-EXT-STS:task_state"]


async def test_the_new_status_stands_before_the_answer(wire, database):
    """Else a client that waits believes that it is over."""
    larger = await builders.a_flavor(database, vcpus=2)
    image = await builders.an_image(database, "new")
    for document, status in (
        ({"resize": {"flavorRef": larger.uuid}}, ("RESIZE", "resize_migrating")),
        ({"rebuild": {"imageRef": image.uuid}}, ("REBUILD", "rebuilding")),
        ({"rescue": {}}, ("ACTIVE", "rescuing")),
    ):
        server = await a_server(wire)
        assert (await act(wire, server, document)).status in (200, 202)
        assert await seen(wire, server) == status
        again = (await act(wire, server, document)).fault(409, "conflictingRequest")
        assert "under way" in again
    assert await quotas.drift(database) == []


async def test_a_resized_server_waits_to_be_verified(wire, database):
    """And is active again when it is confirmed; going back has a status of its own."""
    flavor = await builders.a_flavor(database)
    for document, status, task in (
        ({"confirmResize": None}, "ACTIVE", None),
        ({"revertResize": None}, "REVERT_RESIZE", "resize_reverting"),
    ):
        server = await a_server(wire, state="resized", old_flavor_id=flavor.id)
        assert await seen(wire, server) == ("VERIFY_RESIZE", None)
        (await act(wire, server, {"os-stop": None})).fault(409, "conflictingRequest")
        assert (await act(wire, server, document)).status in (202, 204)
        assert await seen(wire, server) == (status, task)
    actions = (await wire.get(f"/servers/{server.uuid}/os-instance-actions")).json
    assert [each["action"] for each in actions["instanceActions"]] == ["revertResize"]


async def test_a_rescued_server_says_so(wire):
    """Until it is led back."""
    server = await a_server(wire, state="rescued")
    assert await seen(wire, server) == ("RESCUE", None)
    (await act(wire, server, {"rescue": {}})).fault(409, "conflictingRequest")
    assert (await act(wire, server, {"unrescue": None})).status == 202
    assert await seen(wire, server) == ("RESCUE", "unrescuing")


@pytest.mark.parametrize("minor", [1, 9, 19, 26, 47, 54, 57, 63, 71, 73, 74, 75, 90, 96])
async def test_the_reply_to_a_rebuild_has_its_microversion_s_members(wire, database, fits, minor):
    """None more, none less: the new image and the password among them."""
    server = await a_server(wire, metadata={"old": "x"})
    image = await builders.an_image(database, "new")
    wanted = {"imageRef": image.uuid, "name": "again", "adminPass": "p", "metadata": {"a": "b"}}
    if minor >= 57:
        wanted["user_data"] = "aGVsbG8="
    answer = await act(wire, server, {"rebuild": wanted}, f"2.{minor}")
    assert answer.status == 202
    assert answer.header("location").endswith(f"/compute/v2.1/servers/{server.uuid}")
    document = answer.json["server"]
    fits(document, rebuilt_server.document(minor).schema(minor))
    assert (document["name"], document["adminPass"], document["status"]) == (
        "again", "p", "REBUILD",
    )  # fmt: skip
    assert (document["image"]["id"], document["metadata"]) == (image.uuid, {"a": "b"})
    assert ("user_data" in document, "key_name" in document) == (minor >= 57, minor >= 54)
    assert document.get("user_data", "aGVsbG8=") == "aGVsbG8="


@pytest.mark.parametrize(
    ("member", "value", "minor"),
    [("description", "d", 18), ("key_name", "k", 53), ("user_data", "aGVsbG8=", 56),
     ("key_name", None, 53), ("personality", [{"path": "/x", "contents": "aGVsbG8="}], 57),
     ("hostname", "h", 89)],
)  # fmt: skip
async def test_a_member_of_another_microversion_is_refused(wire, member, value, minor):
    """As one that nobody knows."""
    server = await a_server(wire)
    image = "5e7b6a4e-3a5c-4bd8-a0a5-6b3dbd8a2a2f"
    document = {"rebuild": {"imageRef": image, member: value}}
    message = (await act(wire, server, document, f"2.{minor}")).fault(400, "badRequest")
    assert member in message


async def test_a_rebuild_keeps_no_secret_in_the_open(wire, database):
    """Neither the password nor the user data stands in the database."""
    server = await a_server(wire)
    image = await builders.an_image(database)
    wanted = {"imageRef": image.uuid, "adminPass": "hush-hush", "user_data": "c2hoaGhoaGho"}
    assert (await act(wire, server, {"rebuild": wanted})).status == 202
    rows = await database.all(
        "select (o.arguments::text || coalesce(encode(s.user_data, 'escape'), '')) as text"
        " from operation o join server s on s.id = o.server_id"
    )
    assert all("hush" not in row.text and "shhh" not in row.text for row in rows)
    # A null takes what there was away.
    other = await a_server(wire, user_data=b"x")
    document = {"rebuild": {"imageRef": image.uuid, "user_data": None, "key_name": None}}
    assert (await act(wire, other, document)).status == 202
    left = "select user_data from server where id = %s"
    assert await database.value(left, (other.id,)) is None


async def test_what_cannot_be_asked_in_a_state_is_a_conflict(wire, admin):
    """With Compute's sentence."""
    server = await a_server(wire, state="stopped", charge="off")
    for name, word in (("pause", "pause"), ("changePassword", "set_admin_password")):
        argument = {"adminPass": "p"} if name == "changePassword" else None
        message = (await act(wire, server, {name: argument})).fault(409, "conflictingRequest")
        expected = f"Cannot '{word}' instance {server.uuid} while it is in vm_state stopped"
        assert message == expected
    for name in ("confirmResize", "revertResize", "unrescue", "restore", "unshelve"):
        (await act(wire, server, {name: None})).fault(409, "conflictingRequest")
    (await act(wire, server, {"resume": None}, who=admin)).fault(409, "conflictingRequest")


async def test_a_creation_that_failed_has_nothing_to_change(wire, database):
    """There is no machine behind it."""
    server = await a_server(wire, state="error", charge="none")
    flavor, image = await builders.a_flavor(database, vcpus=2), await builders.an_image(database)
    for document in (
        {"reboot": {"type": "HARD"}}, {"resize": {"flavorRef": flavor.uuid}}, {"rescue": {}},
        {"rebuild": {"imageRef": image.uuid}},
    ):  # fmt: skip
        (await act(wire, server, document)).fault(409, "conflictingRequest")


@pytest.mark.parametrize(
    "name",
    ["resize", "confirmResize", "revertResize", "rebuild", "rescue", "unrescue", "pause",
     "shelve", "createBackup", "changePassword", "os-getConsoleOutput", "forceDelete", "restore"],
)  # fmt: skip
async def test_a_stranger_finds_nothing_and_changes_nothing(wire, database, stranger, name):
    """404, whatever is asked."""
    server = await a_server(wire, state="resized" if "Resize" in name else "active")
    arguments = {
        "resize": {"flavorRef": (await builders.a_flavor(database)).uuid},
        "rebuild": {"imageRef": (await builders.an_image(database)).uuid},
        "changePassword": {"adminPass": "p"},
        "os-getConsoleOutput": {},
    }
    before = await database.value("select server::text from server")
    document = {name: arguments.get(name)}
    (await act(wire, server, document, who=stranger)).fault(404, "itemNotFound")
    assert await database.value("select server::text from server") == before
    assert await database.value("select count(*) from operation") == 0


async def test_a_reader_may_change_nothing(wire, reader):
    """403 for every action."""
    server = await a_server(wire)
    (await act(wire, server, {"rescue": {}}, who=reader)).fault(403, "forbidden")


async def test_a_resize_over_quota_is_403(wire, database):
    """In the words that clients look for."""
    server = await a_server(wire)
    large = await builders.a_flavor(database, vcpus=1000)
    message = (await act(wire, server, {"resize": {"flavorRef": large.uuid}})).fault(
        403, "forbidden"
    )
    assert message.startswith("Quota exceeded for")
    assert await quotas.drift(database) == []


@pytest.mark.parametrize(
    "argument",
    ["x" * 100_000, {"flavorRef": "x" * 100_000}, {"imageRef": "\u0000"}, [[[]]] * 100,
     {"imageRef": None, "rescue_image_ref": {}}, -1, True, {"é": "ü"}],
)  # fmt: skip
@pytest.mark.parametrize("name", ["resize", "rebuild", "rescue", "os-resetState"])
async def test_nonsense_is_refused_and_nothing_is_begun(wire, database, admin, name, argument):
    """400, never 500."""
    server = await a_server(wire)
    data = json.dumps({name: argument}).encode()
    answer = await wire.ask(
        "POST", f"/servers/{server.uuid}/action", data=data, version="2.96", who=admin
    )
    answer.fault(400, "badRequest")
    assert await database.value("select count(*) from operation") == 0
