"""The whole service: what ``twistd cyclades_tx`` starts.

Everything is built here out of a :class:`~cyclades_tx.world.World`, according to the roles that
the configuration gives this process; nothing below imports the reactor.
"""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.web.server import Site

from cyclades_tx import limits, log
from cyclades_tx.api.admin import AdminResource
from cyclades_tx.api.events import Streams
from cyclades_tx.api.replays import Replays
from cyclades_tx.api.site import ApiSite
from cyclades_tx.config import Config
from cyclades_tx.console.limits import ConsoleLimits
from cyclades_tx.console.proxy import ViewerPort
from cyclades_tx.console.screen import over_tcp
from cyclades_tx.console.sessions import Consoles
from cyclades_tx.doors import api, viewer_tls
from cyclades_tx.errors import ConfigError, SchemaError, Unavailable
from cyclades_tx.flows.facts import FactConsumer, queues
from cyclades_tx.ganeti.offline import OfflineCluster
from cyclades_tx.health import Health
from cyclades_tx.image_store.interfaces import IImageStore
from cyclades_tx.lag import LagSampler, period_seconds
from cyclades_tx.loops.books import Books
from cyclades_tx.loops.clusters import Drive
from cyclades_tx.loops.consoles import ConsoleWatch
from cyclades_tx.loops.drives import Drives
from cyclades_tx.loops.elsewhere import Elsewhere
from cyclades_tx.loops.images import Images
from cyclades_tx.loops.leases import Lease, Leases
from cyclades_tx.loops.outbox import Publisher
from cyclades_tx.loops.repeated import every
from cyclades_tx.loops.retention import Retention
from cyclades_tx.model.message import MessageReader
from cyclades_tx.mq.broker import Broker
from cyclades_tx.mq.interfaces import BrokerError
from cyclades_tx.steady import steady
from cyclades_tx.store import image_data
from cyclades_tx.store.migrations import check_schema
from cyclades_tx.vault import params_name
from cyclades_tx.world import World

#: How often what has expired is thrown away.
SWEEP_SECONDS = 60.0

#: How long a node may take to accept the connection of a console.
CONSOLE_CONNECT_SECONDS = 10.0

#: How long the start waits for a database that is not there yet.
START_PATIENCE_SECONDS = 60.0


class Options(usage.Options):
    """What can be said to ``twistd cyclades_tx``."""

    optParameters = [  # noqa: RUF012 - how usage.Options wants it
        ["config", "c", "/etc/cyclades_tx/cyclades_tx.toml", "The configuration file."],
        [
            "with-simulator",
            None,
            None,
            "Host the simulated Ganeti clusters of this file too (for trying things out).",
        ],
    ]

    def postOptions(self) -> None:
        """Read the configuration now, so that an error is told before anything starts.

        :raise UsageError: names the file, the key and what is allowed.
        """
        try:
            self["loaded"] = Config.load(self["config"])
        except ConfigError as error:
            raise usage.UsageError(error.message) from None


def makeService(options: Options) -> IService:
    """Build the service for twistd."""
    from twisted.internet import reactor

    config: Config = options["loaded"]
    limits.raise_descriptor_limit()
    steady(reactor)
    whole = log.LoggedService(log.observer(config.log))
    try:
        world = World.real(reactor, config)
    except ConfigError as error:
        sys.exit(f"{options['config']}: {error.message}")
    Cyclades(world).setServiceParent(whole)
    if options["with-simulator"]:
        from cyclades_tx.ganeti.simulator import SimulatorService
        from cyclades_tx.ganeti.simulator.service import read_config

        simulated = SimulatorService(reactor, read_config(options["with-simulator"]))
        simulated.setServiceParent(whole)
    return whole


class Cyclades(MultiService):
    """One process of the service.

    It listens only when the database answers and has the schema of this release; without that
    it ends with a sentence and the exit code 1.
    """

    log = Logger()

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self._ports: list[IListeningPort] = []
        self._leases: Leases | None = None
        self._drives: Drives | None = None
        self._books: Books | None = None
        self._retention: Retention | None = None
        self._images: Images | None = None
        self._starting: Deferred[None] | None = None
        self._sweeping: LoopingCall | None = None
        self._consumer: FactConsumer | None = None
        self._publisher: Publisher | None = None
        self._streams: Streams | None = None
        self._consoles: Consoles | None = None
        self._console_watch: ConsoleWatch | None = None

    def startService(self) -> None:
        """Begin; what has to be waited for is waited for in the background."""
        super().startService()
        self._starting = ensureDeferred(self._start())
        self._starting.addErrback(self._failed)

    def stopService(self) -> Deferred[None]:
        """End in order: no new requests, no new turns, then the database."""
        super().stopService()
        return ensureDeferred(self._stop())

    async def _start(self) -> None:
        world = self.world
        world.database.start()
        await self._schema()
        roles = world.config.server.roles
        if "api" in roles or "vmapi" in roles:
            world.identity.start()
        if {"api", "vmapi"} & set(roles) and world.image_data.store is not None:
            await self._start_images(world.image_data.store)
        if "loops" in roles:
            await self._start_loops()
        if {"api", "loops", "events"} & set(roles):
            self._publisher = Publisher(
                world.reactor, world.database, world.config.events.keep_seconds
            )
            self._publisher.start()
        if "events" in roles and world.broker is not None:
            self._start_consumer(world.broker)
        if world.config.admin.port:
            await self._start_admin()
        if "console" in roles:
            await self._start_consoles()
        if {"api", "vmapi", "console"} & set(roles):
            frame = api(world, roles, self._consoles)
            if "api" in roles:
                self._streams = Streams(
                    world.reactor,
                    world.database,
                    world.identity,
                    world.config.events,
                    world.metrics.stream_ended,
                )
                self._streams.mount(frame)
                world.metrics.watch_streams(self._streams.__len__)
            site = ApiSite(
                frame.resource(),
                world.config.server.max_body_bytes,
                timeout=world.config.server.request_timeout_seconds,
            )
            for listen in world.config.listen:
                endpoint = serverFromString(world.reactor, listen.endpoint)
                self._ports.append(await endpoint.listen(site))
                self.log.info("service.listening", url=listen.url, roles=",".join(roles))
        # What is there now stays; looking through it again held the reactor for 100 ms and more.
        gc.collect()
        gc.freeze()
        LagSampler(world.reactor, world.metrics.lag, period_seconds()).setServiceParent(self)

    async def _start_consoles(self) -> None:
        world, section = self.world, self.world.config.console
        limits = ConsoleLimits(
            sessions=section.sessions_per_process,
            sessions_per_user=section.sessions_per_user,
            idle_seconds=section.idle_seconds,
        )
        reach = over_tcp(world.reactor, CONSOLE_CONNECT_SECONDS)
        self._consoles = Consoles(world.reactor, world.consoles, reach, limits)
        self._consoles.start()
        self._console_watch = ConsoleWatch(
            world.reactor, world.database, self._consoles, world.consoles.sweep
        )
        self._console_watch.start()
        if section.viewer_port:
            viewers = ViewerPort(self._consoles, viewer_tls(section), section.viewer_plain)
            endpoint = serverFromString(world.reactor, section.endpoint)
            self._ports.append(await endpoint.listen(viewers))

    async def _schema(self) -> None:
        """Wait for the database for a while, then check its schema."""
        patience_until = self.world.reactor.seconds() + START_PATIENCE_SECONDS
        while True:
            try:
                await check_schema(self.world.database)
                return
            except Unavailable:
                if self.world.reactor.seconds() > patience_until:
                    raise

    async def _start_loops(self) -> None:
        world = self.world
        drives = Drives(world.reactor, world.database, self._connect, self._drive)
        drives.start()
        self._drives = drives
        self._leases = Leases(
            world.reactor,
            world.dsn,
            world.driver,
            drives.gained,
            drives.lost,
            world.config.ganeti.lease_seconds,
        )
        self._leases.start()
        self._books = Books(
            world.reactor,
            world.database,
            world.driver,
            world.config.operations.recount_seconds,
            random.Random(),
            world.metrics.drift,
        )
        self._books.start()
        self._retention = Retention(
            world.reactor,
            world.database,
            world.driver,
            world.config.retention,
            random.Random(),
        )
        self._retention.start()
        self._sweeping = every(world.reactor, self._sweep)
        self._sweeping.start(SWEEP_SECONDS)

    async def _start_images(self, store: IImageStore) -> None:
        """Get the data of images ready, and sweep up what a process before this one left."""
        world, section = self.world, self.world.config.image
        await store.prepare(await image_data.identity(world.database))
        self._images = Images(
            world.reactor,
            world.database,
            store,
            world.image_data.active,
            section.upload_silence_seconds,
            section.sweep_seconds,
            section.orphan_grace_seconds,
            random.Random(),
        )
        self._images.start()

    def _start_consumer(self, broker: Broker) -> None:
        world = self.world
        section = world.config.broker
        wanted = tuple(
            queue.of_type(section.queue_type)
            for queue in queues(section.exchange, world.config.ganeti.instance_prefix)
        )
        self._consumer = FactConsumer(
            world.reactor,
            broker,
            world.database,
            MessageReader(world.names),
            wanted,
            world.metrics,
            world.crash,
        )

        async def count_messages() -> None:
            with suppress(BrokerError):
                for queue in wanted:
                    waiting, _ = await broker.depth(queue.name)
                    assert queue.dead_letters is not None
                    dead, _ = await broker.depth(queue.dead_letters[1])
                    world.metrics.queue(queue.name, waiting, dead)

        world.metrics.before_scrape("queues", count_messages)
        self._consumer.start()
        broker.start()

    def _connect(self, row: Any, guard: Callable[[], None]) -> Any:
        """The cluster of a row, for driving; one that is offline is never spoken to."""
        if row.offline:
            return OfflineCluster(row.name)
        return self.world.clusters.driver(row, guard)

    def _drive(self, row: Any, cluster: Any, lease: Lease) -> Drive:
        world = self.world

        def open_token(uuid: str, sealed: str) -> str:
            return world.keyring.decrypt("config_token", uuid, bytes.fromhex(sealed))

        def config_url(token: str) -> str:
            return f"{world.config.vmapi_url}/v1.0/server-params/{params_name(token)}"

        return Drive(
            world.reactor,
            world.database,
            cluster,
            row,
            lease,
            world.vault,
            open_token,
            config_url,
            world.config.ganeti,
            world.config.operations,
            world.crash,
            random.Random(),
            world.metrics.drift,
            Elsewhere(world.reactor, world.database, world.clusters.questions, row.id),
            world.servers.first_boots.rearm,
            world.signer.locate,
        )

    async def _start_admin(self) -> None:
        world = self.world
        section = world.config.admin
        health = Health(world.database, world.metrics, self._count_streams)
        health.watch()
        checks = health.checks()
        if self._consumer is not None:
            checks["broker"] = self._consumer.check
        resource = AdminResource(world.reactor, world.metrics, checks)
        family = "tcp6" if ":" in section.address else "tcp"
        address = section.address.replace(":", "\\:")
        endpoint = serverFromString(world.reactor, f"{family}:{section.port}:interface={address}")
        self._ports.append(await endpoint.listen(Site(resource)))

    def _count_streams(self) -> int:
        return 0 if self._streams is None else len(self._streams)

    async def _sweep(self) -> None:
        await self.world.identity.sweep()
        seconds = self.world.config.operations.resize_confirm_seconds
        if seconds:
            await self.world.servers.confirm_overdue(seconds)
        await Replays(self.world.database, self.world.keyring).sweep()

    def _failed(self, failure: Failure) -> None:
        """The start did not succeed: say why, and end the process."""
        if not self.running:
            return  # it is being stopped already
        error = failure.value
        if isinstance(error, SchemaError | ConfigError | Unavailable):
            self.log.critical("service.not_started", reason=error.message)
        else:
            self.log.failure("service.not_started", failure)
        reactor = self.world.reactor
        reactor.addSystemEventTrigger("after", "shutdown", _exit_with_failure)
        reactor.callWhenRunning(reactor.stop)

    async def _stop(self) -> None:
        if self._starting is not None:
            # What is still being started would go on beside what ends here.
            self._starting.cancel()
            await self._starting
        for port in self._ports:
            await _done(port.stopListening())
        if self._streams is not None:
            self._streams.stop()
        if self._console_watch is not None:
            await self._console_watch.stop()
        if self._consoles is not None:
            await self._consoles.stop()
        if self._sweeping is not None and self._sweeping.running:
            self._sweeping.stop()
        if self._books is not None:
            await self._books.stop()
        if self._retention is not None:
            await self._retention.stop()
        if self._images is not None:
            await self._images.stop()
        if self._leases is not None:
            await self._leases.stop()
        if self._drives is not None:
            await self._drives.stop()
        if self._consumer is not None:
            await self._consumer.stop()
        if self._publisher is not None:
            await self._publisher.stop()
        await self.world.close()


def _exit_with_failure() -> None:
    sys.stdout.flush()
    os._exit(1)


async def _done(value: Any) -> None:
    if isinstance(value, Deferred):
        await value
