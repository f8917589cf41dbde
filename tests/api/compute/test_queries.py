"""Words of a query that a request does not know, before and from 2.75 on."""

from __future__ import annotations

import pytest

from cyclades_tx.api.compute.queries import _KNOWN

READS = ["/servers", "/servers/detail", "/flavors", "/flavors/detail", "/os-keypairs", "/limits",
         "/os-server-groups"]  # fmt: skip


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("query", ["colour=blue", "limit=1&colour=blue", "%FF=1", "%00=", "=x"])
async def test_unknown_word_is_400_from_2_75_on_only(wire, path, query):
    """The fault names it; below it has no effect."""
    query = query.replace("limit=1&", "") if path in ("/limits",) else query
    assert (await wire.get(f"{path}?{query}", version="2.74")).status == 200
    refused = await wire.get(f"{path}?{query}", version="2.75")
    assert "was unexpected" in refused.fault(400, "badRequest")


@pytest.mark.parametrize("request_name", sorted(_KNOWN))
async def test_every_known_word_is_taken(wire, request_name):
    """None of them is called unexpected, whatever else is wrong with its value."""
    method, path = request_name.split(" ")
    path = path.replace("<project_id>", wire.who.project_id).replace("<name>", "k")
    for part in ("<server_id>", "<flavor_id>"):
        path = path.replace(part, "00000000-0000-4000-8000-000000000000")
    for word in sorted(_KNOWN[request_name]):
        answer = await wire.ask(method, f"{path}?{word}=1", version="2.96")
        assert b"was unexpected" not in answer.body, word


async def test_path_with_a_project_is_as_strict(wire):
    """The old catalogs' form."""
    path = f"/{wire.who.project_id}/servers?colour=blue"
    assert (await wire.get(path, version="2.96")).status == 400
