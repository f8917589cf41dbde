"""Where a broker is: ``amqp://user:password@host:port/vhost``, read without any surprise."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_to_bytes, urlsplit

PORTS = {"amqp": 5672, "amqps": 5671}
DEFAULT_VHOST = "/"
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})|\[?[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]?")


@dataclass(frozen=True)
class BrokerAddress:
    """One broker, and who we are there; the password is in no repr.

    :param tls: whether it is spoken to in TLS.
    :param vhost: the virtual host; ``/`` is RabbitMQ's own default.
    """

    host: str
    port: int
    tls: bool = False
    vhost: str = DEFAULT_VHOST
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def place(self) -> str:
        """Host and port, for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def with_login(self, username: str, password: str) -> BrokerAddress:
        """The same broker with another name and password."""
        return replace(self, username=username, password=password)


def parse_url(url: str) -> BrokerAddress:
    """Read a URL; percent-encoding is undone in user name, password and virtual host.

    Without a path the virtual host is ``/``; the path ``/`` alone means the same.

    :raise ValueError: says what is wrong without repeating the password.
    """
    if not url.isascii() or re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError("a broker's URL is printable ASCII; write anything else as %XX")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        # Python's own message may hold a piece of the password.
        raise ValueError("a broker's URL needs a host and a port from 1 to 65535") from None
    if parts.scheme not in PORTS:
        raise ValueError("a broker's URL begins with amqp:// or amqps://")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("a broker's URL has no query; write ? as %3F and # as %23")
    if not _HOST.fullmatch(host) or port == 0:
        raise ValueError("a broker's URL needs a host and a port from 1 to 65535")
    if "/" in parts.path[1:]:
        raise ValueError("a slash in a virtual host's name is written as %2F")
    return BrokerAddress(
        host=host,
        port=port or PORTS[parts.scheme],
        tls=parts.scheme == "amqps",
        vhost=_decoded(parts.path[1:], "virtual host") or DEFAULT_VHOST,
        username=_decoded(parts.username or "", "user name"),
        password=_decoded(parts.password or "", "password"),
    )


def _decoded(text: str, what: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError(f"the {what} in a broker's URL has a % without two hex digits")
    try:
        plain = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError(f"the {what} in a broker's URL is not UTF-8") from None
    if "\0" in plain or len(plain.encode()) > 255:
        raise ValueError(f"the {what} in a broker's URL holds NUL or is too long")
    return plain
