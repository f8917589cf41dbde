"""What a new machine is told, from the wish to its reading; what a restart loses and what not."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_twisted
import yaml

from cyclades_tx.api import vmapi
from cyclades_tx.flows.first_boot import REARMED
from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.model.keypair import generate
from cyclades_tx.model.server import NewServer, Personality, Rebuild, WantedNic
from cyclades_tx.store import keypairs
from cyclades_tx.store.first_boots import links_of
from cyclades_tx.testing.loopback import Loopback
from tests.loops.cloud import Cloud

EMPTY = "<MemorySecretStore with 0 secrets>"
#: In which cloud-init asks.
ORDER = ("network-config", "meta-data", "user-data", "vendor-data")
#: Jobs of these last until they are let go.
HELD = {"OP_INSTANCE_CREATE": 3600.0, "OP_INSTANCE_REINSTALL": 3600.0, "default": 0.02}


@dataclass
class Stage:
    """A cloud whose machines are made when the test says so, and who reads what they are told."""

    cloud: Cloud
    wire: Loopback

    async def url(self, before: str = "") -> str:
        """The URL that the cluster is told next."""

        async def seen() -> str:
            for job in reversed(self.cloud.ganeti.queue.jobs.values()):
                for op in job.ops:
                    found = str((op.get("osparams") or {}).get("config_url", ""))
                    if found:
                        return "" if found == before else found
            return ""

        found: str = await self.cloud.until(seen, "the cluster is told a URL")
        return found

    async def installing(self) -> None:
        """End the jobs before it, until the cluster is asked to install a system anew."""
        queue = self.cloud.ganeti.queue

        async def asked() -> bool:
            installs = set()
            for number, job in tuple(queue.jobs.items()):
                if any(op["OP_ID"] == "OP_INSTANCE_REINSTALL" for op in job.ops):
                    installs.add(number)
            for number, call in tuple(queue._calls.items()):
                if number not in installs:
                    call.reset(0)
            return bool(installs)

        await self.cloud.until(asked, "the installation is asked for")

    async def read(self, url: str) -> bytes | None:
        """What a URL gives; None: nothing (any more)."""
        base = self.cloud.world.config.vmapi_url
        assert url.startswith(base)
        answer = await self.wire.ask("/vmapi" + url.removeprefix(base))
        assert answer.status in (200, 404), answer
        return answer.body if answer.status == 200 else None

    async def parameters(self, url: str) -> dict[str, str]:
        """What the host reads."""
        found: dict[str, str] = json.loads(await self.read(url) or b"{}")
        return found

    async def files(self, url: str) -> dict[str, bytes | None]:
        """What the machine reads, in cloud-init's order."""
        return {name: await self.read(url + name) for name in ORDER}

    async def let_go(self) -> None:
        """End the jobs that are held, and everything after them."""
        queue = self.cloud.ganeti.queue
        held, queue._seconds = queue._seconds, {"default": 0.02}

        async def over() -> bool:
            for call in tuple(queue._calls.values()):
                call.reset(0)
            return not await self.cloud.database.value(
                "select exists (select from operation where finished_at is null)"
            )

        await self.cloud.until(over, "all is over", 60.0)
        queue._seconds = held

    async def key(self, name: str = "key") -> str:
        """A key pair of the person's; its public half."""
        key, owner = generate().public, self.cloud.who.user_id
        await self.cloud.database.transaction(
            lambda tx: keypairs.insert(tx, owner, name, key.text, key.fingerprint)
        )
        return key.text

    async def emptied(self) -> None:
        """Wait until no secret is left: they go when the operation has ended."""

        async def so() -> bool:
            return repr(self.cloud.world.vault) == EMPTY

        await self.cloud.until(so, "no secret is left")

    async def end_of(self, uuid: str) -> tuple[str, str]:
        """How the last operation of a server ended, and what was said."""
        last = (await self.cloud.operations(uuid))[-1]
        return last.state, last.reason


@pytest_twisted.async_yield_fixture
async def stage(cloud: Cloud) -> Any:
    """Nobody drives it yet."""
    cloud.ganeti.queue._seconds = HELD
    wire = Loopback(cloud.reactor, lambda frame: vmapi.mount(frame, cloud.world.vault))
    yield Stage(cloud, wire)
    await wire.close()


FILE = Personality("/etc/secret", b"planted contents", mode=0o600)


async def test_the_host_reads_what_was_asked_for_and_the_end_forgets_it(stage: Stage) -> None:
    """Password, files, key, user data and host name, in the one document."""
    cloud = stage.cloud
    public = await stage.key()
    new = NewServer(
        *("web", cloud.flavor.uuid, cloud.image.uuid, (WantedNic(cloud.network),)),
        key_name="key",
        user_data=b"#!/bin/sh\n",
        personality=(FILE,),
        hostname="host",
    )
    created = await cloud.world.servers.create(cloud.who, new, "r")
    await cloud.drive()
    document = await stage.parameters(await stage.url())
    (file,) = json.loads(document["img_personality"])
    assert base64.b64decode(file["contents"]) == b"planted contents"
    assert document["img_passwd"] == created.admin_password
    assert (document["auth_keys"], document["hostname"]) == (public, "host")
    assert base64.b64decode(document["cloud_userdata"]) == b"#!/bin/sh\n"
    assert "nocloud_url" not in document
    await stage.let_go()
    assert await stage.end_of(created.uuids[0]) == ("succeeded", "")
    await stage.emptied()


async def test_what_nobody_has_read_goes_with_the_end_of_the_operation(stage: Stage) -> None:
    """The URL is in the cluster's files from then on."""
    uuid = await stage.cloud.create()
    await stage.cloud.drive()
    url = await stage.url()
    await stage.let_go()
    assert (await stage.end_of(uuid))[0] == "succeeded"
    await stage.emptied()
    assert await stage.read(url) is None


async def test_a_machine_with_a_config_drive_reads_its_files_itself(stage: Stage) -> None:
    """After the operation, since it boots then; the host has told it where."""
    cloud = stage.cloud
    public = await stage.key()
    uuid = await cloud.create(
        config_drive=True, key_name="key", user_data=b"#cloud-config\n{}", personality=(FILE,)
    )
    await cloud.drive()
    document = await stage.parameters(await stage.url())
    await stage.let_go()
    files = await stage.files(document["nocloud_url"])
    meta = yaml.safe_load(files["meta-data"] or b"")
    assert meta == {"instance-id": uuid, "local-hostname": "s", "public-keys": [public]}
    assert files["user-data"] == b"#cloud-config\n{}"
    vendor = yaml.safe_load(files["vendor-data"] or b"")
    assert vendor["chpasswd"]["users"][0]["password"] == document["img_passwd"]
    assert base64.b64decode(vendor["write_files"][0]["content"]) == b"planted contents"
    network = yaml.safe_load(files["network-config"] or b"")
    row = await cloud.row(uuid)
    mac = await cloud.database.value("select mac::text from port where server_id = %s", (row.id,))
    assert network["ethernets"]["eth0"] == {
        "match": {"macaddress": mac},
        "set-name": "eth0",
        "dhcp4": True,
    }
    assert set((await stage.files(document["nocloud_url"])).values()) == {None}
    await stage.emptied()


async def test_the_machine_is_told_what_its_networks_do_not_tell(stage: Stage) -> None:
    """Addresses, ways out, routes and name servers of each interface, in their order."""
    cloud = stage.cloud
    plain = WantedSubnet(
        "192.0.2.0/24",
        dhcp=False,
        dns_nameservers=("192.0.2.53", "2001:db8::53"),
        host_routes=(("198.51.100.0/24", "192.0.2.9"),),
    )
    announced = WantedSubnet("2001:db8:1::/64")
    told_nothing = WantedSubnet("2001:db8:2::/64", dhcp=False, gateway=None)
    networks = []
    for number, subnets in enumerate(((plain, announced), (told_nothing,), ())):
        made = await cloud.world.networks.create(
            None, WantedNetwork(f"told-{number}", "IP_LESS_ROUTED", shared=True, subnets=subnets)
        )
        networks.append(WantedNic(str(made.uuid)))
    uuid = await cloud.create(networks=tuple(networks))
    row = await cloud.row(uuid)
    first, second, third = await links_of(cloud.database, row.id)
    four, six = first.addresses
    assert (four.ip.rpartition(".")[0], four.prefix, four.gateway) == ("192.0.2", 24, "192.0.2.1")
    assert (four.dhcp, four.announced) == (False, False)
    assert sorted(four.nameservers) == ["192.0.2.53", "2001:db8::53"]
    assert four.routes == (("198.51.100.0/24", "192.0.2.9"),)
    assert (six.prefix, six.dhcp, six.announced) == (64, False, True)
    assert [(each.announced, each.gateway) for each in second.addresses] == [(False, None)]
    assert third.addresses == ()
    assert len({first.mac, second.mac, third.mac}) == 3


async def test_a_rebuild_arms_new_urls(stage: Stage) -> None:
    """With a new password, for the host and for the machine; the old URLs stay dead."""
    cloud = stage.cloud
    uuid = await cloud.create(config_drive=True)
    await cloud.drive()
    url = await stage.url()
    first = await stage.parameters(url)
    await stage.let_go()
    await stage.files(first["nocloud_url"])
    rebuilt = await cloud.world.servers.rebuild(
        cloud.who, uuid, Rebuild(cloud.image.uuid, user_data=b"again", sets_user_data=True), "r"
    )
    await stage.installing()
    second = await stage.parameters(await stage.url(before=url))
    await stage.let_go()
    assert second["img_passwd"] == rebuilt.admin_password != first["img_passwd"]
    files = await stage.files(second["nocloud_url"])
    assert files["user-data"] == b"again"
    assert rebuilt.admin_password.encode() in (files["vendor-data"] or b"")
    assert await stage.read(url) is None
    assert set((await stage.files(first["nocloud_url"])).values()) == {None}
    await stage.emptied()


@pytest.mark.parametrize("config_drive", [False, True], ids=["host", "machine"])
async def test_a_creation_that_fails_or_is_deleted_leaves_no_secret(
    stage: Stage, config_drive: bool
) -> None:
    """Neither for the host nor for the machine."""
    cloud = stage.cloud
    first = await cloud.create("first", config_drive=config_drive)
    await cloud.world.servers.delete(cloud.who, first, "r")
    assert repr(cloud.world.vault) == EMPTY
    cloud.ganeti.misbehave("fail-job", path="/2/instances", times=1, message="told to fail")
    second = await cloud.create("second", config_drive=config_drive)
    await cloud.drive()
    await stage.url()
    await stage.let_go()
    assert (await stage.end_of(second))[0] == "failed"
    await stage.emptied()


# A restart, which loses what was in the process's memory


@pytest.mark.parametrize(
    "wanted",
    [{}, {"personality": (FILE,)}, {"admin_password": "Chosen-1-password"}],
    ids=["no-key", "files", "own-password"],
)
async def test_what_a_person_gave_us_is_not_left_out_silently(
    stage: Stage, wanted: dict[str, Any]
) -> None:
    """The creation fails with the reason and gives everything back."""
    cloud = stage.cloud
    await stage.key()
    if wanted:
        wanted = {**wanted, "key_name": "key"}
    uuid = await cloud.create(**wanted)
    cloud.world.vault.close()
    await cloud.drive()
    await cloud.settled()
    state, reason = await stage.end_of(uuid)
    assert state == "failed"
    assert "secrets of this server were lost" in reason
    assert await cloud.state(uuid) == ("error", "none")
    assert cloud.ganeti.instances == {}
    await cloud.check_books()


@pytest.mark.parametrize("config_drive", [False, True], ids=["host", "machine"])
async def test_a_creation_with_a_key_goes_on_without_its_password_and_says_so(
    stage: Stage, config_drive: bool
) -> None:
    """What the database knows is put away again; nobody is locked out."""
    cloud = stage.cloud
    public = await stage.key()
    uuid = await cloud.create(key_name="key", user_data=b"data", config_drive=config_drive)
    cloud.world.vault.close()
    await cloud.drive()
    document = await stage.parameters(await stage.url())
    assert "img_passwd" not in document
    assert (document["auth_keys"], document["hostname"]) == (public, "s")
    assert base64.b64decode(document["cloud_userdata"]) == b"data"
    await stage.let_go()
    assert await cloud.state(uuid) == ("active", "on")
    assert await stage.end_of(uuid) == ("succeeded", REARMED)
    if config_drive:
        files = await stage.files(document["nocloud_url"])
        assert files["user-data"] == b"data"
        assert "chpasswd" not in yaml.safe_load(files["vendor-data"] or b"")
    await stage.emptied()


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
async def test_a_failure_after_a_restart_says_that_secrets_may_be_the_reason(
    stage: Stage, restarted: bool
) -> None:
    """The job was sent already; whether its host had read them, nobody knows any more."""
    cloud = stage.cloud
    await stage.key()
    cloud.ganeti.misbehave("fail-job", path="/2/instances", times=1, message="404 from its URL")
    uuid = await cloud.create(key_name="key")
    await cloud.drive()
    await stage.url()
    if restarted:
        cloud.world.vault.close()
        cloud.world.vault._began_seconds = cloud.reactor.seconds() + 3600.0
    await stage.let_go()
    state, reason = await stage.end_of(uuid)
    assert (state, "404 from its URL" in reason) == ("failed", True)
    assert ("restarted meanwhile" in reason) == restarted


async def test_a_file_that_is_lost_alone_arms_all_again(stage: Stage) -> None:
    """As when one of several memcached servers was restarted."""
    cloud = stage.cloud
    await stage.key()
    await cloud.create(key_name="key", config_drive=True)
    kept = cloud.world.vault
    assert repr(kept) == "<MemorySecretStore with 5 secrets>"
    lost = next(iter(kept._kept))
    kept._forget(lost)
    await cloud.drive()
    document = await stage.parameters(await stage.url())
    assert None not in (await stage.files(document["nocloud_url"])).values()
    await stage.let_go()


async def test_a_key_that_is_gone_as_well_arms_nothing(stage: Stage) -> None:
    """Nobody could log in."""
    cloud = stage.cloud
    await stage.key()
    uuid = await cloud.create(key_name="key")
    await cloud.world.keypairs.delete(cloud.who, "key")
    cloud.world.vault.close()
    await cloud.drive()
    await cloud.settled()
    assert (await stage.end_of(uuid))[0] == "failed"
    assert cloud.ganeti.instances == {}


async def test_a_rebuild_with_a_key_goes_on_between_its_two_jobs(stage: Stage) -> None:
    """The restart came after the cluster was told the URL."""
    cloud = stage.cloud
    cloud.ganeti.queue._seconds = {"default": 0.02}
    await stage.key()
    await cloud.drive()
    uuid = await cloud.active(key_name="key")
    url = await stage.url()
    cloud.ganeti.queue._seconds = {**HELD, "OP_INSTANCE_SET_PARAMS": 3600.0}
    await cloud.world.servers.rebuild(cloud.who, uuid, Rebuild(cloud.image.uuid), "r")
    again = await stage.url(before=url)
    cloud.world.vault.close()
    cloud.ganeti.queue._seconds = HELD
    await stage.installing()
    document = await stage.parameters(again)
    assert "img_passwd" not in document
    await stage.let_go()
    assert await stage.end_of(uuid) == ("succeeded", REARMED)
