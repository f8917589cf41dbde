"""One side of the drain, in a process of its own; the order comes on standard input.

``ours`` is the service's consumer. ``bare`` takes deliveries from the cured txAMQP, runs the same
statements on one connection, and acknowledges: it checks nothing, counts nothing, and would lose
its way at the first fault.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.task import deferLater

from bench.drain import EXCHANGE, QUEUE_TYPE
from cyclades_tx.flows.facts import MOST, PREFETCH, FactConsumer, queues
from cyclades_tx.lag import LagSampler
from cyclades_tx.metrics import Metrics
from cyclades_tx.model.message import MessageReader
from cyclades_tx.model.names import Names
from cyclades_tx.mq.amqp import Connection
from cyclades_tx.mq.broker import Broker
from cyclades_tx.mq.urls import parse_url
from cyclades_tx.store import facts
from cyclades_tx.store.database import Database
from cyclades_tx.store.operations import WAKE

LAG_PERIOD_SECONDS = 0.005
_RANKS = {"queued": 0, "waiting": 1, "running": 3, "success": 4}


class Watch:
    """When it began, and the lag of the reactor since."""

    def __init__(self) -> None:
        self.began = 0.0
        self.cpu = 0.0
        self.lags: list[float] = []
        self.sampler = LagSampler(reactor, self.lags.append, LAG_PERIOD_SECONDS)

    def begin(self) -> None:
        """The first message is here."""
        if not self.began:
            self.began, self.cpu = time.perf_counter(), time.process_time()
            self.sampler.startService()

    def tell(self) -> None:
        """All messages are settled."""
        said = {
            "seconds": time.perf_counter() - self.began,
            "cpu_seconds": time.process_time() - self.cpu,
            "lags": self.lags,
        }
        self.sampler.stopService()
        print(json.dumps(said))


async def ours(order: dict[str, Any], watch: Watch) -> None:
    """The consumer of the service."""
    database = Database(reactor, order["dsn"], least=2, most=4)
    database.start()
    broker = Broker(reactor, [parse_url(order["url"])])
    metrics = Metrics(reactor)
    done: Deferred[None] = Deferred()
    left = order["messages"]

    class Counts:
        """Passes on to the metrics, and sees the end."""

        event_delays = metrics.event_delays

        @staticmethod
        def messages(queue: str, outcome: str, count: int) -> None:
            nonlocal left
            metrics.messages(queue, outcome, count)
            left -= count
            if left <= 0 and not done.called:
                done.callback(None)

    class Reader(MessageReader):
        """Starts the watch with the first message."""

        def read(self, body: bytes) -> Any:
            self.read = super().read  # type: ignore[method-assign]
            watch.begin()
            return super().read(body)

    wanted = [queue.of_type(QUEUE_TYPE) for queue in queues(EXCHANGE, "snf-")]
    consumer = FactConsumer(
        reactor, broker, database, Reader(Names("snf-")), wanted, Counts()
    )  # fmt: skip
    consumer.start()
    broker.start()
    await done
    watch.tell()
    await consumer.stop()
    await broker.stop()
    await database.close()


async def bare(order: dict[str, Any], watch: Watch) -> None:
    """The least that can be done."""
    database = Database(reactor, order["dsn"], least=1, most=1)
    database.start()
    await database.value("select 1")
    address = parse_url(order["url"])
    connection = Connection(reactor, address.vhost, 10, "bare")
    endpoint = HostnameEndpoint(reactor, address.host, address.port)
    await connectProtocol(endpoint, connection)
    await connection.log_in(address.username, address.password)
    channel = await connection.open_channel()
    waiting: list[Any] = []
    decode = msgspec.json.Decoder().decode

    def arrived(_name: str, content: Any) -> None:
        watch.begin()
        waiting.append(content)

    channel.on_content = arrived
    await channel.basic_qos(prefetch_count=PREFETCH)
    await channel.basic_consume(queue=queues(EXCHANGE, "snf-")[0].name)
    left = order["messages"]
    while left:
        if not waiting:
            await deferLater(reactor, 0.001)
            continue
        batch, waiting[:] = waiting[:MOST], waiting[MOST:]
        rows: dict[tuple[int, str], dict[str, Any]] = {}
        for content in batch:
            said = decode(content.body)
            number = said["instance"][4:]
            row = {
                "cluster": said["cluster"],
                "job_id": said["jobId"],
                "opcode": said["operation"],
                "subject": f"o{number}",
                "subject_id": int(number),
                "op_index": said["op_index"],
                "job_ops": said["job_ops"],
                "status": said["status"],
                "rank": _RANKS[said["status"]],
                "event_seconds": said["event_time"][0],
            }
            rows[row["job_id"], row["subject"]] = row

        async def write(tx: Any, rows: Any = rows) -> None:
            found = await tx.all(
                facts._RECORD, (msgspec.json.encode(list(rows.values())).decode(),)
            )
            wakes = [
                payload
                for row in found
                if row.wakes
                for payload in facts.payloads(row.cluster_id, row.wakes.split(","))
            ]
            if wakes:
                await tx.run("select pg_notify(%s, p) from unnest(%s::text[]) as p", (WAKE, wakes))

        await database.transaction(write, "bare")
        channel.ack(batch[-1].arguments[1], multiple=True)
        left -= len(batch)
    watch.tell()
    connection.abort("done")
    await database.close()


def main() -> None:
    """Drain, tell, end."""
    order = json.load(sys.stdin)
    # As the service does when it has started.
    gc.collect()
    gc.freeze()
    failed: list[Any] = []
    running = ensureDeferred({"ours": ours, "bare": bare}[order["side"]](order, Watch()))
    running.addErrback(failed.append)
    running.addBoth(lambda _: reactor.stop())  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
    if failed:
        sys.exit(str(failed[0].getTraceback()))


if __name__ == "__main__":
    main()
