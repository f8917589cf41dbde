"""Messages that wait in a queue, drained by the consumer and by a bare loop in turns."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psycopg2

from bench.cloud import ROOT, until
from bench.figures import Figure, percentile, ratio, table
from cyclades_tx.flows.facts import queues
from cyclades_tx.store.embedded import EmbeddedPostgres
from cyclades_tx.store.migrations import migrate

MESSAGES = 20_000
SERVERS = 5_000
ROUNDS = 3
EXCHANGE, KEY = "ganeti", "ganeti.snf.event.op"
CLUSTER = "bench.example.org"
STATUSES = ("queued", "waiting", "running", "success")
#: What the configuration has by default.
QUEUE_TYPE = "quorum"
PATIENCE_SECONDS = 120.0

_SEED = """
insert into project (id, name) values (repeat('1', 32), 'bench');
insert into user_account (id, name) values (repeat('2', 32), 'bench');
insert into volume_type (name, disk_template) values ('bench', 'file');
insert into flavor (name, vcpus, memory_mib, disk_gib, volume_type_id)
  select 'bench', 1, 128, 1, id from volume_type where name = 'bench';
insert into cluster (name, position, rapi_host, rapi_username, rapi_password)
  values (%(cluster)s, 0, '127.0.0.1', 'u', '');
insert into server (name, user_id, project_id, cluster_id, flavor_id, vcpus, memory_mib,
    reservation_id, state, charge, launched_at)
  select 's', repeat('2', 32), repeat('1', 32), c.id, f.id, 1, 128, 'r', 'active', 'on', now()
  from cluster c, flavor f, generate_series(1, %(servers)s) where f.name = 'bench';
analyze;
"""


def bodies(first_job: int, messages: int, servers: int) -> list[bytes]:
    """Jobs on all servers, as the event daemon tells of them while they run side by side."""
    found = []
    for number in range(messages):
        wave, server = divmod(number, servers)
        status = STATUSES[wave % len(STATUSES)]
        message: dict[str, Any] = {
            "type": "ganeti-op-status",
            "instance": f"snf-{server + 1}",
            "operation": "OP_INSTANCE_STARTUP",
            "status": status,
            "jobId": first_job + (wave // len(STATUSES)) * servers + server,
            "event_time": [1_700_000_000 + wave, number % 1_000_000],
            "cluster": CLUSTER,
            "logmsg": None,
            "result": None,
            "tags": [],
            "job_fields": {},
            "op_index": 0,
            "job_ops": 1,
        }
        if status == "success":
            message["instance_nics"] = [
                {
                    "name": f"snf-nic-{server}",
                    "network": "snf-net-1",
                    "ip": "192.0.2.10",
                    "mac": "aa:00:00:11:22:33",
                    "mode": "bridged",
                    "link": "br0",
                    "uuid": "f6b1c2d3-0000-4000-8000-000000000000",
                }
            ]
            message["instance_disks"] = [{"name": f"snf-vol-{server}", "size": 20480, "uuid": "0d"}]
        found.append(json.dumps(message).encode())
    return found


def run(
    rabbit: Any,
    folder: Path,
    messages: int = MESSAGES,
    servers: int = SERVERS,
    rounds: int = ROUNDS,
) -> list[Figure]:
    """Drain the same messages with both sides, in turns.

    :param rabbit: a RabbitMQ node of the bench's own.
    :param folder: for a PostgreSQL of its own.
    """
    postgres = EmbeddedPostgres(folder)
    dsn = postgres.start()
    try:
        migrate(dsn)
        _execute(dsn, _SEED, {"cluster": CLUSTER, "servers": servers})
        told: dict[str, list[dict[str, Any]]] = {"ours": [], "bare": []}
        for number in range(rounds):
            for side in told if number % 2 == 0 else reversed(list(told)):
                _execute(dsn, "truncate job_fact", {})
                _fill(rabbit, bodies(1 + number * messages, messages, servers))
                told[side].append(_drain(rabbit, dsn, side, messages))
                kept = _execute(dsn, "select count(*) from job_fact where rank = 4", {})
                if kept != messages // len(STATUSES):
                    raise RuntimeError(f"{side} has kept {kept} ends of jobs")
        return _figures(told, messages)
    finally:
        postgres.remove()


def _figures(told: dict[str, list[dict[str, Any]]], messages: int) -> list[Figure]:
    ours = [messages / each["seconds"] for each in told["ours"]]
    bare = [messages / each["seconds"] for each in told["bare"]]
    lags = [lag for each in told["ours"] for lag in each["lags"]]
    bare_lags = [lag for each in told["bare"] for lag in each["lags"]]
    name = f"drain {messages} messages"
    return [
        Figure(name, max(ours), "/s", ">=", 3000, (min(ours), max(ours))),
        Figure(f"{name}, bare loop", max(bare), "/s", spread=(min(bare), max(bare))),
        ratio(f"{name}, ratio to the bare loop", ours, bare, 0.5),
        Figure(f"{name}, reactor lag p99", percentile(lags, 0.99) * 1000, "ms", "<", 20),
        Figure(f"{name}, reactor lag maximum", max(lags) * 1000, "ms", "<", 100),
        Figure(f"{name}, bare loop, lag p99", percentile(bare_lags, 0.99) * 1000, "ms"),
        Figure(f"{name}, bare loop, lag maximum", max(bare_lags) * 1000, "ms"),
        Figure(
            f"{name}, CPU of a message",
            min(each["cpu_seconds"] for each in told["ours"]) / messages * 1e6,
            "µs",
        ),
    ]


def _fill(rabbit: Any, messages: list[bytes]) -> None:
    """Put messages into the queue, and see that they are there."""
    import pika

    queue = queues(EXCHANGE, "snf-")[0].of_type(QUEUE_TYPE)
    assert queue.dead_letters is not None
    connection = rabbit.connect()
    try:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "topic", durable=True)
        channel.exchange_declare(queue.dead_letters[0], "topic", durable=True)
        arguments = {**queue.arguments, "x-dead-letter-exchange": queue.dead_letters[0]}
        channel.queue_declare(queue.name, durable=True, arguments=arguments)
        channel.queue_bind(queue.name, EXCHANGE, KEY)
        channel.queue_purge(queue.name)
        persistent = pika.BasicProperties(delivery_mode=2)
        for body in messages:
            channel.basic_publish(EXCHANGE, KEY, body, persistent)

        def filled() -> bool:
            told = channel.queue_declare(queue.name, passive=True)
            return bool(told.method.message_count == len(messages))

        until(filled, "the queue is filled", PATIENCE_SECONDS)
    finally:
        connection.close()


def _drain(rabbit: Any, dsn: str, side: str, messages: int) -> dict[str, Any]:
    order = {"dsn": dsn, "url": rabbit.url(), "side": side, "messages": messages}
    done = subprocess.run(
        [sys.executable, "-m", "bench.drain_side"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{side} has ended with {done.returncode}: {done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _execute(dsn: str, sql: str, arguments: dict[str, Any]) -> Any:
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql, arguments)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def alone() -> list[Figure]:
    """Run this part with a broker and a database of its own; nothing without RabbitMQ."""
    if shutil.which("rabbitmq-server", path="/usr/sbin:/usr/bin") is None:
        print("bench: no messages are drained without rabbitmq-server", file=sys.stderr)
        return []
    from tests.real.rabbitmq import RABBIT

    try:
        with tempfile.TemporaryDirectory(prefix="cyclades-tx-bench-") as folder:
            return run(RABBIT.get(), Path(folder))
    finally:
        RABBIT.purge()


def main() -> None:
    """Print the figures of this part."""
    print(table(alone()))


if __name__ == "__main__":
    main()
