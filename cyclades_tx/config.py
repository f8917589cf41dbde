"""The configuration: one TOML file, read once into frozen values with units in their names.

Nobody else opens the file. A key that does not exist, or a value of the wrong kind, is a
:class:`~cyclades_tx.errors.ConfigError` that names the file, the key and what is allowed.
``etc/cyclades_tx.toml`` shows every key with its default. Secrets never stand in the file
itself: a ``*_file`` key names a file that only its owner can read.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, inspect

from cyclades_tx.errors import ConfigError
from cyclades_tx.sections import (
    MAX_FILE_BYTES,
    NETWORK_PATTERN,
    ROLES,
    AdminSection,
    BrokerSection,
    ConsoleSection,
    DatabaseSection,
    EventsSection,
    GanetiSection,
    IdentitySection,
    ImageSection,
    ListenSection,
    LogSection,
    OperationsSection,
    QuotaSection,
    RetentionSection,
    Role,
    Section,
    ServerSection,
    SwiftSection,
    VmapiSection,
    read_secret,
)
from cyclades_tx.sections.words import explain, unknown_keys

#: Most pieces of an image in an Object Storage.
SWIFT_SEGMENTS = 1000

__all__ = [
    "ROLES",
    "AdminSection",
    "BrokerSection",
    "Config",
    "ConsoleSection",
    "DatabaseSection",
    "EventsSection",
    "GanetiSection",
    "IdentitySection",
    "ImageSection",
    "ListenSection",
    "LogSection",
    "OperationsSection",
    "QuotaSection",
    "RetentionSection",
    "Role",
    "ServerSection",
    "SwiftSection",
    "VmapiSection",
    "read_secret",
]

#: What is over is kept at least so long: repeated requests and repairs still look at it.
LEAST_DAYS = 7


class Config(Section, frozen=True):
    """Everything that can be configured, one field for each table of the file."""

    server: ServerSection = ServerSection()
    listen: Annotated[tuple[ListenSection, ...], Meta(min_length=1)] = (ListenSection(),)
    admin: AdminSection = AdminSection()
    database: DatabaseSection = DatabaseSection()
    identity: IdentitySection = IdentitySection()
    ganeti: GanetiSection = GanetiSection()
    operations: OperationsSection = OperationsSection()
    retention: RetentionSection = RetentionSection()
    vmapi: VmapiSection = VmapiSection()
    quota: QuotaSection = QuotaSection()
    events: EventsSection = EventsSection()
    console: ConsoleSection = ConsoleSection()
    image: ImageSection = ImageSection()
    swift: SwiftSection = SwiftSection()
    broker: BrokerSection = BrokerSection()
    log: LogSection = LogSection()

    @property
    def public_url(self) -> str:
        """Where users reach the service, without a slash at the end."""
        return (self.server.public_url or self.listen[0].url).rstrip("/")

    @property
    def vmapi_url(self) -> str:
        """What a machine puts before ``/v1.0/server-params/…``, without a slash at the end."""
        return (self.server.vmapi_url or self.public_url + "/vmapi").rstrip("/")

    @property
    def viewer_host(self) -> str:
        """The host that users give to their VNC viewers."""
        return self.console.viewer_host or urlsplit(self.public_url).hostname or ""

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Config:
        """Read a file; names of files in it are taken from its own folder.

        :raise ConfigError: when it cannot be read or says something that is not allowed.
        """
        source = Path(path)
        try:
            with source.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"{source}: {error.strerror or error}") from None
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError(f"{source}: larger than {MAX_FILE_BYTES} bytes")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise ConfigError(f"{source}: byte {error.start} is not UTF-8") from None
        return cls.from_text(text, str(source), source.absolute().parent)

    @classmethod
    def from_text(
        cls, text: str, name: str = "configuration", folder: Path | None = None
    ) -> Config:
        """Read a configuration that is at hand as text.

        :param name: what messages call it.
        :param folder: what relative file names start from; None: the current folder.
        :raise ConfigError: when it says something that is not allowed.
        """
        try:
            raw = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            # RecursionError: thousands of nested brackets; ValueError: bad TOML, endless numbers.
            raise ConfigError(f"{name}: not valid TOML: {error}") from None
        kind = inspect.type_info(cls)
        for key, complaint in unknown_keys(raw, kind):
            raise ConfigError(f"{name}: {key}: {complaint}")
        _absolute_files(raw, folder or Path.cwd())
        try:
            config = msgspec.convert(raw, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{name}: {explain(str(error), kind)}") from None
        for key, complaint in _complaints(config):
            raise ConfigError(f"{name}: {key}: {complaint}")
        return config


def _absolute_files(raw: dict[str, Any], folder: Path) -> None:
    """Let every file name in the tables begin at ``folder``, in place."""
    for key, value in raw.items():
        for table in value if isinstance(value, list) else [value]:
            if isinstance(table, dict):
                _absolute_files(table, folder)
        is_path = key in ("file", "directory") or key.endswith("_file")
        if is_path and isinstance(value, str) and value:
            raw[key] = str(folder / value)


def _complaints(config: Config) -> Iterator[tuple[str, str]]:
    """What is wrong between keys, or beyond what a type can say: (key, what is allowed)."""
    server, database, vmapi = config.server, config.database, config.vmapi
    for key, url in (("public_url", server.public_url), ("vmapi_url", server.vmapi_url)):
        if url and not _is_url(url):
            yield f"server.{key}", "must be an http or https URL without user, query or fragment"
    for proxy in server.trusted_proxies:
        if not _is_network(proxy):
            yield "server.trusted_proxies", f"{proxy!r} is not an IP address or network"
    for index, listen in enumerate(config.listen):
        key = f"listen[{index}]"
        if not _is_address(listen.address):
            yield f"{key}.address", f"{listen.address!r} is not an IP address"
        if bool(listen.tls_certificate_file) != bool(listen.tls_key_file):
            yield f"{key}.tls_key_file", "certificate and key are given together or not at all"
        if listen.tls_chain_file and not listen.tls_key_file:
            yield f"{key}.tls_chain_file", "needs tls_certificate_file and tls_key_file"
        if listen.tls_key_file:
            yield from _unreadable(f"{key}.tls_key_file", listen.tls_key_file)
        for name in ("tls_certificate_file", "tls_chain_file"):
            path = getattr(listen, name)
            if path and not os.access(path, os.R_OK):
                yield f"{key}.{name}", f"{path} is not a file that can be read"
    if not server.public_url and ipaddress.ip_address(config.listen[0].address).is_unspecified:
        yield "server.public_url", "must be set when the first listen address is a wildcard"
    if not (_is_address(config.admin.address) and _is_loopback(config.admin.address)):
        yield "admin.address", "must be a loopback address such as 127.0.0.1 or ::1"
    if re.search(r"password\s*=|://[^/@]*:[^/@]*@", database.dsn, re.IGNORECASE):
        yield "database.dsn", "must not hold a password; put the string into a dsn_file"
    if database.dsn_file:
        yield from _unreadable("database.dsn_file", database.dsn_file)
    if database.pool_min > database.pool_max:
        yield "database.pool_min", f"must be at most pool_max ({database.pool_max})"
    if config.ganeti.keyring_file:
        yield from _unreadable("ganeti.keyring_file", config.ganeti.keyring_file)
    yield from _network_complaints(config.ganeti)
    for network in config.image.private_networks:
        if not _is_network(network):
            yield "image.private_networks", f"{network!r} is not an IP address or network"
    if config.image.store == "swift":
        yield from _swift_complaints(config.image, config.swift)
    yield from _broker_complaints(config.broker)
    yield from _console_complaints(config.console)
    yield from _retention_complaints(config)
    if vmapi.store == "memory" and server.processes > 1:
        yield "vmapi.store", 'must be "memcached" when server.processes is more than 1'
    if vmapi.store == "memcached" and not vmapi.memcached_servers:
        yield "vmapi.memcached_servers", 'must name a server for the store "memcached"'
    for place in vmapi.memcached_servers:
        if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", place):
            yield "vmapi.memcached_servers", f"{place!r} is not host:port"


def _network_complaints(ganeti: GanetiSection) -> Iterator[tuple[str, str]]:
    for name in ("forced_networks", "default_networks"):
        for entry in getattr(ganeti, name):
            for network in (entry,) if isinstance(entry, str) else entry:
                if not re.fullmatch(NETWORK_PATTERN, network):
                    yield (
                        f"ganeti.{name}",
                        f"{network!r} is neither the UUID of a network nor SNF:ANY_PUBLIC,"
                        " SNF:ANY_PUBLIC_IPV4 or SNF:ANY_PUBLIC_IPV6",
                    )


def _broker_complaints(broker: BrokerSection) -> Iterator[tuple[str, str]]:
    try:
        broker.addresses()
    except ConfigError as error:
        yield "broker.urls", error.message
    if broker.password_file:
        yield from _unreadable("broker.password_file", broker.password_file)
    for name in ("authorities_file", "certificate_file"):
        path = getattr(broker, name)
        if path and not os.access(path, os.R_OK):
            yield f"broker.{name}", f"{path} is not a file that can be read"


def _swift_complaints(image: ImageSection, swift: SwiftSection) -> Iterator[tuple[str, str]]:
    if image.directory:
        yield "image.directory", 'must be empty for the store "swift"'
    if not _is_url(swift.auth_url) or not _may_carry_secrets(swift.auth_url):
        yield "swift.auth_url", "must be an https URL (http on this machine only)"
    if not swift.application_credential_id and not (swift.username and swift.project):
        yield (
            "swift.username",
            "a username and a project, or an application credential, must be set",
        )
    if not swift.secret_file:
        yield "swift.secret_file", "must name a file with the password or the credential's secret"
    else:
        yield from _unreadable("swift.secret_file", swift.secret_file)
    if swift.authorities_file and not os.access(swift.authorities_file, os.R_OK):
        yield "swift.authorities_file", f"{swift.authorities_file} is not a file that can be read"
    least = -(-image.max_image_gib * 1024 // SWIFT_SEGMENTS)
    if swift.segment_mib < least:
        yield "swift.segment_mib", f"must be at least {least} for images of image.max_image_gib"


def _may_carry_secrets(url: str) -> bool:
    """Whether a password may be sent there."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return (
        parts.scheme == "https" or host == "localhost" or (_is_address(host) and _is_loopback(host))
    )


def _console_complaints(console: ConsoleSection) -> Iterator[tuple[str, str]]:
    if not _is_address(console.viewer_address):
        yield "console.viewer_address", f"{console.viewer_address!r} is not an IP address"
    if bool(console.viewer_tls_certificate_file) != bool(console.viewer_tls_key_file):
        yield "console.viewer_tls_key_file", "certificate and key are given together or not at all"
    if console.viewer_tls_chain_file and not console.viewer_tls_key_file:
        yield "console.viewer_tls_chain_file", "needs the certificate and the key"
    if console.viewer_tls_key_file:
        yield from _unreadable("console.viewer_tls_key_file", console.viewer_tls_key_file)
    for name in ("viewer_tls_certificate_file", "viewer_tls_chain_file"):
        path = getattr(console, name)
        if path and not os.access(path, os.R_OK):
            yield f"console.{name}", f"{path} is not a file that can be read"
    if console.viewer_port and not (console.viewer_plain or console.viewer_tls_key_file):
        yield "console.viewer_plain", "must be true as long as there is no certificate for viewers"


def _retention_complaints(config: Config) -> Iterator[tuple[str, str]]:
    for name in ("deleted_days", "operations_days", "addresses_days"):
        if 0 < getattr(config.retention, name) < LEAST_DAYS:
            yield f"retention.{name}", f"must be 0 or at least {LEAST_DAYS}"
    kept_seconds = config.retention.deleted_days * 86_400
    if 0 < kept_seconds <= config.ganeti.orphan_grace_seconds:
        # The record of a deleted server tells whose an instance is that has come up again.
        yield "retention.deleted_days", "must be longer than ganeti.orphan_grace_seconds"


def _unreadable(key: str, path: str) -> Iterator[tuple[str, str]]:
    """The complaint about a file that should hold a secret, if there is one."""
    try:
        read_secret(path)
    except ConfigError as error:
        yield key, error.message


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # ``port`` raises for one that is no number.
        plain = not (parts.query or parts.fragment or "@" in parts.netloc) and parts.port != 0
    except ValueError:
        return False
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(text: str) -> bool:
    return ipaddress.ip_address(text).is_loopback


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
