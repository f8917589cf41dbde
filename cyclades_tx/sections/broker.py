"""The broker of the Ganeti side's messages."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from cyclades_tx.errors import ConfigError
from cyclades_tx.mq.urls import BrokerAddress, parse_url
from cyclades_tx.sections.values import PRINTABLE, Seconds, Section, Text


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
