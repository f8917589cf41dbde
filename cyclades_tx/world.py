"""The world as one process meets it: clock, database, clusters' keys, secrets, randomness.

It is chosen in one place. The service and the operator's command line build the same flows
out of it, so that a rule holds whichever way somebody asks.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cyclades_tx.config import BrokerSection, Config, GanetiSection, SwiftSection
from cyclades_tx.crash import crash_points
from cyclades_tx.errors import ConfigError
from cyclades_tx.flows.application_credentials import ApplicationCredentials
from cyclades_tx.flows.consoles import Consoles
from cyclades_tx.flows.floating_ips import FloatingIps
from cyclades_tx.flows.identity import People
from cyclades_tx.flows.image_data import ImageData
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.interfaces import Interfaces
from cyclades_tx.flows.keypairs import KeyPairs
from cyclades_tx.flows.network_tags import NetworkTags
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.ports import Ports
from cyclades_tx.flows.routers import Routers
from cyclades_tx.flows.security_groups import SecurityGroups
from cyclades_tx.flows.servers import Servers
from cyclades_tx.flows.subnet_pools import SubnetPools
from cyclades_tx.flows.subnets import Subnets
from cyclades_tx.flows.volume_attachments import VolumeAttachments
from cyclades_tx.flows.volumes import Volumes
from cyclades_tx.ganeti.breaker import BreakerRules
from cyclades_tx.ganeti.clusters import Clusters
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.ganeti.large_json import LargeJsonWorkers
from cyclades_tx.ganeti.rapi import RapiLimits
from cyclades_tx.identity.attempts import LoginLimits
from cyclades_tx.identity.local import LocalIdentity
from cyclades_tx.identity.passwords import Passwords
from cyclades_tx.image_store.directory import DirectoryImageStore
from cyclades_tx.image_store.fetching import Fetcher
from cyclades_tx.image_store.interfaces import IImageStore
from cyclades_tx.image_store.locations import Locations
from cyclades_tx.image_store.object_login import Login
from cyclades_tx.image_store.object_wire import ObjectWire
from cyclades_tx.image_store.signing import Signer
from cyclades_tx.image_store.swift import SwiftImageStore
from cyclades_tx.image_store.threads import Threads
from cyclades_tx.metrics import Metrics, PoolUse
from cyclades_tx.model.names import Names
from cyclades_tx.mq.broker import Broker
from cyclades_tx.mq.patience import Patience
from cyclades_tx.mq.tls import Trust
from cyclades_tx.sections import read_secret
from cyclades_tx.store import project_limits, quotas
from cyclades_tx.store.clusters import SESSION_NAME
from cyclades_tx.store.database import Database
from cyclades_tx.store.networks import create_default_group
from cyclades_tx.store.pool import Limits
from cyclades_tx.store.project_limits import UNLIMITED
from cyclades_tx.vault import ISecretStore, MemcachedSecretStore, MemorySecretStore


@dataclass(frozen=True)
class World:
    """Everything that a process needs from outside, and the flows made of it."""

    reactor: Any
    config: Config
    dsn: str = field(repr=False)
    database: Database
    keyring: Keyring
    vault: ISecretStore
    metrics: Metrics
    large_json: LargeJsonWorkers
    clusters: Clusters
    passwords: Passwords
    identity: LocalIdentity
    people: People
    credentials: ApplicationCredentials
    networks: Networks
    interfaces: Interfaces
    volume_attachments: VolumeAttachments
    volumes: Volumes
    ports: Ports
    floating_ips: FloatingIps
    security_groups: SecurityGroups
    routers: Routers
    subnet_pools: SubnetPools
    subnets: Subnets
    network_tags: NetworkTags
    images: Images
    image_data: ImageData
    signer: Signer
    keypairs: KeyPairs
    servers: Servers
    consoles: Consoles
    names: Names
    broker: Broker | None
    crash: Callable[[str], None]
    driver: str

    @classmethod
    def real(cls, reactor: Any, config: Config, *, tool: bool = False) -> World:
        """The real world of a configuration; nothing is connected before ``start``.

        :param tool: for a command that runs once: few connections, no process metrics.
        :raise ConfigError: when a file that the configuration names cannot be used.
        """
        section = config.database
        crash = crash_points()
        metrics = Metrics(reactor, process=not tool)
        dsn = section.connection_string()
        # Names this process, for operators and for the one that takes over from it.
        driver = f"{socket.gethostname()[:30]}:{os.getpid()}:{secrets.token_hex(3)}"
        database = Database(
            reactor,
            dsn,
            least=0 if tool else section.pool_min,
            most=2 if tool else section.pool_max,
            reads=section.reads_max,
            wait_seconds=section.acquire_timeout_seconds,
            limits=Limits(
                statement_seconds=section.statement_timeout_seconds,
                lock_seconds=section.lock_timeout_seconds,
                idle_in_transaction_seconds=section.idle_in_transaction_timeout_seconds,
            ),
            application_name="cyclades_tx tool" if tool else SESSION_NAME + driver,
            crash=crash,
            observe=metrics.database,
        )
        if not config.ganeti.keyring_file:
            raise ConfigError(
                "ganeti.keyring_file: must name a file with the keys that seal credentials;"
                " snf-manage keyring-create makes one"
            )
        keyring = Keyring.load(config.ganeti.keyring_file)
        passwords = Passwords(reactor, log2n=config.identity.password_scrypt_log2n)
        limits = config.quota.limits()

        async def equip(tx: Any, project_id: str) -> None:
            changed = await project_limits.defaults(tx)
            chosen = {
                name: None if changed.get(name) == UNLIMITED else changed.get(name, maximum)
                for name, maximum in limits.items()
            }
            await quotas.make_holdings(tx, project_id, chosen)
            await create_default_group(tx, project_id)

        names = Names(config.ganeti.instance_prefix)
        networks = Networks(
            database,
            deadline_seconds=config.operations.deadline_seconds("make_network"),
            names=names,
            bridge=config.ganeti.default_bridge,
            filtered_bridge=config.ganeti.mac_filtered_bridge,
            mac_prefix=config.ganeti.default_mac_prefix,
        )
        interfaces = Interfaces(database, networks, config.ganeti, config.operations)
        vault: ISecretStore = (
            MemcachedSecretStore(reactor, config.vmapi.memcached_servers)
            if config.vmapi.store == "memcached"
            else MemorySecretStore(reactor)
        )
        identity = LocalIdentity(
            database,
            reactor,
            passwords,
            token_lifetime_seconds=config.identity.token_lifetime_seconds,
            cache_entries=config.identity.token_cache_entries,
            limits=LoginLimits(
                name_failures=config.identity.login_attempts,
                address_failures=config.identity.login_attempts,
                window_seconds=config.identity.login_window_seconds,
            ),
        )
        large_json = LargeJsonWorkers(reactor)
        clusters = _clusters(reactor, config.ganeti, keyring, large_json, metrics)
        images = Images(database)
        image_data, signer = _image_data(reactor, config, database, keyring)
        volume_attachments = VolumeAttachments(database, config.ganeti, config.operations)
        world = cls(
            reactor=reactor,
            config=config,
            dsn=dsn,
            database=database,
            keyring=keyring,
            vault=vault,
            metrics=metrics,
            large_json=large_json,
            clusters=clusters,
            passwords=passwords,
            identity=identity,
            people=People(database, passwords, on_project_created=equip, changed=identity.forget),
            credentials=ApplicationCredentials(database, passwords, changed=identity.forget),
            networks=networks,
            interfaces=interfaces,
            volume_attachments=volume_attachments,
            volumes=Volumes(database, volume_attachments),
            ports=Ports(database, networks, interfaces),
            floating_ips=FloatingIps(database, interfaces),
            security_groups=SecurityGroups(database),
            routers=Routers(database),
            subnet_pools=SubnetPools(database),
            subnets=Subnets(
                database, deadline_seconds=config.operations.deadline_seconds("make_network")
            ),
            network_tags=NetworkTags(database),
            images=images,
            image_data=image_data,
            signer=signer,
            keypairs=KeyPairs(database),
            servers=Servers(
                database,
                vault,
                keyring,
                networks,
                images,
                config.ganeti,
                config.operations,
                config.vmapi,
                random.SystemRandom(),
                config.vmapi_url,
                signer.locate,
            ),
            consoles=Consoles(
                database,
                keyring,
                clusters.questions,
                names,
                config.console,
                driver,
                random.SystemRandom(),
            ),
            names=names,
            broker=_broker(reactor, config.broker, driver),
            crash=crash,
            driver=driver,
        )

        def use() -> PoolUse:
            now = database.statistics()
            return PoolUse(open=now.size, busy=now.in_use, waiting=now.waiting)

        metrics.watch_pool(use)
        return world

    async def close(self) -> None:
        """Let everything go that the world holds open."""
        if self.broker is not None:
            await self.broker.stop()
        await self.image_data.close()
        self.identity.stop()
        self.vault.close()
        await self.clusters.close()
        self.passwords.close()
        await self.large_json.close()
        await self.database.close()


def _image_data(
    reactor: Any, config: Config, database: Database, keyring: Keyring
) -> tuple[ImageData, Signer]:
    """What keeps the data of images, and what signs URLs for them."""
    section = config.image
    signer = Signer(
        keyring.derived("image urls"),
        config.vmapi_url,
        section.signed_url_seconds,
        reactor.seconds,
    )
    try:
        locations = Locations(section.locations, section.private_networks)
    except ValueError as error:
        raise ConfigError(f"image.locations: {error}") from None
    store: IImageStore | None = None
    if section.store == "swift":
        store = _swift(reactor, config.swift, section.threads)
    elif section.directory:
        store = DirectoryImageStore(reactor, section.directory, section.threads)
    fetcher = Fetcher(reactor, locations, *section.pace)
    return ImageData(database, store, section, signer, locations, fetcher), signer


def _swift(reactor: Any, section: SwiftSection, threads: int) -> SwiftImageStore:
    """The store of images in an Object Storage; nothing is asked of it yet."""
    login = Login(
        auth_url=section.auth_url,
        secret=read_secret(section.secret_file),
        username=section.username,
        user_domain=section.user_domain,
        project=section.project,
        project_domain=section.project_domain,
        application_credential_id=section.application_credential_id,
        region=section.region,
        interface=section.interface,
    )
    authorities = _text(section.authorities_file)
    wire = ObjectWire(reactor, login, section.timeout_seconds, authorities)
    pieces = section.segment_mib * 2**20
    return SwiftImageStore(wire, section.container, pieces, Threads(reactor, threads))


def _broker(reactor: Any, section: BrokerSection, name: str) -> Broker | None:
    """The broker, if one is configured; it connects only when it is started."""
    if not section.urls:
        return None
    password = read_secret(section.password_file) if section.password_file else ""
    try:
        trust = Trust(_text(section.authorities_file), _text(section.certificate_file))
    except ValueError as error:
        raise ConfigError(f"broker: {error}") from None
    addresses = [each.with_login(section.username, password) for each in section.addresses()]
    patience = Patience(
        heartbeat_seconds=section.heartbeat_seconds,
        connect_seconds=section.connect_timeout_seconds,
    )
    return Broker(reactor, addresses, trust, patience, name=f"cyclades_tx {name}")


def _text(path: str) -> str:
    return Path(path).read_text() if path else ""


def _clusters(
    reactor: Any,
    section: GanetiSection,
    keyring: Keyring,
    large_json: LargeJsonWorkers,
    metrics: Metrics,
) -> Clusters:
    return Clusters(
        reactor,
        keyring,
        limits=RapiLimits(
            question_timeout_seconds=section.question_timeout_seconds,
            change_timeout_seconds=section.change_timeout_seconds,
            connect_timeout_seconds=section.connect_timeout_seconds,
            large_reply_bytes=section.parse_apart_bytes,
        ),
        breaker=BreakerRules(
            failures=section.breaker_failures,
            pause_seconds=section.breaker_pause_seconds,
            pause_limit_seconds=section.breaker_pause_limit_seconds,
        ),
        driver_connections=section.driver_connections,
        question_connections=section.question_connections,
        large_json=large_json,
        measured=metrics.rapi,
        # A row with the scheme http is refused anyway, unless it is on the loopback.
        allow_plain_http=True,
    )
