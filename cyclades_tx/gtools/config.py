"""The small configuration of the Ganeti side: one strict TOML file, and secrets in others."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from cyclades_tx.mq.urls import BrokerAddress, parse_url

#: Where the daemon, the progress monitor and the hook look when nothing else is said.
DEFAULT_PATH = "/etc/ganeti-eventd/ganeti-eventd.toml"
MAX_FILE_BYTES = 1_048_576

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class ConfigError(Exception):
    """The configuration cannot be used; the text names the file and what is wrong."""


class BrokerSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where messages go.

    :ivar urls: ``amqp://HOST`` or ``amqps://HOST:PORT/VHOST``, tried in turn; no login in them.
    :ivar password_file: mode 0600; it holds the password alone.
    :ivar authorities_file: PEM with who signs the brokers' certificates; empty: the system's.
    :ivar certificate_file: PEM with the one certificate to accept, whoever signed it.
    :ivar exchange: a durable topic exchange; it is declared when it is not there.
    """

    urls: Annotated[tuple[str, ...], Meta(min_length=1, max_length=32)] = ("amqp://127.0.0.1",)
    username: str = ""
    password_file: str = ""
    authorities_file: str = ""
    certificate_file: str = ""
    exchange: Annotated[str, Meta(min_length=1, max_length=127)] = "ganeti"

    def addresses(self) -> list[BrokerAddress]:
        """Return the brokers, without the login.

        :raise ConfigError: one of them cannot be understood.
        """
        try:
            found = [parse_url(url) for url in self.urls]
        except ValueError as error:
            raise ConfigError(f"broker.urls: {error}") from None
        if any(each.username or each.password for each in found):
            raise ConfigError("broker.urls: the login belongs into username and password_file")
        return found


class GanetiSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where Ganeti keeps things on this node.

    :ivar data_folder: with the job queue and Ganeti's ``ssconf_`` files.
    :ivar luxi_socket: where Ganeti's own commands ask their questions.
    :ivar node_name: this node as Ganeti calls it; empty: its full host name.
    :ivar scan_seconds: how often the queue is looked through although nothing was heard.
    """

    data_folder: str = "/var/lib/ganeti"
    luxi_socket: str = "/run/ganeti/socket/ganeti-query"
    luxi_timeout_seconds: Seconds = 2.0
    node_name: str = ""
    scan_seconds: Seconds = 60.0

    def own_name(self) -> str:
        """Return this node's name; the look-up may wait for DNS, so call it before the reactor."""
        return self.node_name or socket.getfqdn()


class StateSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What survives a restart.

    :ivar folder: of the daemon's own, on a disk that stays.
    :ivar buffer_bytes: how much may wait there for the broker; then the oldest is given up.
    """

    folder: str = "/var/lib/ganeti-eventd"
    buffer_bytes: Annotated[int, Meta(ge=1_048_576, le=1_099_511_627_776)] = 67_108_864


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    broker: BrokerSection = msgspec.field(default_factory=BrokerSection)
    ganeti: GanetiSection = msgspec.field(default_factory=GanetiSection)
    state: StateSection = msgspec.field(default_factory=StateSection)

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Read a file.

        :raise ConfigError: it cannot be read, or a key or value is not allowed.
        """
        try:
            config = msgspec.toml.decode(_read(Path(path)), type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: {error}") from None
        try:
            config.broker.addresses()
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        return config


def read_password(path: str | Path) -> str:
    """Return the password in a file that is its owner's alone.

    :raise ConfigError: it cannot be read, others may read it, or it is empty.
    """
    raw = _read(Path(path), private=True)
    try:
        password = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the password is not text") from None
    if not password:
        raise ConfigError(f"{path}: there is no password in it")
    return password


def read_text(path: str | Path) -> str:
    """Return what is in a text file.

    :raise ConfigError: it cannot be read.
    """
    try:
        return _read(Path(path)).decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: it is not text") from None


def _read(path: Path, private: bool = False) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise ConfigError(f"{path}: it is not a file")
            if private and state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                mode = stat.S_IMODE(state.st_mode)
                raise ConfigError(f"{path}: mode {mode:04o} lets others in; it must be 0600")
            with open(descriptor, "rb", closefd=False) as file:
                raw = file.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: it is too large")
    return raw
