"""Clusters, the operations on them, and the first boot of what is made there."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cyclades_tx.sections.values import Positive, Seconds, Section, Text

_PORT = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5]?[0-9]{1,4})"
#: A protocol, and a port or a range of them.
Traffic = Annotated[str, Meta(pattern=f"^[a-z0-9-]{{1,32}}(/{_PORT}(-{_PORT})?)?$")]
#: What an entry of a list of networks may say.
NETWORK_PATTERN = "SNF:ANY_PUBLIC(_IPV[46])?|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
#: A network, or several of which one is taken. ``config.py`` holds them against the pattern: a text
#: that has one itself breaks the memory of msgspec 0.22 where a list might be in its place.
NetworkChoice = str | tuple[str, ...]


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


class VmapiSection(Section, frozen=True):
    """The secrets of a first boot.

    :ivar secret_lifetime_seconds: how long a secret waits to be fetched.
    :ivar store: where secrets wait; ``memory`` serves one process only.
    :ivar memcached_servers: ``host:port`` of each server, for the store ``memcached``.
    """

    secret_lifetime_seconds: Seconds = 7200.0
    store: Literal["memory", "memcached"] = "memory"
    memcached_servers: tuple[Text, ...] = ()
