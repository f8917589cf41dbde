"""What users have: logins, quotas, events and consoles."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from cyclades_tx.sections.values import Amount, Count, Positive, Seconds, Section, Text, quoted


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
        return f"{family}:{self.viewer_port}:interface={quoted(self.viewer_address)}"
