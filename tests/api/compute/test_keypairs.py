"""Key pairs: shapes, codes of each version, whose they are."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization

from cyclades_tx.api.compute import documents
from cyclades_tx.model.keypair import generate
from cyclades_tx.testing import builders

KEY = generate().public.text + "\n"


async def put(wire, name, **options):
    """Keep a key under a name."""
    body = {"keypair": {"name": name, "public_key": KEY}}
    return await wire.post("/os-keypairs", body, **options)


@pytest.mark.parametrize(("minor", "made", "gone"), [(1, 200, 202), (2, 201, 204), (96, 201, 204)])
async def test_codes_and_members_follow_the_version(wire, fits, minor, made, gone):
    """From 2.2 there are types, and other codes."""
    version = f"2.{minor}"
    answer = await put(wire, "k", version=version)
    assert answer.status == made
    kept = answer.json["keypair"]
    typed = {"type"} if minor >= 2 else set()
    assert set(kept) == {"name", "public_key", "fingerprint", "user_id"} | typed
    shown = (await wire.get("/os-keypairs/k", version=version)).json["keypair"]
    fits(shown, documents.KEY_PAIR.schema(minor))
    assert set(shown) == set(kept) | {"id", "created_at", "updated_at", "deleted_at", "deleted"}
    listed = (await wire.get("/os-keypairs", version=version)).json
    assert listed == {
        "keypairs": [{"keypair": {name: kept[name] for name in kept if name != "user_id"}}]
    }
    answer = await wire.ask("DELETE", "/os-keypairs/k", version=version)
    assert (answer.status, answer.body) == (gone, b"")
    (await wire.get("/os-keypairs/k")).fault(404, "itemNotFound")


async def test_key_is_given_back_as_it_was_sent(wire):
    """The newline at its end too."""
    await put(wire, "k")
    assert (await wire.get("/os-keypairs/k")).json["keypair"]["public_key"] == KEY


async def test_private_key_is_handed_out_once_when_the_service_makes_the_pair(wire):
    """And is nowhere afterwards."""
    body = {"keypair": {"name": "made", "public_key": None}}
    made = (await wire.post("/os-keypairs", body, version="2.2")).json["keypair"]
    serialization.load_ssh_private_key(made["private_key"].encode(), None)
    shown = await wire.get("/os-keypairs/made")
    assert "private_key" not in shown.json["keypair"]
    assert shown.json["keypair"]["public_key"] == made["public_key"]


async def test_from_2_92_no_pair_is_made(wire):
    """A public key is required."""
    body = {"keypair": {"name": "made"}}
    (await wire.post("/os-keypairs", body, version="2.92")).fault(400, "badRequest")


@pytest.mark.parametrize("name", ["with space", "a.b", "ключ", "100%", "a?b", "ä" * 255])
async def test_name_may_be_nearly_anything(wire, name):
    """It comes back percent-encoded in paths."""
    from urllib.parse import quote

    assert (await put(wire, name)).status == 200
    path = f"/os-keypairs/{quote(name, safe='')}"
    assert (await wire.get(path)).json["keypair"]["name"] == name
    assert (await wire.ask("DELETE", path)).status == 202


@pytest.mark.parametrize(
    "keypair",
    [
        {"public_key": KEY},
        {"name": "", "public_key": KEY},
        {"name": " k", "public_key": KEY},
        {"name": "a/b", "public_key": KEY},
        {"name": "k" * 256, "public_key": KEY},
        {"name": 1, "public_key": KEY},
        {"name": "a\0b", "public_key": KEY},
        {"name": "k", "public_key": "nonsense"},
        {"name": "k", "public_key": 1},
        {"name": "k", "public_key": KEY, "type": "ssh"},
        {"name": "k", "public_key": KEY, "user_id": "x"},
        {"name": "k", "public_key": KEY, "other": 1},
        None,
        [],
    ],
)
async def test_bad_key_or_name_is_400_and_nothing_is_kept(wire, keypair):
    """Including members that the oldest version does not have."""
    (await wire.post("/os-keypairs", {"keypair": keypair})).fault(400, "badRequest")
    assert (await wire.get("/os-keypairs")).json == {"keypairs": []}


async def test_type_other_than_ssh_is_400(wire):
    """It is not offered."""
    body = {"keypair": {"name": "k", "public_key": KEY, "type": "x509"}}
    (await wire.post("/os-keypairs", body, version="2.2")).fault(400, "badRequest")


async def test_taken_name_is_409(wire):
    """For the same user only."""
    await put(wire, "k")
    message = (await put(wire, "k")).fault(409, "conflictingRequest")
    assert message == "Key pair 'k' already exists."


async def test_keys_belong_to_the_user_not_the_project(wire, database, admin):
    """Others of the project do not see them; administrators may, from 2.10."""
    colleague = await builders.somebody(database, project_id=wire.who.project_id)
    await put(wire, "k")
    (await wire.get("/os-keypairs/k", who=colleague)).fault(404, "itemNotFound")
    (await wire.ask("DELETE", "/os-keypairs/k", who=colleague)).fault(404, "itemNotFound")
    assert (await put(wire, "k", who=colleague)).status == 200
    path = f"/os-keypairs/k?user_id={wire.who.user_id}"
    (await wire.get(path, who=colleague, version="2.10")).fault(403, "forbidden")
    shown = (await wire.get(path, who=admin, version="2.10")).json
    assert shown["keypair"]["user_id"] == wire.who.user_id
    (await wire.get(path, who=admin, version="2.9")).fault(404, "itemNotFound")


async def test_administrator_keeps_a_key_for_somebody(wire, database, admin):
    """From 2.10, for a user that there is."""
    body = {"keypair": {"name": "k", "public_key": KEY, "user_id": wire.who.user_id}}
    assert (await wire.post("/os-keypairs", body, who=admin, version="2.10")).status == 201
    assert (await wire.get("/os-keypairs/k")).status == 200
    body["keypair"]["user_id"] = "0" * 32
    (await wire.post("/os-keypairs", body, who=admin, version="2.10")).fault(404, "itemNotFound")


async def test_pages_go_by_name_from_2_35(wire):
    """Older versions give all at once."""
    for name in ("b", "a", "c"):
        await put(wire, name)
    page = (await wire.get("/os-keypairs?limit=2", version="2.35")).json
    assert [each["keypair"]["name"] for each in page["keypairs"]] == ["a", "b"]
    link = page["keypairs_links"][0]["href"].partition("/v2.1")[2]
    rest = (await wire.get(link, version="2.35")).json
    assert [each["keypair"]["name"] for each in rest["keypairs"]] == ["c"]
    assert "keypairs_links" not in rest
    assert len((await wire.get("/os-keypairs?limit=1", version="2.34")).json["keypairs"]) == 3
    answer = await wire.get("/os-keypairs?marker=x", version="2.35")
    answer.fault(400, "badRequest")
