"""The broker of the Ganeti side, out of its configuration."""

from __future__ import annotations

from typing import Any

from cyclades_tx.gtools.config import BrokerSection, ConfigError, read_password, read_text
from cyclades_tx.mq.interfaces import IBroker
from cyclades_tx.mq.tls import Trust


def make_broker(reactor: Any, section: BrokerSection) -> IBroker:
    """Return a broker that is not started yet.

    :raise ConfigError: a file that is named there cannot be used.
    """
    from cyclades_tx.mq.broker import Broker

    password = read_password(section.password_file) if section.password_file else ""
    pems = [
        read_text(name) if name else ""
        for name in (section.authorities_file, section.certificate_file)
    ]
    try:
        trust = Trust(*pems)
    except ValueError as error:
        raise ConfigError(f"broker: {error}") from None
    addresses = [each.with_login(section.username, password) for each in section.addresses()]
    return Broker(reactor, addresses, trust, name="ganeti-eventd")
