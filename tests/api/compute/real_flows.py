"""The real flows of servers, for tests of the views that look at what comes of a request."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.task import Clock

from cyclades_tx.flows.images import Images
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.servers import Servers
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.sections import GanetiSection, OperationsSection, VmapiSection
from cyclades_tx.vault import MemorySecretStore


def real_servers(database: Any) -> Servers:
    """The flows over a test's database; secrets are in memory, and no cluster is asked."""
    operations = OperationsSection()
    return Servers(
        database,
        MemorySecretStore(Clock()),
        Keyring([b"k" * 32]),
        Networks(database, deadline_seconds=operations.deadline_seconds("make_network")),
        Images(database),
        GanetiSection(),
        operations,
        VmapiSection(),
        random.Random(1),
    )
