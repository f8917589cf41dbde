"""What the trial run finds in its cloud: people, flavors, images, networks, clusters."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclades_tx.config import Config
from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.ganeti.clusters import PASSWORD_KIND
from cyclades_tx.model import password
from cyclades_tx.store.networks import ensure_all_on_cluster
from cyclades_tx.world import World

if TYPE_CHECKING:
    from cyclades_tx.trial import TrialCluster

#: name, CPUs, MiB, GiB
FLAVORS = (("tiny", 1, 128, 1), ("small", 1, 512, 5), ("medium", 2, 1024, 10))

IMAGES = (
    ("debian-12", {"osfamily": "linux", "os": "debian", "users": "root"}),
    ("ubuntu-24.04", {"osfamily": "linux", "os": "ubuntu", "users": "root ubuntu"}),
)


def run(config: Config, clusters: list[TrialCluster], clouds: Path, url: str) -> None:
    """Make what is missing; what is there stays, but for the clusters' addresses.

    :param clouds: the file for OpenStack clients, mode 0600; it holds the generated passwords.
    """
    from twisted.internet import reactor
    from twisted.internet.defer import ensureDeferred

    failures: list[Any] = []

    async def work() -> None:
        world = World.real(reactor, config, tool=True)
        world.database.start()
        try:
            await seed(world, clusters, clouds, url)
        finally:
            await world.close()

    def begin() -> None:
        done = ensureDeferred(work())
        done.addErrback(failures.append)
        done.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if failures:
        failures[0].raiseException()


async def seed(world: World, clusters: list[TrialCluster], clouds: Path, url: str) -> None:
    """See :func:`run`."""
    for cluster in clusters:
        await _cluster(world, cluster)
    if await world.database.value("select count(*) from flavor") == 0:
        await _catalogue(world)
    if not clouds.exists():
        await _people(world, clouds, url)
    else:
        _repoint(clouds, url)


async def _cluster(world: World, wanted: TrialCluster) -> None:
    async def work(tx: Any) -> None:
        row = await tx.first(
            "select id, uuid from cluster where name = %s for update", (wanted.name,)
        )
        if row is None:
            row = await tx.first(
                "insert into cluster (name, position, rapi_host, rapi_username, rapi_password,"
                " drained) select %s, coalesce(max(position) + 1, 0), 'unset', 'unset', '', false"
                " from cluster returning id, uuid",
                (wanted.name,),
            )
        await tx.run(
            "update cluster set rapi_scheme = %s, rapi_host = %s, rapi_port = %s,"
            " rapi_username = %s, rapi_password = %s, certificate = %s, hypervisor = %s,"
            " credentials_version = credentials_version + 1, statistics_at = null where id = %s",
            (
                wanted.scheme,
                wanted.host,
                wanted.port,
                wanted.username,
                world.keyring.encrypt(PASSWORD_KIND, str(row.uuid), wanted.password),
                wanted.certificate,
                wanted.hypervisor,
                row.id,
            ),
        )
        # Until the first look at it; a new cluster with no known disks would get no servers.
        await tx.run(
            "update cluster set disk_templates = '{file}' where id = %s and disk_templates = '{}'",
            (row.id,),
        )
        await ensure_all_on_cluster(
            tx, row.id, world.config.operations.deadline_seconds("make_network")
        )

    await world.database.transaction(work, "trial.cluster")


async def _catalogue(world: World) -> None:
    async def work(tx: Any) -> None:
        type_id = await tx.value(
            "insert into volume_type (name, disk_template) values ('file', 'file') returning id"
        )
        for name, vcpus, memory_mib, disk_gib in FLAVORS:
            await tx.run(
                "insert into flavor (name, vcpus, memory_mib, disk_gib, volume_type_id)"
                " values (%s, %s, %s, %s, %s)",
                (name, vcpus, memory_mib, disk_gib, type_id),
            )
        await world.networks.create_in(
            tx,
            None,
            WantedNetwork(
                name="shared",
                description="Every project may attach to it.",
                flavor="IP_LESS_ROUTED",
                shared=True,
                subnets=(WantedSubnet("10.77.0.0/16", name="shared-v4"),),
            ),
        )
        await world.networks.create_in(
            tx,
            None,
            WantedNetwork(
                name="public",
                description="Floating IPs.",
                flavor="IP_LESS_ROUTED",
                external=True,
                floating_ip_pool=True,
                subnets=(WantedSubnet("203.0.113.0/24", name="public-v4"),),
            ),
        )

    await world.database.transaction(work, "trial.catalogue")
    for name, properties in IMAGES:
        await world.images.register(
            None,
            name=name,
            location=f"test:{name}",
            disk_format="diskdump",
            container_format="bare",
            visibility="public",
            properties=properties,
        )


async def _people(world: World, clouds: Path, url: str) -> None:
    source = random.SystemRandom()
    entries = []
    for name, roles in (("demo", ("member", "reader")), ("admin", ("admin",))):
        secret = password.make(source) + password.make(source)
        project_id = await world.people.create_project(name, description=f"The {name} project.")
        user_id = await world.people.create_user(name, secret, default_project_id=project_id)
        for role in roles:
            await world.people.assign_role(user_id, project_id, role)
        entries.append(_entry(name, secret, url))
    descriptor = os.open(clouds, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write("clouds:\n" + "".join(entries))


def _entry(name: str, secret: str, url: str) -> str:
    return (
        f"  {name}:\n    auth:\n      auth_url: {url}/identity\n      username: {name}\n"
        f"      password: {secret}\n      project_name: {name}\n"
        "      user_domain_name: Default\n      project_domain_name: Default\n"
        "    region_name: RegionOne\n    identity_api_version: 3\n"
    )


def _repoint(clouds: Path, url: str) -> None:
    """The port may be another one this time."""
    lines = clouds.read_text(encoding="utf-8").splitlines(keepends=True)
    with clouds.open("w", encoding="utf-8") as file:
        for line in lines:
            head, found, _ = line.partition("auth_url: ")
            file.write(f"{head}auth_url: {url}/identity\n" if found else line)
