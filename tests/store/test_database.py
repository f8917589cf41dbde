"""The database: rows, transactions, documents, and callers or back ends that go away."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg2
import pytest
from psycopg2 import errors
from twisted.internet import reactor, task
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.threads import deferToThread
from zope.interface.verify import verifyObject

from cyclades_tx.errors import NotFound, Unavailable
from cyclades_tx.store.connection import Connection
from cyclades_tx.store.database import CommitUnknown, Database, Transaction
from cyclades_tx.store.embedded import EmbeddedPostgres
from cyclades_tx.store.interfaces import IDatabase, ITransaction
from cyclades_tx.store.pool import Limits


@pytest.fixture
def counter(dsn: str) -> Callable[[], int]:
    """Make the table ``counter`` with one row; return what reads its number."""
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("create table counter (id int primary key, n int not null)")
        cursor.execute("insert into counter values (1, 0), (2, 0)")
    connection.close()

    def read() -> int:
        reader = psycopg2.connect(dsn)
        try:
            with reader.cursor() as cursor:
                cursor.execute("select n from counter where id = 1")
                (number,) = cursor.fetchone()
                return int(number)
        finally:
            reader.close()

    return read


def kill_others(dsn: str) -> int:
    """End every other back end of this database; return how many there were."""
    admin = psycopg2.connect(dsn)
    try:
        with admin.cursor() as cursor:
            cursor.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
            return len(cursor.fetchall())
    finally:
        admin.close()


async def running(dsn: str, sleep: Any, *starts: str) -> None:
    """Wait until statements that start so are running in the database, however slow it is."""
    admin = psycopg2.connect(dsn)
    admin.autocommit = True
    try:
        with admin.cursor() as cursor:
            while True:
                cursor.execute(
                    "select query from pg_stat_activity where datname = current_database()"
                    " and pid <> pg_backend_pid() and state = 'active'"
                )
                queries = [row[0] for row in cursor.fetchall()]
                if all(any(each.startswith(start) for each in queries) for start in starts):
                    return
                await sleep(0.01)
    finally:
        admin.close()


async def increment(transaction: Any) -> int:
    """Add one to the counter; the work of most tests."""
    number: int = await transaction.value("update counter set n = n + 1 where id = 1 returning n")
    return number


async def works(database: Database, counter: Callable[[], int]) -> None:
    """Assert that everything is in order after an accident."""
    before = counter()
    assert (
        await gatherResults([Deferred.fromCoroutine(database.value("select 1")) for _ in range(20)])
        == [1] * 20
    )
    assert await database.document("select 'x'::text", ()) == b"x"
    assert await database.transaction(increment) == before + 1
    # Work that nobody waits for any more may still be on its way to its end.
    for _ in range(6000):
        if database.statistics().in_use == 0:
            break
        await task.deferLater(reactor, 0.01)
    assert database.statistics().in_use == 0


def test_the_doors_are_what_the_interfaces_say() -> None:
    """Names and arguments agree with the contract."""
    assert verifyObject(IDatabase, Database(reactor, "dbname=x"))
    assert verifyObject(ITransaction, Transaction(None))  # type: ignore[arg-type]


async def test_rows_are_named_tuples(database: Database) -> None:
    """Columns are reached by name."""
    rows = await database.all(
        "select 1 as id, %s as name union all select 2, 'b' order by 1", ("a",)
    )
    assert [(row.id, row.name) for row in rows] == [(1, "a"), (2, "b")]


async def test_first_and_value_of_nothing_are_none(database: Database) -> None:
    """No row is None, not an error."""
    assert await database.first("select 1 where false") is None
    assert await database.value("select 1 where false") is None
    assert await database.all("select 1 where false") == []


async def test_named_placeholders_and_a_bare_percent(database: Database) -> None:
    """A dictionary fills names; a text without arguments is sent as it stands."""
    assert (await database.first("select %(n)s::int as n", {"n": 4})).n == 4
    assert await database.value("select 'ab' like 'a%'") is True


async def test_an_error_of_a_statement_comes_as_it_is(database: Database) -> None:
    """The access files tell constraint violations apart by psycopg2's classes."""
    with pytest.raises(errors.DivisionByZero):
        await database.value("select 1/0")
    assert database.statistics().in_use == 0


async def test_document_passes_the_bytes_of_postgresql(database: Database) -> None:
    """The text comes as UTF-8 bytes, on the first call and on the prepared ones."""
    for number in range(3):
        document = await database.document(
            "select json_build_object('n', %s::int, 'p', '100 %%', 'e', 'é')::text", (number,)
        )
        assert document == f'{{"n" : {number}, "p" : "100 %", "e" : "é"}}'.encode()
    assert await database.document("select null::text", ()) is None
    assert await database.document("select 'x'::text where false", ()) is None


async def test_transaction_commits_what_work_did(
    database: Database, counter: Callable[[], int]
) -> None:
    """Its result comes back and the row is there."""
    assert await database.transaction(increment, "counter.add") == 1
    assert counter() == 1


async def test_transaction_rolls_back_when_work_raises(
    database: Database, counter: Callable[[], int]
) -> None:
    """The exception comes through, nothing stays, the connection is kept."""

    async def work(transaction: Any) -> None:
        await increment(transaction)
        raise NotFound("no")

    with pytest.raises(NotFound):
        await database.transaction(work)
    assert counter() == 0
    assert database.statistics().size == 1


async def test_a_transaction_that_hid_an_error_is_no_success(
    database: Database, counter: Callable[[], int]
) -> None:
    """PostgreSQL answers such a commit with a rollback, without an error."""

    async def work(transaction: Any) -> None:
        await increment(transaction)
        with pytest.raises(errors.DivisionByZero):
            await transaction.value("select 1/0")

    with pytest.raises(RuntimeError, match="rolled back"):
        await database.transaction(work)
    assert counter() == 0


@pytest.mark.parametrize(
    ("sql", "args"), [("selec 1", ()), ("select %s", (object(),)), ("select %s %s", (1,))]
)
async def test_a_first_statement_that_never_began_ends_the_transaction(
    database: Database, counter: Callable[[], int], sql: str, args: Any
) -> None:
    """What follows would otherwise run outside any transaction."""

    async def stubborn(transaction: Any) -> None:
        with pytest.raises(Exception, match=r"syntax|adapt|range"):
            await transaction.value(sql, args)
        await increment(transaction)

    async def resigned(transaction: Any) -> None:
        with pytest.raises(Exception, match=r"syntax|adapt|range"):
            await transaction.value(sql, args)

    for work in (stubborn, resigned):
        with pytest.raises(RuntimeError, match="first statement"):
            await database.transaction(work)
    assert counter() == 0
    await works(database, counter)


async def test_a_savepoint_makes_an_error_good_again(
    database: Database, counter: Callable[[], int]
) -> None:
    """Work may try something and go on without it."""

    async def work(transaction: Any) -> None:
        await increment(transaction)
        await transaction.run("savepoint before")
        with pytest.raises(errors.DivisionByZero):
            await transaction.value("select 1/0")
        await transaction.run("rollback to before")

    await database.transaction(work)
    assert counter() == 1


async def test_statements_sent_together_share_the_transaction(
    database: Database, counter: Callable[[], int]
) -> None:
    """They run one after the other, all of them before the commit."""

    async def work(transaction: Any) -> None:
        await gatherResults([Deferred.fromCoroutine(increment(transaction)) for _ in range(5)])
        raise LookupError

    with pytest.raises(LookupError):
        await database.transaction(work)
    assert counter() == 0


async def test_documents_with_wrong_arguments_keep_the_pool_whole(database: Database) -> None:
    """Too few, too many, impossible: an error for the caller, no connection lost."""
    for args in ((), (1, 2), (object(),)):
        with pytest.raises((TypeError, psycopg2.Error)):
            await database.document("select %s::text", args)
    assert database.statistics().in_use == 0
    assert await database.document("select %s::text", (1,)) == b"1"


async def test_a_preparation_that_went_stale_is_made_anew(open_database: Any) -> None:
    """Deallocated or overtaken by a change of its table: the caller notices nothing."""
    database = open_database(most=1)
    await database.run("create table t (v text); insert into t values ('x')")
    assert await database.document("select v from t", ()) == b"x"
    await database.run("deallocate all")
    assert await database.document("select v from t", ()) == b"x"
    await database.run("alter table t alter v type varchar(5)")
    assert await database.document("select v::text from t", ()) == b"x"
    assert str(await database.document("select v from t", ()))


async def test_a_transaction_cannot_be_used_after_its_end(database: Database) -> None:
    """A reference that was kept does not reach somebody else's transaction."""
    kept: list[Any] = []

    async def work(transaction: Any) -> None:
        kept.append(transaction)

    await database.transaction(work)
    with pytest.raises(RuntimeError, match="ended"):
        await kept[0].value("select 1")


async def test_deadlocks_are_repeated(database: Database, counter: Callable[[], int]) -> None:
    """Two transactions that lock two rows crosswise both succeed in the end."""
    runs: list[int] = []
    both_hold: Deferred[None] = Deferred()

    def crossing(first: int, second: int) -> Callable[[Any], Awaitable[None]]:
        async def work(transaction: Any) -> None:
            await transaction.run("update counter set n = n + 1 where id = %s", (first,))
            runs.append(first)
            if len(runs) == 2:
                both_hold.callback(None)
            if not both_hold.called:
                waiting: Deferred[None] = Deferred()
                both_hold.addCallback(waiting.callback)
                await waiting
            await transaction.run("update counter set n = n + 1 where id = %s", (second,))

        return work

    await gatherResults(
        [
            Deferred.fromCoroutine(database.transaction(crossing(1, 2), "one")),
            Deferred.fromCoroutine(database.transaction(crossing(2, 1), "two")),
        ]
    )
    assert counter() == 2
    assert len(runs) >= 3


async def test_serialization_failures_end_after_the_retries(database: Database) -> None:
    """The whole work runs again, so often and no more, and the caller hears Unavailable."""
    runs: list[int] = []

    async def work(transaction: Any) -> None:
        runs.append(1)
        await transaction.run("do $$ begin raise serialization_failure; end $$")

    with pytest.raises(Unavailable):
        await database.transaction(work, retries=2)
    assert len(runs) == 3


async def test_a_row_that_went_meanwhile_is_missed_the_second_time(
    database: Database, counter: Callable[[], int]
) -> None:
    """The work runs once more after a broken constraint: a look, then a word that explains."""
    runs: list[int] = []

    async def work(transaction: Any) -> str:
        runs.append(1)
        if len(runs) == 1:
            await transaction.run("insert into counter (id, n) values (1, 0)")
        return "told"

    assert await database.transaction(work) == "told"
    assert len(runs) == 2

    async def stubborn(transaction: Any) -> None:
        runs.append(1)
        await transaction.run("insert into counter (id, n) values (1, 0)")

    with pytest.raises(errors.UniqueViolation):
        await database.transaction(stubborn)
    assert len(runs) == 4


async def test_a_lock_is_waited_for_until_its_limit(
    dsn: str, open_database: Any, counter: Callable[[], int]
) -> None:
    """Who cannot have the row hears Unavailable, and the pool is whole."""
    database = open_database(limits=Limits(lock_seconds=0.05))
    other = psycopg2.connect(dsn)
    with other.cursor() as cursor:
        cursor.execute("update counter set n = 5 where id = 1")
        with pytest.raises(Unavailable) as caught:
            await database.transaction(increment)
    assert isinstance(caught.value.__cause__, errors.LockNotAvailable)
    other.rollback()
    other.close()
    await works(database, counter)


async def test_a_statement_over_its_limit_is_unavailable(open_database: Any) -> None:
    """PostgreSQL ends it, the connection stays."""
    database = open_database(limits=Limits(statement_seconds=0.05))
    with pytest.raises(Unavailable):
        await database.value("select pg_sleep(5)")
    assert database.statistics().size == 1


@pytest.mark.parametrize("code", ["53100", "53200", "58030", "25006"])
async def test_a_shortage_of_the_server_is_unavailable(database: Database, code: str) -> None:
    """A full disk, no memory, a failing disk, a server that takes no changes."""
    statement = f"do $$ begin raise exception 'x' using errcode = '{code}'; end $$"
    with pytest.raises(Unavailable) as caught:
        await database.run(statement)
    assert caught.value.__cause__ is not None

    async def work(transaction: Any) -> None:
        await transaction.value("select 1")
        await transaction.run(statement)

    with pytest.raises(Unavailable):
        await database.transaction(work)


async def test_a_session_that_takes_no_changes_is_not_kept(
    open_database: Any, counter: Callable[[], int]
) -> None:
    """It may be from a time when the whole server took none."""
    database = open_database(least=1, most=1)
    await database.run("set default_transaction_read_only = on")
    assert await database.transaction(increment) == 1
    assert counter() == 1


async def test_an_exhausted_pool_is_unavailable_in_time(open_database: Any) -> None:
    """More callers than connections: those in line are refused, the others finish."""
    database = open_database(most=1, wait_seconds=0.05)
    await database.value("select 1")
    slow = Deferred.fromCoroutine(database.value("select pg_sleep(0.2)::text"))
    with pytest.raises(Unavailable):
        await database.value("select 1")
    with pytest.raises(Unavailable):
        await database.transaction(increment)
    assert await slow == ""
    assert await database.value("select 1") == 1


async def test_a_long_line_for_one_connection_is_no_deep_stack(
    open_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine lets PostgreSQL answer before we look, again and again."""
    look = Connection.continuePolling

    def late(connection: Connection, swallowErrors: bool = False) -> None:
        if connection._done is not None:
            connection._peek.poll(1000)
        look(connection, swallowErrors)

    database = open_database(least=1, most=1, wait_seconds=30.0)
    await database.value("select 1")
    slow = Deferred.fromCoroutine(database.value("select pg_sleep(0.1)"))
    monkeypatch.setattr(Connection, "continuePolling", late)
    waits = [Deferred.fromCoroutine(database.value("select %s", (n,))) for n in range(600)]
    await slow
    assert await gatherResults(waits) == list(range(600))


# -- callers that go away ------------------------------------------------------------------


async def test_cancelling_in_line_for_a_connection_does_not_stop_the_work(
    open_database: Any, counter: Callable[[], int]
) -> None:
    """The transaction runs although nobody waits for it any more."""
    database = open_database(most=1)
    await database.value("select 1")
    slow = Deferred.fromCoroutine(database.value("select pg_sleep(0.05)::text"))
    waiting = Deferred.fromCoroutine(database.transaction(increment))
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    await slow
    await database.value("select 1")  # behind the transaction in the line
    assert counter() == 1
    await works(database, counter)


@pytest.mark.parametrize("turns", [0, 1, 2, 4, 6, 8, 9, 10])
async def test_cancelling_a_transaction_at_any_moment_lets_it_finish(
    open_database: Any, counter: Callable[[], int], sleep: Any, turns: int
) -> None:
    """Before, in and between statements and at the commit: the work is done to its end."""
    finished: list[str] = []
    database = open_database(most=1, crash=finished.append)
    await database.value("select 1")

    async def work(transaction: Any) -> None:
        await transaction.value("select pg_sleep(0.004)::text")
        await sleep(0.004)
        await increment(transaction)

    waiting = Deferred.fromCoroutine(database.transaction(work, "slow"))
    for _ in range(turns):
        await sleep(0.001)
    was_finished = waiting.called
    waiting.cancel()
    if not was_finished:
        with pytest.raises(CancelledError):
            await waiting
    await database.value("select 1")
    assert finished == ["before-commit:slow", "after-commit:slow"]
    assert counter() == 1
    assert database.statistics().size == 1


async def test_cancelled_reads_leave_the_connection_to_the_next(database: Database) -> None:
    """The answer that nobody wants does not reach somebody else."""
    await database.value("select 1")
    for read in (
        database.value("select pg_sleep(0.02)::text"),
        database.document("select pg_sleep(0.02) || 'b'", ()),
        database.all("select 1 / (pg_sleep(0.02)::text = 'x')::int"),
    ):
        waiting = Deferred.fromCoroutine(read)
        waiting.cancel()
        with pytest.raises(CancelledError):
            await waiting
    assert await database.value("select 'c'::text") == "c"
    assert await database.document("select 'd'::text", ()) == b"d"


async def test_a_cancelled_statement_inside_a_transaction_is_waited_for(
    database: Database, counter: Callable[[], int]
) -> None:
    """A time limit inside the work: the rollback comes after the statement's end."""

    async def work(transaction: Any) -> None:
        await increment(transaction)
        slow = Deferred.fromCoroutine(transaction.value("select pg_sleep(0.05)"))
        slow.cancel()
        await slow

    with pytest.raises(CancelledError):
        await database.transaction(work)
    assert counter() == 0
    assert database.statistics().size == 1
    await works(database, counter)


async def test_a_failure_that_nobody_hears_is_no_error_in_the_log(
    database: Database, counter: Callable[[], int]
) -> None:
    """It is a warning; the fixture that watches the log would fail otherwise."""

    async def work(transaction: Any) -> None:
        await transaction.value("select 1/0")

    waiting = Deferred.fromCoroutine(database.transaction(work, "bad"))
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    await works(database, counter)


# -- back ends that die --------------------------------------------------------------------


async def test_killed_while_idle_nobody_notices(
    database: Database, dsn: str, counter: Callable[[], int]
) -> None:
    """Every kind of call works at once after its connections were killed."""
    for call in (
        lambda: database.value("select 1"),
        lambda: database.document("select 'x'::text", ()),
        lambda: database.run("update counter set n = n + 1 where id = 2"),
        lambda: database.transaction(increment),
    ):
        await works(database, counter)
        assert kill_others(dsn) >= 1
        await call()
    await works(database, counter)


async def test_a_read_that_is_killed_is_asked_again(
    database: Database, dsn: str, counter: Callable[[], int], sleep: Any
) -> None:
    """A select or a document gets its answer from the next connection."""
    await database.document("select pg_sleep(1)::text || 'x'", ())
    reads = [
        Deferred.fromCoroutine(database.value("select pg_sleep(1)::text")),
        Deferred.fromCoroutine(database.document("select pg_sleep(1)::text || 'x'", ())),
    ]
    await running(dsn, sleep, "select pg_sleep", "execute ")
    assert kill_others(dsn) >= 2
    assert await gatherResults(reads) == ["", b"x"]
    await works(database, counter)


async def test_a_change_that_is_killed_is_unavailable(
    database: Database, dsn: str, counter: Callable[[], int], sleep: Any
) -> None:
    """It may have happened, so it is not sent twice."""
    change = Deferred.fromCoroutine(
        database.run("update counter set n = n + 1 from pg_sleep(20) where id = 1")
    )
    await running(dsn, sleep, "update counter")
    kill_others(dsn)
    with pytest.raises(Unavailable):
        await change
    assert counter() == 0
    await works(database, counter)


async def test_killed_in_the_first_statement_the_work_is_run_again(
    database: Database, dsn: str, counter: Callable[[], int]
) -> None:
    """Nothing had been answered, so nothing had happened."""
    runs: list[int] = []

    async def work(transaction: Any) -> None:
        runs.append(1)
        seconds = 20 if len(runs) == 1 else 0
        slow = Deferred.fromCoroutine(transaction.value(f"select pg_sleep({seconds})"))
        if len(runs) == 1:
            kill_others(dsn)
        await slow
        await increment(transaction)

    await database.transaction(work)
    assert len(runs) == 2
    assert counter() == 1
    await works(database, counter)


@pytest.mark.parametrize("idle", [True, False])
async def test_killed_later_in_the_transaction_is_unavailable_and_undone(
    database: Database, dsn: str, counter: Callable[[], int], sleep: Any, idle: bool
) -> None:
    """Between two statements or in one: the caller is told, nothing stays."""

    async def work(transaction: Any) -> None:
        await increment(transaction)
        if idle:
            kill_others(dsn)
            await sleep(0.01)
            await increment(transaction)
        else:
            slow = Deferred.fromCoroutine(transaction.value("select pg_sleep(5)"))
            kill_others(dsn)
            await slow

    with pytest.raises(Unavailable) as caught:
        await database.transaction(work)
    assert not isinstance(caught.value, CommitUnknown)
    assert counter() == 0
    await works(database, counter)


async def test_killed_at_the_commit_is_reported_as_unknown(
    dsn: str, open_database: Any, counter: Callable[[], int]
) -> None:
    """Nobody claims to know, and nothing is repeated."""

    def crash(point: str) -> None:
        if point == "before-commit:counter.add":
            kill_others(dsn)

    database = open_database(crash=crash)
    with pytest.raises(CommitUnknown):
        await database.transaction(increment, "counter.add")
    assert counter() == 0
    await works(database, counter)


async def test_killed_during_the_commit_is_reported_as_unknown(
    dsn: str, open_database: Any, counter: Callable[[], int], sleep: Any
) -> None:
    """A commit that is slow because of a deferred trigger dies half way."""
    database = open_database()
    await database.run(
        "create function slow() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(20); return null; end $$;"
        "create constraint trigger slow after update on counter"
        " deferrable initially deferred for each row execute function slow()"
    )
    waiting = Deferred.fromCoroutine(database.transaction(increment))
    await running(dsn, sleep, "commit")
    kill_others(dsn)
    with pytest.raises(CommitUnknown):
        await waiting
    assert counter() == 0


async def test_idle_in_a_transaction_too_long_is_undone(
    open_database: Any, counter: Callable[[], int], sleep: Any
) -> None:
    """Work that waits for something else while it holds locks is cut off."""
    database = open_database(limits=Limits(idle_in_transaction_seconds=0.05))

    async def work(transaction: Any) -> None:
        await increment(transaction)
        await sleep(0.2)
        await increment(transaction)

    with pytest.raises(Unavailable):
        await database.transaction(work)
    assert counter() == 0
    await works(database, counter)


async def test_restarting_postgresql_under_load_loses_and_doubles_nothing(
    open_database: Any, counter: Callable[[], int], postgres: EmbeddedPostgres, sleep: Any
) -> None:
    """Each increment is stored, refused or reported as unknown; afterwards all is well."""
    database = open_database(most=6, wait_seconds=60.0)
    stored: list[int] = []
    unknown: list[CommitUnknown] = []
    refused: list[Unavailable] = []
    reads: list[int] = []
    stop = threading.Event()

    async def adding() -> None:
        while not stop.is_set():
            try:
                stored.append(await database.transaction(increment))
            except CommitUnknown as error:
                unknown.append(error)
            except Unavailable as error:
                refused.append(error)

    async def reading() -> None:
        while not stop.is_set():
            reads.append(await database.value("select n from counter where id = 1"))

    work = [Deferred.fromCoroutine(adding()) for _ in range(8)]
    work += [Deferred.fromCoroutine(reading()) for _ in range(4)]

    async def more() -> bool:
        before = len(stored)
        for _ in range(600):
            await sleep(0.1)
            if len(stored) > before:
                return True
        return False

    try:
        for _ in range(3):
            assert await more()
            await deferToThread(postgres.stop)
            await sleep(0.1)
            await deferToThread(postgres.start)
    finally:
        await deferToThread(postgres.start)
        goes_on = await more()
        stop.set()
    await gatherResults(work)
    assert goes_on
    assert len(stored) == len(set(stored))
    last = counter()
    assert len(stored) <= last <= len(stored) + len(unknown)
    assert max(stored) <= last and max(reads) <= last
    await works(database, counter)


async def test_a_database_that_comes_later_is_waited_for(
    open_database: Any, postgres: EmbeddedPostgres, sleep: Any
) -> None:
    """A call made while PostgreSQL is away is answered once it is there."""
    database = open_database(wait_seconds=10.0)
    postgres.stop()
    try:
        waiting = Deferred.fromCoroutine(database.value("select 1"))
        await sleep(0.1)
        assert not waiting.called
    finally:
        await deferToThread(postgres.start)
    assert await waiting == 1


async def test_the_metrics_hook_hears_of_waits_and_transactions(
    open_database: Any, counter: Callable[[], int]
) -> None:
    """Kind, name and seconds."""
    seen: list[tuple[str, str, float]] = []
    database = open_database(observe=lambda *what: seen.append(what))
    await database.transaction(increment, "counter.add")
    assert [what[:2] for what in seen] == [("wait", ""), ("transaction", "counter.add")]
    assert all(0 <= what[2] < 5 for what in seen)
