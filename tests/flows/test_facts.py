"""The consumer: what is stored, acknowledged, put aside and waited for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import psycopg2
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, fail

from cyclades_tx.errors import Unavailable
from cyclades_tx.flows import facts as consumer_module
from cyclades_tx.flows.facts import MOST, PATIENT_ROUNDS, PREFETCH, FactConsumer, queues
from cyclades_tx.model.message import MessageReader
from cyclades_tx.model.names import Names
from cyclades_tx.mq.interfaces import BrokerUnavailable
from cyclades_tx.mq.memory import MemoryBroker, MemoryNode
from cyclades_tx.store import facts, operations
from cyclades_tx.testing import builders

X = "ganeti"
OP = "ganeti.snf.event.op"
PATIENCE_SECONDS = 60.0


class Books:
    """Counts, as the metrics would."""

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.delays: list[float] = []

    def messages(self, queue: str, outcome: str, count: int) -> None:
        """Count messages."""
        if count:
            self.outcomes[queue.rpartition(".")[2], outcome] += count

    def event_delays(self, seconds: Sequence[float]) -> None:
        """Keep delays."""
        self.delays.extend(seconds)


class Faulty:
    """A database that fails on purpose."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self.fail: Callable[[], Exception | None] = lambda: None
        #: Only transactions of this name fail; empty: all.
        self.failing = ""
        self.commits = 0
        self.hold: Deferred[None] | None = None

    async def transaction(self, work: Any, name: str = "", **more: Any) -> Any:
        """Pass it on, unless it is to fail."""
        if self.hold is not None:
            await self.hold
        error = self.fail() if self.failing in ("", name) else None
        if error is not None:
            raise error
        result = await self._database.transaction(work, name, **more)
        self.commits += 1
        return result

    async def run(self, sql: str, args: Any = ()) -> int:
        """Pass it on."""
        found: int = await self._database.run(sql, args)
        return found


class Stage:
    """A broker in memory, a consumer, a server and what it takes."""

    def __init__(self, reactor: Any, database: Any, sleep: Any) -> None:
        self.reactor = reactor
        self.real = database
        self.database = Faulty(database)
        self.sleep = sleep
        self.node = MemoryNode(reactor)
        self.sender = MemoryBroker(reactor, self.node)
        self.broker = MemoryBroker(reactor, self.node)
        self.books = Books()
        self.crashes: list[str] = []
        self.queues = queues(X, "snf-")
        self.consumer = self.a_consumer(self.broker)

    def a_consumer(self, broker: MemoryBroker) -> FactConsumer:
        """A consumer that is not started."""
        return FactConsumer(
            self.reactor,
            broker,
            self.database,
            MessageReader(Names("snf-")),
            self.queues,
            self.books,
            self.crashes.append,
        )

    async def set(self) -> None:
        """Make a cluster and a server; declare the queues; start nothing."""
        who = await builders.somebody(self.real)
        self.cluster = await builders.a_cluster(self.real, "c1.example.org")
        await builders.a_cluster(self.real, "c2.example.org")
        flavor = await builders.a_flavor(self.real)
        self.server = await builders.a_server(self.real, who, flavor, cluster=self.cluster)
        self.sender.declare(self.queues)
        self.sender.start()
        self.broker.start()
        await self.until(lambda: self.sender.connected and self.broker.connected)

    async def close(self) -> None:
        """End it all."""
        await self.consumer.stop()
        await self.broker.stop()
        await self.sender.stop()

    def message(self, **changes: Any) -> bytes:
        """A message about the server."""
        fields = {
            "type": "ganeti-op-status",
            "instance": f"snf-{self.server.id}",
            "operation": "OP_INSTANCE_STARTUP",
            "status": "success",
            "jobId": 7,
            "event_time": [int(self.reactor.seconds()), 0],
            "cluster": "c1.example.org",
            "logmsg": None,
            "result": None,
            "job_fields": {},
        }
        return json.dumps({**fields, **changes}).encode()

    async def send(self, *bodies: bytes, key: str = OP) -> None:
        """Publish and wait for the receipts."""
        for receipt in [self.sender.publish(X, key, body, mandatory=True) for body in bodies]:
            await receipt

    async def until(self, so: Callable[[], Any], what: str = "it is so") -> None:
        """Wait until something is so."""
        end = self.reactor.seconds() + PATIENCE_SECONDS
        while not so():
            assert self.reactor.seconds() < end, f"not in time: {what}"
            await self.sleep(0.005)

    async def until_empty(self) -> None:
        """Wait until every message is settled."""

        def empty() -> bool:
            return not any(self.left(queue.name) for queue in self.queues)

        await self.until(empty, "the queues are empty")

    def left(self, name: str) -> int:
        """How many messages of a queue are not settled."""
        queue = self.node.queue(name)
        unsettled = sum(len(each._unsettled) for each in queue.consumers)
        return len(queue.waiting) + unsettled

    def dead(self, what: str = "op") -> list[Any]:
        """The messages that were put aside."""
        return list(self.node.queue(f"cyclades-tx.snf.{what}.dead").waiting)

    async def rows(self) -> list[Any]:
        """The facts that are kept."""
        found: list[Any] = await self.real.all("select * from job_fact order by job_id")
        return found


@pytest_twisted.async_yield_fixture
async def stage(database: Any, sleep: Any) -> Any:
    """A stage that is set; its consumer is not started."""
    from twisted.internet import reactor

    made = Stage(reactor, database, sleep)
    await made.set()
    yield made
    await made.close()


def test_the_queues_have_names_of_our_own() -> None:
    """Bound as the original's are, with one consumer at a time and dead letters."""
    found = {queue.name: queue for queue in queues("ganeti", "cloud-")}
    assert {name: queue.bindings for name, queue in found.items()} == {
        "cyclades-tx.cloud.op": (("ganeti", "ganeti.cloud.event.op"),),
        "cyclades-tx.cloud.network": (("ganeti", "ganeti.cloud.event.network"),),
        "cyclades-tx.cloud.progress": (("ganeti", "ganeti.cloud.event.progress"),),
        "cyclades-tx.cloud.cluster": (("ganeti", "ganeti.event.cluster"),),
    }
    for name, queue in found.items():
        assert queue.dead_letters == ("ganeti-dl", f"{name}.dead")
        assert queue.arguments == {"x-single-active-consumer": True}


async def test_a_message_becomes_a_fact_and_a_wake(stage: Stage) -> None:
    """And is acknowledged."""
    heard: list[str] = []
    unlisten = stage.real.listen(operations.WAKE, heard.append)
    await stage.real.when_listening()
    stage.consumer.start()
    await stage.send(stage.message())
    await stage.until_empty()
    (row,) = await stage.rows()
    assert (row.subject, row.status) == (f"o{stage.server.id}", "success")
    await stage.until(lambda: heard, "a wake is heard")
    unlisten()
    assert heard == [f"{stage.cluster.id}:o{stage.server.id}"]
    assert stage.books.outcomes == {("op", "stored"): 1}
    assert stage.crashes == ["before-acknowledge:facts"]


async def test_a_message_is_acknowledged_only_after_its_commit(stage: Stage) -> None:
    """Until then it would be handed over again."""
    stage.database.hold = Deferred()
    stage.consumer.start()
    await stage.send(stage.message())
    await stage.sleep(0.05)
    assert stage.left("cyclades-tx.snf.op") == 1
    hold, stage.database.hold = stage.database.hold, None
    hold.callback(None)
    await stage.until_empty()
    assert len(await stage.rows()) == 1


async def test_many_messages_go_into_one_commit(stage: Stage) -> None:
    """What has come while the last one ran."""
    stage.database.hold = Deferred()
    stage.consumer.start()
    await stage.send(*(stage.message(jobId=number) for number in range(1, 301)))
    hold, stage.database.hold = stage.database.hold, None
    hold.callback(None)
    await stage.until_empty()
    assert len(await stage.rows()) == 300
    assert stage.database.commits <= 3


async def test_unsettled_messages_are_bounded(stage: Stage) -> None:
    """The rest waits at the broker."""
    stage.database.hold = Deferred()
    stage.consumer.start()
    await stage.send(*(stage.message(jobId=number) for number in range(1, PREFETCH + 201)))
    await stage.sleep(0.05)
    assert len(stage.node.queue("cyclades-tx.snf.op").waiting) == 200
    hold, stage.database.hold = stage.database.hold, None
    hold.callback(None)
    await stage.until_empty()
    assert len(await stage.rows()) == PREFETCH + 200
    assert stage.database.commits <= 2 + (PREFETCH + 200) / (MOST / 2)


async def test_every_queue_is_consumed(stage: Stage) -> None:
    """Networks, clusters, progress and diagnostics too."""
    network = await builders.a_network(stage.real)
    stage.consumer.start()
    await stage.send(
        stage.message(type="ganeti-network-status", network=f"snf-net-{network.id}"),
        key="ganeti.snf.event.network",
    )
    await stage.send(
        stage.message(type="ganeti-cluster-status", operation="OP_CLUSTER_SET_PARAMS", jobId=8),
        key="ganeti.event.cluster",
    )
    heard = {"event_time": [1_700_000_000, 0], "instance": f"snf-{stage.server.id}"}
    await stage.send(
        json.dumps({**heard, "type": "image-copy-progress", "progress": 40.5}).encode(),
        json.dumps({**heard, "type": "image-error", "stderr": "no space"}).encode(),
        json.dumps({**heard, "type": "image-error", "stderr": "no space"}).encode(),
        key="ganeti.snf.event.progress",
    )
    await stage.until_empty()
    assert [row.subject for row in await stage.rows()] == [f"n{network.id}", "refresh"]
    (line,) = await stage.real.all("select * from server_diagnostic")
    assert (line.level, line.source, line.details) == ("ERROR", "image-error", "no space")
    assert stage.books.outcomes["progress", "stored"] == 3


async def test_progress_moves_the_operation_that_builds(stage: Stage) -> None:
    """In a column of its own."""
    await stage.real.run("update server set state = 'building' where id = %s", (stage.server.id,))
    operation_id = await builders.an_operation(stage.real, stage.server, stage.cluster, "create")
    stage.consumer.start()
    for percent in (10, 55.9, 30):
        body = {"event_time": [1, 0], "instance": f"snf-{stage.server.id}", "progress": percent}
        await stage.send(
            json.dumps({**body, "type": "image-copy-progress"}).encode(),
            key="ganeti.snf.event.progress",
        )
    await stage.until_empty()
    assert (
        await stage.real.value("select progress from operation where id = %s", (operation_id,))
        == 55
    )
    assert await stage.rows() == []


async def test_foreign_names_are_taken_and_forgotten(stage: Stage) -> None:
    """They are no fault: no dead letter, and not even a commit."""
    stage.consumer.start()
    await stage.send(stage.message(instance="other-3"), stage.message(instance="snf-web"))
    await stage.until_empty()
    assert (await stage.rows(), stage.dead(), stage.database.commits) == ([], [], 0)
    assert stage.books.outcomes == {("op", "ignored"): 2}


async def test_a_wrong_cluster_touches_nothing(stage: Stage) -> None:
    """Nor do an unknown cluster, an unknown server and a deleted one."""
    stage.consumer.start()
    await stage.send(
        stage.message(cluster="c2.example.org"),
        stage.message(cluster="c3.example.org"),
        stage.message(instance="snf-999999"),
    )
    await stage.until_empty()
    await stage.real.run("update server set state = 'deleted', deleted_at = now()")
    await stage.send(stage.message(operation="OP_INSTANCE_REMOVE"))
    await stage.until_empty()
    assert (await stage.rows(), stage.dead()) == ([], [])
    assert stage.books.outcomes["op", "foreign"] == 4


async def test_what_cannot_be_read_is_put_aside_with_the_reason(stage: Stage) -> None:
    """The others go on."""
    stage.consumer.start()
    await stage.send(b"{", stage.message(), stage.message(status="cancelled"))
    await stage.until_empty()
    assert len(await stage.rows()) == 1
    first, second = stage.dead()
    assert first.body == b"{"
    assert "truncated" in first.headers["x-reason"]
    assert "cancelled" in second.headers["x-reason"]
    assert second.routing_key == OP
    assert stage.books.outcomes == {("op", "stored"): 1, ("op", "unreadable"): 2}


async def test_without_a_database_everything_waits(stage: Stage) -> None:
    """Nothing is lost or put aside, and nothing spins."""
    tries: list[float] = []

    def away() -> Exception:
        tries.append(stage.reactor.seconds())
        return Unavailable("away")

    stage.database.fail = away
    stage.consumer.start()
    await stage.send(*(stage.message(jobId=number) for number in range(1, 11)))
    await stage.until(lambda: len(tries) > 2, "it has tried again")
    assert all(later - earlier > 0.1 for earlier, later in pairwise(tries))
    assert stage.left("cyclades-tx.snf.op") == 10
    assert stage.consumer.paused
    stage.database.fail = lambda: None
    await stage.until_empty()
    assert len(await stage.rows()) == 10
    assert stage.dead() == []
    assert not stage.consumer.paused


async def test_a_poisonous_message_is_found_and_put_aside(stage: Stage) -> None:
    """The other 49 of its commit are stored."""
    record = consumer_module.facts.record

    async def poisoned(tx: Any, told: Any) -> int:
        if any(fact.job_id == 31 for fact in told):
            await tx.run("select 1 / 0")
        found: int = await record(tx, told)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(consumer_module.facts, "record", poisoned)
        stage.database.hold = Deferred()
        stage.consumer.start()
        await stage.send(*(stage.message(jobId=number) for number in range(1, 51)))
        hold, stage.database.hold = stage.database.hold, None
        hold.callback(None)
        await stage.until_empty()
    assert [row.job_id for row in await stage.rows()] == [*range(1, 31), *range(32, 51)]
    (dead,) = stage.dead()
    assert json.loads(dead.body)["jobId"] == 31
    assert "division by zero" in dead.headers["x-reason"]
    assert stage.books.outcomes == {("op", "stored"): 49, ("op", "poisonous"): 1}


async def test_when_everything_fails_the_messages_are_not_blamed_at_once(stage: Stage) -> None:
    """Something of ours may be broken for a moment; what is foreign proves nothing."""
    stage.database.fail = lambda: psycopg2.ProgrammingError("no such table")
    stage.consumer.start()
    await stage.send(
        *(stage.message(jobId=number) for number in range(1, 5)), stage.message(instance="other-1")
    )
    await stage.until(lambda: stage.consumer.paused, "it waits")
    assert stage.dead() == []
    stage.database.fail = lambda: None
    await stage.until_empty()
    assert len(await stage.rows()) == 4
    assert stage.dead() == []


async def test_what_never_can_be_stored_is_put_aside_in_the_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone message must not hold up the queue for ever."""
    monkeypatch.setattr(consumer_module, "FIRST_PAUSE_SECONDS", 0.01)
    stage.database.fail = lambda: ValueError("never\nDETAIL: secret=x")
    stage.database.failing = "facts.record"
    stage.consumer.start()
    await stage.send(stage.message())
    await stage.until(stage.dead, "it is put aside")
    stage.database.fail = lambda: None
    await stage.send(stage.message(jobId=8))
    await stage.until_empty()
    assert [row.job_id for row in await stage.rows()] == [8]
    (dead,) = stage.dead()
    assert dead.headers["x-reason"] == "cannot be stored: ValueError: never"


async def test_while_the_database_takes_nothing_at_all_no_message_is_blamed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it was tried, and whatever the fault is."""
    monkeypatch.setattr(consumer_module, "FIRST_PAUSE_SECONDS", 0.001)
    tries: list[int] = []

    def broken() -> Exception:
        tries.append(1)
        return psycopg2.ProgrammingError("no such table")

    stage.database.fail = broken
    stage.consumer.start()
    await stage.send(stage.message(), stage.message(jobId=8))
    await stage.until(lambda: len(tries) > 10 * PATIENT_ROUNDS, "it was tried often")
    assert stage.dead() == []
    stage.database.fail = lambda: None
    await stage.until_empty()
    assert [row.job_id for row in await stage.rows()] == [7, 8]
    assert stage.dead() == []


async def test_rounds_without_a_database_do_not_count_against_the_messages(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault right after a long absence is the first one."""
    monkeypatch.setattr(consumer_module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(consumer_module, "LONGEST_PAUSE_SECONDS", 0.01)
    away = [Unavailable("away")] * (2 * PATIENT_ROUNDS)
    faults: list[Exception] = [*away, psycopg2.ProgrammingError("a moment's fault")]
    stage.database.failing = "facts.record"
    stage.database.fail = lambda: faults.pop(0) if faults else None
    stage.consumer.start()
    await stage.send(stage.message())
    await stage.until_empty()
    assert stage.dead() == []
    assert len(await stage.rows()) == 1


async def test_a_database_that_takes_no_changes_is_waited_for(
    stage: Stage, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a failover to a standby; the sessions of that time are not kept either."""
    monkeypatch.setattr(consumer_module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(consumer_module, "LONGEST_PAUSE_SECONDS", 0.05)
    reasons: list[str] = []
    pause = stage.consumer._pause

    async def noted(rounds: int, reason: str) -> None:
        reasons.append(reason)
        await pause(rounds, reason)

    monkeypatch.setattr(stage.consumer, "_pause", noted)
    other = psycopg2.connect(dsn)
    other.autocommit = True
    name = other.info.dbname
    with other.cursor() as cursor:
        cursor.execute(f'alter database "{name}" set default_transaction_read_only = on')
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        stage.consumer.start()
        await stage.send(*(stage.message(jobId=number) for number in range(1, 21)))
        await stage.until(lambda: len(reasons) > 2 * PATIENT_ROUNDS, "it was tried often")
        assert stage.dead() == []
        assert "takes no changes" in reasons[-1]
        cursor.execute(f'alter database "{name}" reset default_transaction_read_only')
    other.close()
    await stage.until_empty()
    assert len(await stage.rows()) == 20
    assert stage.dead() == []


async def test_the_probe_leaves_nothing(stage: Stage) -> None:
    """It writes a fact, and takes it back."""
    await stage.real.transaction(facts.probe, "facts.probe")
    assert await stage.rows() == []


async def test_repeats_of_one_commit_are_one_fact(stage: Stage) -> None:
    """In whatever order they come."""
    stage.database.hold = Deferred()
    stage.consumer.start()
    for status in ("success", "queued", "success", "running", "waiting"):
        await stage.send(stage.message(status=status))
    hold, stage.database.hold = stage.database.hold, None
    hold.callback(None)
    await stage.until_empty()
    (row,) = await stage.rows()
    assert row.status == "success"


async def test_a_lost_connection_loses_nothing(stage: Stage) -> None:
    """What was on its way comes again; nothing is acknowledged over the wrong connection."""
    stage.database.hold = Deferred()
    stage.consumer.start()
    await stage.send(*(stage.message(jobId=number) for number in range(1, 21)))
    await stage.sleep(0.05)
    stage.node.stop()
    stage.node.start()
    await stage.until(lambda: stage.broker.connected, "the broker is back")
    await stage.sleep(0.05)
    hold, stage.database.hold = stage.database.hold, None
    hold.callback(None)
    await stage.until_empty()
    assert len(await stage.rows()) == 20
    assert stage.dead() == []


async def test_messages_do_not_pile_up_over_reconnections(stage: Stage) -> None:
    """While the database is away and the broker comes and goes."""
    stage.database.fail = lambda: Unavailable("away")
    stage.consumer.start()
    await stage.send(*(stage.message(jobId=number) for number in range(1, 31)))
    for _ in range(5):
        await stage.sleep(0.03)
        stage.node.stop()
        stage.node.start()
        await stage.until(lambda: stage.broker.connected, "the broker is back")
    await stage.sleep(0.05)
    assert len(stage.consumer._pending) <= 30
    stage.database.fail = lambda: None
    await stage.until_empty()
    assert len(await stage.rows()) == 30


async def test_stopping_finishes_the_commit_and_gives_the_rest_back(stage: Stage) -> None:
    """The next process takes it."""
    stage.database.hold = Deferred()
    stage.consumer.start()
    await stage.send(stage.message(jobId=1))
    await stage.sleep(0.05)
    await stage.send(stage.message(jobId=2))
    stopping = Deferred.fromCoroutine(stage.consumer.stop())
    hold, stage.database.hold = stage.database.hold, None
    hold.callback(None)
    await stopping
    assert [row.job_id for row in await stage.rows()] == [1]
    assert stage.left("cyclades-tx.snf.op") == 1
    stage.consumer = stage.a_consumer(stage.broker)
    stage.consumer.start()
    await stage.until_empty()
    assert [row.job_id for row in await stage.rows()] == [1, 2]


async def test_stopping_does_not_wait_for_the_database(stage: Stage) -> None:
    """What was not stored stays at the broker."""
    stage.database.fail = lambda: Unavailable("away")
    stage.consumer.start()
    await stage.send(stage.message())
    await stage.until(lambda: stage.consumer.paused, "it waits")
    await stage.consumer.stop()
    assert stage.left("cyclades-tx.snf.op") == 1


async def test_the_delay_is_measured_and_never_negative(stage: Stage) -> None:
    """The cluster's clock may be ahead."""
    stage.consumer.start()
    now = int(stage.reactor.seconds())
    await stage.send(
        stage.message(event_time=[now - 5, 0]), stage.message(jobId=8, event_time=[now + 900, 0])
    )
    await stage.until_empty()
    ahead, behind = sorted(stage.books.delays)
    assert ahead == 0.0
    assert 4.0 < behind < 300.0


async def test_old_facts_are_swept_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the consumer runs."""
    monkeypatch.setattr(consumer_module, "PRUNE_SECONDS", 0.05)
    stage.consumer.start()
    await stage.send(stage.message())
    await stage.until_empty()
    await stage.real.run("update job_fact set created_at = now() - interval '1 day'")
    while await stage.rows():
        await stage.sleep(0.02)


async def test_the_deep_look_tells_what_keeps_messages_from_coming(stage: Stage) -> None:
    """A broker that is away, or a database that is."""
    stage.consumer.start()
    await stage.consumer.check()
    stage.node.stop()
    with pytest.raises(Unavailable, match="no connection to the broker"):
        await stage.consumer.check()
    stage.node.start()
    await stage.until(lambda: stage.broker.connected, "the broker is back")
    stage.database.fail = lambda: Unavailable("away")
    await stage.send(stage.message())
    await stage.until(lambda: stage.consumer.paused, "it waits")
    with pytest.raises(Unavailable, match="wait for the database"):
        await stage.consumer.check()
    stage.database.fail = lambda: None
    await stage.until_empty()
    await stage.consumer.check()


async def test_a_broker_that_is_away_when_a_message_is_put_aside(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes again, and is put aside then; nothing is logged as an error."""
    stage.consumer.start()
    consumer = stage.consumer._consumers["cyclades-tx.snf.op"]
    refused: list[Any] = []

    def away(delivery: Any, reason: str) -> Deferred[None]:
        refused.append(delivery)
        return fail(BrokerUnavailable("away"))

    with monkeypatch.context() as patch:
        patch.setattr(consumer, "reject", away)
        await stage.send(b"{")
        await stage.until(lambda: refused, "it is tried")
    assert stage.dead() == []
    stage.node.disconnect()
    await stage.until(stage.dead, "it is put aside")
    await stage.until_empty()
    assert len(stage.dead()) == 1


async def test_what_could_not_be_put_aside_is_tried_again_on_the_same_connection(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the deep look tells how many there are; nothing is copied twice."""
    monkeypatch.setattr(consumer_module, "FIRST_ASIDE_SECONDS", 0.05)
    stage.consumer.start()
    stage.node.delete_queue(stage.queues[0].dead_letters[1])
    await stage.send(b"{", stage.message(), b"[")
    await stage.until(lambda: len(stage.consumer._stuck) == 2, "they are refused")
    with pytest.raises(Unavailable, match="cannot be put aside: 2"):
        await stage.consumer.check()
    await stage.sleep(0.2)
    assert stage.left("cyclades-tx.snf.op") == 2
    stage.sender.declare(stage.queues)
    await stage.until_empty()
    assert sorted(each.body for each in stage.dead()) == [b"[", b"{"]
    assert len(await stage.rows()) == 1
    await stage.consumer.check()


async def test_no_message_that_is_stuck_keeps_the_consumer_from_stopping(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays at the broker, and no try follows."""
    monkeypatch.setattr(consumer_module, "FIRST_ASIDE_SECONDS", 0.05)
    stage.consumer.start()
    stage.node.delete_queue(stage.queues[0].dead_letters[1])
    await stage.send(b"{")
    await stage.until(lambda: stage.consumer._stuck, "it is refused")
    await stage.consumer.stop()
    assert stage.consumer._again is None
    assert stage.left("cyclades-tx.snf.op") == 1
