"""Network with everything that writes, on loopback, for the tests of one collection each."""

from __future__ import annotations

import json
from typing import Any

from cyclades_tx.api.network.app import VERSION, mount
from cyclades_tx.api.network.floating_ips import FloatingIpWriter
from cyclades_tx.api.network.ports import PortWriter
from cyclades_tx.api.network.routers import RouterWriter
from cyclades_tx.api.network.security_groups import GroupWriter, RuleWriter
from cyclades_tx.flows.floating_ips import FloatingIps
from cyclades_tx.flows.interfaces import Interfaces
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.ports import Ports
from cyclades_tx.flows.routers import Routers
from cyclades_tx.flows.security_groups import SecurityGroups
from cyclades_tx.model.who import Who
from cyclades_tx.sections import GanetiSection, OperationsSection, QuotaSection
from cyclades_tx.store import quotas
from cyclades_tx.testing.loopback import Answer, Loopback
from cyclades_tx.testing.network_builders import a_member
from cyclades_tx.testing.shapes import misfits

#: Bodies of any noun that nobody means.
HOSTILE = (
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"{}",
    b'{"NOUN": null}',
    b'{"NOUN": []}',
    b'{"NOUN": 7}',
    b'{"NOUN": {"unknown": 1}}',
    b'{"NOUNs": []}',
    b'{"NOUN": {}, "NOUNs": [{}]}',
    b'{"NOUN": {"name": 7}}',
    b'{"NOUN": {"name": "a\\u0000b"}}',
    b'{"NOUN": {"description": null, "name": ["x"]}}',
    b'{"NOUN": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    b'{"NOUN": {"name": "\xff"}}',
    b'{"NOUN": {"name": "x"',
)


class Writing:
    """Sends bodies as somebody."""

    def __init__(self, reactor: Any, database: Any) -> None:
        networks = Networks(database)
        interfaces = Interfaces(database, networks, GanetiSection(), OperationsSection())
        groups = SecurityGroups(database)
        writers: dict[str, Any] = {
            "ports": PortWriter(database, Ports(database, networks, interfaces)),
            "floatingips": FloatingIpWriter(database, FloatingIps(database, interfaces)),
            "routers": RouterWriter(database, Routers(database)),
            "security-groups": GroupWriter(database, groups),
            "security-group-rules": RuleWriter(database, groups),
        }
        self.database = database
        self.wire = Loopback(reactor, lambda frame: mount(frame, database, {}, writers))

    async def somebody(self, *roles: str) -> Who:
        """A member of a new project that has its limits."""
        who = await a_member(self.database, *roles)
        limits = QuotaSection().limits()
        await self.database.transaction(
            lambda tx: quotas.make_holdings(tx, who.project_id or "", limits)
        )
        return who

    async def send(self, who: Who, method: str, path: str, body: Any = None) -> Answer:
        """Send a request with a JSON body, or with bytes as they are."""
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        answer = await self.wire.ask(f"{VERSION}/{path}", who, method=method, body=data)
        if answer.status >= 400:
            assert list(answer.json) == ["NeutronError"], answer.body
        return answer

    async def made(self, who: Who, path: str, noun: str, **members: Any) -> Any:
        """POST one thing; its document."""
        answer = await self.send(who, "POST", path, {noun: members})
        assert answer.status == 201, answer.body
        assert list(answer.json) == [noun]
        return answer.json[noun]


async def everything(database: Any) -> dict[str, list[str]]:
    """All rows that these requests may touch, as texts."""
    return {
        table: sorted(
            row.text for row in await database.all(f"select t::text as text from {table} t")
        )
        for table in (
            "port", "address", "free_address_range", "floating_ip", "holding", "security_group",
            "security_group_rule", "port_security_group", "operation", "event",
        )
    }  # fmt: skip


def kind(answer: Answer) -> tuple[int, str]:
    """Status and type of a fault."""
    return answer.status, answer.json["NeutronError"]["type"]


def fits(document: Any, declared: Any) -> None:
    """Exactly the members that are declared for a member of a project."""
    assert misfits(document, declared.schema()) == []
