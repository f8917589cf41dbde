"""What the trial run finds in its cloud: people, flavors, images, networks, clusters."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclades_tx.config import Config
from cyclades_tx.errors import NotFound
from cyclades_tx.flows.clusters import Fleet, NewCluster
from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.flows.value_pools import ValuePools
from cyclades_tx.model import password
from cyclades_tx.store import flavors
from cyclades_tx.trial_watch import SIGNALS
from cyclades_tx.world import World


@dataclass(frozen=True)
class TrialCluster:
    """A cluster of the trial run, as the database must know it."""

    name: str
    scheme: str
    host: str
    port: int
    username: str
    password: str
    certificate: str | None
    hypervisor: str


#: Kind, base and size: what private networks take from.
POOLS = (("mac_prefix", "aa:00:0", 65536), ("bridge", "prv", 64))
#: name, CPUs, MiB, GiB
FLAVORS = (("tiny", 1, 128, 1), ("small", 1, 512, 5), ("medium", 2, 1024, 10))

IMAGES = (
    ("debian-12", {"osfamily": "linux", "os": "debian", "users": "root"}),
    ("ubuntu-24.04", {"osfamily": "linux", "os": "ubuntu", "users": "root ubuntu"}),
)


def run(
    config: Config,
    clusters: list[TrialCluster],
    clouds: Path,
    url: str,
    resting: Sequence[str] = (),
) -> None:
    """Make what is missing; what is there stays, but for the clusters' addresses.

    :param clouds: the file for OpenStack clients, mode 0600; it holds the generated passwords.
    :param resting: names of clusters of earlier runs that this one does not have.
    :raise KeyboardInterrupt: when a signal ended it before it was through.
    """
    from twisted.internet import reactor as _reactor
    from twisted.internet.defer import Deferred, ensureDeferred
    from twisted.internet.error import ReactorNotRunning

    reactor: Any = _reactor
    failures: list[Any] = []
    interrupted: list[bool] = []
    ended: Deferred[None] = Deferred()

    def stop() -> None:
        with suppress(ReactorNotRunning):
            reactor.stop()

    def interrupt(number: int, frame: object) -> None:
        interrupted.append(True)
        reactor.callFromThread(stop)

    async def work() -> None:
        world = World.real(reactor, config, tool=True)
        world.database.start()
        try:
            await seed(world, clusters, clouds, url, resting)
        finally:
            await world.close()

    def begin() -> None:
        done = ensureDeferred(work())

        def end() -> Deferred[None] | None:
            if ended.called:
                return None
            # A signal: what is under way in the database ends first.
            done.cancel()
            return ended

        def over(_: None) -> None:
            ended.callback(None)
            stop()

        reactor.addSystemEventTrigger("before", "shutdown", end)
        done.addErrback(failures.append)
        done.addCallback(over)

    reactor.callWhenRunning(begin)
    # The reactor's own handlers would stay behind and take what comes later for themselves.
    before = [(number, signal.signal(number, interrupt)) for number in SIGNALS]
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    if interrupted:
        raise KeyboardInterrupt
    if failures:
        failures[0].raiseException()


async def seed(
    world: World,
    clusters: list[TrialCluster],
    clouds: Path,
    url: str,
    resting: Sequence[str] = (),
) -> None:
    """See :func:`run`."""
    for cluster in clusters:
        await _cluster(world, cluster)
    await world.database.run(
        "update cluster set offline = not offline"
        " where (name = any(%(resting)s) and not offline) or (name = any(%(now)s) and offline)",
        {"resting": list(resting), "now": [cluster.name for cluster in clusters]},
    )
    if await world.database.value("select count(*) from flavor") == 0:
        await _catalogue(world)
    await _pools(world)
    # The credentials come last: without them the first run was cut off.
    if not clouds.exists():
        await _images(world)
        await _people(world, clouds, url)
    else:
        _repoint(clouds, url)


async def _cluster(world: World, wanted: TrialCluster) -> None:
    """Add a cluster, or tell the one that is there where it listens this time."""
    fleet = Fleet(
        world.database,
        world.clusters,
        world.keyring,
        network_deadline_seconds=world.config.operations.deadline_seconds("make_network"),
    )
    # A simulated cluster is in the service, which does not run yet: nobody can look at it.
    there = wanted.scheme == "https"
    try:
        known = await fleet.find(wanted.name)
    except NotFound:
        added = await fleet.add(
            NewCluster(
                name=wanted.name,
                username=wanted.username,
                password=wanted.password,
                host=wanted.host,
                port=wanted.port,
                scheme=wanted.scheme,
                certificate=wanted.certificate,
                hypervisor=wanted.hypervisor,
                hotplug=wanted.hypervisor == "kvm",
            ),
            check=there,
        )
        await fleet.modify(str(added.id), {"drained": False})
        return
    await fleet.modify(
        str(known.id),
        {
            "rapi_host": wanted.host,
            "rapi_port": wanted.port,
            "rapi_username": wanted.username,
            "certificate": wanted.certificate,
        },
        password=wanted.password,
        check=there,
    )


async def _catalogue(world: World) -> None:
    async def work(tx: Any) -> None:
        type_id = await flavors.insert_volume_type(tx, "file", "file", None)
        assert type_id is not None
        for name, vcpus, memory_mib, disk_gib in FLAVORS:
            await flavors.insert(
                tx,
                name=name,
                vcpus=vcpus,
                memory_mib=memory_mib,
                disk_gib=disk_gib,
                volume_type_id=type_id,
                public=True,
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


async def _pools(world: World) -> None:
    pools = ValuePools(world.database, mac_prefix=world.networks.mac_prefix)
    there = {row.kind for row in await world.database.all("select kind from value_pool")}
    for kind, base, size in POOLS:
        if kind not in there:
            await pools.create(kind, base, size)


async def _images(world: World) -> None:
    there = {row.name for row in await world.images.list()}
    for name, properties in IMAGES:
        if name in there:
            continue
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
        project_id, user_id = await _person(world, name, secret)
        for role in roles:
            await world.people.assign_role(user_id, project_id, role)
        entries.append(_entry(name, secret, url))
    draft = clouds.with_name(clouds.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write("clouds:\n" + "".join(entries))
    draft.rename(clouds)


async def _person(world: World, name: str, secret: str) -> tuple[str, str]:
    """A project and its user; those of a first run that was cut off get a new password."""
    people = world.people
    try:
        project_id = await people.find_project(name)
    except NotFound:
        project_id = await people.create_project(name, description=f"The {name} project.")
    try:
        user_id = await people.find_user(name)
    except NotFound:
        user_id = await people.create_user(name, secret, default_project_id=project_id)
    else:
        await people.update_user(user_id, {"password": secret})
    return project_id, user_id


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
