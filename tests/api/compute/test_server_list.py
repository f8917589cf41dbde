"""What may be asked of lists of servers, and what may not; see test_server_list_model.py too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from cyclades_tx.testing import builders

START = datetime(2026, 1, 1, tzinfo=UTC)


async def populate(database, who):
    """Seven servers, some made at the same moment; their UUIDs, the oldest first."""
    flavor = await builders.a_flavor(database)
    return [
        (
            await builders.a_server(
                database, who, flavor, created_at=START + timedelta(minutes=number // 3)
            )
        ).uuid
        for number in range(7)
    ]


async def test_newest_server_comes_first(wire, database):
    """Without any parameter."""
    known = await populate(database, wire.who)
    listed = (await wire.get("/servers/detail")).json["servers"]
    assert [each["id"] for each in listed] == known[::-1]


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


async def test_expression_beside_one_that_cannot_be_read_stays_one(wire, database):
    """Only the one that is none stands for itself."""
    flavor = await builders.a_flavor(database)
    await builders.a_server(database, wire.who, flavor, name="web1", description="a(b")
    for query, count in (("^web", 1), ("^eb", 0)):
        path = "/servers?" + urlencode({"name": query, "description": "("})
        assert len((await wire.get(path)).json["servers"]) == count


async def test_order_is_by_what_is_shown(wire, database):
    """Power and state, not what they are kept as."""
    flavor = await builders.a_flavor(database)
    for state, suspended in (("stopped", False), ("building", False), ("active", True)):
        await builders.a_server(database, wire.who, flavor, state=state, suspended=suspended)
    for key, member in (("power_state", "power_state"), ("vm_state", "vm_state")):
        path = f"/servers/detail?sort_key={key}&sort_dir=asc"
        shown = [each[f"OS-EXT-STS:{member}"] for each in (await wire.get(path)).json["servers"]]
        assert shown == sorted(shown)
        assert len(set(shown)) == 3


async def test_wrong_truth_value_is_told_with_its_name(wire):
    """Of the filter that it was given for."""
    answer = await wire.get("/servers?config_drive=perhaps")
    assert "config_drive" in answer.fault(400, "badRequest")


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
