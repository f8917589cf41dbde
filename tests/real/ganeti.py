"""Real Ganeti clusters for the tests: started when first asked for, always removed at the end."""

from __future__ import annotations

import atexit
import base64
import json
import os
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
#: A first start may have to install the package.
UP_TIMEOUT_SECONDS = 300
DOWN_TIMEOUT_SECONDS = 60
REMOVE_SECONDS = 300
_FIRST, _LAST = 100, 250
#: Where the scripts keep each cluster, in a folder named by its number.
CLUSTERS = Path("/srv/cytx")


class NoRealGaneti(Exception):
    """A cluster could not be started; the message says why."""


@dataclass(frozen=True)
class RealGaneti:
    """One cluster that runs.

    :ivar certificate_pem: what a client pins.
    :ivar bridge: the link of networks of mode bridged; "" where no bridge can be made.
    """

    number: int
    name: str
    address: str
    port: int
    username: str
    password: str
    certificate_pem: str
    group: str
    os: str
    hypervisor: str
    link: str
    bridge: str
    runner: str

    def __repr__(self) -> str:
        return f"<RealGaneti {self.name} at {self.address}>"

    @property
    def home(self) -> Path:
        """The folder with everything of it."""
        return Path(self.runner).parent

    def command(self, *argv: str, timeout_seconds: float = 60) -> str:
        """Run one of Ganeti's commands on the cluster, such as ``gnt-instance list``."""
        return subprocess.run(
            [self.runner, *argv],
            check=True,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
        ).stdout

    def instances(self) -> list[str]:
        """Return the names in ``gnt-instance list``."""
        return self.command("gnt-instance", "list", "--no-headers", "-o", "name").split()

    def remove(self, instances: Iterable[str]) -> None:
        """Remove instances, all in one job, and wait for its end; it may fail in the middle."""
        opcodes = [
            {
                "OP_ID": "OP_INSTANCE_REMOVE",
                "instance_name": name,
                "ignore_failures": True,
                "shutdown_timeout": 0,
            }
            for name in instances
        ]
        file = self.home / "remove.json"
        file.write_text(json.dumps(opcodes))
        self.command("gnt-debug", "submit-job", str(file), timeout_seconds=REMOVE_SECONDS)

    def answers(self) -> bool:
        """Whether its RAPI answers a question that another of its daemons must be asked for."""
        credentials = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"https://{self.address}:{self.port}/2/info",
            headers={"Authorization": f"Basic {credentials}"},
        )
        context = ssl.create_default_context(cadata=self.certificate_pem)
        context.check_hostname = False
        try:
            with urllib.request.urlopen(request, timeout=20, context=context):
                return True
        except OSError:
            return False

    def revive(self) -> None:
        """Start what a test has left stopped or frozen."""
        if not self.answers():
            self.go_on()
            self.start()

    def stop(self) -> None:
        """End its daemons, as an outage does; :meth:`start` brings them back."""
        _down(self.number)

    def start(self) -> None:
        """Start its daemons again."""
        _up(self.number)

    def hang(self) -> None:
        """Stop its daemons in their tracks: they accept and do not answer."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Undo :meth:`hang`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for file in self.home.glob("*/var/run/ganeti/ganeti-*.pid"):
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), number)


class RealGanetis:
    """The clusters of one test run."""

    def __init__(self) -> None:
        self._running: list[RealGaneti] = []
        self._kvm: list[RealGaneti] = []

    def kvm(self) -> RealGaneti:
        """Return the cluster whose machines run, under emulation."""
        if not self._running and not self._kvm:
            _purge_orphans()
        if self._kvm:
            self._kvm[0].revive()
        else:
            self._kvm.append(start_ganeti(_take_number(), "kvm"))
        return self._kvm[0]

    def get(self, how_many: int) -> list[RealGaneti]:
        """Return so many clusters; those that run already come first.

        One that a failed test has left stopped is started again, or the next tests fail too.
        """
        if not self._running and not self._kvm:
            _purge_orphans()
        for ganeti in self._running[:how_many]:
            ganeti.revive()
        while len(self._running) < how_many:
            self._running.append(start_ganeti(_take_number()))
        return self._running[:how_many]

    def purge(self) -> None:
        """Remove all of them."""
        for clusters in (self._running, self._kvm):
            while clusters:
                purge_ganeti(clusters.pop().number)


def start_ganeti(number: int, hypervisor: str = "fake") -> RealGaneti:
    """Start the cluster of a number.

    :param hypervisor: ``fake`` or ``kvm``; counts at its first start.
    :raise NoRealGaneti: with the script's last words.
    """
    try:
        facts = _up(number, hypervisor)
    except NoRealGaneti:
        purge_ganeti(number)
        raise
    return RealGaneti(
        number=number,
        name=facts["name"],
        address=facts["address"],
        port=int(facts["port"]),
        username=facts["username"],
        password=Path(facts["password_file"]).read_text().strip(),
        certificate_pem=Path(facts["certificate"]).read_text(),
        group=facts["group"],
        os=facts["os"],
        hypervisor=facts["hypervisor"],
        link=facts["link"],
        bridge=facts["bridge"],
        runner=facts["command"],
    )


def purge_ganeti(number: int) -> None:
    """Remove the cluster of a number, whatever is there of it."""
    _down(number, "--purge")


def make_guest(folder: Path) -> None:
    """Write the files ``kernel`` and ``initrd`` of a guest that knows how to let devices go.

    :raise NoRealGaneti: with the script's last words.
    """
    _run(HERE / "guest.sh", str(folder))


def _up(number: int, *words: str) -> dict[str, str]:
    run = _run(HERE / "ganeti-up.sh", str(number), *words)
    return dict(line.split("=", 1) for line in run.stdout.splitlines() if "=" in line)


def _run(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        run = subprocess.run(
            [script, *words],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=UP_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        raise NoRealGaneti(f"{script.name} {words}: {late}") from None
    if run.returncode:
        raise NoRealGaneti(f"{script.name} {words}: {(run.stderr or run.stdout)[-1000:]}")
    return run


def _down(number: int, *words: str) -> None:
    subprocess.run(
        [HERE / "ganeti-down.sh", str(number), *words],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=DOWN_TIMEOUT_SECONDS,
    )


def _take_number() -> int:
    """Return a number that no cluster has, and mark it as this process's."""
    start = os.getpid() % (_LAST - _FIRST)
    for offset in range(_LAST - _FIRST):
        number = _FIRST + (start + offset) % (_LAST - _FIRST)
        try:
            (CLUSTERS / str(number)).mkdir(parents=True)
        except FileExistsError:
            continue
        except PermissionError:
            raise NoRealGaneti("a real Ganeti needs root") from None
        (CLUSTERS / str(number) / "owner").write_text(str(os.getpid()))
        return number
    raise NoRealGaneti("every number of a cluster is taken; see ganeti-down.sh --purge")


def _purge_orphans() -> None:
    """Remove what a run that was killed has left."""
    for owner in CLUSTERS.glob("*/owner"):
        if not Path("/proc", owner.read_text().strip() or "none").exists():
            purge_ganeti(int(owner.parent.name))


#: One set for the whole run, whichever test module asks.
GANETIS = RealGanetis()
atexit.register(GANETIS.purge)
