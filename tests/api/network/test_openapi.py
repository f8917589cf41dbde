"""Network's OpenAPI document: served to everyone, and kept by every reply to anything."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.threads import deferToThread

from cyclades_tx.api.network.app import VERSION, mount
from cyclades_tx.api.network.floating_ips import FloatingIpWriter
from cyclades_tx.api.network.networks import NetworkWriter
from cyclades_tx.api.network.ports import PortWriter
from cyclades_tx.api.network.routers import RouterWriter
from cyclades_tx.api.network.security_groups import GroupWriter, RuleWriter
from cyclades_tx.api.network.subnet_pools import SubnetPoolWriter
from cyclades_tx.api.network.subnets import SubnetWriter
from cyclades_tx.api.openapi import REFUSED
from cyclades_tx.flows.floating_ips import FloatingIps
from cyclades_tx.flows.interfaces import Interfaces
from cyclades_tx.flows.network_tags import NetworkTags
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.ports import Ports
from cyclades_tx.flows.routers import Routers
from cyclades_tx.flows.security_groups import SecurityGroups
from cyclades_tx.flows.subnet_pools import SubnetPools
from cyclades_tx.flows.subnets import Subnets
from cyclades_tx.flows.value_pools import ValuePools
from cyclades_tx.model.who import ADMIN, READER
from cyclades_tx.sections import GanetiSection, OperationsSection
from cyclades_tx.testing import builders
from cyclades_tx.testing.loopback import Loopback
from cyclades_tx.testing.shapes import misfits
from tests.api.compute.hostile import around, bodies, wait_for


@pytest_twisted.async_yield_fixture
async def whole(database):
    """Network with everything that writes."""
    from twisted.internet import reactor

    networks = Networks(database)
    interfaces = Interfaces(database, networks, GanetiSection(), OperationsSection())
    groups = SecurityGroups(database)
    writers = {
        "networks": NetworkWriter(database, networks),
        "subnets": SubnetWriter(database, Subnets(database)),
        "ports": PortWriter(database, Ports(database, networks, interfaces)),
        "floatingips": FloatingIpWriter(database, FloatingIps(database, interfaces)),
        "security-groups": GroupWriter(database, groups),
        "security-group-rules": RuleWriter(database, groups),
        "routers": RouterWriter(database, Routers(database)),
        "subnetpools": SubnetPoolWriter(database, SubnetPools(database)),
    }
    wire = Loopback(
        reactor, lambda frame: mount(frame, database, {}, writers, NetworkTags(database))
    )
    pools = ValuePools(database)
    await pools.create("mac_prefix", "aa:00:0", 1000)
    await pools.create("bridge", "prv", 20)
    yield wire
    await wire.close()


async def a_world(database, people):
    """One of everything of each of two projects; return their ids by collection."""
    found = {}
    flavor = await builders.a_flavor(database)
    for number, who in enumerate(people):
        server = await builders.a_server(database, who, flavor)
        network = await builders.a_network(
            database, project_id=who.project_id, cidr=f"10.{number}.0.0/24"
        )
        port = await builders.a_port(database, server, network, f"10.{number}.0.5")
        subnet = await database.value(
            "select uuid::text from subnet where network_id = %s", (network.id,)
        )
        group = await database.value(
            "insert into security_group (project_id, name) values (%s, 'g') returning uuid::text",
            (who.project_id,),
        )
        found[who.project_id] = {
            "networks": network.uuid, "ports": port.uuid, "subnets": subnet,
            "security-groups": group, "quotas": who.project_id,
        }  # fmt: skip
    return found


async def test_document_is_served_to_everyone(whole):
    """Without a token."""
    answer = await whole.ask(f"{VERSION}/openapi.json", None)
    assert answer.status == 200
    assert answer.json["info"]["title"] == "Network"


async def test_no_reply_is_outside_the_document(whole, database):
    """Any request with any body by anybody: no 5xx but 501 and 503, replies that fit.

    The ids of another project are mixed in; what is answered never holds one of its things.
    """
    member = await builders.somebody(database)
    stranger = await builders.somebody(database)
    reader = await builders.somebody(database, READER, project_id=member.project_id)
    admin = await builders.somebody(database, ADMIN)
    ids = await a_world(database, (member, stranger))
    mine, theirs = ids[member.project_id], ids[stranger.project_id]
    people = {"member": member, "reader": reader, "stranger": stranger, "admin": admin}
    document = (await whole.ask(f"{VERSION}/openapi.json", None)).json
    components = document["components"]["schemas"]
    operations = {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }

    @st.composite
    def asked(draw):
        name = draw(st.sampled_from(sorted(operations)))
        _, path, operation = operations[name]
        kind = path.removeprefix(VERSION).split("/")[1] if path != VERSION else ""
        owner = draw(st.sampled_from((mine, mine, theirs)))
        words = st.one_of(
            st.just(owner.get(kind, "x")), st.just("x"), st.text(min_size=1, max_size=10)
        )
        path = re.sub(r"{[a-z_]+}", lambda _: quote(draw(words), safe=""), path)
        names = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
        pairs = {}
        if names:
            pairs = draw(st.dictionaries(st.sampled_from(names), around(""), max_size=2))
        query = "&".join(f"{key}={quote(str(value))}" for key, value in pairs.items())
        body = None
        content = operation.get("requestBody")
        if content is not None:
            body = draw(bodies(content["content"]["application/json"]["schema"], components))
        who = draw(st.sampled_from(("member", "admin", "reader", "stranger", "nobody")))
        return name, path + ("?" + query if query else ""), body, who

    @given(asked())
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    def check(request):
        name, path, body, who = request
        method, _, operation = operations[name]
        data = b"" if body is None else json.dumps(body).encode()
        answer = wait_for(whole.ask(path, people.get(who), method=method, body=data))
        assert answer.status < 500 or answer.status in (501, 503), answer.body
        if who == "nobody" and operation["security"]:
            assert answer.status in (400, 401, 404), answer.body
        if operation["x-support"] == REFUSED:
            assert answer.status >= 400, answer.body
        responses = operation["responses"]
        response = responses.get(str(answer.status), responses["default"])
        if answer.body:
            schema = response["content"]["application/json"]["schema"]
            reference = schema.get("$ref")
            if reference:
                schema = components[reference.rpartition("/")[2]]
            assert misfits(answer.json, schema) == [], answer.body
        if who in ("member", "reader") and method == "GET" and answer.status < 400:
            text = answer.body.decode()
            assert not [each for each in theirs.values() if each in text], answer.body

    # Hypothesis calls functions that return when they are done: it waits in a thread.
    await deferToThread(check)
