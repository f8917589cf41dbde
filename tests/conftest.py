"""What every test may use: a PostgreSQL of its own, and a reactor that must be left clean.

* ``dsn`` and ``database``: a fresh database with the schema applied, for this test alone.
* ``empty_dsn``: a fresh database without any schema.
* ``postgres``: the server of the whole run. A test that stops it starts it again.
* ``logged_errors.flush(SomeError)``: errors in the log that the test expected.
* ``@pytest.mark.real``: needs a real Ganeti, broker or apt; runs with ``CI=true`` or ``REAL=1``.

After each test the log must hold no error, no failed Deferred may be unheard, and the reactor
must have no delayed calls, readers or writers that it had not before.
"""

from __future__ import annotations

import faulthandler
import functools
import gc
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import greenlet
import psycopg2
import pytest
import pytest_twisted
from _pytest.faulthandler import fault_handler_stderr_fd_key
from hypothesis import settings
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from cyclades_tx.flows import server_turns
from cyclades_tx.store.connection import Connection
from cyclades_tx.store.database import Database
from cyclades_tx.store.embedded import EmbeddedPostgres
from cyclades_tx.store.migrations import migrate
from tests.real.ganeti import GANETIS
from tests.real.rabbitmq import RABBIT
from tests.rules import build_urls_later

REAL = os.environ.get("CI") == "true" or os.environ.get("REAL") == "1"
SETTLE_SECONDS = 2.0
#: Nothing waits for ever: a test whose Deferred has not fired by then fails and says what it had.
LONGEST_WAIT_SECONDS = float(os.environ.get("LONGEST_WAIT_SECONDS", "600"))
FAILURE_CHARACTERS = 6_000
MEMORY_BYTES = 2_000_000_000
STATE_PREFIX = "cyclades-tx-run-"
#: Where the tests of many seconds are.
LONG = ("tests/scenario/", "tests/bench/", "tests/api/generated/", "tests/api/test_concurrent")
#: What looks at what comes out, over and over: the lines that it happens to pass were tested by
#: the tests of their rooms, and to trace them takes longer than to run them.
UNTRACED = (
    "tests/scenario/",
    "tests/bench/",
    "tests/api/generated/",
    "tests/api/test_concurrent",
    "tests/api/test_hostile",
)
TRACERS = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
# For who looks for rare faults, and has hours.
settings.register_profile("many", max_examples=1000)
if settings.get_current_profile_name() == "default":
    # A slow machine is no fault of an example.
    settings.register_profile("default", deadline=None)
    settings.load_profile("default")
_numbers = itertools.count(1)
_collections = itertools.count()


class FailuresAtOnce:
    """Print each failure when it happens: a run that is cut off has then said what it saw."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print a failed report; the others are only a dot."""
        terminal: Any = self._plugins.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.write_sep("!", f"{report.when} {report.nodeid} {report.duration:.0f} s")
            terminal.write_line(report.longreprtext[-FAILURE_CHARACTERS:])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """See to it that a test ends, even one that holds the main thread: its worker ends then."""
    # The end of a process must interrupt who waits for a thread; Twisted has it otherwise. A
    # thread that is traced for its coverage spins while a signal waits for the main thread, and
    # if that one waits for the thread, both do for ever (CPython 3.11).
    signal.siginterrupt(signal.SIGCHLD, True)
    if os.environ.get("CI") == "true":
        out = item.config.stash[fault_handler_stderr_fd_key]
        faulthandler.dump_traceback_later(1.5 * LONGEST_WAIT_SECONDS, exit=True, file=out)
    traced = {name: os.environ.pop(name) for name in _tracers_for(item) if name in os.environ}
    try:
        return (yield)
    finally:
        os.environ.update(traced)
        faulthandler.cancel_dump_traceback_later()


def _tracers_for(item: pytest.Item) -> tuple[str, ...]:
    """What would have the processes traced that a test starts, if it is not to be."""
    return TRACERS if item.get_closest_marker("no_cover") else ()


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    build_urls_later()
    config.addinivalue_line(
        "markers", "real: needs real parts; runs with CI=true or REAL=1 (root, Debian)"
    )
    if os.environ.get("CI") == "true" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip by name what needs real parts, unless they were asked for; see what is not traced."""
    for item in items:
        if item.nodeid.startswith(UNTRACED):
            item.add_marker(pytest.mark.no_cover)
        if not REAL and item.get_closest_marker("real"):
            item.add_marker(pytest.mark.skip(reason="set REAL=1 (root, Debian)"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the files with real Ganeti clusters to one worker, and those with other real parts.

    Those of an ``xdist_group`` go to one of their own. (xdist's own ``loadgroup`` marks the ids of
    tests, which pytest 9.2 does not let it do.) All other tests go wherever there is time, the long
    ones first, so that no worker is left with one in the end.
    """
    from xdist.scheduler import LoadScopeScheduling

    root = config.rootpath

    @functools.cache
    def group_of(file: str) -> str | None:
        text = (root / file).read_text()
        if named := re.search(r'xdist_group\("(\w+)"\)', text):
            return named[1]
        if "pytest.mark.real" not in text:
            return None
        return "ganeti" if "tests.real.ganeti" in text else "real"

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid.partition("::")[0]) or nodeid

        def remove_node(self, node: Any) -> str | None:
            """Give what a worker had to others when it ended, but for the test that ended it."""
            for unit in self.assigned_work.get(node, {}).values():
                for nodeid, done in unit.items():
                    if not done:
                        unit[nodeid] = True
                        super().remove_node(node)
                        return str(nodeid)
            found: str | None = super().remove_node(node)
            return found

        def schedule(self) -> None:
            """Hand out the first tests, then what takes long."""
            begun = self.collection is not None
            super().schedule()
            if not begun:
                # Groups have no "::" in their names.
                for scope in sorted(
                    self.workqueue, key=lambda scope: "::" in scope and not scope.startswith(LONG)
                ):
                    self.workqueue.move_to_end(scope)

        def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
            """Forget what is done: it would be counted after each test that follows."""
            super().mark_test_complete(node, item_index, duration)
            scope = self._split_scope(self.registered_collections[node][item_index])
            if all(self.assigned_work[node][scope].values()):
                del self.assigned_work[node][scope]

    return ByGroup(config, log)


def pytest_collection_finish() -> None:
    """Keep the imported world out of the garbage collections after each test."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Remove the real parts now: a worker of pytest-xdist is killed ten seconds from here."""
    GANETIS.purge()
    RABBIT.purge()


class LoggedErrors:
    """The errors that Twisted's log has seen during a test."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, event: dict[str, Any]) -> None:
        """Keep an event if it is an error."""
        level = event.get("log_level")
        if (level is not None and level >= LogLevel.error) or event.get("isError"):
            self.events.append(event)

    def flush(self, *kinds: type[BaseException]) -> list[BaseException]:
        """Take out the exceptions of these kinds (all without one); return them."""
        gc.collect()
        taken: list[BaseException] = []
        kept = []
        for event in self.events:
            failure = event.get("log_failure")
            if failure is not None and (not kinds or failure.check(*kinds)):
                taken.append(failure.value)
            else:
                kept.append(event)
        self.events = kept
        return taken

    def texts(self) -> list[str]:
        """Return what is left, for people."""
        return [
            str(formatEvent(event))
            + (f"\n{event['log_failure'].getTraceback()}" if "log_failure" in event else "")
            for event in self.events
        ]


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here what a change of a server would wait for may never end."""
    monkeypatch.setattr(server_turns, "PATIENCE_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def logged_errors(twisted_greenlet: Any) -> Iterator[LoggedErrors]:
    """Fail the test when it leaves an error in the log or work in the reactor."""
    from twisted.internet import reactor

    errors = LoggedErrors()
    globalLogPublisher.addObserver(errors)
    limit = _give_up_later(reactor, greenlet.getcurrent(), errors)
    before = _reactor_work(reactor)
    try:
        yield errors
        left = _settle(reactor, before)
        _collect()
    finally:
        globalLogPublisher.removeObserver(errors)
        if limit.active():
            limit.cancel()
    texts = errors.texts()
    if texts:
        pytest.fail("errors in the log:\n" + "\n".join(texts), pytrace=False)
    if left:
        pytest.fail("left in the reactor:\n" + "\n".join(map(str, left)), pytrace=False)


def _give_up_later(reactor: Any, test: greenlet.greenlet, errors: LoggedErrors) -> Any:
    """End the wait of a test that waits for ever; the rest of the run goes on."""

    def give_up() -> None:
        gc.unfreeze()
        waiting = [
            f"{each.__qualname__} at {each.cr_frame.f_code.co_filename}:{each.cr_frame.f_lineno}"
            for each in gc.get_objects()
            if isinstance(each, types.CoroutineType) and each.cr_frame is not None
        ]
        connections = [vars(each) for each in gc.get_objects() if isinstance(each, Connection)]
        sys.stderr.write(
            f"{LONGEST_WAIT_SECONDS:.0f} s are over\ncoroutines: {waiting}\n"
            f"readers: {reactor.getReaders()}\nwriters: {reactor.getWriters()}\n"
            f"calls: {[str(each) for each in reactor.getDelayedCalls()]}\n"
            f"connections to PostgreSQL: {connections}\nerrors: {errors.texts()}\n"
        )
        frame = test.gr_frame
        while frame is not None and frame.f_code.co_name != "blockon_default":
            frame = frame.f_back
        if frame is not None:
            # What the test waits for: it ends as if it had been cancelled.
            frame.f_locals["d"].cancel()

    return reactor.callLater(LONGEST_WAIT_SECONDS, give_up)


def _collect() -> None:
    """Let what the test has left be found: a failed Deferred tells of itself when it is collected.

    What is still in use then need not be looked through after the next test again, or the
    collections take more time than the tests; now and then everything is.
    """
    if next(_collections) % 100 == 99:
        gc.unfreeze()
    gc.collect()
    gc.freeze()


def _reactor_work(reactor: Any) -> set[Any]:
    work = {*reactor.getDelayedCalls(), *reactor.getReaders(), *reactor.getWriters()}
    # Its own wakers come with the first turn or the first child process, and stay.
    return work - set(reactor._internalReaders)


def _settle(reactor: Any, before: set[Any]) -> list[Any]:
    """Give closing sockets some turns; return what is still there and was not before."""
    end = reactor.seconds() + SETTLE_SECONDS
    while True:
        left = _reactor_work(reactor) - before
        if not left or reactor.seconds() > end:
            return list(left)
        pytest_twisted.blockon(task.deferLater(reactor, 0.005))


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server for the whole run, in memory where there is enough of it."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= MEMORY_BYTES
    # pytest's own temporary directories cannot be passed by the user that runs the server.
    parent = memory if roomy else Path(tempfile.gettempdir())
    _remove_orphans(parent)
    state = Path(tempfile.mkdtemp(prefix=f"{STATE_PREFIX}{os.getpid()}-", dir=parent))
    state.chmod(0o711)
    server = EmbeddedPostgres(state, fsync=False, home=state / "postgres")
    try:
        server.start()
        yield server
    finally:
        server.remove()
        shutil.rmtree(state, ignore_errors=True)


def _remove_orphans(parent: Path) -> None:
    """Remove what a run that was killed has left: its server and its files."""
    for state in parent.glob(f"{STATE_PREFIX}*-*"):
        pid = state.name.removeprefix(STATE_PREFIX).partition("-")[0]
        if pid.isdigit() and state.stat().st_uid == os.geteuid() and not _exists(int(pid)):
            EmbeddedPostgres(state, home=state / "postgres").remove()
            shutil.rmtree(state, ignore_errors=True)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@pytest.fixture(scope="session")
def administer(postgres: EmbeddedPostgres) -> Iterator[Callable[[str], None]]:
    """Run a statement as the administrator, on a connection that is kept for the run."""
    kept: list[Any] = []

    def connected() -> Any:
        connection = psycopg2.connect(postgres.dsn("postgres"))
        connection.autocommit = True
        kept[:] = [connection]
        return connection

    def run(statement: str) -> None:
        try:
            (kept[0] if kept else connected()).cursor().execute(statement)
        except (psycopg2.InterfaceError, psycopg2.OperationalError):
            # A test has restarted PostgreSQL since.
            if not kept[0].closed:
                raise
            connected().cursor().execute(statement)

    yield run
    for connection in kept:
        connection.close()


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres, administer: Callable[[str], None]) -> str:
    """The name of a database with the schema applied, for copying."""
    administer("create database test_template")
    migrate(postgres.dsn("test_template"))
    return "test_template"


@pytest.fixture
def make_dsn(
    postgres: EmbeddedPostgres, administer: Callable[[str], None]
) -> Iterator[Callable[[str], str]]:
    """Make databases from a named template; they are dropped after the test."""
    made: list[str] = []

    def make(source: str) -> str:
        name = f"test_{next(_numbers)}"
        # With fsync off a copy of the files is twice as fast as the log of their blocks.
        administer(f"create database {name} template {source} strategy file_copy")
        made.append(name)
        return postgres.dsn(name)

    yield make
    for name in made:
        administer(f"drop database {name} with (force)")


@pytest.fixture
def dsn(make_dsn: Callable[[str], str], template: str) -> str:
    """The DSN of a fresh database with the schema applied."""
    return make_dsn(template)


@pytest.fixture
def empty_dsn(make_dsn: Callable[[str], str]) -> str:
    """The DSN of a fresh database without any schema."""
    return make_dsn("template1")


@pytest_twisted.async_yield_fixture
async def open_database(dsn: str) -> Any:
    """Open Databases on a fresh schema with options of one's own; closed after the test."""
    from twisted.internet import reactor

    opened: list[Database] = []

    def open_one(**options: Any) -> Database:
        database = Database(reactor, dsn, **options)
        opened.append(database)
        database.start()
        return database

    yield open_one
    for database in opened:
        await database.close()


@pytest.fixture
def database(open_database: Callable[..., Database]) -> Database:
    """A started Database on a fresh schema, closed after the test."""
    return open_database(least=1, most=8)


def _sleep(seconds: float) -> Deferred[None]:
    from twisted.internet import reactor

    return task.deferLater(reactor, seconds)


@pytest.fixture
def sleep() -> Callable[[float], Deferred[None]]:
    """Return a function whose Deferred fires after some seconds of the real clock."""
    return _sleep
