"""What runs beside the service where the update path is tested: one event daemon a cluster."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.forks import FORKS, TWISTD, Fork
from tests.real.ganeti import RealGaneti
from tests.real.rabbitmq import RabbitNode
from tests.scenario.cloud import end, until

START_SECONDS = 30.0
#: What the daemon says when it has found itself on the master.
SPEAKS = "this node is the master of"


def data_folder(ganeti: RealGaneti) -> Path:
    """Where a cluster keeps its job queue and its small files."""
    (found,) = Path(ganeti.runner).parent.glob("*/var/lib/ganeti")
    return found


def job(ganeti: RealGaneti, number: int) -> dict[str, Any]:
    """A job as the cluster's file has it."""
    folder = data_folder(ganeti) / "queue"
    found: dict[str, Any] = json.loads((folder / f"job-{number}").read_text())
    return found


def ended_at(ganeti: RealGaneti, number: int) -> float | None:
    """When a job ended, in seconds since 1970; None: it has not."""
    moment = job(ganeti, number)["end_timestamp"]
    return None if moment is None else moment[0] + moment[1] / 1e6


def submit(ganeti: RealGaneti, instance: str, *argv: str) -> int:
    """Have one of Ganeti's commands queue its job on an instance; return the job's number.

    Each of the commands tells the number in another way, or not at all.
    """
    before = last_job(ganeti)
    ganeti.command(*argv[:2], "--submit", *argv[2:])
    found: list[int] = []

    def queued() -> bool:
        for number in range(before + 1, last_job(ganeti) + 1):
            with suppress(FileNotFoundError):
                asked = job(ganeti, number)["ops"][0]["input"]
                if instance in (asked.get("instance_name"), asked.get("name")):
                    found.append(number)
        return bool(found)

    until(queued, f"the job of {' '.join(argv)} is queued")
    return found[0]


class EventDaemon:
    """The event daemon of a cluster, as an operator runs it on its master."""

    def __init__(self, folder: Path, ganeti: RealGaneti, node: RabbitNode, port: int) -> None:
        self.folder = folder / f"eventd-{ganeti.name}"
        self.folder.mkdir()
        self.log = self.folder / "log"
        data = data_folder(ganeti)
        password = self.folder / "password"
        password.touch(0o600)
        password.write_text(node.password)
        self._config = self.folder / "eventd.toml"
        self._config.write_text(
            f'[broker]\nurls = ["amqp://127.0.0.1:{port}/{quote(node.vhost, safe="")}"]\n'
            f'username = "{node.username}"\npassword_file = "{password}"\n'
            f'[ganeti]\ndata_folder = "{data}"\n'
            f'luxi_socket = "{data.parents[1] / "run/ganeti/socket/ganeti-query"}"\n'
            f'node_name = "{(data / "ssconf_master_node").read_text().strip()}"\n'
            f'[state]\nfolder = "{self.folder / "state"}"\n'
        )
        self._process: Fork | None = None

    def start(self) -> None:
        """Start it, and wait until it speaks for its cluster."""
        said = self.log.read_text().count(SPEAKS) if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = FORKS.start(
                *(*TWISTD, "ganeti-eventd", f"--config={self._config}"), stdout=log, stderr=log
            )

        process = self._process

        def speaks() -> bool:
            assert process.poll() is None, self.log.read_text()[-2000:]
            return self.log.read_text().count(SPEAKS) > said

        until(speaks, "the event daemon speaks", START_SECONDS)

    def kill(self) -> None:
        """End it without a warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it in order."""
        end(self._process)


def submit_many(
    ganeti: RealGaneti, folder: Path, opcodes: list[dict[str, Any]]
) -> subprocess.Popen[bytes]:
    """Queue many jobs at once; the process that is returned ends when all of them have."""
    files = []
    for number, opcode in enumerate(opcodes):
        file = folder / f"{ganeti.name}-{number}.json"
        file.write_text(json.dumps([opcode]))
        files.append(str(file))
    before = last_job(ganeti)
    process = subprocess.Popen(
        [ganeti.runner, "gnt-debug", "submit-job", *files],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: last_job(ganeti) >= before + len(opcodes), "the jobs are queued")
    return process


def last_job(ganeti: RealGaneti) -> int:
    """The number of the newest job."""
    return int((data_folder(ganeti) / "queue" / "serial").read_text())


def unfinished(ganeti: RealGaneti) -> int:
    """How many jobs have not ended."""
    files = (data_folder(ganeti) / "queue").glob("job-*")
    return sum(
        json.loads(file.read_text())["end_timestamp"] is None
        for file in files
        if file.name.removeprefix("job-").isdigit()
    )
