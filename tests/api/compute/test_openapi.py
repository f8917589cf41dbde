"""Compute's OpenAPI document: whole, readable without a token, and kept by every reply."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.threads import deferToThread

from cyclades_tx.api.compute.openapi import ACTIONS
from cyclades_tx.api.openapi import REFUSED
from cyclades_tx.testing import builders
from cyclades_tx.testing.shapes import misfits
from tests.api.compute.hostile import around, bodies, wait_for
from tests.api.compute.real_flows import real_servers

DOCUMENT = "/openapi.json"
VERSIONS = ("2.1", "2.26", "2.53", "2.64", "2.96")


@pytest.fixture
def flow(database):
    """The real flows of servers."""
    return real_servers(database)


@pytest.mark.parametrize("version", [None, *VERSIONS])
async def test_document_is_served_to_everyone(wire, version):
    """Without a token, for the microversion that is asked for."""
    answer = await wire.get(DOCUMENT, token=None, version=version)
    assert answer.status == 200
    document = answer.json
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == (version or "2.1")
    assert document["servers"] == [{"url": "https://cloud.example.org"}]
    references = set(re.findall(r'"\$ref": ?"#/components/schemas/([^"]+)"', answer.body.decode()))
    assert references <= set(document["components"]["schemas"])
    names = [
        operation["operationId"] for path in document["paths"].values()
        for operation in path.values()
    ]  # fmt: skip
    assert len(names) == len(set(names))


async def test_document_has_what_its_version_has(wire):
    """Tags from 2.26, numbers of all hypervisors up to 2.87."""
    old = (await wire.get(DOCUMENT, version="2.25")).json["paths"]
    new = (await wire.get(DOCUMENT, version="2.96")).json["paths"]
    tags, numbers = "/servers/{server_id}/tags", "/os-hypervisors/statistics"
    assert (f"/compute/v2.1{tags}" in old, f"/compute/v2.1{tags}" in new) == (False, True)
    assert (f"/compute/v2.1{numbers}" in old, f"/compute/v2.1{numbers}" in new) == (True, False)


@pytest.mark.parametrize("name", ACTIONS)
async def test_action_of_the_table_is_one(wire, name):
    """Whatever comes of it, it is not unknown."""
    answer = await wire.post("/servers/x/action", {name: "junk"}, version="2.43")
    assert b"no such action" not in answer.body


async def a_world(wire, stranger):
    """One of everything of each of two projects; return the ids of both."""
    database = wire.database
    found = {}
    for who in (wire.who, stranger):
        flavor = await builders.a_flavor(database, specs={"k": "v"})
        image = await builders.an_image(database)
        cluster = await builders.a_cluster(database)
        server = await builders.a_server(
            database, who, flavor, image=image, cluster=cluster, metadata={"k": "v"}, tags=("t",)
        )
        network = await builders.a_network(database, project_id=who.project_id)
        port = await builders.a_port(database, server, network, "10.0.0.5")
        group = await database.value(
            "insert into server_group (project_id, user_id, name, policy)"
            " values (%s, %s, 'g', 'affinity') returning uuid::text",
            (who.project_id, who.user_id),
        )
        await builders.a_holding(database, who.project_id, "cyclades.vm", 10, 1)
        request_id = "req-00000000-0000-4000-8000-00000000000" + str(len(found))
        await builders.an_operation(
            database, server, cluster, "start", state="succeeded", request_id=request_id
        )
        found[who.project_id] = {
            "server_id": server.uuid, "flavor_id": flavor.uuid, "project_id": who.project_id,
            "group_id": group, "hypervisor_id": cluster.uuid, "port_id": port.uuid,
            "request_id": request_id, "key": "k", "tag": "t", "network": "net", "name": "n",
            "alias": "os-keypairs", "class_id": "default", "volume_id": server.uuid,
        }  # fmt: skip
    return found


def schema_of(operation, status):
    """The schema of a reply with a status; None: it is empty."""
    responses = operation["responses"]
    response = responses.get(str(status), responses["default"])
    content = response.get("content")
    return None if content is None else content["application/json"]["schema"]


def whole(schema, components):
    """A schema with what it refers to in its place."""
    reference = schema.get("$ref")
    return components[reference.rpartition("/")[2]] if reference else schema


async def test_no_reply_is_outside_the_document(wire, stranger, admin, reader):
    """Any request with any body, token and version: no 5xx but 501 and 503, replies that fit.

    The ids of another project are mixed in; what is answered never holds one of its names.
    """
    ids = await a_world(wire, stranger)
    mine, theirs = ids[wire.who.project_id], ids[stranger.project_id]
    documents = {version: (await wire.get(DOCUMENT, version=version)).json for version in VERSIONS}
    people = {"member": wire.who, "reader": reader, "stranger": stranger, "admin": admin}
    secrets = [theirs["server_id"], theirs["group_id"], stranger.user_id, theirs["port_id"]]
    requests = {
        version: [
            (method.upper(), path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ]
        for version, document in documents.items()
    }

    operations = {
        (version, operation["operationId"]): operation
        for version, found in requests.items()
        for _, _, operation in found
    }

    @st.composite
    def asked(draw):
        version = draw(st.sampled_from(VERSIONS))
        method, path, operation = draw(st.sampled_from(requests[version]))
        junk = st.one_of(st.just("x"), st.text(min_size=1, max_size=20))
        owner = draw(st.sampled_from((mine, mine, theirs)))

        def fill(found):
            known = owner.get(found[1], "x")
            word = draw(st.one_of(st.just(known), st.just(known), junk))
            return quote(word, safe="") or "x"

        path = re.sub(r"{([a-z_]+)}", fill, path)
        names = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
        pairs = {}
        if names:
            pairs = draw(st.dictionaries(st.sampled_from(names), around(""), max_size=2))
        query = "&".join(f"{name}={quote(str(value))}" for name, value in pairs.items())
        body = None
        content = operation.get("requestBody")
        if content is not None:
            components = documents[version]["components"]["schemas"]
            body = draw(bodies(content["content"]["application/json"]["schema"], components))
        who = draw(st.sampled_from(("member", "admin", "reader", "stranger", "nobody", "wrong")))
        name = operation["operationId"]
        return version, name, method, path + ("?" + query if query else ""), body, who

    @given(asked())
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    def check(request):
        version, name, method, path, body, who = request
        operation = operations[version, name]
        token = {"token": None} if who == "nobody" else {"token": "wrong"}
        person = people.get(who)
        data = None if body is None else json.dumps(body).encode()
        sent = {"version": version, "data": data, **({"who": person} if person else token)}
        answer = wait_for(wire.ask(method, "/" + path, **sent))
        assert answer.status < 500 or answer.status in (501, 503), (request, answer.body)
        if person is None and operation["security"]:
            assert answer.status in (401, 404, 400), (request, answer.body)
        if operation["x-support"] == REFUSED:
            assert answer.status >= 400, (request, answer.body)
        components = documents[version]["components"]["schemas"]
        schema = schema_of(operation, answer.status)
        if answer.body:
            assert schema is not None, (request, answer.status, answer.body)
            fitting = whole(schema, components)
            assert misfits(answer.json, fitting) == [], (request, answer.body)
        if who in ("member", "reader") and method == "GET" and answer.status < 400:
            shown = answer.body.decode()
            assert not [each for each in secrets if each in shown], (request, answer.body)

    # Hypothesis calls functions that return when they are done: it waits in a thread.
    await deferToThread(check)
