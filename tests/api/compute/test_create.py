"""The body that asks for a server: what is taken, what is refused, what is answered."""

from __future__ import annotations

import base64

import pytest

from cyclades_tx.model.server import NewServer, Personality, WantedNic

IMAGE = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"
NETWORK = "22222222-2222-4333-8444-555555555555"
PORT = "33333333-2222-4333-8444-555555555555"
MAPPING = {
    "uuid": IMAGE,
    "boot_index": 0,
    "source_type": "image",
    "destination_type": "local",
    "delete_on_termination": True,
}


def body(**members):
    """The smallest body, with more or other members."""
    return {
        "server": {
            "name": "x",
            "flavorRef": "f",
            "imageRef": IMAGE,
            "networks": "auto",
            **members,
        }
    }


async def asked(wire, document, version="2.96"):
    """Send a body that is taken; return what the flow was asked for."""
    answer = await wire.post("/servers", document, version=version)
    assert answer.status == 202, answer.body
    ((name, new, request_id),) = wire.servers.calls
    assert name == "create"
    assert request_id == answer.header("x-compute-request-id")
    return new


async def test_reply_has_exactly_five_members_and_a_location(wire):
    """What clients read is the id."""
    answer = await wire.post("/servers", body(security_groups=[{"name": "web"}]), version="2.96")
    uuid = "00000000-0000-4000-8000-000000000000"
    base = "https://cloud.example.org/compute"
    assert answer.status == 202
    assert answer.header("location") == f"{base}/v2.1/servers/{uuid}"
    assert answer.json == {
        "server": {
            "id": uuid,
            "links": [
                {"rel": "self", "href": f"{base}/v2.1/servers/{uuid}"},
                {"rel": "bookmark", "href": f"{base}/servers/{uuid}"},
            ],
            "adminPass": "secret",
            "security_groups": [{"name": "web"}],
            "OS-DCF:diskConfig": "MANUAL",
        }
    }


async def test_reservation_id_is_answered_when_asked_for(wire):
    """Instead of the first server."""
    answer = await wire.post(
        "/servers", body(return_reservation_id=True, min_count=2), version="2.96"
    )
    assert answer.json == {"reservation_id": "r-abcdefgh"}


async def test_smallest_body_asks_for_the_smallest_server(wire):
    """Everything else has its default."""
    assert await asked(wire, body()) == NewServer("x", "f", IMAGE)


async def test_what_openstackclient_sends_is_taken(wire):
    """With the mapping of the image that is always there."""
    document = body(
        flavorRef="http://h/flavors/2",
        imageRef=f"http://h/images/{IMAGE}",
        key_name="K",
        min_count=1,
        max_count=1,
        networks=[{"uuid": NETWORK}],
        block_device_mapping_v2=[MAPPING],
    )
    assert await asked(wire, document) == NewServer(
        "x", "2", IMAGE, networks=(WantedNic(NETWORK),), key_name="K"
    )


async def test_every_option_reaches_the_flow(wire):
    """In one body, of the newest version."""
    document = body(
        networks=[{"port": PORT}, {"uuid": NETWORK, "fixed_ip": "2001:DB8::0:1"}],
        metadata={"a": "b"},
        user_data=base64.b64encode(b"#!").decode(),
        adminPass="pw",
        security_groups=[{"name": "web"}, {"name": "web"}, {"name": "db"}],
        availability_zone="z",
        config_drive="True",
        description="d",
        hostname="a.b",
        tags=["t", "t"],
        min_count="2",
        max_count=3,
        accessIPv4="192.0.2.1",
        accessIPv6="2001:DB8::0:2",
        **{"OS-DCF:diskConfig": "AUTO"},
    )
    document["os:scheduler_hints"] = {"x": "y"}
    assert await asked(wire, document) == NewServer(
        "x",
        "f",
        IMAGE,
        networks=(WantedNic(None, PORT), WantedNic(NETWORK, None, "2001:db8::1")),
        metadata={"a": "b"},
        user_data=b"#!",
        admin_password="pw",
        security_groups=("web", "db"),
        availability_zone="z",
        config_drive=True,
        description="d",
        hostname="a.b",
        tags=("t",),
        min_count=2,
        max_count=3,
        access_ipv4="192.0.2.1",
        access_ipv6="2001:db8::2",
        disk_config="AUTO",
    )


async def test_null_is_the_same_as_absent(wire):
    """Clients send it for what was not given."""
    nothing = dict.fromkeys(
        ("key_name", "metadata", "user_data", "adminPass", "security_groups", "config_drive",
         "description", "hostname", "tags", "min_count", "max_count", "accessIPv4", "accessIPv6",
         "block_device_mapping", "block_device_mapping_v2", "availability_zone", "personality")
    )  # fmt: skip
    assert await asked(wire, body(**nothing)) == NewServer("x", "f", IMAGE)


@pytest.mark.parametrize(
    ("version", "networks", "nics"),
    [
        ("2.37", "auto", None),
        ("2.37", "none", ()),
        ("2.1", None, None),
        ("2.1", [], None),
        ("2.96", [{"uuid": NETWORK}, {"uuid": NETWORK}], (WantedNic(NETWORK), WantedNic(NETWORK))),
    ],
)
async def test_networks_in_all_their_forms(wire, version, networks, nics):
    """``auto`` and leaving them out are the same, ``none`` is not."""
    assert (await asked(wire, body(networks=networks), version)).networks == nics


async def test_files_are_taken_before_2_57(wire):
    """From then on they are unknown."""
    file = {"path": "/etc/motd", "contents": base64.b64encode(b"hi").decode()}
    new = await asked(wire, body(personality=[file], networks=None), "2.1")
    assert new.personality == (Personality("/etc/motd", b"hi"),)
    (await wire.post("/servers", body(personality=[file]), version="2.57")).fault(400, "badRequest")


async def test_image_may_stand_in_the_mapping_alone(wire):
    """With an empty ``imageRef``."""
    document = body(imageRef="", block_device_mapping_v2=[{**MAPPING, "boot_index": "0"}])
    assert (await asked(wire, document)).image_ref == IMAGE


#: Member → values that are refused with 400 in the newest version.
BAD = {
    "name": ["", " ", " x", "x ", "x" * 256, "a\nb", "a\0b", 1, None, [], {}, True],
    "flavorRef": [None, [], {}, True, 1.5],
    "imageRef": ["web", "ä", 1, [], {}, True, "http://h/images/"],
    "networks": ["some", "", 1, {}, [1], [None], [{}], [{"uuid": 1}], [{"uuid": NETWORK, "x": 1}],
                 [{"uuid": NETWORK, "fixed_ip": "1.2.3"}], None],
    "key_name": [1, [], {}, True],
    "metadata": [[], 1, "x", {"": "x"}, {"k" * 256: "x"}, {"k": "v" * 256}, {"k": 1}, {"k": None},
                 {"k": {"a": "b"}}],
    "user_data": ["!", "a", 1, [], "AAAA" * 20_000],
    "personality": [[], "x", [{"path": "/a", "contents": ""}]],
    "adminPass": [1, [], {}],
    "security_groups": ["x", [1], [{}], [{"name": 1}], {"name": "x"}],
    "availability_zone": [1, []],
    "config_drive": ["perhaps", 1, []],
    "description": [1, "d" * 256],
    "hostname": ["-a", "a_b", "a..b", "", "ä", "a" * 64, 1, ".".join(["a" * 60] * 5)],
    "tags": ["a", [1], [""], ["a" * 61], ["a/b"], ["a,b"], [str(n) for n in range(51)]],
    "min_count": [0, -1, "x", 1.5, [], "", "²", 10**12, 101],
    "max_count": [0, -1, "x", 1.5, [], "", 101],
    "accessIPv4": ["x", "::1", "1.2.3.4.5", 1],
    "accessIPv6": ["x", "1.2.3.4", 1],
    "OS-DCF:diskConfig": ["auto", 1],
    "block_device_mapping": [[{}], "x"],
    "block_device_mapping_v2": [
        "x", [1], [{}], [{**MAPPING, "source_type": "volume"}],
        [{**MAPPING, "destination_type": "volume"}], [{**MAPPING, "boot_index": 1}],
        [{**MAPPING, "uuid": OTHER}], [{**MAPPING, "uuid": None}], [{**MAPPING, "what": 1}],
    ],
    "host": ["node1"],
    "trusted_image_certificates": [["x"]],
    "return_reservation_id": ["perhaps", 1],
    "unheard-of": [None, 1],
}  # fmt: skip


@pytest.mark.parametrize("member", BAD)
async def test_bad_value_of_each_member_is_400(wire, member):
    """With a sentence, and the flow is not asked."""
    for value in BAD[member]:
        if member == "personality" and value == []:
            # Empty is as good as absent, except where the member is unknown.
            continue
        answer = await wire.post("/servers", body(**{member: value}), version="2.96")
        assert answer.fault(400, "badRequest"), value
    assert wire.servers.calls == []


async def test_min_above_max_is_400(wire):
    """Also when they are text."""
    document = body(min_count="3", max_count="2")
    (await wire.post("/servers", document, version="2.96")).fault(400, "badRequest")


async def test_too_many_metadata_items_are_403(wire):
    """Not 400: it is a limit."""
    document = body(metadata={str(n): "" for n in range(129)})
    (await wire.post("/servers", document, version="2.96")).fault(403, "forbidden")


@pytest.mark.parametrize(
    ("member", "value", "first"),
    [("description", "d", 19), ("tags", ["t"], 52), ("hostname", "h", 90)],
)
async def test_member_is_unknown_below_its_version(wire, member, value, first):
    """And known from it."""
    document = body(**{member: value})
    below = await wire.post("/servers", document, version=f"2.{first - 1}")
    if first == 19:
        document["server"].pop("networks")
        below = await wire.post("/servers", document, version=f"2.{first - 1}")
    below.fault(400, "badRequest")
    assert (await wire.post("/servers", document, version=f"2.{first}")).status == 202


async def test_dots_in_a_host_name_are_taken_from_2_94(wire):
    """Before, it is one label."""
    (await wire.post("/servers", body(hostname="a.b"), version="2.93")).fault(400, "badRequest")
    assert (await wire.post("/servers", body(hostname="a-b"), version="2.93")).status == 202


BROKEN = [
    b"",
    b"{",
    b'{"server": {"name": "x"',
    b"null",
    b"[]",
    b'"x"',
    b"1",
    b"{}",
    b'{"server": null}',
    b'{"server": []}',
    b'{"server": "x"}',
    b'{"server": {"name": "\xff"}}',
    b'{"server": {"name": "\\ud800"}}',
    b"[" * 200_000,
    b'{"server":' * 50_000,
    b'{"server": {"metadata": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_002,
    b"\x00" * 1000,
    b'{"server": {"name": "x", "name": ["y"]}}',
    b'{"server": {"min_count": 1e400}}',
    b'{"server": {"min_count": ' + b"9" * 10_000 + b"}}",
]


@pytest.mark.parametrize("path", ["/servers", "/servers/x/action", "/servers/x/metadata",
                                  "/os-keypairs"])  # fmt: skip
async def test_broken_json_is_400(wire, path):
    """Truncated, deeply nested, not UTF-8, of another type."""
    for data in BROKEN:
        answer = await wire.ask("POST", path, data=data)
        assert answer.fault(400, "badRequest"), data[:40]
    assert wire.servers.calls == []


async def test_other_content_type_than_json_is_415(wire):
    """A character set beside it is no matter."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await wire.ask("POST", "/servers", data=b"a=b", headers=form)
    answer.fault(415, "badMediaType")
    utf8 = {"Content-Type": "application/json; charset=UTF-8"}
    answer = await wire.post("/servers", body(), version="2.96", headers=utf8)
    assert answer.status == 202


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "text/html"])
async def test_accept_never_matters(wire, accept):
    """Some clients send it empty."""
    answer = await wire.post("/servers", body(), version="2.96", headers={"Accept": accept})
    assert answer.status == 202
