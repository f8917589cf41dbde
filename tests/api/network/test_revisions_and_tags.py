"""What all things of Network that can be written have in common: revisions, tags, events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from cyclades_tx.api.network.collections import COLLECTIONS
from cyclades_tx.model.who import Who
from cyclades_tx.store import quotas
from cyclades_tx.testing.network_builders import a_network
from tests.api.network.written import Writing, fault


@dataclass(frozen=True)
class Thing:
    """A kind of thing, with the body of a new one.

    :ivar event: what its events begin with.
    """

    path: str
    noun: str
    event: str
    body: Callable[[Writing], Awaitable[dict[str, Any]]]


async def _bare(writing: Writing) -> dict[str, Any]:
    return {"name": "n"}


async def _subnet(writing: Writing) -> dict[str, Any]:
    network = await writing.make()
    return {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}


async def _port(writing: Writing) -> dict[str, Any]:
    return {"network_id": (await writing.make())["id"]}


async def _floating(writing: Writing) -> dict[str, Any]:
    await writing.database.transaction(
        lambda tx: quotas.make_holdings(
            tx, writing.who.project_id or "", {"cyclades.floating_ip": 5}
        )
    )
    network = await a_network(
        writing.database, None, "192.0.2.0/24", external=True, floating_ip_pool=True
    )
    return {"floating_network_id": network.uuid}


async def _pool(writing: Writing) -> dict[str, Any]:
    return {"name": "p", "prefixes": ["10.0.0.0/16"]}


THINGS = (
    Thing("networks", "network", "network", _bare),
    Thing("subnets", "subnet", "subnet", _subnet),
    Thing("ports", "port", "port", _port),
    Thing("routers", "router", "router", _bare),
    Thing("floatingips", "floatingip", "floating_ip", _floating),
    Thing("security-groups", "security_group", "security_group", _bare),
    Thing("subnetpools", "subnetpool", "subnet_pool", _pool),
)
every = pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.path)


async def made(writing: Writing, thing: Thing) -> Any:
    """The document of a new one."""
    answer = await writing.send("POST", thing.path, {thing.noun: await thing.body(writing)})
    assert answer.status == 201, answer.body
    return answer.json[thing.noun]


async def kinds(writing: Writing, uuid: str) -> list[str]:
    """The events of a thing, the oldest first."""
    rows = await writing.database.all(
        "select kind, project_id from event where subject = %s order by id", (uuid,)
    )
    assert {row.project_id for row in rows} <= {writing.who.project_id}
    return [row.kind for row in rows]


def test_every_collection_that_can_be_written_is_tried() -> None:
    """But for rules, which belong to their group."""
    paths = {collection.path for collection in COLLECTIONS if not collection.read_only}
    assert paths - {thing.path for thing in THINGS} == {"security-group-rules"}


@every
async def test_a_change_may_depend_on_the_revision(writing: Writing, thing: Thing) -> None:
    """A stale one changes nothing; each change grows it by one, and is told."""
    first = await made(writing, thing)
    path = f"{thing.path}/{first['id']}"
    change = {thing.noun: {"description": "x"}}
    number = first["revision_number"]
    for stale in (number + 1, number - 1):
        for method, body in (("PUT", change), ("DELETE", None)):
            answer = await writing.send(method, path, body, If_Match=f"revision_number={stale}")
            fault(answer, 412, "RevisionNumberConstraintFailed")
    for wrong in ("x", "revision_number=x", '"abc"'):
        answer = await writing.send("PUT", path, change, If_Match=wrong)
        fault(answer, 400, "BadRequest")
    assert (await writing.send("GET", path)).json[thing.noun] == first
    answer = await writing.send("PUT", path, change, If_Match=f"revision_number={number}")
    assert answer.status == 200, answer.body
    after = answer.json[thing.noun]
    assert (after["description"], after["revision_number"]) == ("x", number + 1)
    assert after["updated_at"] >= first["updated_at"]
    answer = await writing.send("DELETE", path, None, If_Match=f"revision_number={number + 1}")
    assert answer.status == 204
    told = await kinds(writing, first["id"])
    assert [told[0], *told[-2:]] == [
        f"{thing.event}.{word}" for word in ("created", "changed", "deleted")
    ]


@every
async def test_everything_has_tags(writing: Writing, thing: Thing, stranger: Who) -> None:
    """All at once or one by one; lists are filtered by them, and changes are told."""
    first = await made(writing, thing)
    path = f"{thing.path}/{first['id']}/tags"
    assert first["tags"] == []
    assert (await writing.send("PUT", path, {"tags": ["red", "blue", "red"]})).json == {
        "tags": ["blue", "red"]
    }
    assert (await writing.send("PUT", f"{path}/gr%C3%BCn")).status == 201
    assert (await writing.send("GET", f"{path}/gr%C3%BCn")).status == 204
    shown = (await writing.send("GET", f"{thing.path}/{first['id']}")).json[thing.noun]
    assert shown["tags"] == ["blue", "grün", "red"]
    assert shown["revision_number"] == first["revision_number"] + 2
    collection = next(each for each in COLLECTIONS if each.path == thing.path)
    for query, found in (
        ("tags=red,blue", True),
        ("tags=red,black", False),
        ("tags-any=black,blue", True),
        ("not-tags=red", False),
        ("not-tags-any=black", True),
    ):
        listed = await writing.send("GET", f"{thing.path}?id={first['id']}&{query}")
        assert bool(listed.json[collection.plural]) is found, query
    told = await kinds(writing, first["id"])
    assert told[-2:] == [f"{thing.event}.changed"] * 2
    assert (await writing.send("DELETE", f"{path}/red")).status == 204
    fault(await writing.send("DELETE", f"{path}/red"), 404, "TagNotFound")
    for method, target, body in (
        ("GET", path, None),
        ("PUT", path, {"tags": ["x"]}),
        ("PUT", f"{path}/x", None),
        ("DELETE", path, None),
    ):
        answer = await writing.send(method, target, body, stranger)
        assert answer.status == 404, (method, target)
    assert (await writing.send("GET", path)).json == {"tags": ["blue", "grün"]}
    assert (await writing.send("DELETE", path)).status == 204
    assert (await writing.send("GET", path)).json == {"tags": []}


@every
@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"tags": null}', b'{"tags": "x"}', b'{"tags": [1]}',
        b'{"tags": [""]}', b'{"tags": ["a\\u0000b"]}', b'{"tags": ["x"], "more": 1}',
        b'{"tags": ["' + b"x" * 256 + b'"]}',
        b'{"tags": [' + b", ".join(b'"%d"' % number for number in range(51)) + b"]}",
        b'{"tags": ["\xff"]}',
    ],
    ids=range(12),
)  # fmt: skip
async def test_hostile_tags_are_refused(writing: Writing, thing: Thing, body: bytes) -> None:
    """And nothing has changed."""
    first = await made(writing, thing)
    answer = await writing.send("PUT", f"{thing.path}/{first['id']}/tags", body)
    assert answer.status == 400, answer.body
    shown = await writing.send("GET", f"{thing.path}/{first['id']}")
    assert shown.json[thing.noun] == first


@pytest.mark.parametrize(
    ("path", "noun", "good", "bad"),
    [
        ("networks", "network", {"name": "a"}, {"name": "b", "mtu": 1}),
        ("ports", "port", {}, {"fixed_ips": [{"ip_address": "192.168.0.1"}]}),
        ("security-groups", "security_group", {"name": "a"}, {"name": "default"}),
        ("security-group-rules", "security_group_rule", {"direction": "ingress"},
         {"direction": "ingress"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
async def test_many_are_made_at_once_or_none(
    writing: Writing, path: str, noun: str, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    """The last one is wrong: then the first is not there, and nobody is told of it."""
    more: dict[str, Any] = {}
    if path == "ports":
        network = await writing.make()
        body = {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}
        assert (await writing.send("POST", "subnets", {"subnet": body})).status == 201
        more = {"network_id": network["id"]}
    if path == "security-group-rules":
        answer = await writing.send("POST", "security-groups", {"security_group": {"name": "g"}})
        more = {"security_group_id": answer.json["security_group"]["id"]}
    plural = f"{noun}s"
    listed = (await writing.send("GET", path)).json[plural]
    events = await writing.database.value("select count(*) from event")
    answer = await writing.send("POST", path, {plural: [good | more, bad | more]})
    assert 400 <= answer.status < 500, answer.body
    assert await writing.database.value("select count(*) from event") == events
    if path != "security-groups":  # the first look at which makes the default one
        assert (await writing.send("GET", path)).json[plural] == listed
    answer = await writing.send("POST", path, {plural: [good | more]})
    assert answer.status == 201, answer.body
    assert len(answer.json[plural]) == 1
