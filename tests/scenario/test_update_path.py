"""The update path on real parts: two Ganeti clusters with their event daemons, and RabbitMQ.

What an administrator does by hand at a cluster is what users see, at once when everything runs, a
little later when something is missing, and in the end always.
"""

from __future__ import annotations

import ast
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from cyclades_tx.store.embedded import EmbeddedPostgres
from tests.real.ganeti import RealGaneti
from tests.real.rabbitmq import RABBIT, RabbitNode
from tests.real.tcp_proxy import TcpProxy
from tests.scenario.cloud import Client, RealClusters, Refused, until
from tests.scenario.conftest import Cloud, running_cloud
from tests.scenario.ganeti_side import EventDaemon, ended_at, submit, submit_many, unfinished

pytestmark = pytest.mark.real

#: The promise: what was done by hand is seen so much after the end of its job.
SEEN_WITHIN_SECONDS = 1.0
#: How often a cluster is polled at rest in these tests; far more than the promise.
POLL_SECONDS = 8.0
CHANGES = 50
JOBS = 300
CUT_SECONDS = 60.0
#: Connections come back after pauses; by then so many changes are seen late at most.
MOST_UNTIL_FAST = 15
#: Addresses that are given by hand, each once.
_spare = itertools.count(150)


@dataclass
class UpdatePath:
    """A cloud with everything that the update path has."""

    cloud: Cloud
    node: RabbitNode
    near: TcpProxy
    far: TcpProxy
    daemons: dict[str, EventDaemon]
    servers: list[str]
    places: dict[str, str] = field(default_factory=dict)

    @property
    def clusters(self) -> RealClusters:
        """The clusters, as what they are."""
        assert isinstance(self.cloud.simulators, RealClusters)
        return self.cloud.simulators

    def instance(self, server: str) -> str:
        """The name of a server's instance."""
        (row,) = self.cloud.books.rows("select id from server where uuid = %s", server)
        return f"{self.clusters.prefix}{row.id}"

    def ganeti(self, server: str) -> RealGaneti:
        """The cluster that has a server's instance, by the clusters' own word; it stays there."""
        if server not in self.places:
            self.places[server] = self.clusters.instances()[self.instance(server)]
        return self.clusters.ganetis[self.places[server]]


def broker_table(node: RabbitNode, port: int, folder: Path) -> str:
    """The table of the configuration that says where the broker is."""
    secret = folder / "broker-password"
    secret.touch(0o600)
    secret.write_text(node.password)
    vhost = quote(node.vhost, safe="")
    return (
        f'[broker]\nurls = ["amqp://127.0.0.1:{port}/{vhost}"]\nusername = "{node.username}"\n'
        f'password_file = "{secret}"\nheartbeat_seconds = 5\n'
    )


@pytest.fixture(scope="module")
def path(
    postgres: EmbeddedPostgres,
    administer: Callable[[str], None],
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[UpdatePath]:
    """All of it runs, with two servers on each cluster."""
    administer(f"create database update_path template {template} strategy file_copy")
    folder = tmp_path_factory.mktemp("update-path")
    node = RABBIT.get()
    near, far = TcpProxy(node.port), TcpProxy(node.port)
    try:
        with running_cloud(
            folder,
            postgres.dsn("update_path"),
            clusters=2,
            real=True,
            more=broker_table(node, near.port, folder),
            poll_idle_seconds=POLL_SECONDS,
        ) as cloud:
            assert isinstance(cloud.simulators, RealClusters)
            daemons = {
                name: EventDaemon(folder, ganeti, node, far.port)
                for name, ganeti in cloud.simulators.ganetis.items()
            }
            try:
                for daemon in daemons.values():
                    daemon.start()
                cloud.service.start()
                until(lambda: not cloud.books.open_operations(), "the networks are made")
                client = cloud.client()
                servers = [cloud.create(client, f"hand-{number}") for number in range(4)]
                for server in servers:
                    until(
                        lambda server=server: shown(client, server)["status"] == "ACTIVE",
                        "the server is ACTIVE",
                    )
                yield UpdatePath(cloud, node, near, far, daemons, servers)
            finally:
                for daemon in daemons.values():
                    daemon.stop()
    finally:
        near.close()
        far.close()
        administer("drop database update_path with (force)")


def shown(client: Client, server: str) -> Any:
    """A server as its user sees it; one that is gone has the status ``gone``."""
    try:
        return client.get(f"/compute/v2.1/servers/{server}")["server"]
    except Refused as refused:
        assert refused.status == 404, refused
        return {"status": "gone"}


def port_of(admin: Client, server: str) -> Any:
    """The first port of a server as an administrator sees it."""
    ports = admin.get(f"/network/v2.0/ports?device_id={server}")["ports"]
    return ports[0] if ports else None


# What an administrator does by hand ---------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """Something done by hand, and how a user sees it.

    :ivar argv: the command and what stands before the instance's name.
    :ivar seen: says of the server and its port whether it shows.
    """

    name: str
    argv: tuple[str, ...]
    seen: Callable[[Any, Any], bool]


def flavor_of(server: Any) -> tuple[int, int]:
    """The CPUs and the memory (MiB) that a server shows."""
    return server["flavor"]["vcpus"], server["flavor"]["ram"]


def changes(nic: str, first: str, second: str) -> list[Change]:
    """A round of changes after which an instance is as it was, but for its address.

    :param nic: the name of its interface.
    :param first: the address that it gets; ``second``: the one that it has in the end.
    """
    tag = f"synnefo:network:{nic}:protected"

    def status(wanted: str) -> Callable[[Any, Any], bool]:
        return lambda server, port: server["status"] == wanted

    def address(wanted: str) -> Callable[[Any, Any], bool]:
        return lambda server, port: (
            [each["addr"] for each in server["addresses"].get("shared", [])] == [wanted]
        )

    def firewall(wanted: dict[str, str]) -> Callable[[Any, Any], bool]:
        return lambda server, port: port["binding:profile"] == wanted

    return [
        Change("shutdown", ("gnt-instance", "shutdown", "--timeout=0"), status("SHUTOFF")),
        Change("reboot", ("gnt-instance", "reboot"), status("ACTIVE")),
        Change("tag", ("gnt-instance", "add-tags", tag), firewall({"firewall_profile": "ENABLED"})),
        Change("shutdown", ("gnt-instance", "shutdown", "--timeout=0"), status("SHUTOFF")),
        Change(
            "modify",
            ("gnt-instance", "modify", "-B", "vcpus=2,memory=256"),
            lambda server, port: flavor_of(server) == (2, 256),
        ),
        Change("nic", ("gnt-instance", "modify", "--net", f"0:modify,ip={first}"), address(first)),
        Change("untag", ("gnt-instance", "remove-tags", tag), firewall({})),
        Change("startup", ("gnt-instance", "startup"), status("ACTIVE")),
        Change(
            "modify",
            ("gnt-instance", "modify", "-B", "vcpus=1,memory=128"),
            lambda server, port: flavor_of(server) == (1, 128),
        ),
        Change(
            "nic", ("gnt-instance", "modify", "--net", f"0:modify,ip={second}"), address(second)
        ),
    ]


def do_by_hand(
    path: UpdatePath, client: Client, admin: Client, server: str, change: Change
) -> float:
    """Make a change; return how many seconds after its job's end it was seen (may be negative)."""
    ganeti, instance = path.ganeti(server), path.instance(server)
    words = change.argv[:2]
    # A tag's name comes after the instance's, other arguments before.
    first, last = ((), change.argv[2:]) if "tags" in words[1] else (change.argv[2:], ())
    number = submit(ganeti, instance, *words, *first, instance, *last)
    seen: list[float] = []

    def there() -> bool:
        if change.seen(shown(client, server), port_of(admin, server)):
            seen.append(time.time())
        return bool(seen)

    until(there, f"{change.name} of {instance} (job {number}) is seen", POLL_SECONDS * 2)
    # A look for another reason may show it while Ganeti still closes the job.
    until(lambda: ended_at(ganeti, number) is not None, f"job {number} has ended")
    ended = ended_at(ganeti, number)
    assert ended is not None
    return seen[0] - ended


def rounds(path: UpdatePath) -> Iterator[tuple[str, Change]]:
    """Change after change, from server to server, without an end."""
    client = path.cloud.client()
    for server in itertools.cycle(path.servers):
        if shown(client, server)["status"] != "ACTIVE":
            # Another test has left it so.
            path.ganeti(server).command("gnt-instance", "startup", path.instance(server))
            until(lambda server=server: shown(client, server)["status"] == "ACTIVE", "it runs")
        (row,) = path.cloud.books.rows(
            "select p.id, host(a.address) as ip from port p join address a on a.port_id = p.id"
            " join server s on s.id = p.server_id where s.uuid = %s",
            server,
        )
        base = row.ip.rpartition(".")[0]
        nic = f"{path.clusters.prefix}nic-{row.id}"
        for change in changes(nic, f"{base}.{next(_spare)}", f"{base}.{next(_spare)}"):
            yield server, change


def items(text: str) -> list[str]:
    """A list as ``gnt-instance list`` writes it: with commas, or with brackets and quotes."""
    if text.startswith("["):
        return [str(each) for each in ast.literal_eval(text)]
    return [] if text in ("", "-") else text.split(",")


def fast_again(path: UpdatePath) -> None:
    """See that changes are soon seen as quickly as ever; polls alone would not do that."""
    client, admin = path.cloud.client(), path.cloud.client(name="admin")
    delays: list[float] = []
    for server, change in itertools.islice(rounds(path), MOST_UNTIL_FAST):
        delays.append(do_by_hand(path, client, admin, server, change))
        if len(delays) >= 3 and max(delays[-3:]) < SEEN_WITHIN_SECONDS:
            return
    raise AssertionError(f"it is not fast again: {delays}")


def differences(path: UpdatePath) -> list[str]:
    """Where the database and ``gnt-instance list`` differ, field by field."""
    fields = (
        "name,status,be/vcpus,be/maxmem,nic.names,nic.ips,nic.macs,nic.networks.names,"
        "disk.names,disk.sizes,tags"
    )
    ours = {
        row.name: row
        for row in path.cloud.books.rows(
            "select %s || s.id as name, s.state, s.vcpus, s.memory_mib, c.name as cluster,"
            " (select array_agg(array[%s || 'nic-' || p.id, host(a.address), p.mac::text,"
            " %s || 'net-' || p.network_id] order by p.position) from port p"
            " left join address a on a.port_id = p.id and family(a.address) = 4"
            " where p.server_id = s.id) as nics,"
            " (select array_agg(array[%s || 'vol-' || v.id, (v.size_gib * 1024)::text]"
            " order by v.position) from volume v"
            " where v.server_id = s.id and v.deleted_at is null) as disks,"
            " (select array_agg(%s || 'nic-' || p.id || '=' || p.firewall_profile) from port p"
            " where p.server_id = s.id and p.firewall_profile is not null) as firewalls"
            " from server s join cluster c on c.id = s.cluster_id"
            " where s.deleted_at is null and s.charge <> 'none'",
            *[path.clusters.prefix] * 5,
        )
    }
    found = []
    theirs = set()
    for ganeti in path.clusters.ganetis.values():
        said = ganeti.command("gnt-instance", "list", "--no-headers", "--separator=|", "-o", fields)
        for line in said.splitlines():
            name, status, vcpus, memory, *rest = line.split("|")
            if not name.startswith(path.clusters.prefix):
                continue
            theirs.add(name)
            row = ours.get(name)
            if row is None or row.cluster != ganeti.name:
                found.append(f"{name} on {ganeti.name} is {row} for us")
                continue
            nic_names, ips, macs, networks, disk_names, sizes, tags = (items(text) for text in rest)
            nics = [list(each) for each in zip(nic_names, ips, macs, networks, strict=True)]
            disks = [
                [disk, str(round(float(size)))]
                for disk, size in zip(disk_names, sizes, strict=True)
            ]
            words = {"protected": "ENABLED", "limited": "PROTECTED", "unprotected": "DISABLED"}
            firewalls = sorted(
                f"{nic}={words[word]}"
                for nic, word in (
                    tag.split(":")[2:] for tag in tags if tag.startswith("synnefo:network:")
                )
            )
            pairs = {
                "status": (
                    {"running": "active", "ADMIN_down": "stopped"}.get(status, status),
                    row.state,
                ),
                "vcpus": (int(vcpus), row.vcpus),
                "memory": (int(memory), row.memory_mib),
                "nics": (nics, row.nics or []),
                "disks": (disks, row.disks or []),
                "firewalls": (firewalls, sorted(row.firewalls or [])),
            }
            found += [
                f"{name}: {field} is {there} there and {here} here"
                for field, (there, here) in pairs.items()
                if there != here
            ]
    found += [f"{name} is not on any cluster" for name in ours if name not in theirs]
    return found


def nothing_differs(path: UpdatePath, seconds: float) -> None:
    """Wait until the database is as the clusters are; say what is not."""
    left: list[str] = []

    def same() -> bool:
        left[:] = differences(path)
        return not left

    try:
        until(same, "database and clusters are the same", seconds)
    except AssertionError:
        raise AssertionError("\n".join(left)) from None
    until(lambda: not path.cloud.books.open_operations(), "nothing is in motion")
    assert path.cloud.books.faults() == []


# Everything runs ----------------------------------------------------------------------------


def test_what_is_done_by_hand_is_seen_within_a_second(
    path: UpdatePath, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the end of the job until the user's GET shows it; the median of many changes."""
    client, admin = path.cloud.client(), path.cloud.client(name="admin")
    delays: dict[str, list[float]] = {}
    for server, change in itertools.islice(rounds(path), CHANGES):
        delays.setdefault(change.name, []).append(do_by_hand(path, client, admin, server, change))
    every = sorted(itertools.chain(*delays.values()))
    with capsys.disabled():
        print(
            f"\nseen after the end of the job, {len(every)} changes:"
            f" median {statistics.median(every):.3f} s, worst {every[-1]:.3f} s; "
            + ", ".join(
                f"{name} {statistics.median(each):.3f}" for name, each in sorted(delays.items())
            )
        )
    assert statistics.median(every) < SEEN_WITHIN_SECONDS
    nothing_differs(path, POLL_SECONDS)


def test_a_removal_by_hand_is_seen_within_a_second(path: UpdatePath) -> None:
    """The server is gone, and its quota and address are free again."""
    client = path.cloud.client()
    servers = [path.cloud.create(client, f"to-be-removed-{number}") for number in range(3)]
    delays = []
    for server in servers:
        until(lambda server=server: shown(client, server)["status"] == "ACTIVE", "it is ACTIVE")
    until(lambda: not path.cloud.books.open_operations(), "the creations are over")
    for server in servers:
        ganeti, instance = path.ganeti(server), path.instance(server)
        number = submit(
            ganeti, instance, "gnt-instance", "remove", "--force", "--shutdown-timeout=0", instance
        )
        until(
            lambda server=server: shown(client, server)["status"] == "gone",
            "it is gone",
            POLL_SECONDS,
        )
        seen = time.time()
        ended = ended_at(ganeti, number)
        assert ended is not None
        delays.append(seen - ended)
    assert statistics.median(delays) < SEEN_WITHIN_SECONDS
    nothing_differs(path, POLL_SECONDS)


# Something is missing -----------------------------------------------------------------------


def test_without_a_broker_it_is_seen_within_the_poll_interval(
    path: UpdatePath, capsys: pytest.CaptureFixture[str]
) -> None:
    """Speed is lost, nothing else; and when it is back everything is fast again."""
    client, admin = path.cloud.client(), path.cloud.client(name="admin")
    path.node.stop()
    delays = []
    try:
        for server, change in itertools.islice(rounds(path), 3):
            delays.append(do_by_hand(path, client, admin, server, change))
    finally:
        path.node.start()
    with capsys.disabled():
        print(f"\nwithout a broker: {', '.join(f'{each:.1f}' for each in delays)} s")
    assert max(delays) < POLL_SECONDS + 5
    nothing_differs(path, POLL_SECONDS + 10)
    fast_again(path)


def test_outages_in_the_middle_of_many_jobs_leave_nothing_wrong(path: UpdatePath) -> None:
    """The broker, the event daemons and the consumer die, and the network is cut for a minute."""
    jobs = [
        submit_many(ganeti, path.cloud.folder, many)
        for ganeti, many in jobs_of_each_cluster(path).items()
    ]
    ganetis = path.clusters.ganetis.values()
    until(lambda: sum(map(unfinished, ganetis)) > JOBS // 2, "the jobs are in the queues")
    first, second = path.daemons.values()
    time.sleep(3)
    path.node.kill()
    first.kill()
    time.sleep(3)
    path.node.start()
    first.start()
    path.cloud.service.kill()
    second.kill()
    path.cloud.service.start()
    second.start()
    path.near.silence()
    time.sleep(CUT_SECONDS / 2)
    path.far.silence()
    time.sleep(CUT_SECONDS / 2)
    path.near.restore()
    path.far.restore()
    path.cloud.service.kill()
    path.cloud.service.start()
    for each in jobs:
        each.wait(timeout=600)
    nothing_differs(path, POLL_SECONDS + 30)
    prefix = path.clusters.prefix.partition("-")[0]
    with path.node.connect() as connection:
        channel = connection.channel()
        for kind in ("op", "network", "progress", "cluster"):
            name = f"cyclades-tx.{prefix}.{kind}"
            until(
                lambda name=name: (
                    channel.queue_declare(name, passive=True).method.message_count == 0
                ),
                f"{name} is empty",
            )
            dead = channel.queue_declare(f"{name}.dead", passive=True)
            assert dead.method.message_count == 0, f"{name}.dead"
    fast_again(path)


def jobs_of_each_cluster(path: UpdatePath) -> dict[RealGaneti, list[dict[str, Any]]]:
    """So many jobs in all, of every kind, in an order that is drawn anew each time."""
    draw = random.Random()
    found: dict[RealGaneti, list[dict[str, Any]]] = {}
    for server in path.servers:
        name = path.instance(server)
        some = found.setdefault(path.ganeti(server), [])
        for _ in range(JOBS // len(path.servers)):
            memory = draw.choice((128, 192, 256))
            some.append(
                draw.choice(
                    [
                        {"OP_ID": "OP_INSTANCE_SHUTDOWN", "instance_name": name, "timeout": 0},
                        {"OP_ID": "OP_INSTANCE_STARTUP", "instance_name": name, "force": False},
                        {
                            "OP_ID": "OP_INSTANCE_SET_PARAMS",
                            "instance_name": name,
                            "beparams": {"maxmem": memory, "minmem": memory},
                        },
                        {
                            "OP_ID": "OP_TAGS_SET",
                            "kind": "instance",
                            "name": name,
                            "tags": [f"by-hand-{draw.randrange(9)}"],
                        },
                    ]
                )
            )
    for some in found.values():
        draw.shuffle(some)
    return found
