"""Servers on real clusters: asked for over the API, looked at with Ganeti's own commands."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.forks import FORKS
from tests.real.ganeti import RealGaneti
from tests.scenario.cloud import Client, RealClusters, Refused, until
from tests.scenario.conftest import Cloud
from tests.scenario.ganeti_side import job

#: What a change on a cluster that works may take on a machine with much else to do.
PROMPT_SECONDS = 30.0
#: The same where much of it is emulated, or takes several jobs.
SLOW_SECONDS = 150.0
#: These waits are for jobs of seconds: to look more often only slows the cluster.
_PAUSE_SECONDS = 0.2
_TOLD_JOBS = 6
_TOLD_CHARACTERS = 1500
_CONSOLE_SECONDS = 5.0


def real_clusters(cloud: Cloud) -> RealClusters:
    """The cloud's clusters, as what they are."""
    assert isinstance(cloud.simulators, RealClusters)
    return cloud.simulators


def instance_of(cloud: Cloud, server: str) -> str:
    """The name of a server's instance."""
    (row,) = cloud.books.rows("select id from server where uuid = %s", server)
    return f"{real_clusters(cloud).prefix}{row.id}"


def place_of(cloud: Cloud, server: str) -> RealGaneti:
    """The cluster that has a server's instance, by the clusters' own word."""
    clusters = real_clusters(cloud)
    return clusters.ganetis[clusters.instances()[instance_of(cloud, server)]]


def seen(ganeti: RealGaneti, instance: str, field: str) -> str:
    """What ``gnt-instance list`` says of an instance."""
    return ganeti.command("gnt-instance", "list", "--no-headers", "-o", field, instance).strip()


def status(client: Client, server: str) -> str:
    """A server's status; ``gone`` when it is not there."""
    try:
        found: str = client.get(f"/compute/v2.1/servers/{server}")["server"]["status"]
    except Refused as refused:
        assert refused.status == 404, refused
        return "gone"
    return found


def becomes(client: Client, server: str, wanted: str, seconds: float = PROMPT_SECONDS) -> None:
    """Wait for a status."""
    until(lambda: status(client, server) == wanted, f"the server is {wanted}", seconds)


def create(
    cloud: Cloud,
    client: Client,
    name: str,
    image: str = "",
    zone: str = "",
    networks: tuple[str, ...] = (),
) -> str:
    """Ask for a server of an image and on networks (or the usual ones) on a cluster (or any)."""
    body = {
        "name": name,
        "flavorRef": cloud.flavor,
        "imageRef": image or cloud.image,
        "networks": [{"uuid": each} for each in networks or (cloud.network,)],
        **({"availability_zone": zone} if zone else {}),
    }
    made = client.send("POST", "/compute/v2.1/servers", {"server": body})
    found: str = made[2]["server"]["id"]
    return found


def act(client: Client, server: str, action: str, said: Any = None) -> None:
    """Ask for an action, with arguments or without."""
    client.send("POST", f"/compute/v2.1/servers/{server}/action", {action: said})


def delete(client: Client, server: str) -> None:
    """Ask for the end of a server."""
    client.send("DELETE", f"/compute/v2.1/servers/{server}")


def register(cloud: Cloud, location: str) -> str:
    """Make an image known, as an operator does; return its id."""
    done = FORKS.run(
        *("-m", "cyclades_tx.manage", f"--config={cloud.service.config}", "image-register"),
        *(f"--name={location}", f"--location={location}", "--output-format=json"),
    )
    assert done.returncode == 0, done.stderr
    uuid = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", done.stdout)
    assert uuid is not None, done.stdout
    return uuid[0]


def used(cloud: Cloud) -> dict[str, int]:
    """What the demo project is charged for now, and what it has reserved."""
    rows = cloud.books.rows(
        "select h.resource, h.used + h.reserved as amount from holding h"
        " join project p on p.id = h.project_id where p.name = 'demo'"
        " and h.used + h.reserved > 0"
    )
    return {row.resource: row.amount for row in rows}


def taken_addresses(cloud: Cloud) -> int:
    """How many addresses of the shared network are taken by servers."""
    (row,) = cloud.books.rows("select count(*) as count from port where server_id is not null")
    count: int = row.count
    return count


def nothing_left(cloud: Cloud) -> bool:
    """Whether no server holds anything, anywhere."""
    return not real_clusters(cloud).instances() and not used(cloud) and not taken_addresses(cloud)


# One server, from both sides ----------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """A server and its instance, which stays where it is."""

    cloud: Cloud
    client: Client
    uuid: str
    ganeti: RealGaneti
    instance: str

    @property
    def path(self) -> str:
        """The server's path in the API."""
        return f"/compute/v2.1/servers/{self.uuid}"

    def shown(self) -> Any:
        """The server as its owner sees it."""
        return self.client.get(self.path)["server"]

    def ports(self) -> list[Any]:
        """Its ports as an administrator sees them: floating IPs' too; in their order."""
        found = self.cloud.client(name="admin").get(f"/network/v2.0/ports?device_id={self.uuid}")
        rows = self.cloud.books.rows(
            "select p.uuid::text from port p join server s on s.id = p.server_id"
            " where s.uuid = %s order by p.position",
            self.uuid,
        )
        order = [row.uuid for row in rows]
        return sorted(found["ports"], key=lambda port: order.index(port["id"]))

    def act(self, action: str, said: Any = None) -> None:
        """Ask for an action."""
        act(self.client, self.uuid, action, said)

    def becomes(self, wanted: str) -> None:
        """Wait until the server rests in a status, or say what is seen."""
        wait(
            self.cloud,
            lambda: status(self.client, self.uuid) == wanted and not self.moving(),
            f"server {self.instance} is {wanted}",
        )

    def rests(self) -> None:
        """Wait until nothing that was asked of it is open."""
        wait(self.cloud, lambda: not self.moving(), f"server {self.instance} is at rest")

    def moving(self) -> list[Any]:
        """Its open operations."""
        return self.cloud.books.rows(
            "select o.kind, o.state, o.reason from operation o join server s on s.id = o.server_id"
            " where s.uuid = %s and o.finished_at is null",
            self.uuid,
        )

    def last(self, kind: str) -> Any:
        """Its newest operation of a kind."""
        return self.cloud.books.rows(
            "select o.* from operation o join server s on s.id = o.server_id"
            " where s.uuid = %s and o.kind = %s order by o.id desc limit 1",
            self.uuid,
            kind,
        )[0]

    def results(self, kind: str) -> Any:
        """What the cluster's own file has as the result of the last job of such an operation."""
        return job(self.ganeti, self.last(kind).job_id)["ops"][0]["result"]

    def seen(self, fields: str) -> list[str]:
        """What ``gnt-instance list`` says of these fields."""
        said = self.ganeti.command(
            *("gnt-instance", "list", "--no-headers", "--separator=|", "-o", fields, self.instance)
        )
        return said.strip().split("|")

    def info(self) -> Any:
        """What ``gnt-instance info`` says, all of it text."""
        said = self.ganeti.command("gnt-instance", "info", self.instance)
        (found,) = yaml.load(said, yaml.BaseLoader)
        return found

    def nics(self) -> list[dict[str, str]]:
        """The interfaces in ``gnt-instance info``."""
        return list(self.info()["NICs"] or ())

    def installed(self) -> str:
        """The image that the tests' own OS definition has written to the first disk."""
        (disk,) = self.ganeti.home.glob(f"disks/{self.instance}/*.disk0")
        with disk.open("rb") as file:
            file.seek(512)
            return file.read(64).decode().strip()

    # The running machine itself (KVM)

    def _control(self, name: str) -> socket.socket:
        (folder,) = self.ganeti.home.glob("n1.*/var/run/ganeti/kvm-hypervisor/ctrl")
        door = socket.socket(socket.AF_UNIX)
        door.settimeout(_CONSOLE_SECONDS)
        door.connect(str(folder / f"{self.instance}.{name}"))
        return door

    def monitor(self, command: str) -> str:
        """What its emulator answers to a command of a person's (QEMU's "human monitor")."""
        with self._control("monitor") as door:
            door.sendall(command.encode() + b"\n")
            said = b""
            while said.count(b"(qemu)") < 2:
                more = door.recv(65536)
                assert more, said
                said += more
        return said.decode(errors="replace")

    def plugged(self) -> int:
        """How many network cards its emulator has."""
        return self.monitor("info pci").count("Ethernet controller")

    def drives(self) -> list[str]:
        """The beginnings of Ganeti's UUIDs of the disks that its emulator has, in any order."""
        return re.findall(r"^disk-(\S+) ", self.monitor("info block"), re.MULTILINE)

    def emulator(self) -> list[str]:
        """The words with which its emulator was started."""
        (pid,) = self.ganeti.home.glob(f"n1.*/var/run/ganeti/kvm-hypervisor/pid/{self.instance}")
        words = Path(f"/proc/{pid.read_text().strip()}/cmdline").read_text()
        return words.removesuffix("\0").split("\0")

    def on_serial(self, words: bytes) -> bool:
        """Whether the machine says these words on its serial port."""
        said = b""
        end_at = time.monotonic() + _CONSOLE_SECONDS
        with suppress(OSError), self._control("serial") as door:
            while words not in said and time.monotonic() < end_at:
                said += door.recv(65536)
        return words in said

    def guest_nics(self) -> list[str] | None:
        """The MAC addresses that the guest says it has; None: it says nothing yet."""
        said = ""
        end_at = time.monotonic() + _CONSOLE_SECONDS
        with suppress(OSError), self._control("serial") as door:
            while time.monotonic() < end_at:
                said += door.recv(65536).decode(errors="replace")
                # Of the first line only the end may have come.
                lines = re.findall(r"^guest: \d+ nics(.*)\r?\n", said, re.MULTILINE)
                if lines:
                    return str(lines[-1]).split()
        return None


def machine_of(cloud: Cloud, client: Client, server: str) -> Machine:
    """A server that has been asked for, when it runs."""
    wait(cloud, lambda: status(client, server) == "ACTIVE", f"server {server} runs")
    return Machine(cloud, client, server, place_of(cloud, server), instance_of(cloud, server))


def network_info(ganeti: RealGaneti, name: str) -> dict[str, Any]:
    """What ``gnt-network info`` says; ``groups`` and ``instances`` are dictionaries."""
    found: dict[str, Any] = {"groups": {}, "instances": {}}
    part = ""
    for line in ganeti.command("gnt-network", "info", name).splitlines():
        words = line.strip()
        if words.startswith("connected to node groups"):
            part = "groups"
        elif re.match(r"used by \d+ instances", words):
            part = "instances"
        elif line.startswith("    ") and part == "groups":
            group, _, rest = words.partition(" ")
            found["groups"][group] = rest.strip("()")
        elif line.startswith("    ") and part == "instances":
            instance, _, rest = words.partition(": ")
            found["instances"][instance] = rest.split(", ")
        elif not line.startswith("    ") and ": " in words:
            key, _, value = words.partition(": ")
            found[key] = value
    return found


def networks_of(ganeti: RealGaneti) -> list[str]:
    """The names in ``gnt-network list``."""
    return ganeti.command("gnt-network", "list", "--no-headers", "-o", "name").split()


def ganeti_network(cloud: Cloud, network: str) -> str:
    """The name that a network has at every cluster."""
    (row,) = cloud.books.rows("select id from network where uuid = %s", network)
    return f"{real_clusters(cloud).prefix}net-{row.id}"


# Waiting ------------------------------------------------------------------------------------


def wait(
    cloud: Cloud, condition: Callable[[], Any], what: str, seconds: float = SLOW_SECONDS
) -> None:
    """Wait until something is so.

    :raise AssertionError: when it is not after that time, with what is seen then.
    """
    end_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_at, f"not within {seconds} s: {what}\n{report(cloud)}"
        time.sleep(_PAUSE_SECONDS)


def report(cloud: Cloud) -> str:
    """What there is to see: operations, jobs with their logs, instances, the service's log."""
    lines = ["servers:", *map(str, cloud.books.servers()), "last operations:"]
    lines += map(
        str,
        reversed(
            cloud.books.rows(
                "select id, kind, server_id, network_id, state, step, attempt, job_id, reason"
                " from operation order by id desc limit 8"
            )
        ),
    )
    for ganeti in real_clusters(cloud).ganetis.values():
        lines.append(f"{ganeti.name}:")
        lines.append(_said(ganeti, "gnt-instance", "list", "-o", "name,status,nic.ips,oper_ram"))
        jobs = _said(ganeti, "gnt-job", "list", "--no-headers", "-o", "id,status,summary")
        lines += (jobs.splitlines())[-_TOLD_JOBS:]
        for line in jobs.splitlines()[-2:]:
            lines.append(_said(ganeti, "gnt-job", "info", line.split()[0])[-_TOLD_CHARACTERS:])
    with suppress(OSError):
        lines += (cloud.folder / "one.log").read_text().splitlines()[-10:]
    return "\n".join(lines)


def _said(ganeti: RealGaneti, *argv: str) -> str:
    try:
        return ganeti.command(*argv)
    except subprocess.SubprocessError as failure:
        return f"{' '.join(argv)}: {failure}"
