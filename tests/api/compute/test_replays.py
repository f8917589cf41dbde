"""``Idempotency-Key``: a POST that is repeated answers as the first did, and does nothing more."""

from __future__ import annotations

import random

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from cyclades_tx.api.compute import app
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.replays import CUT_OFF_SECONDS, Replays
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.keypairs import KeyPairs
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.servers import Servers
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.identity.memory import MemoryIdentity
from cyclades_tx.sections import GanetiSection, OperationsSection, QuotaSection, VmapiSection
from cyclades_tx.store import quotas
from cyclades_tx.testing import builders
from cyclades_tx.vault import MemorySecretStore
from tests.api.compute.conftest import Wire
from tests.api.wire import PUBLIC, listening


@pytest_twisted.async_yield_fixture
async def repeating(database):
    """The service with real flows and kept replies."""
    from twisted.internet import reactor

    identity = MemoryIdentity(reactor)
    who = await builders.somebody(database)
    keyring = Keyring([b"k" * 32])
    replays = Replays(database, keyring)
    frame = Frame(reactor, identity, PUBLIC, replays=replays)
    flow = Servers(
        database, MemorySecretStore(Clock()), keyring, Networks(database), Images(database),
        GanetiSection(), OperationsSection(), VmapiSection(), random.Random(1),
    )  # fmt: skip
    app.mount(frame, database, flow, KeyPairs(database))
    async with listening(reactor, frame) as (port, pool):
        wire = Wire(database, identity, port, who, pool, flow, identity.add(who))
        wire.replays = replays
        yield wire


async def a_body(wire):
    """Everything that a creation needs; a body that asks for one."""
    flavor = await builders.a_flavor(wire.database)
    image = await builders.an_image(wire.database)
    await builders.a_cluster(wire.database)
    await wire.database.transaction(
        lambda tx: quotas.make_holdings(tx, wire.who.project_id, QuotaSection().limits())
    )
    server = {"name": "x", "flavorRef": flavor.uuid, "imageRef": image.uuid, "networks": "none"}
    return {"server": server}


async def post(wire, body, key="k-1", path="/servers", **options):
    """POST with a key."""
    headers = {"Idempotency-Key": key}
    return await wire.post(path, body, headers=headers, version="2.96", **options)


async def count(database, table="server"):
    """How many rows there are."""
    return await database.value(f"select count(*) from {table}")


async def test_a_repeated_creation_answers_the_same_and_makes_nothing(repeating, database):
    """Status, body with its password, and Location."""
    body = await a_body(repeating)
    first = await post(repeating, body)
    second = await post(repeating, body)
    assert (first.status, second.status) == (202, 202)
    assert second.json == first.json
    assert second.header("location") == first.header("location")
    assert second.header("content-type") == "application/json"
    assert await count(database) == 1
    assert (await post(repeating, body, "k-2")).json != first.json
    assert await count(database) == 2
    await repeating.post("/servers", body, version="2.96")
    assert await count(database) == 3


async def test_the_kept_reply_shows_nobody_the_password(repeating, database):
    """It is sealed at rest."""
    made = await post(repeating, await a_body(repeating))
    kept = bytes(await database.value("select body from idempotency_key"))
    assert made.json["server"]["adminPass"].encode() not in kept


async def test_a_repeated_private_key_is_the_same(repeating, database):
    """It would be lost otherwise."""
    body = {"keypair": {"name": "k", "type": "ssh", "public_key": "ssh-ed25519 " + "A" * 68}}
    body["keypair"]["public_key"] = (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8d4xW1y0m1yqQ8qWcGZ1xv7o0mB3p5h8v2cN9dS4kU a@b"
    )
    first = await post(repeating, body, path="/os-keypairs")
    second = await post(repeating, body, path="/os-keypairs")
    assert first.status == 201
    assert (second.status, second.json) == (first.status, first.json)
    assert await count(database, "key_pair") == 1


async def test_a_key_is_for_one_request(repeating, database):
    """Another body, path or version is 422, and does nothing."""
    body = await a_body(repeating)
    assert (await post(repeating, body)).status == 202
    other = {"server": {**body["server"], "name": "y"}}
    (await post(repeating, other)).fault(422, "unprocessableEntity")
    (await post(repeating, body, path="/os-keypairs")).fault(422, "unprocessableEntity")
    assert await count(database) == 1


async def test_a_key_belongs_to_its_user(repeating, database, stranger):
    """Somebody else's same key is another one."""
    body = await a_body(repeating)
    assert (await post(repeating, body)).status == 202
    await database.transaction(
        lambda tx: quotas.make_holdings(tx, stranger.project_id, QuotaSection().limits())
    )
    assert (await post(repeating, body, who=stranger)).status == 202
    assert await count(database) == 2


async def test_what_was_refused_may_be_tried_again(repeating, database):
    """It has made nothing."""
    body = await a_body(repeating)
    await database.run("update holding set maximum = 0 where resource = 'cyclades.vm'")
    (await post(repeating, body)).fault(403, "forbidden")
    assert await count(database, "idempotency_key") == 0
    await database.run("update holding set maximum = 9 where resource = 'cyclades.vm'")
    assert (await post(repeating, body)).status == 202


async def test_of_many_at_once_one_is_done(repeating, database):
    """The others are told to wait, or get its reply."""
    body = await a_body(repeating)
    answers = await gatherResults([Deferred.fromCoroutine(post(repeating, body)) for _ in range(8)])
    assert {answer.status for answer in answers} <= {202, 409}
    assert len({answer.body for answer in answers if answer.status == 202}) == 1
    assert all(answer.header("retry-after") == "1" for answer in answers if answer.status == 409)
    assert await count(database) == 1


async def test_a_request_that_was_cut_off_is_not_done_twice(repeating, database):
    """What it began is named; when it began nothing it is done now."""
    body = await a_body(repeating)
    assert (await post(repeating, body)).status == 202
    cut = "update idempotency_key set status = null, body = null"
    await database.run(cut)
    assert "under way" in (await post(repeating, body)).fault(409, "conflictingRequest")
    age = f"created_at = now() - interval '{int(CUT_OFF_SECONDS) + 1} seconds'"
    await database.run(f"update idempotency_key set {age}")
    message = (await post(repeating, body)).fault(409, "conflictingRequest")
    assert "was cut off" in message and "req-" in message
    await database.run("update operation set request_id = ''")
    assert (await post(repeating, body)).status == 202
    assert await count(database) == 2
    assert (await post(repeating, body)).status == 202
    assert await count(database) == 2


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\xe9"])
async def test_a_key_that_is_none_is_400(repeating, key):
    """Nothing is done without one that was meant."""
    (await post(repeating, {}, key)).fault(400, "badRequest")


async def test_old_replies_are_thrown_away(repeating, database):
    """After a day; then the key is new."""
    assert (await post(repeating, await a_body(repeating))).status == 202
    await repeating.replays.sweep()
    assert await count(database, "idempotency_key") == 1
    await database.run("update idempotency_key set created_at = now() - interval '25 hours'")
    await repeating.replays.sweep()
    assert await count(database, "idempotency_key") == 0
