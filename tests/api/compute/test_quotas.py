"""Quota sets: what administrators change, what users see, and that limits agree."""

from __future__ import annotations

import pytest

from cyclades_tx.api.compute import limits, quotas
from cyclades_tx.flows.quotas import Quotas
from cyclades_tx.model import quota
from cyclades_tx.testing import builders
from tests.api.compute.real_flows import real_servers

BOUNDARIES = [1, 35, 36, 49, 50, 56, 57, 96]


@pytest.fixture
def flow(database):
    """The real flows of servers."""
    return real_servers(database)


def path_of(who, query=""):
    return f"/os-quota-sets/{who.project_id}{query}"


async def change(wire, admin, whose, quotas_wanted, query="", version="2.96"):
    """Ask for a change of quotas as an administrator."""
    body = {"quota_set": quotas_wanted}
    return await wire.ask("PUT", path_of(whose, query), body=body, who=admin, version=version)


@pytest.mark.parametrize("minor", BOUNDARIES)
async def test_replies_have_exactly_the_members_of_their_version(wire, admin, fits, minor):
    """Shown, in detail, defaults, changed, and classes."""
    version = f"2.{minor}"
    await builders.a_holding(wire.database, wire.who.project_id, quota.VM, 10, 3)
    path = path_of(wire.who)

    async def get(suffix="", **options):
        return (await wire.get(path + suffix, version=version, **options)).json["quota_set"]

    fits(await get(), quotas.QUOTA_SET.schema(minor))
    fits(await get("/defaults"), quotas.QUOTA_SET.schema(minor))
    fits(await get("/detail"), quotas.QUOTA_SET_DETAIL.schema(minor))
    changed = await change(wire, admin, wire.who, {"instances": 12}, version=version)
    fits(changed.json["quota_set"], quotas.QUOTA_SET_CHANGED.schema(minor))
    shown = await wire.get("/os-quota-class-sets/default", version=version, who=admin)
    fits(shown.json["quota_class_set"], quotas.QUOTA_CLASS_SET.schema(minor))
    assert ("server_groups" in shown.json["quota_class_set"]) == (minor >= 50)
    assert ("fixed_ips" in shown.json["quota_class_set"]) == (minor < 50)


async def test_changed_quotas_are_shown_everywhere(wire, admin):
    """In the set, in detail, in the limits; ram in MiB, and running servers alike."""
    wanted = {"instances": 7, "cores": "9", "ram": 2048, "server_groups": 3, "floating_ips": 2}
    answer = await change(wire, admin, wire.who, wanted, version="2.35")
    assert answer.status == 200
    shown = (await wire.get(path_of(wire.who), version="2.35")).json["quota_set"]
    assert {name: shown[name] for name in wanted} == {**wanted, "cores": 9}
    absolute = (await wire.get("/limits", version="2.35")).json["limits"]["absolute"]
    assert (absolute["maxTotalInstances"], absolute["maxTotalCores"]) == (7, 9)
    assert (absolute["maxTotalRAMSize"], absolute["maxServerGroups"]) == (2048, 3)
    assert absolute["maxTotalFloatingIps"] == 2
    rows = await wire.database.all(
        "select resource, maximum from holding where project_id = %s and maximum is not null",
        (wire.who.project_id,),
    )
    assert {row.resource: row.maximum for row in rows} == {
        quota.VM: 7, quota.CPU: 9, quota.TOTAL_CPU: 9, quota.RAM: 2048 * quota.MIB,
        quota.TOTAL_RAM: 2048 * quota.MIB, quota.FLOATING_IP: 2,
    }  # fmt: skip


async def test_what_has_the_least_room_is_what_is_shown(wire):
    """Of running and of all servers, cores are short in one or the other."""
    project = wire.who.project_id
    await builders.a_holding(wire.database, project, quota.TOTAL_CPU, 20, 15)
    await builders.a_holding(wire.database, project, quota.CPU, 4, 3)
    cores = (await wire.get(path_of(wire.who, "/detail"))).json["quota_set"]["cores"]
    assert cores == {"limit": 4, "in_use": 3, "reserved": 0}
    await builders.a_holding(wire.database, project, quota.TOTAL_CPU, 15, 15)
    cores = (await wire.get(path_of(wire.who, "/detail"))).json["quota_set"]["cores"]
    assert cores == {"limit": 15, "in_use": 15, "reserved": 0}


async def test_no_limit_is_minus_one_both_ways(wire, admin):
    """And is kept as no limit."""
    await change(wire, admin, wire.who, {"instances": -1, "server_groups": -1})
    shown = (await wire.get(path_of(wire.who))).json["quota_set"]
    assert (shown["instances"], shown["server_groups"]) == (-1, -1)


async def test_limit_below_use_needs_force(wire, admin):
    """As Compute says it."""
    await builders.a_holding(wire.database, wire.who.project_id, quota.VM, 10, 3)
    refused = await change(wire, admin, wire.who, {"instances": 2})
    assert "already used and reserved 3" in refused.fault(400, "badRequest")
    forced = await change(wire, admin, wire.who, {"instances": 2, "force": True})
    assert forced.json["quota_set"]["instances"] == 2


@pytest.mark.parametrize(
    "wanted",
    [
        {"instances": "x"}, {"instances": -2}, {"instances": 2**31}, {"instances": 1.5},
        {"instances": True}, {"instances": "9" * 5000}, {"instances": []}, {"pigs": 1},
        {"floating_ips": 1}, {"injected_files": 5}, {"key_pairs": 5}, {"force": "maybe"},
    ],
)  # fmt: skip
async def test_quota_that_makes_no_sense_is_400(wire, admin, wanted):
    """Also one that this microversion has no more, and one that cannot be changed."""
    (await change(wire, admin, wire.who, wanted)).fault(400, "badRequest")
    assert await wire.database.value("select count(*) from holding where maximum = 1") == 0


async def test_quota_that_is_the_same_for_all_may_be_repeated(wire, admin):
    """Clients write back what they have read."""
    answer = await change(wire, admin, wire.who, {"key_pairs": 100, "metadata_items": 128})
    assert answer.status == 200


async def test_reset_project_has_the_defaults(wire, admin):
    """Those of the class, once an administrator has set them."""
    body = {"quota_class_set": {"instances": 5, "server_groups": 2, "cores": -1}}
    path = "/os-quota-class-sets/default"
    answer = await wire.ask("PUT", path, body=body, who=admin, version="2.96")
    assert answer.json["quota_class_set"]["instances"] == 5
    defaults = (await wire.get(path_of(wire.who, "/defaults"))).json["quota_set"]
    assert (defaults["instances"], defaults["server_groups"]) == (5, 2)
    await change(wire, admin, wire.who, {"instances": 70, "server_groups": 70})
    gone = await wire.ask("DELETE", path_of(wire.who), who=admin)
    assert (gone.status, gone.body) == (202, b"")
    shown = (await wire.get(path_of(wire.who))).json["quota_set"]
    assert (shown["instances"], shown["server_groups"], shown["cores"]) == (5, 2, -1)


async def test_defaults_are_what_a_new_project_is_shown(database):
    """Of cores that run and of all cores the smaller limit counts; none is no limit."""
    given = {quota.TOTAL_CPU: 40, quota.CPU: 20, quota.TOTAL_RAM: 4096 * quota.MIB, quota.VM: None}
    defaults = await Quotas(database, given).defaults()
    assert (defaults["cores"], defaults["ram"], defaults["instances"]) == (20, 4096, -1)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_only_administrators_change_quotas(wire, stranger, method):
    """Neither the own ones nor those of another project."""
    for whose in (wire.who, stranger):
        for path in (path_of(whose), "/os-quota-class-sets/default"):
            if method == "DELETE" and "class" in path:
                continue
            answer = await wire.ask(method, path, body={"quota_set": {"instances": 1000}})
            answer.fault(403, "forbidden")
    assert await wire.database.value("select count(*) from holding where maximum = 1000") == 0


async def test_quotas_of_nobody_are_400(wire, admin):
    """Nothing is made for a project that there is not."""
    nobody = type("Nobody", (), {"project_id": "0" * 32})
    message = (await change(wire, admin, nobody, {"instances": 1})).fault(400, "badRequest")
    assert message == f"Project ID {'0' * 32} is not a valid project."
    for name in ("x", "%F0%9F%90%B7", "%00"):
        answer = await wire.ask("DELETE", f"/os-quota-sets/{name}", who=admin)
        assert answer.status in (400, 404)


async def test_user_of_a_project_has_a_limit_of_his_own(wire, admin, reader):
    """Shown to him; others of the project keep the project's."""
    me = f"?user_id={wire.who.user_id}"
    await change(wire, admin, wire.who, {"instances": 10})
    answer = await change(wire, admin, wire.who, {"instances": 1}, me)
    assert answer.json["quota_set"]["instances"] == 1
    assert (await wire.get(path_of(wire.who, me))).json["quota_set"]["instances"] == 1
    assert (await wire.get(path_of(wire.who))).json["quota_set"]["instances"] == 10
    (await wire.get(path_of(wire.who, f"?user_id={reader.user_id}"))).fault(403, "forbidden")
    await wire.ask("DELETE", path_of(wire.who, me), who=admin)
    assert (await wire.get(path_of(wire.who, me))).json["quota_set"]["instances"] == 10


async def test_user_s_limit_is_within_the_project_s(wire, admin):
    """And the project's is not below a user's."""
    me = f"?user_id={wire.who.user_id}"
    await change(wire, admin, wire.who, {"instances": 10})
    refused = await change(wire, admin, wire.who, {"instances": 11}, me)
    assert "less than or equal to 10" in refused.fault(400, "badRequest")
    await change(wire, admin, wire.who, {"instances": 5}, me)
    refused = await change(wire, admin, wire.who, {"instances": 4})
    assert "greater than or equal to 5" in refused.fault(400, "badRequest")
    for wanted in ({"server_groups": 1}, {"floating_ips": 1}):
        refused = await change(wire, admin, wire.who, wanted, me, version="2.35")
        refused.fault(400, "badRequest")
    refused = await change(wire, admin, wire.who, {"instances": 1}, "?user_id=nobody")
    refused.fault(400, "badRequest")


async def test_user_over_his_limit_gets_403(wire, admin):
    """In Compute's words, while the project has room; afterwards nothing is left behind."""
    database = wire.database
    flavor = await builders.a_flavor(database, vcpus=2)
    image = await builders.an_image(database)
    await builders.a_cluster(database)
    me = f"?user_id={wire.who.user_id}"
    await change(wire, admin, wire.who, {"cores": 3, "instances": 5}, me)
    server = {"name": "x", "flavorRef": flavor.uuid, "imageRef": image.uuid, "networks": "none"}
    body = {"server": server}
    assert (await wire.post("/servers", body, version="2.96")).status == 202
    message = (await wire.post("/servers", body, version="2.96")).fault(403, "forbidden")
    assert message == "Quota exceeded for cores: Requested 2, but already used 2 of 3 cores."
    detail = (await wire.get(path_of(wire.who, "/detail" + me))).json["quota_set"]
    assert detail["cores"] == {"limit": 3, "in_use": 2, "reserved": 0}
    assert await database.value("select count(*) from server") == 1


async def test_project_over_its_limit_gets_403(wire, admin):
    """With the numbers that quotas and limits show."""
    database = wire.database
    flavor = await builders.a_flavor(database, vcpus=2)
    image = await builders.an_image(database)
    await builders.a_cluster(database)
    await change(wire, admin, wire.who, {"instances": 1})
    server = {"name": "x", "flavorRef": flavor.uuid, "imageRef": image.uuid, "networks": "none"}
    body = {"server": server}
    assert (await wire.post("/servers", body, version="2.96")).status == 202
    message = (await wire.post("/servers", body, version="2.96")).fault(403, "forbidden")
    assert message.startswith("Quota exceeded for instances: Requested 1, but already used 1 of 1")
    detail = (await wire.get(path_of(wire.who, "/detail"))).json["quota_set"]["instances"]
    assert detail["limit"] == detail["in_use"] + detail["reserved"] == 1
    absolute = (await wire.get("/limits")).json["limits"]["absolute"]
    assert (absolute["totalInstancesUsed"], absolute["totalCoresUsed"]) == (1, 2)


async def test_limits_of_another_project_are_the_administrators(wire, stranger, admin, fits):
    """With ``tenant_id``, which others may only say of themselves."""
    await builders.a_holding(wire.database, stranger.project_id, quota.VM, 44)
    path = f"/limits?tenant_id={stranger.project_id}"
    (await wire.get(path)).fault(403, "forbidden")
    absolute = (await wire.get(path, who=admin)).json["limits"]["absolute"]
    fits(absolute, limits.ABSOLUTE.schema(1))
    assert absolute["maxTotalInstances"] == 44
    assert (await wire.get(f"/limits?tenant_id={wire.who.project_id}")).status == 200
