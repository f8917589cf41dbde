"""The tables of the configuration file, with every key, its unit and its default.

``config.py`` reads the file into these; ``etc/cyclades_tx.toml`` shows them to operators.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct
from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn

from cyclades_tx.errors import ConfigError
from cyclades_tx.mq.urls import BrokerAddress, parse_url

Role = Literal["api", "loops", "events", "console", "vmapi"]
ROLES: tuple[Role, ...] = get_args(Role)

Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Positive = Annotated[int, Meta(ge=1, le=1_000_000)]
Amount = Annotated[int, Meta(ge=0, le=2**40)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Seconds = Annotated[float, Meta(ge=0.05, le=31_536_000.0)]
Days = Annotated[float, Meta(ge=0.0, le=36_500.0)]
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Text = Annotated[str, Meta(max_length=4096, pattern=PRINTABLE)]
_PORT = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5]?[0-9]{1,4})"
#: A protocol, and a port or a range of them.
Traffic = Annotated[str, Meta(pattern=f"^[a-z0-9-]{{1,32}}(/{_PORT}(-{_PORT})?)?$")]
_NETWORK = "SNF:ANY_PUBLIC(_IPV[46])?|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OneNetwork = Annotated[str, Meta(pattern=f"^({_NETWORK})$")]
#: A network, or several of which one is taken.
NetworkChoice = _OneNetwork | tuple[_OneNetwork, ...]

#: The beginning of a URL: at least a scheme and a host.
Beginning = Annotated[str, Meta(max_length=1000, pattern=r"^(https?|pithos|file)://[!-~]+$")]

#: Larger files are refused unread; a real one has a few kilobytes.
MAX_FILE_BYTES = 1_048_576


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class ServerSection(Section, frozen=True):
    """What this process does and how it is seen from outside.

    :ivar roles: the parts that this process runs.
    :ivar processes: how many processes with the api or vmapi role share the database.
    :ivar public_url: where users reach the service; empty: the first listen address.
    :ivar vmapi_url: where new machines fetch their parameters; empty: public_url + "/vmapi".
    :ivar trusted_proxies: addresses or networks whose X-Forwarded-* headers are believed.
    :ivar max_body_bytes: larger request bodies are refused with 413.
    :ivar request_timeout_seconds: how long a request may take to come, and an idle connection stay.
    """

    roles: Annotated[tuple[Role, ...], Meta(min_length=1)] = ROLES
    processes: Annotated[int, Meta(ge=1, le=1000)] = 1
    public_url: Text = ""
    vmapi_url: Text = ""
    trusted_proxies: tuple[Text, ...] = ()
    max_body_bytes: Annotated[int, Meta(ge=1024, le=67_108_864)] = 1_048_576
    request_timeout_seconds: Seconds = 60.0


class ListenSection(Section, frozen=True):
    """One address on which the service listens; TLS when certificate and key are given.

    :ivar address: an IPv4 or IPv6 address of this machine.
    :ivar port: the TCP port.
    :ivar tls_certificate_file: PEM with the server's certificate.
    :ivar tls_key_file: PEM with its private key, mode 0600 or stricter.
    :ivar tls_chain_file: PEM with the intermediate certificates, if there are any.
    """

    address: Text = "127.0.0.1"
    port: Port = 8774
    tls_certificate_file: Text = ""
    tls_key_file: Text = ""
    tls_chain_file: Text = ""

    @property
    def scheme(self) -> str:
        """``https`` when this address speaks TLS, else ``http``."""
        return "https" if self.tls_key_file else "http"

    @property
    def url(self) -> str:
        """The address as a URL without a path."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """The address in Twisted's endpoint language, for ``serverFromString``."""
        interface = _quoted(self.address)
        if self.tls_key_file:
            text = (
                f"ssl:{self.port}:interface={interface}:privateKey={_quoted(self.tls_key_file)}"
                f":certKey={_quoted(self.tls_certificate_file)}"
            )
            return text + (
                f":extraCertChain={_quoted(self.tls_chain_file)}" if self.tls_chain_file else ""
            )
        return f"{'tcp6' if ':' in self.address else 'tcp'}:{self.port}:interface={interface}"


class AdminSection(Section, frozen=True):
    """The address of ``/metrics`` and ``/healthz?deep``, for this machine only.

    :ivar address: a loopback address; any other is refused.
    :ivar port: the TCP port; 0 turns the admin address off.
    """

    address: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 9774


class DatabaseSection(Section, frozen=True):
    """PostgreSQL.

    :ivar dsn: the connection string for libpq, without a password.
    :ivar dsn_file: a file with the connection string, for one that holds a password.
    :ivar pool_min: connections kept open at rest.
    :ivar pool_max: most connections at once.
    :ivar reads_max: documents read at once; 0: as many as this machine has processors when
        PostgreSQL runs on it too, else pool_max.
    :ivar acquire_timeout_seconds: longest wait for a free connection; then 503.
    :ivar connect_timeout_seconds: longest wait for PostgreSQL to accept a connection.
    :ivar statement_timeout_seconds: PostgreSQL ends a statement that takes longer.
    :ivar lock_timeout_seconds: PostgreSQL ends a statement that waits longer for a lock.
    :ivar idle_in_transaction_timeout_seconds: PostgreSQL ends a transaction that sleeps longer.
    """

    dsn: Text = "dbname=cyclades_tx"
    dsn_file: Text = ""
    pool_min: Count = 2
    pool_max: Annotated[int, Meta(ge=2, le=1000)] = 16
    reads_max: Annotated[int, Meta(ge=0, le=1000)] = 0
    acquire_timeout_seconds: Seconds = 10.0
    connect_timeout_seconds: Seconds = 5.0
    statement_timeout_seconds: Seconds = 30.0
    lock_timeout_seconds: Seconds = 10.0
    idle_in_transaction_timeout_seconds: Seconds = 30.0

    def connection_string(self) -> str:
        """The string for libpq; it may hold a password: keep it out of logs.

        :raise ConfigError: when ``dsn_file`` cannot be read or others can read it, or it holds no
            such string.
        """
        text = read_secret(self.dsn_file) if self.dsn_file else self.dsn
        try:
            parse_dsn(text)
        except ProgrammingError:
            # libpq's own words quote from it, perhaps the password.
            where = f"database.dsn_file: {self.dsn_file}" if self.dsn_file else "database.dsn"
            raise ConfigError(f"{where}: not a connection string that libpq understands") from None
        return text


class IdentitySection(Section, frozen=True):
    """Who may log in, and for how long.

    :ivar kind: where users and projects live; ``local``: our own tables.
    :ivar region: the region's name in the catalog.
    :ivar token_lifetime_seconds: how long a token is good.
    :ivar token_cache_entries: most checked tokens that a process remembers.
    :ivar password_scrypt_log2n: cost of a password hash; each step doubles time and memory.
    :ivar login_attempts: failed logins of one user or address before more are refused.
    :ivar login_window_seconds: the time over which failed logins are counted.
    """

    kind: Literal["local"] = "local"
    region: Annotated[str, Meta(min_length=1, max_length=255)] = "RegionOne"
    token_lifetime_seconds: Seconds = 3600.0
    token_cache_entries: Count = 10_000
    password_scrypt_log2n: Annotated[int, Meta(ge=12, le=20)] = 15
    login_attempts: Positive = 10
    login_window_seconds: Seconds = 300.0


class GanetiSection(Section, frozen=True):
    """How clusters are spoken to, and what new instances get.

    :ivar instance_prefix: what the names of our instances and networks begin with.
    :ivar os: the OS definition of a new instance.
    :ivar keyring_file: keys that encrypt cluster credentials, one a line, the newest first.
    :ivar driver_connections: most connections of the driving process to one cluster.
    :ivar question_connections: most connections of every other process to one cluster.
    :ivar connect_timeout_seconds: longest wait for a cluster to accept a connection.
    :ivar question_timeout_seconds: longest wait for a whole answer to a question.
    :ivar change_timeout_seconds: longest wait for a whole answer to a change.
    :ivar breaker_failures: failures in a row after which a cluster is left alone.
    :ivar breaker_pause_seconds: the first pause; it doubles up to breaker_pause_limit_seconds.
    :ivar breaker_pause_limit_seconds: the longest pause between two tries.
    :ivar poll_active_seconds: period of the job poll while operations are open.
    :ivar poll_idle_seconds: period of the poll for changes made by others.
    :ivar drift_seconds: period of the look at a whole cluster, for what nobody told.
    :ivar orphan_grace_seconds: how long an instance of a deleted server is left alone.
    :ivar orphan_removal: who removes it then: an operator, or the service by itself.
    :ivar repairs_per_turn: most changes to a cluster that one look at it makes.
    :ivar repair_failures: tries that did not help before a repair is given up.
    :ivar capacity_refresh_seconds: age at which a cluster's free capacity is asked for again.
    :ivar lease_seconds: silence after which another process takes a cluster over.
    :ivar parse_apart_bytes: replies from this size are parsed in a process of their own.
    :ivar hotplug: change disks and NICs of running instances.
    :ivar opportunistic_locking: let creates run side by side on one cluster.
    :ivar wait_for_sync: a create ends only when mirrored disks are in step.
    :ivar max_nics: most NICs of one server.
    :ivar max_disks: most disks of one server.
    :ivar default_bridge: the link of networks of the flavor CUSTOM.
    :ivar mac_filtered_bridge: the link of networks of the flavor MAC_FILTERED.
    :ivar default_mac_prefix: first digits of MAC addresses where no pool gives a prefix.
    :ivar rescue_image: the ISO image from which a rescued server boots: a path that every node
        has, or a URL; empty: users must name an image.
    :ivar firewall_limited: what the clusters' network scripts let in at the firewall profile
        ``limited``, such as ``icmp``, ``tcp/22``, ``udp/6000-6010``; empty: it is never chosen.
    :ivar forced_networks: what every new server is on, first of all: the UUID of a network,
        ``SNF:ANY_PUBLIC_IPV4``, ``SNF:ANY_PUBLIC_IPV6`` or ``SNF:ANY_PUBLIC``; or several of these
        in a list, of which the first that works is taken.
    :ivar default_networks: what a server is on that names no networks, written in the same way;
        empty: the only network of its project, or a shared one.
    :ivar hvparams: hypervisor parameters of a new instance, a table for each hypervisor; what
        is given here replaces the default as a whole.
    """

    instance_prefix: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{0,18}-$")] = "snf-"
    os: Annotated[str, Meta(min_length=1, max_length=255)] = "snf-image+default"
    keyring_file: Text = ""
    driver_connections: Annotated[int, Meta(ge=1, le=20)] = 12
    question_connections: Annotated[int, Meta(ge=1, le=20)] = 2
    connect_timeout_seconds: Seconds = 5.0
    question_timeout_seconds: Seconds = 20.0
    change_timeout_seconds: Seconds = 45.0
    breaker_failures: Positive = 3
    breaker_pause_seconds: Seconds = 1.0
    breaker_pause_limit_seconds: Seconds = 30.0
    poll_active_seconds: Seconds = 0.5
    poll_idle_seconds: Seconds = 10.0
    drift_seconds: Seconds = 300.0
    orphan_grace_seconds: Seconds = 86_400.0
    orphan_removal: Literal["operator", "automatic"] = "operator"
    repairs_per_turn: Positive = 20
    repair_failures: Positive = 3
    capacity_refresh_seconds: Seconds = 900.0
    lease_seconds: Annotated[float, Meta(ge=2.0, le=600.0)] = 8.0
    parse_apart_bytes: Annotated[int, Meta(ge=1024, le=2**30)] = 262_144
    hotplug: bool = True
    opportunistic_locking: bool = True
    wait_for_sync: bool = False
    max_nics: Annotated[int, Meta(ge=1, le=8)] = 8
    max_disks: Annotated[int, Meta(ge=1, le=16)] = 8
    default_bridge: Text = "br0"
    mac_filtered_bridge: Text = "prv0"
    default_mac_prefix: Annotated[str, Meta(pattern=r"^[0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]$")] = (
        "aa:00:0"
    )
    rescue_image: Text = ""
    firewall_limited: tuple[Traffic, ...] = ()
    forced_networks: tuple[NetworkChoice, ...] = ()
    default_networks: tuple[NetworkChoice, ...] = ()
    hvparams: dict[str, dict[str, bool | int | float | str]] = msgspec.field(
        default_factory=lambda: {"kvm": {"serial_console": False}}
    )


class OperationsSection(Section, frozen=True):
    """How long an operation may take before it ends as failed, and how tries are spaced.

    :ivar create_deadline_seconds: a server's creation.
    :ivar delete_deadline_seconds: a deletion of anything.
    :ivar start_deadline_seconds: a start.
    :ivar stop_deadline_seconds: a stop.
    :ivar reboot_deadline_seconds: a reboot.
    :ivar rebuild_deadline_seconds: a new system on a server.
    :ivar other_deadline_seconds: every other kind.
    :ivar resize_confirm_seconds: how long a resize waits for a word before it is confirmed; 0:
        for ever.
    :ivar retry_first_seconds: pause before the second try; it doubles from try to try.
    :ivar retry_limit_seconds: the longest pause between two tries.
    :ivar recount_seconds: period of the recount of addresses, pools and quota holdings; one
        process does it for all.
    """

    create_deadline_seconds: Seconds = 1800.0
    delete_deadline_seconds: Seconds = 900.0
    start_deadline_seconds: Seconds = 600.0
    stop_deadline_seconds: Seconds = 600.0
    reboot_deadline_seconds: Seconds = 600.0
    rebuild_deadline_seconds: Seconds = 1800.0
    other_deadline_seconds: Seconds = 900.0
    resize_confirm_seconds: Annotated[float, Meta(ge=0.0, le=31_536_000.0)] = 0.0
    retry_first_seconds: Seconds = 1.0
    retry_limit_seconds: Seconds = 60.0
    recount_seconds: Seconds = 900.0

    def deadline_seconds(self, kind: str) -> float:
        """How long an operation of this kind may take.

        :param kind: ``create``, ``delete`` … as operations are named; a kind without a key
            of its own gets ``other_deadline_seconds``.
        """
        return float(getattr(self, f"{kind}_deadline_seconds", self.other_deadline_seconds))


class RetentionSection(Section, frozen=True):
    """How long is kept what is over; 0: for ever.

    :ivar deleted_days: servers, volumes, snapshots, images and networks that are deleted, with all
        that is known of them.
    :ivar operations_days: operations that have ended, on things that are still there.
    :ivar addresses_days: who had which public address.
    """

    deleted_days: Days = 400.0
    operations_days: Days = 90.0
    addresses_days: Days = 0.0

    def age_seconds(self, kind: str) -> float:
        """The age after its end at which something is thrown away; 0: never.

        :param kind: ``operation``, ``address_history``, or a thing that can be deleted.
        """
        names = {"operation": self.operations_days, "address_history": self.addresses_days}
        return names.get(kind, self.deleted_days) * 86_400.0


class VmapiSection(Section, frozen=True):
    """The secrets of a first boot.

    :ivar secret_lifetime_seconds: how long a secret waits to be fetched.
    :ivar store: where secrets wait; ``memory`` serves one process only.
    :ivar memcached_servers: ``host:port`` of each server, for the store ``memcached``.
    """

    secret_lifetime_seconds: Seconds = 7200.0
    store: Literal["memory", "memcached"] = "memory"
    memcached_servers: tuple[Text, ...] = ()


class QuotaSection(Section, frozen=True):
    """What a new project may use; an operator changes single projects later.

    :ivar vm: servers.
    :ivar total_cpu: CPUs of all servers.
    :ivar cpu: CPUs of running servers.
    :ivar total_ram_mib: memory of all servers.
    :ivar ram_mib: memory of running servers.
    :ivar disk_gib: disks of all servers together.
    :ivar network_private: private networks.
    :ivar floating_ip: floating IP addresses.
    """

    vm: Amount = 10
    total_cpu: Amount = 40
    cpu: Amount = 20
    total_ram_mib: Amount = 81_920
    ram_mib: Amount = 40_960
    disk_gib: Amount = 1_000
    network_private: Amount = 10
    floating_ip: Amount = 10

    def limits(self) -> dict[str, int]:
        """Every resource by its name in the quota service; memory and disk in bytes."""
        return {
            "cyclades.vm": self.vm,
            "cyclades.total_cpu": self.total_cpu,
            "cyclades.cpu": self.cpu,
            "cyclades.total_ram": self.total_ram_mib * 2**20,
            "cyclades.ram": self.ram_mib * 2**20,
            "cyclades.disk": self.disk_gib * 2**30,
            "cyclades.network.private": self.network_private,
            "cyclades.floating_ip": self.floating_ip,
        }


class EventsSection(Section, frozen=True):
    """Events for users: how long they are kept, and the limits of ``GET /events/v1/stream``.

    :ivar keep_seconds: age at which an event is thrown away.
    :ivar heartbeat_seconds: silence after which a stream sends a comment.
    :ivar slow_seconds: how long a reader may take nothing before it is cut off.
    :ivar unsent_bytes: how far a reader that takes nothing may fall behind.
    :ivar streams_per_project: most streams of one project in one process; then 429.
    :ivar streams_per_process: most streams in one process; then 503.
    """

    keep_seconds: Annotated[float, Meta(ge=60.0, le=31_536_000.0)] = 86_400.0
    heartbeat_seconds: Annotated[float, Meta(ge=1.0, le=3600.0)] = 15.0
    slow_seconds: Annotated[float, Meta(ge=1.0, le=3600.0)] = 30.0
    unsent_bytes: Annotated[int, Meta(ge=1024, le=2**30)] = 1_048_576
    streams_per_project: Positive = 20
    streams_per_process: Positive = 1000


class ConsoleSection(Section, frozen=True):
    """Consoles: the screens of machines, in browsers and in VNC viewers.

    :ivar ticket_seconds: how long a ticket, or a viewer's password, waits to be used.
    :ivar session_seconds: the longest session; the page opens another by itself.
    :ivar idle_seconds: silence in both directions after which a session ends.
    :ivar sessions_per_user: most sessions of one user.
    :ivar sessions_per_process: most sessions in one process.
    :ivar viewer_port: where VNC viewers connect; 0: browsers only.
    :ivar viewer_address: an IPv4 or IPv6 address of this machine, for viewer_port.
    :ivar viewer_host: what users are told to connect to; empty: the host of public_url.
    :ivar viewer_tls_certificate_file: PEM with the certificate for viewers that speak TLS.
    :ivar viewer_tls_key_file: PEM with its private key, mode 0600 or stricter.
    :ivar viewer_tls_chain_file: PEM with the intermediate certificates, if there are any.
    :ivar viewer_plain: whether viewers may also connect without TLS.
    """

    ticket_seconds: Annotated[float, Meta(ge=5.0, le=3600.0)] = 60.0
    session_seconds: Annotated[float, Meta(ge=60.0, le=604_800.0)] = 43_200.0
    idle_seconds: Annotated[float, Meta(ge=10.0, le=604_800.0)] = 3600.0
    sessions_per_user: Positive = 20
    sessions_per_process: Positive = 1000
    viewer_port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    viewer_address: Text = "127.0.0.1"
    viewer_host: Text = ""
    viewer_tls_certificate_file: Text = ""
    viewer_tls_key_file: Text = ""
    viewer_tls_chain_file: Text = ""
    viewer_plain: bool = True

    @property
    def endpoint(self) -> str:
        """The viewers' address in Twisted's endpoint language."""
        family = "tcp6" if ":" in self.viewer_address else "tcp"
        return f"{family}:{self.viewer_port}:interface={_quoted(self.viewer_address)}"


class ImageSection(Section, frozen=True):
    """Where the data of images lie, and from where they may come.

    :ivar store: where data that users send are kept: in a ``directory``, or in an OpenStack Object
        Storage (``swift``).
    :ivar directory: for the store ``directory``, the same for every process with the role ``api``
        or ``vmapi``; empty: users cannot send any.
    :ivar max_image_gib: the largest image.
    :ivar project_gib: what the images of one project may take together; 0: any amount.
    :ivar threads: how many images are written and read at the very same moment.
    :ivar upload_silence_seconds: after this an upload whose process has ended is given up, and its
        image waits for data again.
    :ivar min_transfer_kib_per_second: who sends the data of an image more slowly, or takes them
        more slowly, is refused.
    :ivar transfer_window_seconds: the time over which that is averaged; only the time counts in
        which the sender was waited for.
    :ivar sweep_seconds: period of the search for what was left behind.
    :ivar orphan_grace_seconds: how long whole data that no image has are left alone.
    :ivar signed_url_seconds: how long clusters may fetch an image for a new machine.
    :ivar locations: beginnings of URLs from which users may have images fetched, such as
        ``https://images.example.org/linux``; empty: none.
    :ivar private_networks: networks that are not public, to which such a URL may lead all the same.
    """

    store: Literal["directory", "swift"] = "directory"
    directory: Text = ""
    max_image_gib: Annotated[int, Meta(ge=1, le=1_048_576)] = 100
    project_gib: Annotated[int, Meta(ge=0, le=1_048_576)] = 500
    threads: Annotated[int, Meta(ge=1, le=64)] = 4
    upload_silence_seconds: Annotated[float, Meta(ge=1.0, le=3600.0)] = 60.0
    min_transfer_kib_per_second: Annotated[float, Meta(ge=0.001, le=1_048_576.0)] = 16.0
    transfer_window_seconds: Annotated[float, Meta(ge=1.0, le=86_400.0)] = 30.0
    sweep_seconds: Seconds = 60.0
    orphan_grace_seconds: Annotated[float, Meta(ge=0.0, le=31_536_000.0)] = 3600.0
    signed_url_seconds: Annotated[float, Meta(ge=60.0, le=604_800.0)] = 7200.0
    locations: tuple[Beginning, ...] = ()
    private_networks: tuple[Text, ...] = ()

    @property
    def pace(self) -> tuple[float, float]:
        """How fast data must come and go: bytes per second, and the window in seconds."""
        return 1024 * self.min_transfer_kib_per_second, self.transfer_window_seconds


class SwiftSection(Section, frozen=True):
    """The OpenStack Object Storage that keeps the data of images, for the store ``swift``.

    :ivar auth_url: Keystone's, ending in ``/v3``; https, but on this machine.
    :ivar region: of the Object Storage in Keystone's catalog; empty: the first there.
    :ivar interface: which of its addresses in the catalog.
    :ivar username: who we are there.
    :ivar user_domain: its domain, by name.
    :ivar project: whose account the images are in.
    :ivar project_domain: its domain, by name.
    :ivar application_credential_id: instead of a user and a project.
    :ivar secret_file: holds the password, or the secret of the application credential, alone; mode
        0600 or stricter.
    :ivar authorities_file: PEM with who signs the certificates there; empty: the system's.
    :ivar container: for images alone; made when it is missing.
    :ivar segment_mib: in pieces of this size an image is kept; it has at most a thousand.
    :ivar timeout_seconds: how long it may say, or take, nothing.
    """

    auth_url: Text = ""
    region: Text = ""
    interface: Literal["public", "internal", "admin"] = "public"
    username: Text = ""
    user_domain: Text = "Default"
    project: Text = ""
    project_domain: Text = "Default"
    application_credential_id: Text = ""
    secret_file: Text = ""
    authorities_file: Text = ""
    container: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,200}$")] = "cyclades-images"
    segment_mib: Annotated[int, Meta(ge=1, le=5119)] = 256
    timeout_seconds: Seconds = 60.0


class BrokerSection(Section, frozen=True):
    """The broker from which messages of the Ganeti side come; without one, polling finds the same.

    :ivar urls: brokers of one RabbitMQ cluster, tried in turn: ``amqp://HOST[:PORT][/VHOST]``, or
        ``amqps://`` for TLS, without a login; empty: there is no broker.
    :ivar username: who we are there.
    :ivar password_file: holds the password alone, mode 0600 or stricter.
    :ivar authorities_file: PEM with who signs the brokers' certificates; empty: the system's.
    :ivar certificate_file: PEM with the one certificate to accept, whoever signed it.
    :ivar exchange: where the Ganeti side publishes to.
    :ivar queue_type: of our queues; ``quorum`` ones outlive the loss of a broker of a cluster.
        Queues that are there already must be deleted before it is changed.
    :ivar heartbeat_seconds: a broker that is silent for twice as long is left.
    :ivar connect_timeout_seconds: longest wait for a broker to accept a connection, and again
        to let us in.
    """

    urls: tuple[Text, ...] = ()
    username: Text = ""
    password_file: Text = ""
    authorities_file: Text = ""
    certificate_file: Text = ""
    exchange: Annotated[str, Meta(min_length=1, max_length=120, pattern=PRINTABLE)] = "ganeti"
    queue_type: Literal["classic", "quorum"] = "quorum"
    heartbeat_seconds: Annotated[int, Meta(ge=1, le=600)] = 10
    connect_timeout_seconds: Seconds = 5.0

    def addresses(self) -> list[BrokerAddress]:
        """The brokers, without the login.

        :raise ConfigError: when one of them cannot be understood.
        """
        try:
            found = [parse_url(url) for url in self.urls]
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if any(each.username or each.password for each in found):
            raise ConfigError("the login belongs into broker.username and broker.password_file")
        return found


class LogSection(Section, frozen=True):
    """Where the log goes.

    :ivar level: the lowest level that is written.
    :ivar file: the file, reopened when it was moved away; empty: standard output.
    """

    level: Literal["debug", "info", "warn", "error", "critical"] = "info"
    file: Text = ""


def read_secret(path: str | os.PathLike[str]) -> str:
    """The text of a file that only its owner may read, without the white space around it.

    :raise ConfigError: when it is missing, empty, or open to anyone else.
    """
    try:
        # Not blocking: a FIFO in the file's place must not hold the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise ConfigError(f"{path}: a secret must be in a regular file")
            if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                mode = stat.S_IMODE(state.st_mode)
                raise ConfigError(f"{path}: mode {mode:04o} lets others in; it must be 0600")
            text = file.read(MAX_FILE_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"{path}: {reason}") from None
    if not text:
        raise ConfigError(f"{path}: the file is empty")
    return text


def _quoted(text: str) -> str:
    """A value as Twisted's endpoint language wants it."""
    return re.sub(r"([\\:=])", r"\\\1", text)
