"""The Ganeti side at a real Ganeti, with a real RabbitMQ, and another client at the other end."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pika.exceptions import AMQPError

from tests.forks import FORKS, TWISTD, Fork
from tests.gtools.test_hook import DUMP
from tests.real.ganeti import CLUSTERS, GANETIS, RealGaneti
from tests.real.rabbitmq import RABBIT, RabbitNode

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
PROMPT_SECONDS = 60.0
FINAL = ("success", "error", "canceled")
#: What a machine with much else to do may take for the median; it is printed as it is.
MEDIAN_SECONDS = 0.25
SECRET = "open-sesame"


class Listener:
    """A client of another make, with a queue of its own that gets everything."""

    def __init__(self, rabbit: RabbitNode) -> None:
        self.heard: list[tuple[str, dict[str, Any], float]] = []
        self._rabbit = rabbit
        self._ending = threading.Event()
        self._connection = self._connected()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _connected(self) -> Any:
        connection = self._rabbit.connect()
        channel = connection.channel()
        channel.exchange_declare("ganeti", "topic", durable=True)
        channel.queue_declare("listener", durable=True)
        channel.queue_bind("listener", "ganeti", "#")
        return connection

    def _listen(self) -> None:
        while not self._ending.is_set():
            try:
                channel = self._connection.channel()
                for method, _, body in channel.consume("listener", True, inactivity_timeout=0.1):
                    if method is not None:
                        self.heard.append((method.routing_key, json.loads(body), time.time()))
                    if self._ending.is_set():
                        channel.queue_delete("listener")
                        self._connection.close()
                        return
            except AMQPError:
                # The broker is away; it comes back.
                time.sleep(0.1)
                with suppress(AMQPError, OSError):
                    self._connection = self._connected()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        end = time.monotonic() + PROMPT_SECONDS
        while not holds():
            assert time.monotonic() < end, self.states()
            time.sleep(0.02)

    def until_end(self, operation: str) -> None:
        """Wait until the last thing heard is the success of an operation."""
        self.until(lambda: [each[1:] for each in self.states()[-1:]] == [(operation, "success")])

    def states(self) -> list[tuple[int, str, str]]:
        """Job, operation and state of each message, in order."""
        return [(m["jobId"], m["operation"], m["status"]) for _, m, _ in list(self.heard)]

    def ends(self) -> dict[int, str]:
        """How each job ended, as far as it was heard."""
        return {job: status for job, _, status in self.states() if status in FINAL}

    def close(self) -> None:
        """Remove the queue."""
        self._ending.set()
        self._thread.join(PROMPT_SECONDS)


class Eventd:
    """The daemon as an operator runs it, beside a real cluster."""

    def __init__(self, ganeti: RealGaneti, rabbit: RabbitNode, folder: Path) -> None:
        self.ganeti = ganeti
        self.rabbit = rabbit
        self.folder = folder
        self.config = folder / "eventd.toml"
        self.log = folder / "log"
        self._child: Fork | None = None
        root = CLUSTERS / str(ganeti.number) / f"n1.{ganeti.name}"
        password = folder / "password"
        password.touch(0o600)
        password.write_text(rabbit.password)
        self.config.write_text(
            "[broker]\n"
            f'urls = ["amqps://127.0.0.1:{rabbit.tls_port}/{quote(rabbit.vhost, safe="")}"]\n'
            f'username = "{rabbit.username}"\npassword_file = "{password}"\n'
            f'certificate_file = "{rabbit.certificate_file}"\n'
            f'[ganeti]\ndata_folder = "{root}/var/lib/ganeti"\n'
            f'luxi_socket = "{root}/var/run/ganeti/socket/ganeti-query"\n'
            f'node_name = "n1.{ganeti.name}"\n'
            f'[state]\nfolder = "{folder}/state"\n'
        )

    def start(self) -> None:
        """Start it and wait until it is ready."""
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._child = FORKS.start(
                *(*TWISTD, "ganeti-eventd", f"--config={self.config}"),
                stdout=log,
                stderr=log,
                folder=ROOT,
            )
        end = time.monotonic() + PROMPT_SECONDS
        while b"connected to" not in self.log.read_bytes()[before:]:
            assert self._child.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        child, self._child = self._child, None
        if child is not None:
            child.send_signal(number)
            child.wait(PROMPT_SECONDS)


@pytest.fixture(scope="module")
def ganeti() -> RealGaneti:
    """A real cluster."""
    return GANETIS.get(1)[0]


@pytest.fixture(scope="module")
def rabbit() -> RabbitNode:
    """A real broker."""
    return RABBIT.get()


@pytest.fixture
def listener(rabbit: RabbitNode) -> Iterator[Listener]:
    """Hears everything."""
    made = Listener(rabbit)
    yield made
    made.close()


@pytest.fixture
def eventd(
    ganeti: RealGaneti, rabbit: RabbitNode, listener: Listener, tmp_path: Path
) -> Iterator[Eventd]:
    """The daemon, started and past the jobs of before."""
    made = Eventd(ganeti, rabbit, tmp_path)
    try:
        made.start()
        ganeti.command("gnt-cluster", "modify", "--maintain-node-health=no")
        listener.until_end("OP_CLUSTER_SET_PARAMS")
        listener.heard.clear()
        yield made
    finally:
        made.end()
    text = made.log.read_text()
    assert "Traceback" not in text
    assert rabbit.password not in text and SECRET not in text


def add(ganeti: RealGaneti, name: str, *more: str) -> None:
    """Make an instance with a disk and a card."""
    ganeti.command(
        "gnt-instance", "add", "-t", "file", "-s", "128m", "-o", ganeti.os, "--no-ip-check",
        "--no-name-check", "-n", f"n1.{ganeti.name}", "-B", "memory=128",
        "-O", f"img_passwd={SECRET}", *more, name,
    )  # fmt: skip


def test_a_life_by_hand_is_heard_in_order(
    ganeti: RealGaneti, eventd: Eventd, listener: Listener
) -> None:
    """Network, instance, tags, power, removal; and how soon after each end."""
    run = ganeti.command
    run("gnt-network", "add", "--network=10.91.0.0/24", "snf-net-91")
    run("gnt-network", "connect", "-N", f"mode=routed,link={ganeti.link}", "snf-net-91", "default")
    add(ganeti, "snf-91", "--net=0:network=snf-net-91,ip=10.91.0.5,name=snf-nic-91")
    run("gnt-instance", "add-tags", "snf-91", "synnefo:network:snf-nic-91:limited")
    run("gnt-instance", "modify", "--net=0:modify,ip=10.91.0.6", "snf-91")
    for _ in range(3):
        run("gnt-instance", "shutdown", "snf-91")
        run("gnt-instance", "startup", "snf-91")
    run("gnt-instance", "reboot", "snf-91")
    run("gnt-instance", "remove", "-f", "snf-91")
    run("gnt-network", "disconnect", "snf-net-91", "default")
    run("gnt-network", "remove", "snf-net-91")
    listener.until_end("OP_NETWORK_REMOVE")
    ended = [operation for _, operation, status in listener.states() if status in FINAL]
    assert ended == [
        "OP_NETWORK_ADD",
        "OP_NETWORK_CONNECT",
        "OP_INSTANCE_CREATE",
        "OP_TAGS_SET",
        "OP_INSTANCE_SET_PARAMS",
        *["OP_INSTANCE_SHUTDOWN", "OP_INSTANCE_STARTUP"] * 3,
        "OP_INSTANCE_REBOOT",
        "OP_INSTANCE_REMOVE",
        "OP_NETWORK_DISCONNECT",
        "OP_NETWORK_REMOVE",
    ]
    assert set(listener.ends().values()) == {"success"}
    # Each job by itself only ever goes forward, and its end is said once.
    ranks = {"queued": 0, "waiting": 1, "running": 2, "success": 3}
    for job in listener.ends():
        heard = [m for _, m, _ in listener.heard if m["jobId"] == job]
        assert [ranks[m["status"]] for m in heard] == sorted(ranks[m["status"]] for m in heard)
        assert sum(m["status"] in FINAL for m in heard) == 1
    _check_content(listener, ganeti)
    waits = sorted(
        at - message["event_time"][0] - message["event_time"][1] / 1e6
        for _, message, at in listener.heard
        if message["status"] in FINAL
    )
    print(
        f"\nend of a job until another client has it: median {statistics.median(waits) * 1e3:.1f} "
        f"ms, longest {waits[-1] * 1e3:.1f} ms, of {len(waits)}"
    )
    assert statistics.median(waits) < MEDIAN_SECONDS


def _check_content(listener: Listener, ganeti: RealGaneti) -> None:
    keys = {key for key, _, _ in listener.heard}
    assert keys == {"ganeti.snf.event.op", "ganeti.snf.event.network"}
    assert {message["cluster"] for _, message, _ in listener.heard} == {ganeti.name}
    assert SECRET not in json.dumps([message for _, message, _ in listener.heard])
    last = {
        message["operation"]: message
        for _, message, _ in listener.heard
        if message["status"] == "success"
    }
    (nic,) = last["OP_INSTANCE_CREATE"]["instance_nics"]
    assert (nic["name"], nic["network"], nic["ip"]) == ("snf-nic-91", "snf-net-91", "10.91.0.5")
    assert [each["size"] for each in last["OP_INSTANCE_CREATE"]["instance_disks"]] == [128]
    (nic,) = last["OP_INSTANCE_SET_PARAMS"]["instance_nics"]
    assert (nic["ip"], nic["firewall"]) == ("10.91.0.6", "limited")
    assert last["OP_TAGS_SET"]["tags"] == ["synnefo:network:snf-nic-91:limited"]
    assert last["OP_NETWORK_ADD"]["job_fields"]["subnet"] == "10.91.0.0/24"


def test_killed_and_restarted_in_the_middle_it_tells_every_end(
    ganeti: RealGaneti, eventd: Eventd, listener: Listener
) -> None:
    """Also of what ended while nobody watched, archived or not."""
    run = ganeti.command
    add(ganeti, "snf-93", "--no-nics", "--no-start")
    jobs = []
    for word in ("startup", "shutdown", "startup", "shutdown"):
        jobs.append(int(run("gnt-instance", word, "--submit", "snf-93").partition(":")[0]))
        if len(jobs) == 1:
            eventd.end(signal.SIGKILL)
    for job in jobs:
        run("gnt-job", "wait", str(job))
    run("gnt-job", "archive", *map(str, jobs[:2]))
    eventd.start()
    listener.until(lambda: set(jobs) <= listener.ends().keys())
    assert {listener.ends()[job] for job in jobs} == {"success"}
    run("gnt-instance", "remove", "-f", "snf-93")


def test_a_broker_that_was_away_gets_everything_later(
    ganeti: RealGaneti, eventd: Eventd, listener: Listener
) -> None:
    """In the order in which it happened."""
    add(ganeti, "snf-94", "--no-nics", "--no-start")
    listener.until_end("OP_INSTANCE_CREATE")
    listener.heard.clear()
    eventd.rabbit.stop()
    for word in ("startup", "shutdown"):
        ganeti.command("gnt-instance", word, "snf-94")
    eventd.rabbit.start()
    listener.until(lambda: len(listener.ends()) == 2)
    assert [operation for _, operation, status in listener.states() if status == "success"] == [
        "OP_INSTANCE_STARTUP",
        "OP_INSTANCE_SHUTDOWN",
    ]
    ganeti.command("gnt-instance", "remove", "-f", "snf-94")


def test_the_progress_monitor_is_heard(eventd: Eventd, listener: Listener) -> None:
    """Every kind of notification, and the last percentage."""
    notes: list[dict[str, Any]] = [{"type": "image-info", "messages": ["begin"]}]
    notes += [
        {"type": "image-copy-progress", "progress": n / 4, "position": n, "total": 400}
        for n in range(401)
    ]
    notes += [{"type": "image-helper", "subtype": "task-start", "task": "FixPartitionTable"}]
    done = subprocess.run(
        [sys.executable, "-c", "from cyclades_tx.gtools.progress import main; exit(main())",
         "--config", str(eventd.config), "snf-91"],
        input="\n".join(map(json.dumps, notes)), text=True, capture_output=True,
        timeout=PROMPT_SECONDS, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0
    assert "not sent" not in done.stderr
    listener.until(lambda: any(m["type"] == "image-helper" for _, m, _ in listener.heard))
    heard = [(key, m["type"], m.get("progress")) for key, m, _ in listener.heard]
    key = "ganeti.snf.event.progress"
    assert heard[0] == (key, "image-info", None)
    assert heard[-2:] == [(key, "image-copy-progress", 100.0), (key, "image-helper", None)]
    assert len(heard) < 20
    assert {m["instance"] for _, m, _ in listener.heard} == {"snf-91"}


def test_the_hook_is_heard(eventd: Eventd, listener: Listener) -> None:
    """Out of a process that Ganeti does not wait for; on other nodes it is silent."""
    for master in ("n2.elsewhere.test", f"n1.{eventd.ganeti.name}"):
        before = time.monotonic()
        subprocess.run(
            [sys.executable, "-c", "from cyclades_tx.gtools.hook import main; exit(main())",
             "--config", str(eventd.config)],
            env={**DUMP, "GANETI_MASTER": master, "PATH": os.environ["PATH"]},
            timeout=PROMPT_SECONDS, check=True, cwd=ROOT,
        )  # fmt: skip
        print(f"\nthe hook was back after {time.monotonic() - before:.2f} s")
    listener.until(lambda: bool(listener.heard))
    (heard,) = listener.heard
    assert heard[0] == "ganeti.snf.event.net"
    assert [nic["ip"] for nic in heard[1]["nics"]] == ["10.0.0.30", None]


def test_a_heartbeat_is_answered(ganeti: RealGaneti, eventd: Eventd, listener: Listener) -> None:
    """Asked for by a dry run of tags over RAPI, as only that can make one."""
    trust = ssl.create_default_context(cadata=ganeti.certificate_pem)
    trust.check_hostname = False
    login = base64.b64encode(f"{ganeti.username}:{ganeti.password}".encode()).decode()
    request = urllib.request.Request(
        f"https://{ganeti.address}:{ganeti.port}/2/tags?dry-run=1&tag=snf:eventd:heartbeat:1",
        headers={"Authorization": f"Basic {login}"},
        method="PUT",
    )
    urllib.request.urlopen(request, context=trust, timeout=PROMPT_SECONDS).read()
    listener.until(lambda: bool(listener.heard))
    ((key, message, _),) = listener.heard
    assert (key, message["type"]) == ("eventd.heartbeat", "eventd-heartbeat")
    assert message["cluster"] == ganeti.name


def test_a_user_of_ganetis_group_may_read_and_ask(ganeti: RealGaneti) -> None:
    """As nobody with the group gnt-daemons: the queue and the socket, nothing needs root."""
    root = CLUSTERS / str(ganeti.number) / f"n1.{ganeti.name}"
    script = (
        "import os, socket, sys\n"
        "root = sys.argv[1]\n"
        "queue = root + '/var/lib/ganeti/queue'\n"
        "name = next(each for each in os.listdir(queue) if each.startswith('job-'))\n"
        "assert open(queue + '/' + name).read().startswith('{')\n"
        "asked = socket.socket(socket.AF_UNIX)\n"
        "asked.connect(root + '/var/run/ganeti/socket/ganeti-query')\n"
        'question = \'{"method": "QueryConfigValues", "args": [["cluster_name"]]}\'\n'
        "asked.sendall(question.encode() + bytes([3]))\n"
        "print(asked.recv(4096).decode())\n"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", script, str(root)],
        user="nobody", group="gnt-daemons", extra_groups=[],
        capture_output=True, text=True, timeout=PROMPT_SECONDS, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ganeti.name in done.stdout
