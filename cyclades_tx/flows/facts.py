"""The consumer: messages of the Ganeti side become facts, many in one commit.

A message is acknowledged only after the commit that keeps its fact. One that cannot be read, or
that alone makes the commit fail, is put aside with the reason; while the database is away nothing
is settled and nothing new is asked for, so nothing is lost and nothing spins.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.errors import CycladesError, Unavailable
from cyclades_tx.model.diagnostic import Diagnostic
from cyclades_tx.model.fact import Fact, Ignored, JobFact, ProgressFact, Unreadable, furthest
from cyclades_tx.model.message import MessageReader
from cyclades_tx.model.operation import backoff_seconds
from cyclades_tx.mq.interfaces import BrokerError, Delivery, Queue
from cyclades_tx.store import facts, progress

#: Most messages of one commit, and how long the first of them waits for others.
MOST = 400
GATHER_SECONDS = 0.002

#: Unsettled messages of each queue: the next commit fills up while one runs.
PREFETCH = 2 * MOST

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0

#: Rounds in which every message of a commit failed, although the database takes other changes,
#: before the messages are blamed.
PATIENT_ROUNDS = 5

#: Pauses between the tries to put a message aside that the dead letters do not take.
FIRST_ASIDE_SECONDS = 1.0
LONGEST_ASIDE_SECONDS = 60.0

#: How often facts that are of no more use are thrown away.
PRUNE_SECONDS = 60.0

DEAD = ".dead"


def queues(exchange: str, instance_prefix: str) -> tuple[Queue, ...]:
    """Our queues at the broker, and what is bound to them.

    The names are not the original's, whose queues have arguments that a broker of today refuses
    to declare again.

    :param exchange: where the Ganeti side publishes to (``ganeti``).
    :param instance_prefix: what the names of our instances begin with (``snf-``).
    """
    whose = instance_prefix.partition("-")[0]
    keys = {
        "op": f"ganeti.{whose}.event.op",
        "network": f"ganeti.{whose}.event.network",
        "progress": f"ganeti.{whose}.event.progress",
        "cluster": "ganeti.event.cluster",
    }
    return tuple(
        Queue(
            name=f"cyclades-tx.{whose}.{what}",
            bindings=((exchange, key),),
            dead_letters=(f"{exchange}-dl", f"cyclades-tx.{whose}.{what}{DEAD}"),
            # One consumer at a time, so that messages keep their order; the next takes over.
            arguments={"x-single-active-consumer": True},
        )
        for what, key in keys.items()
    )


class Counts(Protocol):
    """Where the consumer counts what it does (:class:`~cyclades_tx.metrics.Metrics`)."""

    def messages(self, queue: str, outcome: str, count: int) -> None:
        """``stored``, ``ignored``, ``foreign``, ``unreadable`` or ``poisonous`` messages."""

    def event_delays(self, seconds: Sequence[float]) -> None:
        """How long after their events facts were stored."""


class _Item:
    """A message on its way through."""

    __slots__ = ("delivery", "fact", "settled")

    def __init__(self, delivery: Delivery, fact: Fact | None) -> None:
        self.delivery = delivery
        self.fact = fact
        self.settled = False


class FactConsumer:
    """Takes the messages of all queues, and stores their facts, one commit at a time.

    :param broker: an IBroker, which somebody else starts and stops.
    :param crash: called at the moment between commit and acknowledgement, for crash tests.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        broker: Any,
        database: Any,
        reader: MessageReader,
        queues: Sequence[Queue],
        counts: Counts,
        crash: Callable[[str], None] = lambda _: None,
        jitter: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._broker = broker
        self._database = database
        self._reader = reader
        self._queues = queues
        self._counts = counts
        self._crash = crash
        self._jitter = jitter or random.Random()
        self._consumers: dict[str, Any] = {}
        self._pending: list[_Item] = []
        self._epochs: dict[str, int] = {}
        self._timer: IDelayedCall | None = None
        self._working: Deferred[None] | None = None
        self._pausing: Deferred[None] | None = None
        #: What could not be put aside, and why it should be; by queue, epoch and tag.
        self._stuck: dict[tuple[str, int, int], tuple[Delivery, str]] = {}
        self._stuck_rounds = 0
        self._rejecting: set[tuple[str, int, int]] = set()
        self._again: IDelayedCall | None = None
        self._some_stored = False
        self._stopping = False
        self._pruning = LoopingCall(lambda: ensureDeferred(self._prune()))
        self._pruning.clock = clock

    def start(self) -> None:
        """Declare the queues and begin to consume; both outlive lost connections."""
        self._broker.declare(self._queues)
        for queue in self._queues:
            self._consumers[queue.name] = self._broker.consume(queue.name, PREFETCH, self._received)
        self._pruning.start(PRUNE_SECONDS, now=False)

    async def stop(self) -> None:
        """Finish the commit that runs, and give the rest back to the broker."""
        self._stopping = True
        if self._pruning.running:
            self._pruning.stop()
        for timer in (self._timer, self._again):
            if timer is not None:
                timer.cancel()
        self._timer = self._again = None
        if self._pausing is not None:
            self._pausing.cancel()
        if self._working is not None:
            await self._working
        self._pending.clear()
        for consumer in self._consumers.values():
            await consumer.stop()

    async def check(self) -> None:
        """See that messages come and are taken.

        :raise Unavailable: with what is wrong.
        """
        if not self._broker.connected:
            raise Unavailable("There is no connection to the broker; polling goes on.")
        if self.paused:
            raise Unavailable("Messages wait for the database.")
        if self._stuck:
            raise Unavailable(
                f"Messages that cannot be put aside: {len(self._stuck)}; see the dead letters."
            )

    @property
    def paused(self) -> bool:
        """Whether the consumer waits for the database to come back."""
        return self._pausing is not None

    def _received(self, delivery: Delivery) -> None:
        if self._stopping:
            return
        if self._epochs.get(delivery.queue) != delivery.epoch:
            # What came over the connection before cannot be acknowledged, and comes again.
            self._epochs[delivery.queue] = delivery.epoch
            for key in [key for key in self._stuck if key[0] == delivery.queue]:
                del self._stuck[key]
            self._pending = [
                item for item in self._pending if item.delivery.queue != delivery.queue
            ]
        read = self._reader.read(delivery.body)
        if isinstance(read, Unreadable):
            self._counts.messages(delivery.queue, "unreadable", 1)
            self._put_aside(delivery, read.reason)
            return
        self._pending.append(_Item(delivery, None if isinstance(read, Ignored) else read))
        if self._working is not None:
            return
        if len(self._pending) >= MOST:
            if self._timer is not None:
                self._timer.cancel()
            self._go()
        elif self._timer is None:
            self._timer = self._clock.callLater(GATHER_SECONDS, self._go)

    def _go(self) -> None:
        self._timer = None
        working = self._working = ensureDeferred(self._work())
        working.addErrback(lambda failure: self.log.failure("facts.failed", failure))
        working.addCallback(self._worked)
        if working.called:
            self._working = None

    def _worked(self, _: Any) -> None:
        self._working = None
        if self._pending and not self._stopping:
            self._timer = self._clock.callLater(GATHER_SECONDS, self._go)

    async def _work(self) -> None:
        while self._pending and not self._stopping:
            batch, self._pending = self._pending[:MOST], self._pending[MOST:]
            await self._settle(batch)

    async def _settle(self, batch: list[_Item]) -> None:
        """Store a batch, however long that takes; afterwards nothing of it is unsettled."""
        rounds = fruitless = 0
        while not self._stopping:
            rounds += 1
            self._some_stored = False
            try:
                failed = await self._store(batch)
                if failed and not self._some_stored:
                    # It may not be the messages' fault.
                    await self._database.transaction(facts.probe, "facts.probe")
            except CycladesError as error:
                reason = error.message
            except Exception as error:
                reason = _words(error)
            else:
                if not failed:
                    return
                fruitless += 1
                if self._some_stored or fruitless >= PATIENT_ROUNDS:
                    for item, why in failed:
                        self._counts.messages(item.delivery.queue, "poisonous", 1)
                        self._put_aside(item.delivery, f"cannot be stored: {why}")
                    return
                reason = failed[0][1]
            batch = [item for item in batch if not item.settled]
            await self._pause(rounds, reason)

    async def _store(self, items: list[_Item]) -> list[tuple[_Item, str]]:
        """Store and acknowledge what can be stored; return those that fail even alone, and why.

        :raise CycladesError: when the database is away.
        """
        try:
            await self._commit(items)
        except CycladesError:
            raise
        except Exception as error:
            if len(items) == 1:
                return [(items[0], _words(error))]
            half = len(items) // 2
            return [*await self._store(items[:half]), *await self._store(items[half:])]
        return []

    async def _commit(self, items: list[_Item]) -> None:
        told = [item.fact for item in items if isinstance(item.fact, JobFact)]
        jobs = furthest(told)
        risen = [
            (item.fact.server_id, item.fact.percent)
            for item in items
            if isinstance(item.fact, ProgressFact)
        ]
        diary = [item.fact for item in items if isinstance(item.fact, Diagnostic)]
        ours = 0

        async def write(tx: Any) -> None:
            nonlocal ours
            ours = await facts.record(tx, jobs) if jobs else 0
            if risen or diary:
                await progress.record(tx, risen, diary)

        if jobs or risen or diary:
            await self._database.transaction(write, "facts.record")
            self._some_stored = True
            self._crash("before-acknowledge:facts")
        self._acknowledge(items)
        if told:
            now = self._clock.seconds()
            self._counts.event_delays([max(0.0, now - fact.event_seconds) for fact in told])
        if ours < len(jobs):
            self._counts.messages(items[0].delivery.queue, "foreign", len(jobs) - ours)

    def _acknowledge(self, items: list[_Item]) -> None:
        by_queue: dict[str, list[Delivery]] = {}
        ignored: dict[str, int] = {}
        for item in items:
            item.settled = True
            queue = item.delivery.queue
            by_queue.setdefault(queue, []).append(item.delivery)
            if item.fact is None:
                ignored[queue] = ignored.get(queue, 0) + 1
        for queue, deliveries in by_queue.items():
            self._consumers[queue].acknowledge(deliveries)
            self._counts.messages(queue, "stored", len(deliveries) - ignored.get(queue, 0))
        for queue, count in ignored.items():
            self._counts.messages(queue, "ignored", count)

    def _put_aside(self, delivery: Delivery, reason: str) -> None:
        self.log.warn("facts.put_aside", queue=delivery.queue, reason=reason)
        self._reject(delivery, reason)

    def _reject(self, delivery: Delivery, reason: str) -> None:
        key = (delivery.queue, delivery.epoch, delivery.tag)
        if key in self._rejecting:
            return
        self._rejecting.add(key)

        def done(_: Any) -> None:
            self._rejecting.discard(key)
            if self._stuck.pop(key, None) is not None:
                self._stuck_rounds = 0

        def not_done(failure: Failure) -> None:
            self._rejecting.discard(key)
            # It is unsettled still: it comes again over the next connection, or is put aside
            # over this one when the dead letters are there again.
            if failure.check(BrokerError, CancelledError) is None:
                self.log.failure("facts.failed", failure)
            if not self._stopping and self._epochs.get(delivery.queue) == delivery.epoch:
                self._stuck[key] = (delivery, reason)
                self._put_aside_again()

        rejecting = self._consumers[delivery.queue].reject(delivery, reason)
        rejecting.addCallbacks(done, not_done)

    def _put_aside_again(self) -> None:
        if self._again is not None:
            return
        self._stuck_rounds += 1
        seconds = backoff_seconds(self._stuck_rounds, FIRST_ASIDE_SECONDS, LONGEST_ASIDE_SECONDS)

        def go() -> None:
            self._again = None
            for delivery, reason in list(self._stuck.values()):
                self._reject(delivery, reason)

        self._again = self._clock.callLater(seconds, go)

    async def _pause(self, rounds: int, reason: str) -> None:
        seconds = backoff_seconds(rounds, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        seconds *= 0.75 + self._jitter.random() / 2
        log = self.log.warn if rounds == 1 else self.log.debug
        log("facts.delayed", reason=reason, again_seconds=seconds)
        self._pausing = deferLater(self._clock, seconds)
        try:
            await self._pausing
        except CancelledError:
            return  # the process ends
        finally:
            self._pausing = None

    async def _prune(self) -> None:
        try:
            while await facts.prune(self._database) and not self._stopping:
                pass
        except CycladesError as error:
            self.log.debug("facts.not_pruned", reason=error.message)
        except Exception:
            self.log.failure("facts.failed", Failure())


def _words(error: Exception) -> str:
    """The first line of an error's text, without what it was doing."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
