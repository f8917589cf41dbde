"""Paging, filters and sorting of servers against a plain model in Python, over generated data."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.threads import deferToThread

from cyclades_tx.testing import builders
from tests.api.compute.hostile import wait_for

NAMES = ("a", "b", "web-1", "web-2", "web.3", "Ω", "A")
STATES = {"active": "ACTIVE", "stopped": "SHUTOFF", "error": "ERROR", "building": "BUILD"}
TAGS = ("x", "y", "z")
NOW = datetime(2026, 1, 1, tzinfo=UTC)

SERVERS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(NAMES),
            "state": st.sampled_from(sorted(STATES)),
            "minute": st.integers(0, 3),
            "key_name": st.sampled_from((None, "k1", "k2")),
            "locked": st.booleans(),
            "tags": st.frozensets(st.sampled_from(TAGS)),
            "mine": st.sampled_from((True, True, True, False)),
        }
    ),
    max_size=12,
)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(("web", "^web-[12]$", "a", "b$", "Ω", "web.3", "nothing")),
        "status": st.sampled_from((*STATES.values(), "PAUSED", "active")),
        "key_name": st.sampled_from(("k1", "k3")),
        "locked": st.sampled_from(("true", "False")),
        "tags": st.sampled_from(("x", "x,y")),
        "tags-any": st.sampled_from(("x", "y,z")),
        "not-tags": st.sampled_from(("x", "x,y")),
        "not-tags-any": st.sampled_from(("x", "y,z")),
    },
)
KEYS = {
    "created_at": lambda each: each["created_at"],
    "display_name": lambda each: each["name"].encode(),
    "key_name": lambda each: (each["key_name"] or "").encode(),
    "locked": lambda each: each["locked"],
    "uuid": lambda each: each["uuid"],
}
ORDERS = st.lists(
    st.tuples(st.sampled_from(sorted(KEYS)), st.sampled_from(("asc", "desc"))),
    max_size=3,
    unique_by=lambda pair: pair[0],
)


def matches(each, filters):
    """Whether a server is in the list, by the rules that Compute publishes."""
    tags = each["tags"]
    rules = {
        "name": lambda value: value in each["name"] or re.search(value, each["name"]) is not None,
        "status": lambda value: STATES[each["state"]] == value.upper(),
        "key_name": lambda value: each["key_name"] == value,
        "locked": lambda value: each["locked"] == (value == "true"),
        "tags": lambda value: set(value.split(",")) <= tags,
        "tags-any": lambda value: bool(set(value.split(",")) & tags),
        "not-tags": lambda value: not set(value.split(",")) <= tags,
        "not-tags-any": lambda value: not set(value.split(",")) & tags,
    }
    return each["mine"] and all(rules[name](value) for name, value in filters.items())


def ordered(servers, order):
    """The servers in the order that was asked for; what is left open is as they were made."""
    keys = list(order) or [("created_at", "desc")]
    first_way = keys[0][1]
    if all(key != "created_at" for key, _ in keys):
        keys.append(("created_at", first_way))
    found = sorted(servers, key=lambda each: each["id"], reverse=first_way == "desc")
    for key, way in reversed(keys):
        found.sort(key=KEYS[key], reverse=way == "desc")
    return found


async def fill(wire, stranger, made):
    """Put the generated servers into the database, in place of those that were there."""
    database = wire.database
    await database.run("delete from server_tag")
    await database.run("delete from server")
    flavor = await builders.a_flavor(database)
    servers = []
    for each in made:
        created_at = NOW + timedelta(minutes=each["minute"])
        row = await builders.a_server(
            database, wire.who if each["mine"] else stranger, flavor, name=each["name"],
            state=each["state"], tags=tuple(each["tags"]), key_name=each["key_name"],
            locked=each["locked"], created_at=created_at,
            **({"fault_message": "x", "fault_at": NOW} if each["state"] == "error" else {}),
        )  # fmt: skip
        servers.append({**each, "id": row.id, "uuid": row.uuid, "created_at": created_at})
    return servers


@pytest.mark.parametrize("detail", ["", "/detail"])
async def test_every_page_is_what_the_model_says(wire, stranger, detail):
    """Any filters in any order, in pages of any size: each server once, in its place."""

    @given(SERVERS, FILTERS, ORDERS, st.integers(1, 5))
    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    def check(made, filters, order, limit):
        async def look():
            servers = await fill(wire, stranger, made)
            expected = ordered([each for each in servers if matches(each, filters)], order)
            pairs = [*filters.items(), ("limit", str(limit))]
            for key, way in order:
                pairs += [("sort_key", key), ("sort_dir", way)]
            path, seen = f"/servers{detail}?{urlencode(pairs)}", []
            while path:
                answer = await wire.get(path, version="2.96")
                assert answer.status == 200, answer.body
                document = answer.json
                assert len(document["servers"]) <= limit
                seen += [each["id"] for each in document["servers"]]
                assert len(seen) <= len(servers)
                links = document.get("servers_links")
                prefix = "https://cloud.example.org/compute/v2.1"
                path = links and links[0]["href"].removeprefix(prefix)
            assert seen == [each["uuid"] for each in expected]

        wait_for(look())

    # Hypothesis calls functions that return when they are done: it waits in a thread.
    await deferToThread(check)
