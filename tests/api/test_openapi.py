"""The OpenAPI documents of all services, and the page of the documentation that lists them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cyclades_tx.api.openapi import REFUSED
from cyclades_tx.api.reference import REFERENCES, endpoints, mount, render
from cyclades_tx.testing.loopback import Loopback

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
FRAME = endpoints()
ENTRIES = [
    (reference.title, each, said)
    for reference in REFERENCES
    for each, said in reference.entries(FRAME.endpoints)
]


@pytest.mark.parametrize(
    ("title", "each", "said"), ENTRIES, ids=[f"{each.method} {each.path}" for _, each, _ in ENTRIES]
)
def test_every_endpoint_is_described(title, each, said):
    """In its service's table, with a sentence; one that is refused says why."""
    assert said is not None, title
    assert said.summary
    assert said.note or said.support != REFUSED


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.title)
def test_nothing_is_described_that_is_not_served(reference):
    """A table has no more than the endpoints."""
    found = reference.entries(FRAME.endpoints)
    served = {f"{each.method} {each.path.removeprefix(reference.prefix)}" for each, _ in found}
    assert set(reference.table) == served


def references_in(value):
    """Every reference in a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from references_in(each)


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.title)
def test_document_is_whole(reference):
    """Every reference leads somewhere, every name is there once, every path has its parameters."""
    document = reference.document(FRAME.endpoints, 96, "https://cloud.example.org")
    assert json.loads(json.dumps(document))["openapi"] == "3.1.0"
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references_in(document)) <= known
    operations = [
        (path, each) for path, methods in document["paths"].items() for each in methods.values()
    ]
    names = [each["operationId"] for _, each in operations]
    assert len(names) == len(set(names))
    for path, each in operations:
        in_path = {one["name"] for one in each["parameters"] if one["in"] == "path"}
        assert {part[1:-1] for part in path.split("/") if part.startswith("{")} == in_path
        assert each["responses"]


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.title)
async def test_document_is_served_without_a_token(reference):
    """Below the version of each service."""
    from twisted.internet import reactor

    wire = Loopback(reactor, mount)
    answer = await wire.ask(f"{reference.prefix}/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json["info"]["title"] == reference.title
    await wire.close()


def test_page_of_the_documentation_is_the_tables():
    """Made anew with ``python -m cyclades_tx.api.reference > docs/api.md``."""
    assert PAGE.read_text() == render()
