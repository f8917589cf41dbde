"""Compute's OpenAPI document: whole, readable without a token, of the version asked for."""

from __future__ import annotations

import re

import pytest

from cyclades_tx.api.compute.shapes import ACTIONS
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
