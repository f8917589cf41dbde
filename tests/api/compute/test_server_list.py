"""Lists of servers against a plain model in Python: filters, order, pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from cyclades_tx.testing import builders

START = datetime(2026, 1, 1, tzinfo=UTC)
STATUS = {"active": "ACTIVE", "stopped": "SHUTOFF", "error": "ERROR", "building": "BUILD"}
PREFIX = "https://cloud.example.org/compute/v2.1"


@dataclass(frozen=True)
class Known:
    """What the model knows of a server."""

    number: int
    uuid: str
    name: str
    state: str
    key_name: str | None
    flavor: str
    tags: frozenset[str]
    created_at: datetime
    updated_at: datetime
    launched_at: datetime | None


async def populate(database, who):
    """Twenty servers of all kinds, some made at the same moment."""
    flavors = [await builders.a_flavor(database) for _ in range(2)]
    known = []
    for number in range(20):
        facts = {
            "name": ("web", "db", "web+1", "Web.a", "x")[number % 5] + str(number // 10),
            "state": list(STATUS)[number % 4],
            "key_name": (None, "k1", "k2")[number % 3],
            "created_at": START + timedelta(minutes=number // 3),
            "updated_at": START + timedelta(hours=(number * 7) % 20),
            "launched_at": None if number % 4 == 0 else START + timedelta(days=number % 6),
        }
        tags = tuple(t for t, n in (("a", 2), ("b", 3)) if number % n == 0)
        flavor = flavors[number % 2]
        row = await builders.a_server(database, who, flavor, tags=tags, **facts)
        known.append(Known(row.id, row.uuid, flavor=flavor.uuid, tags=frozenset(tags), **facts))
    return known


FILTERS = {
    "name": st.sampled_from(
        ["web", "^web", "db1$", "web+1", "[Ww]eb.", "[", "nobody", "(a|b)", ""]
    ),
    "status": st.sampled_from(["ACTIVE", "active", "SHUTOFF", "ERROR", "BUILD", "NONSENSE"]),
    "vm_state": st.sampled_from(["active", "stopped"]),
    "key_name": st.sampled_from(["k1", "k2", "k3"]),
    "flavor": st.sampled_from([0, 1]),
    "tags": st.sampled_from(["a", "b", "a,b"]),
    "tags-any": st.sampled_from(["a", "a,b", "c"]),
    "not-tags": st.sampled_from(["a", "a,b"]),
    "not-tags-any": st.sampled_from(["b", "a,b"]),
    "changes-since": st.integers(0, 20).map(lambda h: (START + timedelta(hours=h)).isoformat()),
    "deleted": st.sampled_from(["False", "True"]),
    "locked": st.sampled_from(["True", "False"]),
    "unheard-of": st.just("x"),
}
SORTS = {
    "created_at": lambda s: s.created_at,
    "updated_at": lambda s: s.updated_at,
    "display_name": lambda s: s.name.encode(),
    "key_name": lambda s: s.key_name or "",
    "launched_at": lambda s: s.launched_at or datetime.min.replace(tzinfo=UTC),
    "vm_state": lambda s: s.state.encode(),
    "task_state": lambda s: 0,
}

queries = st.fixed_dictionaries({}, optional=FILTERS)
orders = st.lists(
    st.tuples(st.sampled_from(sorted(SORTS)), st.sampled_from(["asc", "desc"])),
    max_size=3,
    unique_by=lambda pair: pair[0],
)


def matches(server, filters):
    """Whether the model lists a server."""

    def like(pattern):
        if pattern in server.name:
            return True
        try:
            return re.search(pattern, server.name) is not None
        except re.error:
            return False

    def tags(text):
        return set(text.split(","))

    tests = {
        "name": like,
        "status": lambda value: STATUS[server.state] == value.upper(),
        "vm_state": lambda value: server.state == value,
        "key_name": lambda value: server.key_name == value,
        "flavor": lambda value: server.flavor == value,
        "tags": lambda value: tags(value) <= server.tags,
        "tags-any": lambda value: bool(tags(value) & server.tags),
        "not-tags": lambda value: not tags(value) <= server.tags,
        "not-tags-any": lambda value: not tags(value) & server.tags,
        "changes-since": lambda value: server.updated_at >= datetime.fromisoformat(value),
        "locked": lambda value: value == "False",
    }
    return all(tests[name](value) for name, value in filters.items() if name in tests)


def ordered(servers, order):
    """The model's order: ties go on by age and number, in the direction of the first key."""
    order = order or [("created_at", "desc")]
    first = order[0][1]
    names = [name for name, _ in order]
    keys = [(SORTS[name], way) for name, way in order]
    if "created_at" not in names:
        keys.append((SORTS["created_at"], first))
    keys.append((lambda s: s.number, first))
    for key, way in reversed(keys):
        servers = sorted(servers, key=key, reverse=way == "desc")
    return servers


async def test_list_is_what_the_model_says_on_pages_of_any_size(wire, database):
    """Every filter, every order, from the first page to the last."""
    from twisted.internet import reactor

    known = await populate(database, wire.who)
    flavors = sorted({server.flavor for server in known})

    async def walk(filters, order, limit):
        pairs = [*filters.items(), ("limit", limit)]
        pairs += [("sort_key", key) for key, _ in order] + [("sort_dir", way) for _, way in order]
        path = "/servers?" + urlencode(pairs)
        seen = []
        for _ in range(30):
            page = (await wire.get(path, version="2.96")).json
            seen += [each["id"] for each in page["servers"]]
            assert len(page["servers"]) <= limit
            if "servers_links" not in page:
                return seen
            assert len(page["servers"]) == limit
            path = page["servers_links"][0]["href"].removeprefix(PREFIX)
        raise AssertionError("the pages do not end")

    @settings(max_examples=60, deadline=None, database=None)
    @given(queries, orders, st.integers(1, 25))
    def check(filters, order, limit):
        filters = dict(filters)
        if "flavor" in filters:
            filters["flavor"] = flavors[filters["flavor"]]
        expected = [s.uuid for s in ordered([s for s in known if matches(s, filters)], order)]
        seen = blockingCallFromThread(reactor, lambda: ensureDeferred(walk(filters, order, limit)))
        assert seen == expected

    # Hypothesis calls plain functions, which may wait only outside the reactor's thread.
    await deferToThread(check)


async def test_newest_server_comes_first(wire, database):
    """Without any parameter."""
    known = await populate(database, wire.who)
    listed = (await wire.get("/servers/detail")).json["servers"]
    assert [each["id"] for each in listed] == [s.uuid for s in ordered(known, [])]


@pytest.mark.parametrize(
    "query",
    ["limit=-1", "limit=x", "limit=1.5", "limit=" + "9" * 30, "marker=x",
     "marker=00000000-0000-4000-8000-000000000000", "sort_key=x", "sort_dir=up",
     "sort_key=uuid&sort_dir=asc&sort_dir=asc", "changes-since=yesterday", "changes-since=",
     "changes-since=2026-01-02&changes-before=2026-01-01", "locked=perhaps", "name=%00",
     "name=%FF", "all_tenants=perhaps"],
)  # fmt: skip
async def test_parameter_that_makes_no_sense_is_400(wire, query):
    """With a sentence."""
    assert (await wire.get(f"/servers?{query}", version="2.96")).fault(400, "badRequest")


@pytest.mark.parametrize(
    "query", ["all_tenants=1", "all_tenants", "status=DELETED", "sort_key=host"]
)
async def test_what_only_administrators_may_ask_is_403(wire, query):
    """Rather than a list that means something else."""
    (await wire.get(f"/servers?{query}{'=' * ('=' not in query)}")).fault(403, "forbidden")


async def test_limit_0_is_an_empty_page(wire, database):
    """And no link."""
    await populate(database, wire.who)
    assert (await wire.get("/servers?limit=0")).json == {"servers": []}


async def test_administrator_sees_all_projects_when_asked(wire, database, admin, stranger):
    """And one's own without asking."""
    flavor = await builders.a_flavor(database)
    rows = {
        who.project_id: (await builders.a_server(database, who, flavor)).uuid
        for who in (wire.who, stranger, admin)
    }

    async def listed(query):
        servers = (await wire.get(f"/servers{query}", who=admin)).json["servers"]
        return {each["id"] for each in servers}

    assert await listed("") == {rows[admin.project_id]}
    assert await listed(f"?project_id={stranger.project_id}") == {rows[admin.project_id]}
    assert await listed("?all_tenants=True") == set(rows.values())
    assert await listed(f"?all_tenants=1&project_id={stranger.project_id}") == {
        rows[stranger.project_id]
    }


async def test_deleted_servers_are_told_to_who_asks_for_changes(wire, database, admin):
    """And to administrators who ask for them; ``deleted`` of others has no effect."""
    flavor = await builders.a_flavor(database)
    gone = await builders.a_server(database, wire.who, flavor, state="deleted", updated_at=START)
    there = await builders.a_server(
        database, wire.who, flavor, updated_at=START - timedelta(hours=1)
    )

    async def listed(query, **options):
        servers = (await wire.get(f"/servers/detail?{query}", **options)).json["servers"]
        return {each["id"]: each["status"] for each in servers}

    everywhere = "all_tenants=1&"
    assert await listed("changes-since=2026-01-01T00:00:00Z") == {gone.uuid: "DELETED"}
    assert await listed("changes-since=2026-01-01T01:00:00%2B01:00") == {gone.uuid: "DELETED"}
    assert await listed("deleted=True") == {there.uuid: "ACTIVE"}
    assert await listed(everywhere + "deleted=True", who=admin) == {gone.uuid: "DELETED"}
    assert await listed(everywhere + "status=DELETED", who=admin) == {gone.uuid: "DELETED"}
    assert await listed(everywhere, who=admin) == {there.uuid: "ACTIVE"}
    before = await listed("changes-before=2025-12-31T23:30:00", version="2.66")
    assert before == {there.uuid: "ACTIVE"}


@pytest.mark.parametrize(
    "pattern",
    ["(" * 100 + "a" + ")" * 100 + "\\1", "(((a{255}){255}){255})", "(?=(a+))*", "***=x", "(a+)+$",
     "a" * 300 + ".*", "[[:alpha:]", "\\", "(?i)WEB", "*"],
)  # fmt: skip
async def test_hostile_pattern_is_answered_at_once(wire, database, pattern):
    """What is no safe expression is looked for as it stands."""
    flavor = await builders.a_flavor(database)
    await builders.a_server(database, wire.who, flavor, name="a" * 254 + "!")
    for name in ("name", "ip", "hostname"):
        answer = await wire.get("/servers?" + urlencode({name: pattern}))
        assert answer.json == {"servers": []}


async def test_address_filters_look_at_the_family(wire, database):
    """``ip`` and ``ip6``, as expressions."""
    flavor = await builders.a_flavor(database)
    server = await builders.a_server(database, wire.who, flavor)
    four = await builders.a_network(database, "four", shared=True)
    six = await builders.a_network(database, "six", shared=True, cidr="2001:db8::/64")
    await builders.a_port(database, server, four, "10.0.0.5", position=0)
    await builders.a_port(database, server, six, "2001:db8::5", position=1)
    for query, count in (
        ("ip=10.0.0.5", 1), ("ip=^10%5C.", 1), ("ip=10.0.1", 0), ("ip=2001", 0),
        ("ip6=2001:db8", 1), ("ip6=10.0", 0),
    ):  # fmt: skip
        assert len((await wire.get(f"/servers?{query}")).json["servers"]) == count, query


async def test_image_filter_takes_an_id_or_a_url(wire, database):
    """And knows nothing of other images."""
    flavor, image = await builders.a_flavor(database), await builders.an_image(database)
    await builders.a_server(database, wire.who, flavor, image=image)
    for value, count in ((image.uuid, 1), (f"http://x/images/{image.uuid}", 1), ("x", 0)):
        listed = (await wire.get("/servers?" + urlencode({"image": value}))).json["servers"]
        assert len(listed) == count
