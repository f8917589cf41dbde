"""What the process does, where it listens and where its log goes."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import Meta

from cyclades_tx.sections.values import Port, Seconds, Section, Text, quoted

Role = Literal["api", "loops", "events", "console", "vmapi"]
ROLES: tuple[Role, ...] = get_args(Role)


class ServerSection(Section, frozen=True):
    """What this process does and how it is seen from outside.

    :ivar roles: the parts that this process runs.
    :ivar processes: how many processes with the api or vmapi role share the database.
    :ivar public_url: where users reach the service; empty: the first listen address.
    :ivar vmapi_url: where new machines fetch their parameters; empty: public_url + "/vmapi".
    :ivar trusted_proxies: addresses or networks whose X-Forwarded-For headers are believed.
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
        interface = quoted(self.address)
        if self.tls_key_file:
            text = (
                f"ssl:{self.port}:interface={interface}:privateKey={quoted(self.tls_key_file)}"
                f":certKey={quoted(self.tls_certificate_file)}"
            )
            return text + (
                f":extraCertChain={quoted(self.tls_chain_file)}" if self.tls_chain_file else ""
            )
        return f"{'tcp6' if ':' in self.address else 'tcp'}:{self.port}:interface={interface}"


class AdminSection(Section, frozen=True):
    """The address of ``/metrics`` and ``/healthz?deep``, for this machine only.

    :ivar address: a loopback address; any other is refused.
    :ivar port: the TCP port; 0 turns the admin address off.
    """

    address: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 9774


class LogSection(Section, frozen=True):
    """Where the log goes.

    :ivar level: the lowest level that is written.
    :ivar file: the file, reopened when it was moved away; empty: standard output.
    """

    level: Literal["debug", "info", "warn", "error", "critical"] = "info"
    file: Text = ""
