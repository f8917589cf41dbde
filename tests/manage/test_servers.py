"""Servers: creating them through the running service, changing, suspending, removing them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.api import operator
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.site import ApiSite
from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound, Unavailable
from cyclades_tx.flows.clusters import NewCluster
from cyclades_tx.flows.flavors import Flavors
from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.manage import service_door
from cyclades_tx.manage.backends import fleet
from cyclades_tx.manage.requests import OPERATOR, ended, new_request_id
from cyclades_tx.manage.servers import act, find
from cyclades_tx.model.moves import ABSENT, UNSEEN
from cyclades_tx.model.operation import FAILED, SUCCEEDED
from cyclades_tx.model.who import MEMBER, Who
from cyclades_tx.store import operations
from cyclades_tx.store import servers as store

Manage = Callable[..., Any]


@dataclass
class Cloud:
    """What a server needs, and where the service is."""

    world: Any
    url: str
    user_id: str
    project_id: str
    cluster_id: int
    flavor: str
    image: str

    async def create(self, **others: Any) -> dict[str, Any]:
        """Create a server through the door."""
        body = {"name": "web", "flavor": self.flavor, "image": self.image, **others}
        return await service_door.create_server(
            self.world, self.user_id, self.project_id, body, self.url
        )

    async def server(self) -> Any:
        """Create a server that runs by now."""
        made = await self.create(cluster_id=self.cluster_id)
        found = await find(self.world, made["uuid"])
        await self.end(found.id)
        return found

    async def end(self, server_id: int, end: str = SUCCEEDED, **others: Any) -> None:
        """End the open operation of a server, as a loop does."""

        async def work(tx: Any) -> None:
            (operation,) = await operations.open_of_server(tx, server_id)
            seen = others.get("seen", UNSEEN)
            await store.settle(tx, operation, end, others.get("reason", ""), seen)

        await self.world.database.transaction(work, "test.end")


@pytest_twisted.async_yield_fixture
async def cloud(world: Any) -> Any:
    """A service that listens, a drained cluster, and somebody who may have servers."""
    from twisted.internet import reactor

    frame = Frame(reactor, world.identity, "http://127.0.0.1")
    operator.mount(frame, world.servers)
    site = ApiSite(frame.resource(), 1_048_576)
    listening = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
    people = world.people
    project_id = await people.create_project("p")
    user_id = await people.create_user("demo", None, default_project_id=project_id)
    await people.assign_role(user_id, project_id, "reader")
    flavors = Flavors(world.database)
    await flavors.create_volume_type("plain", "plain")
    await flavors.create([1], [512], [2], ["plain"])
    image = await world.images.register(None, name="debian", location="x:debian")
    cluster = await fleet(world).add(NewCluster("c1.example.org", "u", "p"), check=False)
    yield Cloud(
        world,
        f"http://127.0.0.1:{listening.getHost().port}",
        user_id,
        project_id,
        cluster.id,
        (await flavors.find("C1R512D2plain")).uuid,
        image.uuid,
    )
    await listening.stopListening()


async def test_the_service_creates_it_in_the_users_name(cloud: Cloud) -> None:
    """The server is the user's, its project is charged, its secrets are in the service's store."""
    made = await cloud.create(cluster_id=cloud.cluster_id)
    row = await cloud.world.database.first("select * from server")
    assert (row.user_id, row.project_id) == (cloud.user_id, cloud.project_id)
    assert row.cluster_id == cloud.cluster_id
    reserved = await cloud.world.database.value(
        "select reserved from holding where project_id = %s and resource = 'cyclades.vm'",
        (cloud.project_id,),
    )
    assert reserved == 1
    assert len(made["admin_password"]) >= 12
    assert "1 secrets" in repr(cloud.world.vault)


async def test_a_drained_cluster_is_only_taken_when_it_is_named(cloud: Cloud) -> None:
    """--backend-id goes past the allocator; without it the allocator's reasons are told."""
    with pytest.raises((Unavailable, Conflict, BadRequest)) as caught:
        await cloud.create()
    assert "drained" in caught.value.message
    await cloud.create(cluster_id=cloud.cluster_id)


async def test_the_token_of_the_command_is_gone_afterwards(cloud: Cloud) -> None:
    """What opens the door is written for one request."""
    await cloud.create(cluster_id=cloud.cluster_id)
    with pytest.raises(BadRequest):
        await cloud.create(flavor="nonsense")
    assert await cloud.world.database.value("select count(*) from token") == 0


async def test_other_tokens_do_not_find_the_door(cloud: Cloud, monkeypatch: Any) -> None:
    """A token that was not written by an operator is answered as if there was nothing."""
    monkeypatch.setattr(service_door, "METHOD", "password")
    with pytest.raises(NotFound):
        await cloud.create(cluster_id=cloud.cluster_id)
    assert await cloud.world.database.value("select count(*) from server") == 0


async def test_a_disabled_user_gets_no_server(cloud: Cloud) -> None:
    """Whoever was disabled cannot be charged either."""
    await cloud.world.people.update_user(cloud.user_id, {"enabled": False})
    with pytest.raises(Forbidden):
        await cloud.create(cluster_id=cloud.cluster_id)


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "a\0b"},
        {"name": "x" * 256},
        {"image": "x"},
        {"cluster_id": 10**18},
        {"metadata": {"": "x"}},
        {"networks": [{"network": "nope"}]},
        {"surprise": 1},
        {"key_name": "nope"},
    ],
)
async def test_hostile_bodies_are_refused(cloud: Cloud, body: dict[str, Any]) -> None:
    """The door checks what comes in like every other one; nothing is left behind."""
    with pytest.raises(BadRequest):
        await cloud.create(**{"cluster_id": cloud.cluster_id, **body})
    assert await cloud.world.database.value("select count(*) from server") == 0


async def test_without_a_service_the_message_says_why(manage: Manage, cloud: Cloud) -> None:
    """The secrets cannot be handed over, so nothing is created."""
    said = await manage("server-create", "--name", "x", "--user-id", "demo", "--flavor-id", "1",
                        "--image-id", "debian", "--api-url", "http://127.0.0.1:1")  # fmt: skip
    assert said.code == 1
    assert "running service" in said.err
    assert await cloud.world.database.value("select count(*) from server") == 0


async def test_create_as_the_seeds_write_it(manage: Manage, cloud: Cloud) -> None:
    """Ids small and large, the password on the command line with a warning, the cluster named."""
    said = await manage(
        "server-create", "--flavor-id=1", f"--image-id={cloud.image}", f"--user-id={cloud.user_id}",
        f"--backend-id={cloud.cluster_id}", "--password=example_passw0rd", "--name=test_vm",
        f"--api-url={cloud.url}",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "Warning" in said.err
    assert "example_passw0rd" not in said.out + said.err
    assert "c1.example.org" in said.out


async def test_a_generated_password_is_shown_once(manage: Manage, cloud: Cloud) -> None:
    """Without a password one is made, and it is in the answer."""
    said = await manage(
        "server-create", "--flavor=C1R512D2plain", "--image=debian", "--user=demo",
        "--backend=c1.example.org", "--name=x", "--no-network", f"--api-url={cloud.url}",
        "--output-format", "json",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert len(json.loads(said.out)["password"]) >= 12


async def test_a_user_without_a_role_gets_nothing(manage: Manage, cloud: Cloud) -> None:
    """The message names the command that helps."""
    await cloud.world.people.create_user("eve", None)
    said = await manage("server-create", "--name", "x", "--user", "eve", "--flavor", "1",
                        "--image", "debian", "--api-url", cloud.url)  # fmt: skip
    assert said.code == 1
    assert "role-assign" in said.err


async def test_an_address_can_be_asked_for(cloud: Cloud) -> None:
    """The interface gets the address of the network."""
    network = await cloud.world.networks.create(
        None, WantedNetwork(name="n", subnets=(WantedSubnet("10.9.0.0/24"),))
    )
    await cloud.create(
        cluster_id=cloud.cluster_id,
        networks=[{"network": network.uuid, "address": "10.9.0.77"}],
    )
    assert await cloud.world.database.value("select host(address) from address") == "10.9.0.77"


async def test_lists_filter_by_what_the_seeds_name(manage: Manage, cloud: Cloud) -> None:
    """operstate and flavor are fields; a user, a project and a backend are named as one likes."""
    await cloud.server()
    for arguments in (
        ("--filter-by", "operstate=STARTED,flavor=1"),
        ("--filter-by", "flavor=C1R512D2plain"),
        ("--user", "demo"),
        ("--user", cloud.user_id),
        ("--project", "p", "--backend-id", str(cloud.cluster_id)),
    ):
        said = await manage("server-list", *arguments, "--no-headers", "-o", "id,name")
        assert said.out.split() == ["1", "web"], (arguments, said.err)
    for arguments in (
        ("--filter-by", "operstate!=STARTED"),
        ("--suspended",),
        ("--build",),
        ("-d",),
    ):
        said = await manage("server-list", *arguments, "--no-headers")
        assert (said.code, said.out) == (0, ""), arguments


async def test_operstate_tells_whether_the_machine_is_up(manage: Manage, cloud: Cloud) -> None:
    """Also while a resize waits to be confirmed, or it runs from the rescue image."""
    await cloud.server()
    for state, charge, operstate in (
        ("resized", "on", "STARTED"),
        ("resized", "off", "STOPPED"),
        ("rescued", "on", "STARTED"),
        ("rescued", "off", "STOPPED"),
    ):
        await cloud.world.database.run("update server set state = %s, charge = %s", (state, charge))
        said = await manage("server-list", "--no-headers", "-o", "operstate")
        assert said.out.split() == [operstate], (state, charge, said.err)


async def test_a_suspended_server_is_out_of_its_owners_hands(manage: Manage, cloud: Cloud) -> None:
    """The operator's word holds against the owner, and not against the operator."""
    found = await cloud.server()
    assert (await manage("server-modify", "--suspended=True", "snf-1")).code == 0
    owner = service_door_who(cloud)
    with pytest.raises(Forbidden):
        await cloud.world.servers.stop(owner, found.uuid, "req")
    await act(cloud.world, found, "stop", wait=False)
    await cloud.end(found.id)
    assert (await manage("server-modify", "--suspended", "False", found.uuid)).code == 0
    await cloud.world.servers.start(owner, found.uuid, "req")


def service_door_who(cloud: Cloud) -> Any:
    """The owner of the cloud's servers."""
    return Who(cloud.user_id, "demo", cloud.project_id, "p", frozenset((MEMBER,)))


async def test_waiting_ends_with_the_operation(cloud: Cloud) -> None:
    """A wait returns when the operation succeeded, and raises its reason when it failed."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.task import deferLater

    found = await cloud.server()
    later = deferLater(
        reactor,  # type: ignore[arg-type]
        0.1,
        lambda: Deferred.fromCoroutine(cloud.end(found.id)),
    )
    await act(cloud.world, found, "stop", wait=True)
    await later
    request_id = new_request_id()
    await cloud.world.servers.start(OPERATOR, found.uuid, request_id)
    await cloud.end(found.id, FAILED, reason="no memory")
    with pytest.raises(Conflict, match="no memory"):
        await ended(cloud.world, found.id, request_id)


async def test_a_wait_that_nobody_ends_is_given_up(cloud: Cloud) -> None:
    """Past the deadline, with no service that drives, the command says so."""
    found = await cloud.server()
    request_id = new_request_id()
    await cloud.world.servers.stop(OPERATOR, found.uuid, request_id)
    await cloud.world.database.run(
        "update operation set created_at = now() - interval '2 hours',"
        " deadline_at = now() - interval '1 hour' where finished_at is null"
    )
    with pytest.raises(Conflict, match="loops"):
        await ended(cloud.world, found.id, request_id)


async def test_errors_of_one_do_not_stop_the_removal_of_the_rest(
    manage: Manage, cloud: Cloud
) -> None:
    """Each is told, and the code says that something failed."""
    await cloud.server()
    said = await manage("server-remove", "-f", "--wait", "False", "77", "snf-1", "nope")
    assert said.code == 1
    assert "'77'" in said.err
    assert "'nope'" in said.err
    kind = await cloud.world.database.value("select kind from operation where finished_at is null")
    assert kind == "delete"
    await cloud.end(1, seen=ABSENT)
    gone = await manage("server-list", "-d", "--no-headers", "-o", "id,state")
    assert gone.out.split() == ["1", "deleted"]


async def test_inspect_shows_database_and_cluster(manage: Manage, cloud: Cloud) -> None:
    """What the cluster cannot be asked is told as such; the database's half is there."""
    await cloud.server()
    await fleet(cloud.world).modify("c1.example.org", {"offline": True})
    said = await manage("server-inspect", "1", "--jobs", "--output-format", "json")
    assert said.code == 0, said.err
    shown = json.loads(said.out)
    assert shown["ganeti.name"] == "snf-1"
    assert "offline" in shown["ganeti.status"]
    assert [each["kind"] for each in shown["operations"]] == ["create"]
    assert [each["size_gib"] for each in shown["volumes"]] == [2]
    assert (await manage("server-inspect", "1")).code == 0


async def test_operations_are_listed_while_they_are_open(manage: Manage, cloud: Cloud) -> None:
    """What is in motion is shown with its reason; --all shows the past."""
    await cloud.create(cluster_id=cloud.cluster_id)
    said = await manage("operation-list", "--output-format", "json", "--server", "1")
    (shown,) = json.loads(said.out)
    assert (shown["kind"], shown["state"], shown["backend"]) == (
        "create",
        "pending",
        "c1.example.org",
    )
    assert "Waits" in shown["reason"]
    assert {"age_seconds", "deadline", "job", "failures"} <= shown.keys()
    await cloud.end(1)
    assert (await manage("operation-list", "--no-headers")).out == ""
    await cloud.world.database.run("update operation set job_status = 'running'")
    said = await manage("operation-list", "--all", "--no-headers", "-o", "kind,job_status")
    assert said.out.split() == ["create"], "how its job was is of no interest any more"
