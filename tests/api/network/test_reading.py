"""Network's lists and documents over the real wire."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pytest

from cyclades_tx.api.network.app import VERSION
from cyclades_tx.api.network.collections import COLLECTIONS
from cyclades_tx.model.who import Who
from cyclades_tx.store.networks import create_default_group
from cyclades_tx.store.ports import create_port
from cyclades_tx.testing.network_builders import a_member, a_network
from cyclades_tx.testing.shapes import misfits

#: What is a thing of its own; how full networks are is read in test_subnet_pools.py.
THINGS = [collection for collection in COLLECTIONS if not collection.read_only]


async def a_port(database: Any, who: Who, network: Any, **wanted: Any) -> Any:
    """A port of somebody's on a network."""
    return await database.transaction(
        lambda tx: create_port(
            tx, network_id=network.id, project_id=who.project_id, user_id=who.user_id, **wanted
        )
    )


async def one_of_each(database: Any, who: Who) -> Any:
    """A row in every collection, owned by somebody; returns the network."""
    await database.transaction(lambda tx: create_default_group(tx, who.project_id))
    own = await a_network(database, who, "10.0.0.0/24", "fd00:1::/64", name="own")
    outside = await a_network(
        database, None, "192.0.2.0/24", external=True, floating_ip_pool=True, name="outside"
    )
    port = await a_port(database, who, own, name="first")
    floating = await a_port(database, who, outside)
    await database.run(
        "insert into router (project_id, name, external_network_id) values (%s, 'r', %s)",
        (who.project_id, outside.id),
    )
    await database.run(
        "insert into subnet_pool (project_id, name, ip_version, min_prefixlen, default_prefixlen,"
        " max_prefixlen) values (%s, 'p', 4, 16, 24, 30)",
        (who.project_id,),
    )
    await database.run(
        "insert into floating_ip (address_id, network_id, project_id, user_id, port_id)"
        " select id, %s, %s, %s, %s from address where port_id = %s",
        (outside.id, who.project_id, who.user_id, port.id, floating.id),
    )
    await database.run(
        "insert into network_user_tag values (%s, 'red'), (%s, 'blue')", (own.id, own.id)
    )
    await database.run(
        "insert into port_security_group select %s, id from security_group where project_id = %s",
        (port.id, who.project_id),
    )
    return own


async def names(network: Any, who: Who, path: str) -> list[str]:
    """The names in a list's answer."""
    answer = await network.ask(f"{VERSION}/{path}", who)
    assert answer.status == 200, answer.body
    (things,) = [value for key, value in answer.json.items() if not key.endswith("_links")]
    return [thing["name"] for thing in things]


@pytest.mark.parametrize("path", ["/network", "/network/"])
async def test_the_root_names_the_version_without_a_token(network: Any, path: str) -> None:
    """With and without the slash."""
    answer = await network.ask(path)
    assert answer.status == 200
    assert answer.json == {
        "versions": [
            {
                "id": "v2.0",
                "status": "CURRENT",
                "links": [{"rel": "self", "href": "http://cloud.example:8774/network/v2.0/"}],
            }
        ]
    }


@pytest.mark.parametrize("path", [VERSION, f"{VERSION}/"])
async def test_the_version_names_its_resources_without_a_token(network: Any, path: str) -> None:
    """Each with a link to its list."""
    answer = await network.ask(path)
    assert answer.status == 200
    assert {item["collection"] for item in answer.json["resources"]} >= {
        "networks",
        "subnets",
        "ports",
    }


@pytest.mark.parametrize("collection", THINGS, ids=lambda collection: collection.plural)
async def test_documents_have_exactly_the_declared_members(
    network: Any, database: Any, collection: Any
) -> None:
    """In the list and alone, by two paths each."""
    who = await a_member(database)
    await one_of_each(database, who)
    for suffix in ("", ".json"):
        answer = await network.ask(f"{VERSION}/{collection.path}{suffix}", who)
        assert answer.status == 200
        assert list(answer.json) == [collection.plural]
        things = answer.json[collection.plural]
        assert things
        for thing in things:
            assert misfits(thing, collection.document.schema()) == []
            assert thing["tenant_id"] == thing["project_id"]
            alone = await network.ask(f"{VERSION}/{collection.path}/{thing['id']}{suffix}", who)
            assert alone.json == {collection.singular: thing}


@pytest.mark.parametrize("collection", THINGS, ids=lambda collection: collection.plural)
async def test_another_project_sees_nothing_of_it(
    network: Any, database: Any, collection: Any
) -> None:
    """Not in the list, not by the id, not as a marker, not by a change, not by a filter."""
    owner, stranger = await a_member(database), await a_member(database)
    await one_of_each(database, owner)
    path = f"{VERSION}/{collection.path}"
    things = (await network.ask(path, owner)).json[collection.plural]
    own = [thing for thing in things if thing["project_id"] == owner.project_id]
    assert own
    seen = (await network.ask(path, stranger)).json[collection.plural]
    assert not [thing for thing in seen if thing["project_id"] == owner.project_id]
    for thing in own:
        for method in ("GET", "PUT", "DELETE"):
            answer = await network.ask(f"{path}/{thing['id']}", stranger, method=method)
            assert answer.status == 404
            assert answer.json["NeutronError"]["type"].endswith("NotFound")
        marked = await network.ask(f"{path}?marker={thing['id']}", stranger)
        assert marked.status == 400
        by_id = await network.ask(f"{path}?id={thing['id']}", stranger)
        assert by_id.json == {collection.plural: []}


@pytest.mark.parametrize("collection", THINGS, ids=lambda collection: collection.plural)
async def test_an_administrator_sees_all_and_filters_by_project(
    network: Any, database: Any, collection: Any
) -> None:
    """With tenant_id and project_id alike."""
    who, other = await a_member(database), await a_member(database)
    admin = await a_member(database, "admin")
    await one_of_each(database, who)
    for name in ("tenant_id", "project_id"):
        path = f"{VERSION}/{collection.path}?{name}="
        found = (await network.ask(f"{path}{who.project_id}", admin)).json[collection.plural]
        assert found
        assert {thing["project_id"] for thing in found} == {who.project_id}
        assert (await network.ask(f"{path}{other.project_id}", admin)).json[collection.plural] == []


@pytest.mark.parametrize("collection", THINGS, ids=lambda collection: collection.plural)
async def test_every_filter_finds_the_thing_by_its_own_value(
    network: Any, database: Any, collection: Any
) -> None:
    """What a document shows as a single value can be looked for."""
    who = await a_member(database)
    await one_of_each(database, who)
    path = f"{VERSION}/{collection.path}"
    thing = (await network.ask(path, who)).json[collection.plural][0]
    tried = 0
    for name in collection.filters:
        value = thing.get(name)
        if isinstance(value, str | int | bool) and value != "":
            found = (await network.ask(f"{path}?{quote(name)}={quote(str(value))}", who)).json
            assert thing in found[collection.plural], name
            tried += 1
    assert tried >= 6


@pytest.mark.parametrize("collection", THINGS, ids=lambda collection: collection.plural)
async def test_every_list_can_be_sorted_by_its_attributes(
    network: Any, database: Any, collection: Any
) -> None:
    """Each sort key works in both directions."""
    who = await a_member(database)
    await one_of_each(database, who)
    for name, wanted in collection.filters.items():
        for direction in ("asc", "desc"):
            answer = await network.ask(
                f"{VERSION}/{collection.path}?sort_key={quote(name)}&sort_dir={direction}", who
            )
            assert answer.status == (200 if wanted.sortable else 400), name


async def test_who_sees_which_network_and_subnet(network: Any, database: Any) -> None:
    """Shared and external ones are seen by all; the subnets of external ones are not."""
    who, other = await a_member(database), await a_member(database)
    for name, owner, more in (
        ("own", who, {}),
        ("others", other, {}),
        ("shared", None, {"shared": True}),
        ("external", None, {"external": True}),
        ("hidden", None, {}),
    ):
        row = await a_network(database, owner, "10.0.0.0/24", name=name, **more)
        await database.run("update subnet set name = %s where network_id = %s", (name, row.id))
    assert await names(network, who, "networks") == ["own", "shared", "external"]
    assert await names(network, who, "subnets") == ["own", "shared"]
    assert await names(network, who, "networks?shared=True") == ["shared"]
    assert await names(network, who, "networks?router%3Aexternal=True") == ["external"]
    assert await names(network, who, "networks?router:external=false&shared=0") == ["own"]


async def test_a_deleted_network_is_not_shown(network: Any, database: Any) -> None:
    """Neither is its subnet."""
    who = await a_member(database)
    row = await a_network(database, who, "10.0.0.0/24")
    await database.run("update network set state = 'deleted', deleted_at = now()")
    assert await names(network, who, "networks") == []
    assert await names(network, who, "subnets") == []
    assert (await network.ask(f"{VERSION}/networks/{row.uuid}", who)).status == 404


async def test_a_filter_given_twice_means_any_of(network: Any, database: Any) -> None:
    """And filters of different names must all fit."""
    who = await a_member(database)
    for name in ("a", "b", "c"):
        await a_network(database, who, name=name)
    assert await names(network, who, "networks?name=a&name=c") == ["a", "c"]
    assert await names(network, who, "networks?name=a&name=c&mtu=1400") == []
    assert await names(network, who, "networks?name=nothing") == []
    assert await names(network, who, "networks?unknown=1&is_public=None") == ["a", "b", "c"]


async def test_networks_are_found_by_tags(network: Any, database: Any) -> None:
    """All of, any of, not all of, not any of."""
    who = await a_member(database)
    both = await a_network(database, who, name="both")
    red = await a_network(database, who, name="red")
    await a_network(database, who, name="none")
    await database.run(
        "insert into network_user_tag values (%s, 'red'), (%s, 'blue'), (%s, 'red')",
        (both.id, both.id, red.id),
    )
    assert await names(network, who, "networks?tags=red,blue") == ["both"]
    assert await names(network, who, "networks?tags-any=red,blue") == ["both", "red"]
    assert await names(network, who, "networks?not-tags=red,blue") == ["red", "none"]
    assert await names(network, who, "networks?not-tags-any=blue") == ["red", "none"]
    assert await names(network, who, "ports?tags=red") == []


async def test_ports_are_found_by_server_and_address(network: Any, database: Any) -> None:
    """As clients look for them after each look at a server."""
    who = await a_member(database)
    row = await a_network(database, who, "10.0.0.0/24")
    subnet = await database.value("select uuid::text from subnet where network_id = %s", (row.id,))
    type_id = await database.value(
        "insert into volume_type (name, disk_template) values ('t', 'plain') returning id"
    )
    flavor_id = await database.value(
        "insert into flavor (name, vcpus, memory_mib, disk_gib, volume_type_id)"
        " values ('f', 1, 128, 1, %s) returning id",
        (type_id,),
    )
    server = await database.first(
        "insert into server"
        " (name, user_id, project_id, flavor_id, vcpus, memory_mib, reservation_id)"
        " values ('s', %s, %s, %s, 1, 128, 'r-1') returning id, uuid::text",
        (who.user_id, who.project_id, flavor_id),
    )
    await a_port(database, who, row, name="servers", server_id=server.id, position=0)
    port = await a_port(database, who, row, name="free")
    assert await names(network, who, f"ports?device_id={server.uuid}") == ["servers"]
    assert await names(network, who, "ports?device_id=") == ["free"]
    assert await names(network, who, "ports?device_id=nonsense") == []
    assert await names(network, who, "ports?fixed_ips=ip_address%3D10.0.0.3") == ["free"]
    assert await names(network, who, f"ports?fixed_ips=subnet_id%3D{subnet}") == ["servers", "free"]
    assert await names(network, who, f"ports?fixed_ips=subnet_id%3D{uuid4()}") == []
    both = f"fixed_ips=subnet_id%3D{subnet}&fixed_ips=ip_address%3D10.0.0.2"
    assert await names(network, who, f"ports?{both}") == ["servers"]
    assert await names(network, who, "ports?fixed_ips=ip_address_substr%3D.0.3") == ["free"]
    assert await names(network, who, f"ports?mac_address={port.mac.upper()}") == ["free"]
    assert await names(network, who, "ports?mac_address=nonsense") == []


async def test_fields_limit_the_document(network: Any, database: Any) -> None:
    """Unknown ones are skipped; the order is the document's."""
    who = await a_member(database)
    row = await a_network(database, who, name="n")
    answer = await network.ask(f"{VERSION}/networks?fields=name&fields=id&fields=nothing", who)
    assert answer.json == {"networks": [{"id": row.uuid, "name": "n"}]}
    alone = await network.ask(f"{VERSION}/networks/{row.uuid}?fields=name", who)
    assert alone.json == {"network": {"name": "n"}}
    assert (await network.ask(f"{VERSION}/networks?fields=nothing", who)).json == {"networks": [{}]}


async def pages(network: Any, who: Who, path: str, rel: str = "next") -> list[list[str]]:
    """Follow links from a page on; return the names of each page."""
    found = []
    for _ in range(10):
        answer = await network.ask(path, who)
        assert answer.status == 200
        found.append([thing["name"] for thing in answer.json["networks"]])
        links = {link["rel"]: link["href"] for link in answer.json["networks_links"]}
        if rel not in links:
            return found
        parts = urlsplit(links[rel])
        path = f"{parts.path}?{parts.query}"
    raise AssertionError("the links never end")


async def test_pages_follow_each_other_by_links(network: Any, database: Any) -> None:
    """Forward to the end, in the order that was asked for, and backward to the start."""
    who = await a_member(database)
    for name in ("b", "e", "a", "d", "c"):
        await a_network(database, who, name=name)
    start = f"{VERSION}/networks?limit=2"
    assert await pages(network, who, start) == [["b", "e"], ["a", "d"], ["c"]]
    by_name = f"{start}&sort_key=name&sort_dir=desc"
    assert await pages(network, who, by_name) == [["e", "d"], ["c", "b"], ["a"]]
    last = await database.value("select uuid::text from network where name = 'a'")
    backward = f"{by_name}&page_reverse=True&marker={last}"
    assert await pages(network, who, backward, "previous") == [["c", "b"], ["e", "d"]]
    assert await pages(network, who, f"{VERSION}/networks?limit=5") == [["b", "e", "a", "d", "c"]]
    third = await database.value("select uuid::text from network where name = 'c'")
    backward = f"{start}&page_reverse=True&marker={third}"
    assert await pages(network, who, backward, "previous") == [["a", "d"], ["b", "e"]]
    whole = await network.ask(f"{VERSION}/networks?limit=0", who)
    assert list(whole.json) == ["networks"]


async def test_a_wrong_list_parameter_is_a_bad_request(network: Any, database: Any) -> None:
    """In Network's own shape."""
    who = await a_member(database)
    for query in (
        "limit=-1", "limit=x", "limit=", "limit=%C2%B2", "marker=x", f"marker={uuid4()}",
        "shared=perhaps", "mtu=x", "mtu=99999999999999", "sort_key=nothing",
        "sort_key=name&sort_dir=up", "sort_dir=asc", "page_reverse=x", "name=%FF", "name=%00",
        "fields=%FF", "sort_key=tags",
    ):  # fmt: skip
        answer = await network.ask(f"{VERSION}/networks?{query}", who)
        assert answer.status == 400, query
        assert list(answer.json) == ["NeutronError"]
        assert sorted(answer.json["NeutronError"]) == ["detail", "message", "type"]


async def test_an_odd_list_parameter_is_only_odd(network: Any, database: Any) -> None:
    """Huge limits, long names, ids that are none, values and names of no text."""
    who = await a_member(database)
    for query in (
        "limit=99999999999999999999999", "name=" + "x" * 5000, "id=zzz", "subnets=x", "%FF=1",
        "%00=1", "&&&", "=", "mtu=-1", "name=%25s", "name='",
    ):  # fmt: skip
        assert (await network.ask(f"{VERSION}/networks?{query}", who)).status == 200, query
        paged = await network.ask(f"{VERSION}/networks?limit=1&{query}", who)
        assert paged.status == 200, query


async def test_anything_may_stand_where_an_id_stands(network: Any, database: Any) -> None:
    """The answer is that it is not there."""
    who = await a_member(database)
    for ref in (
        "name", "%CE%B4%CE%AF%CE%BA%CF%84%CF%85%CE%BF", "%00", "a%20b", "1" * 3000, "%25s",
        str(uuid4()), "'%20or%201=1--", ".json", "%0A", "..",
    ):  # fmt: skip
        for collection in COLLECTIONS:
            answer = await network.ask(f"{VERSION}/{collection.path}/{ref}", who)
            assert answer.status == 404, ref
            assert list(answer.json) == ["NeutronError"]


async def test_a_url_that_is_not_text_is_a_bad_request(network: Any, database: Any) -> None:
    """Bytes that are not UTF-8 in the path."""
    who = await a_member(database)
    answer = await network.ask(f"{VERSION}/networks/%FF%FE", who)
    assert answer.status == 400
    assert list(answer.json) == ["NeutronError"]


async def test_a_name_that_is_not_found_has_its_own_type(network: Any, database: Any) -> None:
    """Clients choose their exception by it."""
    who = await a_member(database)
    for path, kind in (
        ("networks", "NetworkNotFound"),
        ("subnets", "SubnetNotFound"),
        ("ports", "PortNotFound"),
        ("routers", "RouterNotFound"),
        ("floatingips", "FloatingIPNotFound"),
        ("security-groups", "SecurityGroupNotFound"),
        ("security-group-rules", "SecurityGroupRuleNotFound"),
        ("subnetpools", "SubnetPoolNotFound"),
        ("extensions", "ExtensionNotFound"),
    ):
        answer = await network.ask(f"{VERSION}/{path}/x", who)
        assert (answer.status, answer.json["NeutronError"]["type"]) == (404, kind)


async def test_without_a_token_there_is_nothing(network: Any) -> None:
    """In Network's own shape, with the word of what is needed."""
    for token in (None, "wrong", ""):
        answer = await network.ask(f"{VERSION}/networks", token=token)
        assert answer.status == 401
        assert list(answer.json) == ["NeutronError"]


async def test_an_empty_id_is_not_the_list(network: Any, database: Any) -> None:
    """A slash at the end is an id that nobody has."""
    who = await a_member(database)
    for method in ("GET", "DELETE", "PUT"):
        answer = await network.ask(f"{VERSION}/networks/", who, method=method)
        assert answer.status == 404


async def test_a_wrong_method_is_told(network: Any, database: Any) -> None:
    """With the methods that there are."""
    who = await a_member(database)
    answer = await network.ask(f"{VERSION}/networks", who, method="DELETE")
    assert answer.status == 405
    assert "GET" in answer.headers["allow"]


async def test_head_has_no_body(network: Any, database: Any) -> None:
    """And the status of the list."""
    who = await a_member(database)
    answer = await network.ask(f"{VERSION}/networks", who, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


async def test_what_cannot_be_changed_yet_says_so(network: Any, database: Any) -> None:
    """501, and nothing is changed; a reader hears that the role does not allow it."""
    who, reader = await a_member(database), await a_member(database, "reader")
    await one_of_each(database, who)
    before = await database.value("select count(*) from port")
    for path, body in (("ports", b'{"port": {}}'), ("routers", b'{"router": {}}')):
        answer = await network.ask(f"{VERSION}/{path}", who, method="POST", body=body)
        assert (answer.status, answer.json["NeutronError"]["type"]) == (501, "HTTPNotImplemented")
    answer = await network.ask(f"{VERSION}/ports", reader, method="POST", body=b"{}")
    assert answer.status == 403
    assert await database.value("select count(*) from port") == before


async def test_extensions_are_listed_and_shown(network: Any, database: Any) -> None:
    """Only those that are done; an unknown alias is not found, whatever it is."""
    who = await a_member(database)
    listed = (await network.ask(f"{VERSION}/extensions", who)).json["extensions"]
    assert all(
        sorted(item) == ["alias", "description", "links", "name", "updated"] for item in listed
    )
    for item in listed:
        shown = await network.ask(f"{VERSION}/extensions/{item['alias']}", who)
        assert shown.json == {"extension": item}
    for alias in ("Availability%20Zone", "tag-ports-during-bulk-creation", "%CE%B4"):
        answer = await network.ask(f"{VERSION}/extensions/{alias}", who)
        assert answer.json["NeutronError"]["type"] == "ExtensionNotFound"


async def test_what_this_cloud_has_none_of_is_an_empty_list(network: Any, database: Any) -> None:
    """And each id of it is not found."""
    who = await a_member(database)
    for path, plural in (
        ("availability_zones", "availability_zones"),
        ("agents", "agents"),
        ("service-providers", "service_providers"),
        ("rbac-policies", "rbac_policies"),
        ("address-scopes", "address_scopes"),
        ("qos/policies", "policies"),
    ):
        for suffix in ("", ".json"):
            assert (await network.ask(f"{VERSION}/{path}{suffix}", who)).json == {plural: []}
        assert (await network.ask(f"{VERSION}/{path}/x", who)).status == 404


async def test_quotas_show_limits_and_use(network: Any, database: Any) -> None:
    """-1 where there is no limit; details count what is there."""
    who = await a_member(database)
    await one_of_each(database, who)
    await database.run(
        "insert into holding values (%s, 'cyclades.network.private', 7, 1, 2),"
        " (%s, 'cyclades.floating_ip', null, 1, 0) on conflict (project_id, resource) do update set"
        " maximum = excluded.maximum, used = excluded.used, reserved = excluded.reserved",
        (who.project_id, who.project_id),
    )
    path = f"{VERSION}/quotas/{who.project_id}"
    for suffix in ("", ".json"):
        quota = (await network.ask(path + suffix, who)).json["quota"]
        assert (quota["network"], quota["floatingip"], quota["port"]) == (7, -1, -1)
        details = (await network.ask(f"{path}/details{suffix}", who)).json["quota"]
        assert details["network"] == {"limit": 7, "used": 1, "reserved": 2}
        assert details["subnet"] == {"limit": -1, "used": 2, "reserved": 0}
        assert details["port"] == {"limit": -1, "used": 2, "reserved": 0}
        default = (await network.ask(f"{path}/default{suffix}", who)).json["quota"]
        assert (default["network"], default["floatingip"], default["port"]) == (10, 5, -1)
        assert quota.keys() == details.keys() == default.keys()


async def test_the_quota_of_another_project_is_not_ones_own_business(
    network: Any, database: Any
) -> None:
    """An administrator may look; a project that is not there is not found."""
    who, other = await a_member(database), await a_member(database)
    admin = await a_member(database, "admin")
    for tail in ("", "/details.json", "/default"):
        path = f"{VERSION}/quotas/{other.project_id}{tail}"
        assert (await network.ask(path, who)).status == 403
        assert (await network.ask(path, admin)).status == 200
    assert (await network.ask(f"{VERSION}/quotas/nobody", admin)).status == 404
