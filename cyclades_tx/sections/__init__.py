"""The tables of the configuration file, with every key, its unit and its default.

``config.py`` reads the file into these; ``etc/cyclades_tx.toml`` shows them to operators. Who needs
a table takes it from here.
"""

from __future__ import annotations

from cyclades_tx.sections.broker import BrokerSection
from cyclades_tx.sections.database import DatabaseSection, RetentionSection
from cyclades_tx.sections.ganeti import (
    NETWORK_PATTERN,
    GanetiSection,
    NetworkChoice,
    OperationsSection,
    VmapiSection,
)
from cyclades_tx.sections.images import ImageSection, SwiftSection
from cyclades_tx.sections.secret_files import MAX_FILE_BYTES, read_secret
from cyclades_tx.sections.server import (
    ROLES,
    AdminSection,
    ListenSection,
    LogSection,
    Role,
    ServerSection,
)
from cyclades_tx.sections.users import ConsoleSection, EventsSection, IdentitySection, QuotaSection
from cyclades_tx.sections.values import Section

__all__ = [
    "MAX_FILE_BYTES",
    "NETWORK_PATTERN",
    "ROLES",
    "AdminSection",
    "BrokerSection",
    "ConsoleSection",
    "DatabaseSection",
    "EventsSection",
    "GanetiSection",
    "IdentitySection",
    "ImageSection",
    "ListenSection",
    "LogSection",
    "NetworkChoice",
    "OperationsSection",
    "QuotaSection",
    "RetentionSection",
    "Role",
    "Section",
    "ServerSection",
    "SwiftSection",
    "VmapiSection",
    "read_secret",
]
