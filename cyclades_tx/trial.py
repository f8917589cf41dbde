"""``make run``: the whole cloud on one machine, to try it out.

This launcher starts an embedded PostgreSQL, fills an empty database once with something to use,
and then one twistd process with the service and two simulated Ganeti clusters (or, with
``--ganeti``, real ones that it starts by the scripts in a folder). Everything is kept in one
folder; the next run finds it again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

from cyclades_tx.config import Config
from cyclades_tx.errors import CycladesError
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.store.embedded import EmbeddedError, EmbeddedPostgres
from cyclades_tx.store.migrations import migrate
from cyclades_tx.trial_seed import TrialCluster
from cyclades_tx.trial_watch import SIGNALS, Watch, tell

#: Where the scripts for real clusters keep each cluster, in a folder named by its number.
REAL_CLUSTERS = Path("/srv/cytx")
MOST_REAL_CLUSTERS = 99


class Trial:
    """One trial run in one folder.

    :param state: the folder.
    :param port: where the service listens.
    :param ganeti: the folder with the scripts for real clusters, or None.
    """

    def __init__(self, state: Path, port: int, ganeti: Path | None = None) -> None:
        self.state = state.absolute()
        self.port = port
        self.ganeti = ganeti
        self.url = f"http://127.0.0.1:{port}"
        self.clouds = self.state / "clouds.yaml"
        self.config = self.state / "cyclades_tx.toml"
        self.simulators = self.state / "simulators.toml"
        self._postgres = EmbeddedPostgres(self.state)
        self._interrupted = False

    def run(self) -> int:
        """Start everything, say so, and wait for the end; return the exit code."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.state / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CycladesError(f"Another run uses {self.state}; choose STATE=.") from None
            if not _free(self.port):
                raise CycladesError(f"Port {self.port} is in use; choose another with PORT=.")
            first = not self.clouds.exists()
            if first:
                tell("Preparing the database and a cloud to try ...")
            clusters: list[TrialCluster] = []
            try:
                for number in SIGNALS:
                    signal.signal(number, self._interrupt)
                dsn = self._postgres.start()
                migrate(dsn)
                clusters = self._clusters()
                self._write_config(dsn)
                self._seed(clusters)
                self._check_interrupted()
                return self._serve()
            finally:
                _take_no_more_signals()
                try:
                    if self.ganeti is not None:
                        self._stop_ganeti(self.ganeti)
                finally:
                    self._postgres.stop()

    def _interrupt(self, number: int, frame: object) -> None:
        """Every signal that ends a program does what Ctrl-C does, until the service runs."""
        if not self._interrupted:
            self._interrupted = True
            raise KeyboardInterrupt

    def _check_interrupted(self) -> None:
        # Python drops what a handler raises in the middle of a finalizer.
        if self._interrupted:
            raise KeyboardInterrupt

    # Clusters

    def _clusters(self) -> list[TrialCluster]:
        if self.ganeti is not None:
            return [self._start_ganeti(self.ganeti, which) for which in (1, 2)]
        from cyclades_tx.ganeti.simulator.service import SimulatorCredentials

        tables, clusters = [], []
        for number in (1, 2):
            name = f"ganeti{number}.example.org"
            port_file = self.state / f"ganeti{number}.port"
            port = int(port_file.read_text()) if port_file.exists() else 0
            if not port or not _free(port):
                port = _any_port()
                port_file.write_text(str(port))
            users = self.state / f"ganeti{number}.users"
            username, password = SimulatorCredentials.load_or_make(users).writer
            tables.append(
                f'[[cluster]]\nname = "{name}"\nlisten = "tcp:{port}:interface=127.0.0.1"\n'
                f'credentials_file = "{users}"\nstate = "{self.state / f"ganeti{number}.state"}"\n'
                "job_seconds = 2.0\nsync = true\nscreens = true\n"
            )
            clusters.append(
                TrialCluster(name, "http", "127.0.0.1", port, username, password, None, "kvm")
            )
        _private(self.simulators, "\n".join(tables))
        return clusters

    def _start_ganeti(self, scripts: Path, which: int) -> TrialCluster:
        number = self._real_number(which)
        tell(f"Starting the real Ganeti cluster {number} ...")
        done = subprocess.run(
            [scripts / "ganeti-up.sh", str(number)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # Whoever asks for real clusters wants Ganeti's package too.
            env={**os.environ, "REAL": "1"},
            text=True,
        )
        if done.returncode:
            raise CycladesError(f"Ganeti cluster {number} could not be started.")
        said = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        return TrialCluster(
            said["name"],
            "https",
            said["address"],
            int(said["port"]),
            said["username"],
            Path(said["password_file"]).read_text().strip(),
            Path(said["certificate"]).read_text(),
            said["hypervisor"],
        )

    def _real_number(self, which: int) -> int:
        """The number of this folder's real cluster; a new one where there is none any more."""
        if os.geteuid() != 0:
            raise CycladesError("Real Ganeti clusters need root, on Debian.")
        file = self.state / f"real-ganeti{which}.number"
        if file.exists() and (REAL_CLUSTERS / file.read_text()).is_dir():
            return int(file.read_text())
        for number in range(1, MOST_REAL_CLUSTERS + 1):
            try:
                (REAL_CLUSTERS / str(number)).mkdir(parents=True)
            except FileExistsError:
                continue
            file.write_text(str(number))
            return number
        raise CycladesError(f"Every number of a real cluster is taken; see {REAL_CLUSTERS}.")

    def _stop_ganeti(self, scripts: Path) -> None:
        """End the daemons; the clusters' files stay for the next run."""
        for file in sorted(self.state.glob("real-ganeti*.number")):
            subprocess.run(
                [scripts / "ganeti-down.sh", file.read_text()],
                check=False,
                stdin=subprocess.DEVNULL,
                # A second Ctrl-C must not leave half of them running.
                process_group=0,
            )
            tell(
                f"Ganeti cluster {file.read_text()} is stopped and kept for the next run; "
                f"{scripts / 'ganeti-down.sh'} {file.read_text()} --purge removes it."
            )

    # Files

    def _write_config(self, dsn: str) -> None:
        keyring = self.state / "keyring"
        if not keyring.exists():
            Keyring.create(keyring)
        _private(self.state / "dsn", dsn)
        _private(
            self.config,
            "# Written by the trial run at each start; etc/cyclades_tx.toml shows every key.\n"
            f'[[listen]]\naddress = "127.0.0.1"\nport = {self.port}\n\n'
            f"[admin]\nport = {_any_port()}\n\n"
            '[database]\ndsn_file = "dsn"\n\n'
            '[ganeti]\nkeyring_file = "keyring"\npoll_idle_seconds = 3.0\n\n'
            '[image]\ndirectory = "images"\n\n'
            '[log]\nfile = "cyclades_tx.log"\n',
        )

    def _seed(self, clusters: list[TrialCluster]) -> None:
        """Fill the database; the reactor of this process runs for nothing else."""
        from cyclades_tx import trial_seed

        file = self.state / "clusters.json"
        now = {cluster.name for cluster in clusters}
        ever = now.union(json.loads(file.read_text()) if file.exists() else ())
        _private(file, json.dumps(sorted(ever)))
        self._check_interrupted()
        trial_seed.run(
            Config.load(self.config), clusters, self.clouds, self.url, resting=sorted(ever - now)
        )

    # The service

    def _serve(self) -> int:
        command = [
            sys.executable,
            "-P",
            "-c",
            "from twisted.scripts.twistd import run; run()",
            "--nodaemon",
            f"--pidfile={self.state / 'twistd.pid'}",
            "cyclades_tx",
            f"--config={self.config}",
        ]
        if self.ganeti is None:
            command.append(f"--with-simulator={self.simulators}")
        (self.state / "twistd.pid").unlink(missing_ok=True)
        log = self.state / "cyclades_tx.log"
        return Watch(self._postgres, log).run(command, self._ready, self._say)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
                return True
        except OSError:
            return False

    def _say(self) -> None:
        clouds = os.path.relpath(self.clouds)
        shown = clouds if not clouds.startswith("..") else str(self.clouds)
        tell(
            f"\nThe cloud is ready at {self.url}\n"
            f"Credentials (entries demo and admin): {shown}\n\n"
            "Three commands to try, in another terminal:\n\n"
            f"  export OS_CLIENT_CONFIG_FILE={shown} OS_CLOUD=demo\n"
            "  openstack server create --flavor tiny --image debian-12 --wait first\n"
            "  openstack console url show --novnc first\n\n"
            "Ctrl-C stops it; the next run finds everything again."
        )


def _private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, all of it or nothing."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.rename(path)


def _take_no_more_signals() -> None:
    """Let nothing interrupt the end; a program that is started there has the usual handlers."""
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: None)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and run; errors of the user are one line and no traceback."""
    parser = argparse.ArgumentParser(
        prog="cyclades_tx.trial", description="The whole cloud on one machine, to try it out."
    )
    parser.add_argument("--state", type=Path, default=Path("var"), help="the folder of this run")
    parser.add_argument("--port", type=int, default=8774, help="where the service listens")
    parser.add_argument(
        "--ganeti",
        type=Path,
        help="use real Ganeti clusters, started by the scripts in this folder",
    )
    said = parser.parse_args(arguments)
    if not 0 < said.port < 65536:
        parser.error("--port must be between 1 and 65535")
    try:
        return Trial(said.state, said.port, said.ganeti).run()
    except (CycladesError, EmbeddedError) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename or said.state}: {error.strerror}", file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
