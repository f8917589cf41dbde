"""The event daemon: what becomes of each job at this Ganeti, told to the broker at once.

``twistd ganeti-eventd --config FILE``, on every master candidate; the one on the current master
speaks. It never changes anything at Ganeti, and nobody's state depends on it: without it the same
is learned by asking, later.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Coroutine, Iterable
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python import usage

from cyclades_tx.gtools import jobqueue
from cyclades_tx.gtools.broker import make_broker
from cyclades_tx.gtools.buffer import Buffer, BufferUnusable
from cyclades_tx.gtools.config import DEFAULT_PATH, Config, ConfigError
from cyclades_tx.gtools.jobfile import BadJobFile, ClosedJobFile, Job, build, decode
from cyclades_tx.gtools.journal import Mark, microseconds
from cyclades_tx.gtools.luxi import Luxi, LuxiError
from cyclades_tx.gtools.master import Mastership
from cyclades_tx.gtools.messages import Configuration, Draft, draft, encode
from cyclades_tx.gtools.sender import Sender
from cyclades_tx.gtools.watch import QueueWatch
from cyclades_tx.mq.interfaces import IBroker
from cyclades_tx.steady import steady

#: How often it is looked who the master is when there are no jobs.
MASTER_SECONDS = 1.0
#: So many jobs, and so many bytes of their files, are read before others have their turn.
TURN_JOBS = 20
TURN_BYTES = 8_388_608
#: How long Ganeti's socket is left alone after it failed.
LUXI_PAUSE_SECONDS = 10.0
#: How far back the archive is looked at beyond the last sign of life, and at how many jobs.
ARCHIVE_MARGIN_SECONDS = 600.0
ARCHIVE_JOBS = 2_000
#: So many unreadable files are remembered, to name each of them once.
BAD_FILES = 1_000


class Options(usage.Options):
    """What can be said to ``twistd ganeti-eventd``."""

    optParameters = [  # noqa: RUF012 - how usage.Options wants it
        ["config", "c", DEFAULT_PATH, "The configuration file."],
    ]

    def postOptions(self) -> None:
        """Read the configuration now, so that an error is told before anything starts.

        :raise UsageError: names the file and what is wrong with it.
        """
        try:
            self["loaded"] = Config.load(self["config"])
        except ConfigError as error:
            raise usage.UsageError(str(error)) from None


def makeService(options: Options) -> IService:
    """Build the service for twistd."""
    from twisted.internet import reactor

    steady(reactor)
    config: Config = options["loaded"]
    buffer = Buffer(config.state.folder, config.state.buffer_bytes)
    try:
        broker = make_broker(reactor, config.broker)
        buffer.open()
    except (ConfigError, BufferUnusable) as error:
        sys.exit(f"ganeti-eventd: {error}")
    return EventDaemon(reactor, config, config.ganeti.own_name(), broker, buffer)


class EventDaemon(Service):
    """Reads what happens to jobs and hands it to the sender."""

    log = Logger()

    def __init__(
        self, reactor: Any, config: Config, own_name: str, broker: IBroker, buffer: Buffer
    ) -> None:
        """Put the parts together.

        :param own_name: this node, as Ganeti calls it.
        :param buffer: open already.
        """
        self.buffer = buffer
        self.sender = Sender(reactor, broker, config.broker.exchange, buffer)
        self.mastership = Mastership(config.ganeti.data_folder, own_name)
        self._reactor = reactor
        self._broker = broker
        self._exchange = config.broker.exchange
        self._queue = f"{config.ganeti.data_folder}/queue"
        self._luxi = Luxi(reactor, config.ganeti.luxi_socket, config.ganeti.luxi_timeout_seconds)
        self._luxi_again = 0.0
        self._watch = QueueWatch(
            reactor, self._queue, self._changed, self.look, config.ganeti.scan_seconds
        )
        self._watcher = LoopingCall(self._check_master)
        self._watcher.clock = reactor
        self._master = False
        self._since = buffer.alive_at
        # Jobs whose files are to be read: those that just changed go first.
        self._fresh: dict[int, None] = {}
        self._older: dict[int, None] = {}
        self._stamps: dict[int, jobqueue.Stamp] = {}
        self._bad: set[int] = set()
        self._working: Deferred[None] | None = None
        self._looking: Deferred[None] | None = None
        self._look_again = self._look_into_archive = self._asking = self._busy = False

    # Begin and end ------------------------------------------------------------------------

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._broker.declare([], [self._exchange])
        self._broker.start()
        self.sender.start()
        self._watcher.start(MASTER_SECONDS)
        self._watch.start()

    async def _end(self) -> None:
        self._watch.stop()
        if self._watcher.running:
            self._watcher.stop()
        for job in (self._looking, self._working):
            if job is not None:
                await job
        self.sender.stop()
        await self._broker.stop()
        self._luxi.close()
        self.buffer.close()

    def stopService(self) -> Deferred[None]:
        """End; what the broker has not confirmed stays in the buffer."""
        super().stopService()
        return Deferred.fromCoroutine(self._end())

    # The master ---------------------------------------------------------------------------

    def _check_master(self) -> bool:
        """Find out whether this node is the master, and act when that has changed."""
        here = self.mastership.here()
        if here and not self._master:
            self._master = True
            self.log.info("this node is the master of {cluster}", cluster=self.mastership.cluster)
            self._look_into_archive = self._since is not None
            self.look("this node is the master")
        elif self._master and not here:
            self._master = False
            # Compared with the times of files, which go by the time of day.
            self._since = time.time()
            self._fresh.clear()
            self._older.clear()
            self._stamps.clear()
            # The new master has the same jobs, and tells all that it finds.
            self.log.info(
                "the master is {master} now; {waiting} waiting messages are left to it",
                master=self.mastership.master,
                waiting=self.sender.discard(),
            )
        if not self.mastership.known and not self._asking:
            self._asking = True
            Deferred.fromCoroutine(self._ask_master()).addErrback(
                lambda failure: self.log.failure("asking for the master failed", failure)
            )
        return here

    async def _ask_master(self) -> None:
        try:
            self.mastership.tell(*await self._luxi.cluster())
        except LuxiError:
            # On a node that is not the master nobody answers there.
            self.mastership.tell("", "")
        finally:
            self._asking = False

    # What is to be read -------------------------------------------------------------------

    def _changed(self, number: int) -> None:
        """Have a job's file read, as it was replaced just now."""
        if self._check_master():
            self._fresh[number] = None
            self._work()

    def look(self, why: str) -> None:
        """Have everything read that is not known in its present state."""
        if not self._master or not self.running:
            return
        if self._looking is not None:
            self._look_again = True
            return
        self._looking = Deferred.fromCoroutine(self._look())
        self._looking.addErrback(lambda failure: self.log.failure("looking failed", failure))
        self._looking.addBoth(lambda _: self._looked())

    def _looked(self) -> None:
        self._looking = None
        again, self._look_again = self._look_again, False
        if again:
            self.look("again")

    async def _look(self) -> None:
        try:
            present = await self._thread(jobqueue.scan, self._queue)
        except OSError:
            return  # the watch finds out when it is there again
        archived: list[int] = []
        if self._look_into_archive and self._since is not None:
            self._look_into_archive = False
            since = self._since - ARCHIVE_MARGIN_SECONDS
            archived = await self._thread(
                jobqueue.newest_archived, self._queue, since, ARCHIVE_JOBS
            )
        journal = self.buffer.journal
        self._stamps = {job: self._stamps[job] for job in present.keys() & self._stamps.keys()}
        wanted = {job for job, stamp in present.items() if self._stamps.get(job) != stamp}
        # Ended and archived since they were read.
        wanted.update(job for job in journal.open() if job not in present)
        wanted.update(job for job in archived if not journal.ended(job))
        self._older.update(dict.fromkeys(sorted(wanted)))
        self._work()

    def _thread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        pool = self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, function, *arguments)

    # Reading ------------------------------------------------------------------------------

    def _work(self) -> None:
        if not self._busy and self._master and self.running:
            self._busy = True
            self._working = Deferred.fromCoroutine(self._turns())

    async def _turns(self) -> None:
        try:
            while self.running and (self._fresh or self._older) and self._check_master():
                await self._turn()
                await deferLater(self._reactor, 0)
        except OSError as error:
            # Nothing was marked as said: the next look reads the same jobs again.
            self.log.error("{why}; the jobs are read again later", why=str(error))
        except Exception:
            self.log.failure("reading jobs failed")
        finally:
            self._busy = False

    async def _turn(self) -> None:
        """Read some jobs and say what is new about them."""
        read: list[tuple[Job, jobqueue.Stamp | None]] = []
        closed: list[int] = []
        size = 0
        while (self._fresh or self._older) and size < TURN_BYTES:
            if len(read) + len(closed) >= TURN_JOBS:
                break
            number = next(iter(self._fresh or self._older))
            for source in (self._fresh, self._older):
                source.pop(number, None)
            try:
                found = jobqueue.read_job(self._queue, number)
                if found is None:
                    self.buffer.journal.end(number)
                    continue
                raw, stamp = found
                size += len(raw)
                read.append((decode(number, raw), stamp))
            except ClosedJobFile:
                closed.append(number)
            except BadJobFile as error:
                self._name_bad(number, error)
        if closed:
            read += await self._ask_jobs(closed)
        await self._say(read)

    async def _say(self, read: list[tuple[Job, jobqueue.Stamp | None]]) -> None:
        """Hand the news about jobs to the sender."""
        said = [news for job, _ in read for news in self._news(job)]
        configurations = await self._configurations({each.instance for _, _, each in said} - {""})
        for job, index, each in said:
            mark = Mark(job.id, microseconds(job.received), index, each.mark)
            body = encode(each.message(configurations.get(each.instance)))
            self.buffer.append(each.routing_key, body, mark)
        for job, stamp in read:
            if stamp is not None:
                self._stamps[job.id] = stamp
            if job.ended:
                self.buffer.journal.end(job.id)
        self.sender.send()

    def _name_bad(self, number: int, error: BadJobFile) -> None:
        if number not in self._bad:
            if len(self._bad) >= BAD_FILES:
                self._bad.clear()
            self._bad.add(number)
            self.log.warn("job {job} cannot be read: {why}", job=number, why=str(error))

    async def _ask_jobs(self, numbers: list[int]) -> list[tuple[Job, jobqueue.Stamp | None]]:
        """Ask Ganeti for jobs whose files are closed to us; they are read later if it is away."""
        stamps = {number: jobqueue.stamp(self._queue, number) for number in numbers}
        found = []
        for number, document in (await self._ask(self._luxi.jobs(numbers))).items():
            try:
                found.append((build(number, document), stamps.get(number)))
            except BadJobFile as error:
                self._name_bad(number, error)
        return found

    def _news(self, job: Job) -> list[tuple[Job, int, Draft]]:
        """Return what was not said yet about a job."""
        received = microseconds(job.received)
        news = []
        for op in job.ops:
            each = draft(job, op, self.mastership.cluster)
            if each and self.buffer.journal.said(job.id, received, op.index) != each.mark:
                news.append((job, op.index, each))
        return news

    async def _configurations(self, names: Iterable[str]) -> dict[str, Configuration]:
        """Return how instances are configured; nothing while Ganeti's socket does not answer."""
        return await self._ask(self._luxi.configurations(sorted(names))) if names else {}

    async def _ask(self, question: Coroutine[Any, Any, dict[Any, Any]]) -> dict[Any, Any]:
        """Return Ganeti's answer; nothing while its socket is left alone after a failure."""
        if self._reactor.seconds() < self._luxi_again:
            question.close()
            return {}
        try:
            return await question
        except LuxiError as error:
            self._luxi_again = self._reactor.seconds() + LUXI_PAUSE_SECONDS
            self.log.warn("Ganeti's socket is not used for a while: {why}", why=str(error))
            return {}
