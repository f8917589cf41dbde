"""Security groups and rules over the wire, by Neutron's rules."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from cyclades_tx.api.network import documents
from cyclades_tx.testing.network_builders import a_network
from tests.api.network.writing import Writing, everything, fits, kind

GROUPS = "security-groups"
RULES = "security-group-rules"


@pytest_twisted.async_yield_fixture
async def writing(database: Any) -> Any:
    """The service with everything that writes."""
    from twisted.internet import reactor

    service = Writing(reactor, database)
    yield service
    await service.wire.close()


async def rule(writing: Writing, who: Any, group: Any, **members: Any) -> Any:
    """POST a rule; the answer."""
    wanted = {"security_group_id": group["id"], "direction": "ingress", **members}
    return await writing.send(who, "POST", RULES, {"security_group_rule": wanted})


async def test_new_group_lets_everything_out(writing: Writing) -> None:
    """Two rules, one for each version."""
    who = await writing.somebody()
    group = await writing.made(who, GROUPS, "security_group", name="web", description="d")
    fits(group, documents.SECURITY_GROUP)
    rules = group["security_group_rules"]
    assert [(each["direction"], each["ethertype"]) for each in rules] == [
        ("egress", "IPv4"),
        ("egress", "IPv6"),
    ]
    assert (group["name"], group["stateful"], group["project_id"]) == ("web", True, who.project_id)


async def test_default_group_is_there_once_and_stays(writing: Writing) -> None:
    """A second one, another name for it, and its deletion are conflicts."""
    who = await writing.somebody()
    twice = await writing.send(who, "POST", GROUPS, {"security_group": {"name": "default"}})
    assert kind(twice) == (409, "SecurityGroupDefaultAlreadyExists")
    web = await writing.made(who, GROUPS, "security_group", name="web")
    listed = (await writing.send(who, "GET", GROUPS)).json["security_groups"]
    (default,) = [each for each in listed if each["name"] == "default"]
    path = f"{GROUPS}/{default['id']}"
    assert kind(await writing.send(who, "DELETE", path)) == (
        409,
        "SecurityGroupCannotRemoveDefault",
    )
    renamed = await writing.send(who, "PUT", path, {"security_group": {"name": "other"}})
    assert renamed.status == 409
    taken = await writing.send(
        who, "PUT", f"{GROUPS}/{web['id']}", {"security_group": {"name": "default"}}
    )
    assert taken.status == 409


async def test_group_is_changed_and_deleted_when_nothing_uses_it(writing: Writing) -> None:
    """A port in it, or a rule of another group that names it, is a use."""
    who = await writing.somebody()
    network = await a_network(writing.database, who, "10.0.0.0/24")
    group = await writing.made(who, GROUPS, "security_group", name="a")
    other = await writing.made(who, GROUPS, "security_group", name="b")
    path = f"{GROUPS}/{group['id']}"
    changed = await writing.send(
        who, "PUT", path, {"security_group": {"name": "c", "description": "e"}}
    )
    assert changed.json["security_group"]["name"] == "c"
    port = await writing.made(
        who, "ports", "port", network_id=network.uuid, security_groups=[group["id"]]
    )
    assert kind(await writing.send(who, "DELETE", path)) == (409, "SecurityGroupInUse")
    await writing.send(who, "DELETE", f"ports/{port['id']}")
    named = await rule(writing, who, other, remote_group_id=group["id"])
    assert kind(await writing.send(who, "DELETE", path)) == (409, "SecurityGroupInUse")
    rule_path = f"{RULES}/{named.json['security_group_rule']['id']}"
    assert (await writing.send(who, "DELETE", rule_path)).status == 204
    assert (await writing.send(who, "DELETE", path)).status == 204
    assert (await writing.send(who, "GET", path)).status == 404


@pytest.mark.parametrize(
    ("members", "shown"),
    [
        ({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}, ("tcp", 22, 22, None)),
        (
            {"protocol": "TCP", "port_range_min": "80", "port_range_max": "81"},
            ("tcp", 80, 81, None),
        ),
        ({"protocol": "icmp", "port_range_min": 8, "port_range_max": 0}, ("icmp", 8, 0, None)),
        ({"protocol": 50}, ("50", None, None, None)),
        ({"protocol": None}, (None, None, None, None)),
        ({"protocol": "any"}, (None, None, None, None)),
        ({"remote_ip_prefix": "192.0.2.7"}, (None, None, None, "192.0.2.7/32")),
        ({"remote_ip_prefix": "192.0.2.7/24"}, (None, None, None, "192.0.2.0/24")),
        (
            {"ethertype": "ipv6", "protocol": "ipv6-icmp", "remote_ip_prefix": "fd00::/8"},
            ("ipv6-icmp", None, None, "fd00::/8"),
        ),
    ],
)
async def test_rule_is_shown_in_one_way_of_writing(
    writing: Writing, members: dict[str, Any], shown: tuple[Any, ...]
) -> None:
    """Whatever way it was sent in; the same one again is a conflict."""
    who = await writing.somebody()
    group = await writing.made(who, GROUPS, "security_group", name="g")
    answer = await rule(writing, who, group, **members)
    assert answer.status == 201, answer.body
    made = answer.json["security_group_rule"]
    fits(made, documents.SECURITY_GROUP_RULE)
    keys = ("protocol", "port_range_min", "port_range_max", "remote_ip_prefix")
    assert tuple(made[key] for key in keys) == shown
    assert kind(await rule(writing, who, group, **members)) == (409, "SecurityGroupRuleExists")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"direction": "sideways"}, "ingress or egress"),
        ({"ethertype": "IPv5"}, "IPv4 or IPv6"),
        ({"protocol": "nothing"}, "not supported"),
        ({"protocol": 256}, "not supported"),
        ({"protocol": -1}, "not supported"),
        ({"port_range_min": 1, "port_range_max": 2}, "specify protocol"),
        ({"protocol": "tcp", "port_range_min": 1}, "both ends"),
        ({"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536}, "both ends"),
        (
            {"protocol": "tcp", "port_range_min": 2, "port_range_max": 1},
            "port_range_min must be <= port_range_max",
        ),
        ({"protocol": "icmp", "port_range_max": 1}, "ICMP type"),
        ({"protocol": "icmp", "port_range_min": 256}, "ICMP type"),
        ({"protocol": "icmpv6"}, "ethertype"),
        ({"remote_ip_prefix": "nothing"}, "remote_ip_prefix"),
        ({"remote_ip_prefix": "fd00::/8"}, "CIDR"),
        ({"port_range_min": "x"}, "not a number"),
        ({"port_range_min": 1.5}, "Invalid input"),
    ],
)
async def test_rule_that_means_nothing_is_a_bad_request(
    writing: Writing, members: dict[str, Any], words: str
) -> None:
    """With the word that is wrong; nothing has changed."""
    who = await writing.somebody()
    group = await writing.made(who, GROUPS, "security_group", name="g")
    before = await everything(writing.database)
    answer = await rule(writing, who, group, **members)
    assert answer.status == 400, answer.body
    assert words in answer.json["NeutronError"]["message"]
    assert await everything(writing.database) == before


async def test_many_rules_are_made_all_or_none(writing: Writing) -> None:
    """The third is the first again."""
    who = await writing.somebody()
    group = await writing.made(who, GROUPS, "security_group", name="g")
    wanted = [
        {
            "security_group_id": group["id"], "direction": "ingress", "protocol": "tcp",
            "port_range_min": port, "port_range_max": port,
        }
        for port in (80, 443, 80)
    ]  # fmt: skip
    before = await everything(writing.database)
    answer = await writing.send(who, "POST", RULES, {"security_group_rules": wanted})
    assert kind(answer) == (409, "SecurityGroupRuleExists")
    assert await everything(writing.database) == before
    answer = await writing.send(who, "POST", RULES, {"security_group_rules": wanted[:2]})
    assert answer.status == 201
    assert len(answer.json["security_group_rules"]) == 2


async def test_rule_has_one_other_side(writing: Writing) -> None:
    """A prefix or a group."""
    who = await writing.somebody()
    group = await writing.made(who, GROUPS, "security_group", name="g")
    answer = await rule(
        writing, who, group, remote_group_id=group["id"], remote_ip_prefix="10.0.0.0/8"
    )
    assert answer.status == 400


async def test_groups_and_rules_of_others_are_not_found(writing: Writing) -> None:
    """By no method, and as no other side of a rule."""
    who, stranger = await writing.somebody(), await writing.somebody()
    theirs = await writing.made(who, GROUPS, "security_group", name="g")
    own = await writing.made(stranger, GROUPS, "security_group", name="g")
    (first, *_) = theirs["security_group_rules"]
    before = await everything(writing.database)
    path = f"{GROUPS}/{theirs['id']}"
    assert kind(await writing.send(stranger, "DELETE", path))[0] == 404
    renamed = await writing.send(stranger, "PUT", path, {"security_group": {"name": "x"}})
    assert kind(renamed) == (404, "SecurityGroupNotFound")
    gone = await writing.send(stranger, "DELETE", f"{RULES}/{first['id']}")
    assert kind(gone) == (404, "SecurityGroupRuleNotFound")
    assert kind(await rule(writing, stranger, theirs)) == (404, "SecurityGroupNotFound")
    named = await rule(writing, stranger, own, remote_group_id=theirs["id"])
    assert kind(named) == (404, "SecurityGroupNotFound")
    elsewhere = await writing.send(
        stranger, "POST", GROUPS, {"security_group": {"name": "x", "project_id": who.project_id}}
    )
    assert elsewhere.status == 403
    assert await everything(writing.database) == before


async def test_a_group_that_goes_while_a_port_joins_it_is_missed(writing: Writing) -> None:
    """Whoever joins waits for the deletion, and hears that there is no such group."""
    who = await writing.somebody()
    network = await a_network(writing.database, who, "10.0.0.0/24")
    port = await writing.made(who, "ports", "port", network_id=str(network.uuid))
    group = await writing.made(who, GROUPS, "security_group", name="web")
    joins: list[Any] = []

    async def deletion(tx: Any) -> None:
        await tx.run("delete from security_group where uuid = %s", (group["id"],))
        body = {"port": {"security_groups": [group["id"]]}}
        sent = writing.send(who, "PUT", f"ports/{port['id']}", body)
        joins.append(Deferred.fromCoroutine(sent))
        waits = (
            "select exists (select from pg_stat_activity where wait_event_type = 'Lock'"
            " and datname = current_database())"
        )
        while not await writing.database.value(waits):
            assert not joins[0].called, "it did not wait"

    await writing.database.transaction(deletion)
    assert kind(await joins[0]) == (404, "SecurityGroupNotFound")
