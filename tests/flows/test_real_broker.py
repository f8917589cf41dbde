"""The role ``events`` as a process of its own, with a real RabbitMQ: killed, cut off, restarted."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from cyclades_tx.crash import VARIABLE
from cyclades_tx.flows.facts import queues
from cyclades_tx.ganeti.credentials import Keyring
from tests.forks import FORKS, TWISTD, Fork
from tests.real.rabbitmq import RABBIT

pytestmark = pytest.mark.real

EXCHANGE, KEY = "ganeti", "ganeti.snf.event.op"
#: As they are by default.
QUEUES = [queue.of_type("quorum") for queue in queues(EXCHANGE, "snf-")]
QUEUE = QUEUES[0]
PATIENCE_SECONDS = 30.0
_SEED = """
insert into project (id, name) values (repeat('1', 32), 'p');
insert into user_account (id, name) values (repeat('2', 32), 'u');
insert into volume_type (name, disk_template) values ('file', 'file');
insert into flavor (name, vcpus, memory_mib, disk_gib, volume_type_id)
  select 'f', 1, 128, 1, id from volume_type;
insert into cluster (name, position, rapi_host, rapi_username, rapi_password) values
  ('c1.example.org', 0, '127.0.0.1', 'u', ''), ('c2.example.org', 1, '127.0.0.1', 'u', '');
insert into server (name, user_id, project_id, cluster_id, flavor_id, vcpus, memory_mib,
    reservation_id, state, charge)
  select 's', repeat('2', 32), repeat('1', 32), c.id, f.id, 1, 128, 'r', 'active', 'on'
  from cluster c, flavor f, generate_series(1, 50) where c.name = 'c1.example.org';
"""


class Events:
    """A database, the broker, and processes with the role ``events``."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.rabbit = RABBIT.get()
        self.connection = psycopg2.connect(dsn)
        self.connection.autocommit = True
        self.rows(_SEED)
        Keyring.create(folder / "keyring")
        for name, text in ("dsn", dsn), ("password", self.rabbit.password):
            (folder / name).touch(0o600)
            (folder / name).write_text(text)
        (folder / "config.toml").write_text(
            '[server]\nroles = ["events"]\n[admin]\nport = 0\n'
            '[database]\ndsn_file = "dsn"\n[ganeti]\nkeyring_file = "keyring"\n'
            f'[broker]\nurls = ["amqp://127.0.0.1:{self.rabbit.port}/cloud%2Ftest"]\n'
            f'username = "{self.rabbit.username}"\npassword_file = "password"\n'
            '[log]\nfile = "log.json"\n'
        )
        self.processes: list[Fork] = []

    def start(self, crash_at: int | None = None) -> Fork:
        """Start a process.

        :param crash_at: the moment between a commit and its acknowledgement at which it is killed.
        """
        environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
        if crash_at is not None:
            environment[VARIABLE] = str(crash_at)
        with (self.folder / "said").open("ab") as said:
            process = FORKS.start(
                *(*TWISTD, "cyclades_tx", f"--config={self.folder / 'config.toml'}"),
                stdout=said,
                stderr=said,
                environment=environment,
            )
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End what runs, and leave the broker empty."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                process.wait(30)
        self.rabbit.start()
        self.on_channel(
            lambda channel: [
                channel.queue_delete(name)
                for queue in QUEUES
                for name in (queue.name, (queue.dead_letters or ("", ""))[1])
            ]
        )
        self.connection.close()

    def rows(self, sql: str, *arguments: Any) -> list[Any]:
        """Ask the database."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, arguments)
            return cursor.fetchall() if cursor.description else []

    def on_channel(self, work: Callable[[Any], Any]) -> Any:
        """Do something at the broker as somebody else; a broker that just begins is waited for."""
        import pika

        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                connection = self.rabbit.connect()
            except (pika.exceptions.AMQPError, OSError):
                assert time.monotonic() < end
                time.sleep(0.2)
                continue
            try:
                return work(connection.channel())
            except (pika.exceptions.AMQPError, OSError):
                assert time.monotonic() < end
                time.sleep(0.2)
            finally:
                if connection.is_open:
                    connection.close()

    def declare(self) -> None:
        """Have the queue there before a process that consumes from it."""

        def work(channel: Any) -> None:
            assert QUEUE.dead_letters is not None
            for name in (EXCHANGE, QUEUE.dead_letters[0]):
                channel.exchange_declare(name, "topic", durable=True)
            arguments = {**QUEUE.arguments, "x-dead-letter-exchange": QUEUE.dead_letters[0]}
            channel.queue_declare(QUEUE.name, durable=True, arguments=arguments)
            channel.queue_bind(QUEUE.name, EXCHANGE, KEY)

        self.on_channel(work)

    def send(self, *bodies: bytes) -> None:
        """Publish, each confirmed."""
        import pika

        def work(channel: Any) -> None:
            channel.confirm_delivery()
            for body in bodies:
                channel.basic_publish(EXCHANGE, KEY, body, pika.BasicProperties(delivery_mode=2))

        self.on_channel(work)

    def waiting(self, queue: str = QUEUE.name) -> int:
        """How many messages of a queue wait."""
        told = self.on_channel(lambda channel: channel.queue_declare(queue, passive=True))
        count: int = told.method.message_count
        return count

    def kept(self) -> int:
        """How many ends of jobs are known."""
        (row,) = self.rows("select count(*) from job_fact where rank >= 4")
        count: int = row[0]
        return count

    def until(self, so: Callable[[], Any], what: str) -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not so():
            if time.monotonic() > end:
                said = "".join(
                    path.read_text()[-3000:]
                    for path in (self.folder / "said", self.folder / "log.json")
                    if path.exists()
                )
                raise AssertionError(f"not in time: {what}\n{said}")
            time.sleep(0.05)


@pytest.fixture
def events(tmp_path: Path, dsn: str) -> Iterator[Events]:
    """The broker runs, and no process."""
    made = Events(tmp_path, dsn)
    made.declare()
    yield made
    made.close()


def message(number: int, status: str = "success", **changes: Any) -> bytes:
    """A message about one of the servers."""
    fields = {
        "type": "ganeti-op-status",
        "instance": f"snf-{number % 50 + 1}",
        "operation": "OP_INSTANCE_STARTUP",
        "status": status,
        "jobId": number,
        "event_time": [1_700_000_000, 0],
        "cluster": "c1.example.org",
        "logmsg": None,
        "result": None,
        "job_fields": {},
    }
    return json.dumps({**fields, **changes}).encode()


def test_killed_between_store_and_acknowledgement(events: Events) -> None:
    """Again and again: everything comes again, is stored once, and is gone in the end."""
    events.send(*(message(number) for number in range(1, 1001)))
    for moment in (1, 2):
        killed = events.start(crash_at=moment)
        assert killed.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        assert 0 < events.kept() <= 1000
    events.until(lambda: events.waiting() > 0, "what was not acknowledged is there again")
    events.start()
    events.until(lambda: events.kept() == 1000 and not events.waiting(), "all is stored")
    (row,) = events.rows("select count(*), count(distinct job_id) from job_fact")
    assert row == (1000, 1000)


def test_the_broker_is_killed_while_messages_flow(events: Events) -> None:
    """The process comes back by itself, and no confirmed message is lost."""
    events.start()
    events.until(lambda: _consumed(events), "the process consumes")
    events.send(*(message(number) for number in range(1, 501)))
    events.rabbit.kill()
    events.rabbit.start()
    events.send(*(message(number, "running") for number in range(400, 601)))
    events.send(*(message(number) for number in range(501, 1001)))
    events.until(lambda: events.kept() == 1000, "all is stored")
    events.until(lambda: not events.waiting(), "the queue is empty")
    assert events.rows("select distinct status from job_fact") == [("success",)]


def test_what_is_wrong_does_no_harm(events: Events) -> None:
    """Repeats, a wrong cluster, unknown, foreign and deleted servers, and what is unreadable."""
    events.start()
    events.until(lambda: _consumed(events), "the process consumes")
    events.rows("update server set state = 'deleted', deleted_at = now(), charge = 'none'"
                " where id = 50")  # fmt: skip
    events.send(
        *(message(7, status) for status in ("success", "queued", "success", "running")),
        message(8, cluster="c2.example.org"),
        message(9, cluster="c3.example.org"),
        message(10, instance="snf-99999"),
        message(11, instance="other-1"),
        message(12, instance="snf-50"),
        b"\xff{",
        message(13, "cancelled"),
    )
    assert QUEUE.dead_letters is not None
    dead = QUEUE.dead_letters[1]
    events.until(lambda: events.waiting(dead) == 2, "two are put aside")
    events.until(lambda: not events.waiting(), "the queue is empty")
    assert events.rows("select job_id, status from job_fact") == [(7, "success")]

    def take(channel: Any) -> list[Any]:
        return [channel.basic_get(dead, auto_ack=True) for _ in range(2)]

    reasons = []
    for method, properties, _body in events.on_channel(take):
        assert method.routing_key == KEY
        reasons.append(properties.headers["x-reason"])
    assert "UTF-8" in reasons[0] or "malformed" in reasons[0]
    assert "cancelled" in reasons[1]


def test_a_second_process_stands_by_and_takes_over(events: Events) -> None:
    """One consumes at a time, so that messages keep their order."""
    first = events.start()
    events.until(lambda: _consumed(events), "the first consumes")
    events.start()
    log = events.folder / "log.json"
    events.until(
        lambda: log.read_text().count('"broker.connected"') == 2, "the second is there too"
    )
    first.kill()
    first.wait(10)
    events.send(*(message(number) for number in range(1, 101)))
    events.until(lambda: events.kept() == 100, "the second has taken over")


def _consumed(events: Events) -> int:
    """How many consumers the queue has."""
    told = events.on_channel(lambda channel: channel.queue_declare(QUEUE.name, passive=True))
    count: int = told.method.consumer_count
    return count
