"""Quotas and limits of volumes, the services, the versions."""

from __future__ import annotations

from cyclades_tx.testing import builders


async def test_quota_shows_limits_and_use(wire, stranger, admin):
    """Of one's own project; administrators see all."""
    await builders.a_holding(wire.database, wire.who.project_id, "cyclades.disk", 10 << 30)
    await wire.volume(2)
    path = f"/os-quota-sets/{wire.who.project_id}"
    shown = (await wire.get(f"{path}?usage=False")).json["quota_set"]
    assert (shown["volumes"], shown["gigabytes"], shown["snapshots"]) == (1000, 10, 0)
    used = (await wire.get(f"{path}?usage=True")).json["quota_set"]
    assert used["gigabytes"] == {"limit": 10, "in_use": 2, "reserved": 0}
    assert used["volumes"] == {"limit": 1000, "in_use": 1, "reserved": 0}
    (await wire.get(path, who=stranger)).fault(403, "forbidden")
    assert (await wire.get(path, who=admin)).status == 200
    absolute = (await wire.get("/limits")).json["limits"]["absolute"]
    assert (absolute["maxTotalVolumeGigabytes"], absolute["totalGigabytesUsed"]) == (10, 2)
    assert (absolute["maxTotalVolumes"], absolute["totalVolumesUsed"]) == (1000, 1)
    query = f"/limits?project_id={wire.who.project_id}"
    (await wire.get(query, who=stranger)).fault(403, "forbidden")
    assert (await wire.get(query, who=admin)).json["limits"]["absolute"] == absolute


async def test_administrator_sets_quotas(wire, admin):
    """And takes them back."""
    await wire.volume(2)
    path = f"/os-quota-sets/{wire.who.project_id}"
    body = {"quota_set": {"volumes": 7, "gigabytes": "20"}}
    changed = (await wire.ask("PUT", path, body, who=admin)).json["quota_set"]
    assert (changed["volumes"], changed["gigabytes"], "id" in changed) == (7, 20, False)
    for wrong in ({"gigabytes": 1}, {"volumes": 0}, {"volumes": -2}, {"volumes": "x"},
                  {"snapshots": 1}, {"volumes": 10**12}, {"nonsense": 1}):  # fmt: skip
        answer = await wire.ask("PUT", path, {"quota_set": wrong}, who=admin)
        answer.fault(400, "badRequest")
    (await wire.ask("PUT", path, body)).fault(403, "forbidden")
    (await wire.ask("DELETE", path)).fault(403, "forbidden")
    assert (await wire.ask("DELETE", path, who=admin)).status == 200
    shown = (await wire.get(path)).json["quota_set"]
    assert (shown["volumes"], shown["gigabytes"]) == (1000, -1)
    missing = "/os-quota-sets/" + "f" * 32
    (await wire.ask("PUT", missing, body, who=admin)).fault(400, "badRequest")


async def test_defaults_are_changed_for_who_has_no_others(wire, admin):
    """There is one class."""
    path = "/os-quota-class-sets/default"
    body = {"quota_class_set": {"volumes": 3, "gigabytes": 30}}
    assert (await wire.ask("PUT", path, body, who=admin)).json["quota_class_set"]["volumes"] == 3
    shown = (await wire.get(path, who=admin)).json["quota_class_set"]
    assert (shown["id"], shown["volumes"], shown["gigabytes"]) == ("default", 3, 30)
    defaults = (await wire.get(f"/os-quota-sets/{wire.who.project_id}/defaults")).json["quota_set"]
    assert (defaults["volumes"], defaults["gigabytes"]) == (3, 30)
    (await wire.get(path)).fault(403, "forbidden")
    answer = await wire.ask("PUT", "/os-quota-class-sets/x", body, who=admin)
    answer.fault(501, "notImplemented")
    for _ in range(3):
        await wire.volume()
    (await wire.post("/volumes", {"volume": {"size": 1}})).fault(413, "overLimit")


async def test_clusters_are_the_services(wire, admin):
    """For administrators."""
    await builders.a_cluster(wire.database, "north")
    await builders.a_cluster(wire.database, "south", drained=True)
    (await wire.get("/os-services")).fault(403, "forbidden")
    for version, newest in (("3.0", False), ("3.7", False), ("3.49", True)):
        services = (await wire.get("/os-services", who=admin, version=version)).json["services"]
        assert [(each["host"], each["status"]) for each in services] == [
            ("north", "enabled"), ("south", "disabled"),
        ]  # fmt: skip
        assert ("backend_state" in services[0]) == newest
    found = await wire.get("/os-services?host=south&binary=cinder-volume", who=admin)
    assert [each["host"] for each in found.json["services"]] == ["south"]
    found = await wire.get("/os-services?binary=cinder-scheduler", who=admin)
    assert found.json == {"services": []}
    assert len((await wire.get("/extensions")).json["extensions"]) > 5


async def test_versions_are_read_without_a_token(wire):
    """By 300 at the root, a list at both."""
    root = await wire.get("//volume", token=False, version=None)
    assert root.status == 300
    for path in ("//volume/v3", "//volume/v3/"):
        one = await wire.get(path, token=False, version=None)
        assert (one.status, one.json) == (200, root.json)
    (version,) = root.json["versions"]
    assert (version["id"], version["version"], version["min_version"]) == ("v3.0", "3.71", "3.0")
    assert version["links"][0]["href"].endswith("/volume/v3/")


async def test_microversion_is_negotiated_strictly(wire):
    """Without a word it is the oldest; the reply says which one was used."""
    for header, status, said in (
        (None, 200, "3.0"),
        ("volume 3.0", 200, "3.0"),
        ("volume 3.71", 200, "3.71"),
        ("volume latest", 200, "3.71"),
        ("compute 2.96, volume 3.12", 200, "3.12"),
        ("compute 2.96", 200, "3.0"),
        ("volume 3.72", 406, None),
        ("volume 2.1", 406, None),
        ("volume 4.0", 406, None),
        ("volume 3", 400, None),
        ("volume", 400, None),
        ("volume 3.x", 400, None),
        ("volume 3.01", 400, None),
        ("volume 3.0 3.1", 400, None),
        ("volume " + "9" * 400, 400, None),
    ):
        headers = {} if header is None else {"OpenStack-API-Version": header}
        answer = await wire.get("/volumes", version=None, headers=headers)
        assert answer.status == status, header
        if said is not None:
            assert answer.header("openstack-api-version") == f"volume {said}"
        assert answer.header("vary") == "OpenStack-API-Version"
        assert answer.header("x-compute-request-id") == answer.header("x-openstack-request-id")
