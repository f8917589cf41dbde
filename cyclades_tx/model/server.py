"""Servers as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

MAX_METADATA = 128
MAX_PERSONALITY = 5
MAX_TAGS = 50


@dataclass(frozen=True)
class WantedNic:
    """An interface that a new server should have: on a network, or a port that exists."""

    network_ref: str | None = None
    port_ref: str | None = None
    fixed_ip: str | None = None


@dataclass(frozen=True)
class Personality:
    """A file to be written into the new machine at its first boot."""

    path: str
    contents: bytes = field(repr=False)
    owner: str = "root"
    group: str = "root"
    mode: int = 0o440


@dataclass(frozen=True)
class WantedDisk:
    """A volume that a new server should have: one that is there, or a new one.

    :ivar size_gib: of a new one.
    :ivar boot: whether it is the first disk; a new one is made of the server's image then.
    :ivar delete_on_termination: whether it goes with the server; None: nothing was said.
    """

    volume_ref: str | None = None
    size_gib: int | None = None
    boot: bool = False
    delete_on_termination: bool | None = None
    type_ref: str | None = None
    tag: str | None = None


@dataclass(frozen=True)
class NewServer:
    """What is asked for.

    :ivar networks: None: the shared networks choose themselves; (): no interface at all.
    """

    name: str
    flavor_ref: str
    image_ref: str | None = None
    networks: tuple[WantedNic, ...] | None = None
    key_name: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    user_data: bytes | None = field(default=None, repr=False)
    personality: tuple[Personality, ...] = field(default=(), repr=False)
    admin_password: str | None = field(default=None, repr=False)
    security_groups: tuple[str, ...] | None = None
    availability_zone: str | None = None
    config_drive: bool = False
    description: str | None = None
    hostname: str | None = None
    tags: tuple[str, ...] = ()
    min_count: int = 1
    max_count: int = 1
    access_ipv4: str | None = None
    access_ipv6: str | None = None
    disk_config: str = "MANUAL"
    #: The server group that it will be in.
    group_ref: str | None = None
    #: Only operators: the cluster, past the allocator.
    cluster_id: int | None = None
    #: Its volumes, beside a first disk of its own.
    disks: tuple[WantedDisk, ...] = ()

    @property
    def boots_from_volume(self) -> bool:
        """Whether its first disk is a volume, and not of the flavor's size."""
        return any(disk.boot for disk in self.disks)

    @property
    def fresh_gib(self) -> int:
        """The size of the volumes that are made with it."""
        return sum(disk.size_gib or 0 for disk in self.disks if disk.volume_ref is None)


@dataclass(frozen=True)
class Created:
    """What a creation gives back."""

    uuids: tuple[str, ...]
    admin_password: str = field(repr=False)
    reservation_id: str
    security_groups: tuple[str, ...]


@dataclass(frozen=True)
class Rebuild:
    """What is asked for when a server gets a new system.

    :ivar columns: what only the database knows and changes with it, by column.
    :ivar metadata: in place of all there is; None: it stays.
    :ivar sets_key: whether ``key_name`` was given, None meaning no key; so ``sets_user_data``.
    """

    image_ref: str
    columns: Mapping[str, str | None] = field(default_factory=dict)
    metadata: dict[str, str] | None = None
    admin_password: str | None = field(default=None, repr=False)
    personality: tuple[Personality, ...] = field(default=(), repr=False)
    key_name: str | None = None
    sets_key: bool = False
    user_data: bytes | None = field(default=None, repr=False)
    sets_user_data: bool = False


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild gives back."""

    admin_password: str = field(repr=False)
    image_uuid: str
    user_data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class BootImage:
    """What a first boot must know of its image."""

    location: str | None
    disk_format: str
    properties: Mapping[str, str]


def hostname_of(name: str, uuid: UUID) -> str:
    """A host name out of a server's name (RFC 1123), or out of its UUID."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "-" for c in name.lower())
    kept = kept.strip("-.")[:63].strip("-.")
    return kept or f"server-{uuid}"
