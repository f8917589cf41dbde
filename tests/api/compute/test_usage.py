"""Usage: hours that servers ran, times their sizes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cyclades_tx.api.compute import usage
from cyclades_tx.testing import builders

PERIOD = "start=2026-01-01T00:00:00&end=2026-01-02T00:00:00"


def at(day, hour=0):
    return datetime(2026, 1, day, hour, tzinfo=UTC)


async def a_run(wire, begin, end=None, who=None, **columns):
    """A server that ran from one time to another."""
    flavor = await builders.a_flavor(wire.database, disk_gib=10)
    state = "active" if end is None else "deleted"
    return await builders.a_server(
        wire.database, who or wire.who, flavor, state=state, launched_at=begin,
        terminated_at=end, deleted_at=end, vcpus=2, memory_mib=512, **columns,
    )  # fmt: skip


async def test_what_ran_within_the_period_is_added_up(wire, fits):
    """Clipped to the period at both ends; one that ended before is not there."""
    await a_run(wire, datetime(2025, 12, 31, tzinfo=UTC), at(1, 6), name="a")
    await a_run(wire, at(1, 12), name="b")
    await a_run(wire, datetime(2025, 12, 1, tzinfo=UTC), datetime(2025, 12, 2, tzinfo=UTC))
    path = f"/os-simple-tenant-usage/{wire.who.project_id}?{PERIOD}"
    document = (await wire.get(path)).json
    assert list(document) == ["tenant_usage"]
    found = document["tenant_usage"]
    fits(found, usage.TENANT_USAGE_DETAIL)
    hours = {each["name"]: each["hours"] for each in found["server_usages"]}
    assert hours == {"a": 6.0, "b": 12.0}
    assert found["total_hours"] == 18.0
    assert found["total_vcpus_usage"] == 36.0
    assert found["total_memory_mb_usage"] == 18.0 * 512
    assert found["total_local_gb_usage"] == 180.0
    assert (found["start"], found["stop"]) == (
        "2026-01-01T00:00:00.000000", "2026-01-02T00:00:00.000000",
    )  # fmt: skip
    states = {each["name"]: (each["state"], each["ended_at"]) for each in found["server_usages"]}
    assert states == {"a": ("terminated", "2026-01-01T06:00:00.000000"), "b": ("active", None)}


async def test_no_server_is_an_empty_document(wire):
    """As in the reference; the list is empty then."""
    path = f"/os-simple-tenant-usage/{wire.who.project_id}"
    assert (await wire.get(path)).json == {"tenant_usage": {}}


async def test_server_that_never_ran_counts_for_nothing(wire):
    """It was being made."""
    flavor = await builders.a_flavor(wire.database)
    await builders.a_server(wire.database, wire.who, flavor, state="building")
    path = f"/os-simple-tenant-usage/{wire.who.project_id}"
    assert (await wire.get(path)).json == {"tenant_usage": {}}


async def test_all_projects_are_the_administrators(wire, admin, stranger, fits):
    """In detail when asked for; nobody else sees another project."""
    await a_run(wire, at(1))
    await a_run(wire, at(1), who=stranger)
    path = f"/os-simple-tenant-usage?{PERIOD}"
    (await wire.get(path)).fault(403, "forbidden")
    found = (await wire.get(path, who=admin)).json["tenant_usages"]
    assert {each["tenant_id"] for each in found} == {wire.who.project_id, stranger.project_id}
    for each in found:
        fits(each, usage.TENANT_USAGE)
    detailed = (await wire.get(path + "&detailed=1", who=admin)).json["tenant_usages"]
    for each in detailed:
        fits(each, usage.TENANT_USAGE_DETAIL)
    other = f"/os-simple-tenant-usage/{stranger.project_id}?{PERIOD}"
    (await wire.get(other)).fault(403, "forbidden")
    assert (await wire.get(other, who=admin)).json["tenant_usage"]["total_hours"] == 24.0


async def test_pages_from_2_40_come_to_the_same(wire):
    """Each server on one page only; a page adds up what is on it."""
    for _ in range(5):
        await a_run(wire, at(1))
    base = f"/os-simple-tenant-usage/{wire.who.project_id}?{PERIOD}"
    whole = (await wire.get(base + "&limit=2")).json
    assert len(whole["tenant_usage"]["server_usages"]) == 5
    assert "tenant_usage_links" not in whole
    path, hours, seen = base + "&limit=2", 0.0, []
    while path:
        document = (await wire.get(path, version="2.40")).json
        hours += document["tenant_usage"]["total_hours"]
        seen += [each["instance_id"] for each in document["tenant_usage"]["server_usages"]]
        links = document.get("tenant_usage_links")
        path = links and links[0]["href"].removeprefix("https://cloud.example.org/compute/v2.1")
    assert hours == whole["tenant_usage"]["total_hours"] == 120.0
    assert len(seen) == len(set(seen)) == 5
    last = await wire.get(f"{base}&marker={max(seen)}", version="2.40")
    assert last.json == {"tenant_usage": {}}


@pytest.mark.parametrize(
    "query",
    ["start=x", "end=2026-01-01", "start=2026-02-01T00:00:00&end=2026-01-01T00:00:00",
     "start=2026-13-01T00:00:00", "limit=x", "marker=x",
     "marker=00000000-0000-4000-8000-000000000000", "start=%00"],
)  # fmt: skip
async def test_parameter_that_makes_no_sense_is_400(wire, query):
    """With a sentence."""
    path = f"/os-simple-tenant-usage/{wire.who.project_id}?{query}"
    assert (await wire.get(path, version="2.96")).fault(400, "badRequest")


async def test_marker_of_another_project_is_unknown(wire, stranger):
    """Whether there is such a server is not told."""
    server = await a_run(wire, at(1), who=stranger)
    path = f"/os-simple-tenant-usage/{wire.who.project_id}?marker={server.uuid}"
    (await wire.get(path, version="2.40")).fault(400, "badRequest")
