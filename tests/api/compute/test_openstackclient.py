"""The unmodified ``openstack`` command on quotas, groups, flavors, machines and usage."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from cyclades_tx.api.compute import app as compute
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.identity import app as identity_app
from cyclades_tx.api.image import app as image
from cyclades_tx.api.network import app as network
from cyclades_tx.api.site import ApiSite
from cyclades_tx.flows.application_credentials import ApplicationCredentials
from cyclades_tx.flows.identity import People
from cyclades_tx.flows.keypairs import KeyPairs
from cyclades_tx.identity.catalog import Catalog
from cyclades_tx.identity.local import LocalIdentity
from cyclades_tx.identity.passwords import Passwords
from cyclades_tx.model.who import MEMBER, Who
from cyclades_tx.testing import builders
from tests.api.compute.real_flows import real_servers
from tests.api.wire import Later
from tests.scenario.clients.people import typed

PASSWORD = "correct horse battery"
JSON = ("-f", "json")


@dataclass
class Cloud:
    """The service, and how to call it."""

    database: Any
    run: Callable[..., Awaitable[Any]]
    project_id: str
    demo: Who


@pytest_twisted.async_yield_fixture
async def cloud(database: Any, tmp_path: Path) -> Any:
    """Identity, Compute, Network and Image with an administrator and a member of one project."""
    from twisted.internet import reactor

    passwords = Passwords(reactor, log2n=4, threads=2)
    identity = LocalIdentity(database, reactor, passwords)
    identity.start()
    await database.when_listening()
    people = People(database, passwords, changed=identity.forget)
    credentials = ApplicationCredentials(database, passwords, changed=identity.forget)
    port = reactor.listenTCP(0, Later(), interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}"
    frame = Frame(reactor, identity, url)
    identity_app.mount(frame, database, identity, people, credentials, Catalog(url))
    compute.mount(frame, database, real_servers(database), KeyPairs(database))
    network.mount(frame, database)
    image.mount(frame, database)
    site = ApiSite(frame.resource(), 1_048_576)
    site.startFactory()
    port.factory.site = site
    project_id = await people.create_project("home")
    ids = {}
    for name in ("admin", "member"):
        ids[name] = await people.create_user(name, PASSWORD, default_project_id=project_id)
        await people.assign_role(ids[name], project_id, name)

    async def run(*words: str, as_: str = "member") -> Any:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "OS_AUTH_URL": f"{url}/identity",
            "OS_IDENTITY_API_VERSION": "3",
            "OS_USERNAME": as_,
            "OS_PASSWORD": PASSWORD,
            "OS_PROJECT_NAME": "home",
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
        }
        result = await deferToThread(typed, words, environment, tmp_path)
        if result.returncode != 0:
            raise AssertionError(result.stderr)
        return json.loads(result.stdout) if "-f" in words else result.stdout

    demo = Who(ids["member"], "member", project_id, "home", frozenset((MEMBER,)))
    yield Cloud(database, run, project_id, demo)
    await port.stopListening()
    site.stopFactory()
    identity.stop()
    passwords.close()


async def test_quotas_are_set_shown_and_reset(cloud: Cloud) -> None:
    """By an administrator; a member sees them, also among the limits."""
    await cloud.run(
        *("quota", "set", "--instances", "7", "--cores", "9", "--ram", "2048", "home"), as_="admin"
    )
    shown = await cloud.run("quota", "show", "--compute", *JSON)
    found = {each["Resource"]: each["Limit"] for each in shown}
    assert (found["instances"], found["cores"], found["ram"]) == (7, 9, 2048)
    usage = await cloud.run("quota", "show", "--compute", "--usage", *JSON)
    assert {each["Resource"]: each["In Use"] for each in usage}["instances"] == 0
    limits = await cloud.run("limits", "show", "--absolute", *JSON)
    assert {each["Name"]: each["Value"] for each in limits}["total_cores"] == 9
    defaults = await cloud.run("quota", "show", "--compute", "--default", *JSON)
    assert {each["Resource"]: each["Limit"] for each in defaults}["instances"] == -1
    with pytest.raises(AssertionError, match="403"):
        await cloud.run("quota", "set", "--instances", "100", "home")
    await cloud.run("quota", "delete", "--compute", "home", as_="admin")
    shown = await cloud.run("quota", "show", "--compute", *JSON)
    assert {each["Resource"]: each["Limit"] for each in shown}["instances"] == -1


async def test_server_groups_live(cloud: Cloud) -> None:
    """Made with a policy and a rule, joined by a server, shown, listed, deleted."""
    made = await cloud.run(
        *("server", "group", "create", "--policy", "anti-affinity"),
        *("--rule", "max_server_per_host=1", "apart", *JSON),
    )
    assert (made["policy"], made["rules"]) == ("anti-affinity", {"max_server_per_host": 1})
    await builders.a_flavor(cloud.database, "tiny")
    await builders.an_image(cloud.database, "debian")
    await builders.a_cluster(cloud.database, "c1")
    words = ("server", "create", "--flavor", "tiny", "--image", "debian", "--nic", "none")
    server = await cloud.run(*words, "--hint", f"group={made['id']}", "one", *JSON)
    with pytest.raises(AssertionError, match="is there already"):
        await cloud.run(*words, "--hint", f"group={made['id']}", "two", *JSON)
    shown = await cloud.run("server", "group", "show", "apart", *JSON)
    assert shown["members"] == [server["id"]]
    listed = await cloud.run("server", "group", "list", *JSON)
    assert [(each["Name"], each["Policy"]) for each in listed] == [("apart", "anti-affinity")]
    found = await cloud.run("server", "show", server["id"], *JSON)
    assert found["server_groups"] == [made["id"]]
    await cloud.run("server", "group", "delete", "apart")
    assert await cloud.run("server", "group", "list", *JSON) == []


async def test_flavors_are_made_changed_and_deleted(cloud: Cloud) -> None:
    """With properties, a description, and a project that may use a private one."""
    await builders.a_flavor(cloud.database)
    made = await cloud.run(
        *("flavor", "create", "--ram", "1024", "--disk", "5", "--vcpus", "2", "--private"),
        *("--property", "hw:a=b", "small", *JSON),
        as_="admin",
    )
    assert (made["ram"], made["vcpus"], made["os-flavor-access:is_public"]) == (1024, 2, False)
    with pytest.raises(AssertionError, match=r"No [Ff]lavor"):
        await cloud.run("flavor", "show", "small")
    await cloud.run(
        *("flavor", "set", "--property", "c=d", "--description", "words", "--project", "home"),
        "small",
        as_="admin",
    )
    shown = await cloud.run("flavor", "show", "small", *JSON)
    assert (shown["description"], shown["properties"]) == ("words", {"c": "d", "hw:a": "b"})
    access = await cloud.run("flavor", "show", "small", *JSON, as_="admin")
    assert access["access_project_ids"] == [cloud.project_id]
    await cloud.run("flavor", "unset", "--property", "c", "--project", "home", "small", as_="admin")
    with pytest.raises(AssertionError, match=r"No [Ff]lavor"):
        await cloud.run("flavor", "show", "small")
    await cloud.run("flavor", "delete", "small", as_="admin")
    assert len(await cloud.run("flavor", "list", "--all", *JSON, as_="admin")) == 1


async def test_machines_are_listed_for_administrators(cloud: Cloud) -> None:
    """Hypervisors, services, zones; nobody else sees them."""
    await builders.a_cluster(cloud.database, "c1")
    listed = await cloud.run("hypervisor", "list", *JSON, as_="admin")
    assert [(each["Hypervisor Hostname"], each["State"]) for each in listed] == [("c1", "up")]
    shown = await cloud.run("hypervisor", "show", "c1", *JSON, as_="admin")
    assert shown["hypervisor_hostname"] == "c1"
    services = await cloud.run("compute", "service", "list", *JSON, as_="admin")
    assert [(each["Binary"], each["Host"]) for each in services] == [("nova-compute", "c1")]
    assert await cloud.run("aggregate", "list", *JSON, as_="admin") == []
    zones = await cloud.run("availability", "zone", "list", "--compute", *JSON)
    assert [each["Zone Name"] for each in zones] == ["c1"]
    zones = await cloud.run(
        "availability", "zone", "list", "--compute", "--long", *JSON, as_="admin"
    )
    assert zones[0]["Host Name"] == "c1"
    with pytest.raises(AssertionError, match="403"):
        await cloud.run("hypervisor", "list")


async def test_usage_is_shown(cloud: Cloud) -> None:
    """Of the own project, and of all to an administrator."""
    flavor = await builders.a_flavor(cloud.database, disk_gib=10)
    server = await builders.a_server(cloud.database, cloud.demo, flavor, vcpus=2)
    await cloud.database.run(
        "update server set launched_at = now() - interval '10 hours' where id = %s", (server.id,)
    )
    shown = await cloud.run("usage", "show", *JSON)
    assert 19.9 < float(shown["CPU Hours"]) < 20.1
    listed = await cloud.run("usage", "list", *JSON, as_="admin")
    assert [len(each["Servers"]) for each in listed] == [1]


async def test_key_pairs_live(cloud: Cloud) -> None:
    """Made by the client, listed, shown, deleted; also those of somebody else."""
    assert "PRIVATE KEY" in await cloud.run("keypair", "create", "k 1")
    listed = await cloud.run("keypair", "list", *JSON)
    assert [(each["Name"], each["Type"]) for each in listed] == [("k 1", "ssh")]
    others = await cloud.run("keypair", "list", "--user", "member", *JSON, as_="admin")
    assert [each["Name"] for each in others] == ["k 1"]
    assert "ssh-ed25519" in await cloud.run("keypair", "show", "--public-key", "k 1")
    await cloud.run("keypair", "delete", "k 1")
    assert await cloud.run("keypair", "list", *JSON) == []
