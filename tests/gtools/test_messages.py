"""Messages: for each opcode the key and the fields that consumers have always known."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.gtools.jobfile import Job, decode
from cyclades_tx.gtools.messages import (
    MAX_BYTES,
    QUERY_FIELDS,
    Configuration,
    Draft,
    configuration,
    draft,
    encode,
)
from tests.gtools.jobs import RECEIVED, job, op
from tests.gtools.values import PATIENT, VALUES

CARD = {"name": "snf-nic-7", "network": "snf-net-3", "ip": "10.0.0.5"}
STATUSES = ("queued", "waiting", "running", "canceling", "canceled", "success", "error")


def decoded(document: dict[str, Any]) -> Job:
    return decode(document["id"], json.dumps(document).encode())


def drafted(one: dict[str, Any]) -> Draft | None:
    """What is said about the only opcode of a job 9."""
    whole = decoded(job(9, one))
    return draft(whole, whole.ops[0], "g1.test")


def said(one: dict[str, Any], snapshot: Configuration | None = None) -> dict[str, Any]:
    """The message about an opcode, as it is read at the other end."""
    found = drafted(one)
    assert found is not None
    message: dict[str, Any] = json.loads(encode(found.message(snapshot)))
    return message


def test_a_started_instance_is_told_with_every_common_field() -> None:
    """The first example of the catalogue."""
    found = drafted(op("OP_INSTANCE_STARTUP", "running", 1, instance_name="snf-42"))
    assert found is not None
    assert found.routing_key == "ganeti.snf.event.op"
    assert found.instance == ""
    assert found.message() == {
        "type": "ganeti-op-status",
        "instance": "snf-42",
        "operation": "OP_INSTANCE_STARTUP",
        "status": "running",
        "jobId": 9,
        "event_time": [RECEIVED + 2, 20],
        "cluster": "g1.test",
        "logmsg": "line 1",
        "result": None,
        "tags": [],
        "job_fields": {},
        "op_index": 0,
        "job_ops": 1,
    }


@pytest.mark.parametrize(
    ("status", "time"),
    [
        ("queued", [RECEIVED, 1]),
        ("waiting", [RECEIVED + 1, 10]),
        ("canceling", [RECEIVED + 1, 10]),
        ("running", [RECEIVED + 2, 20]),
        ("success", [RECEIVED + 3, 30]),
        ("error", [RECEIVED + 3, 30]),
        ("canceled", [RECEIVED + 3, 30]),
    ],
)
def test_the_time_is_when_the_opcode_came_into_its_state(status: str, time: list[int]) -> None:
    """By the master's clock."""
    assert said(op("OP_INSTANCE_STARTUP", status, instance_name="snf-1"))["event_time"] == time


def test_an_opcode_that_was_dequeued_ended_with_its_job() -> None:
    """It never started, and has no end of its own."""
    one = op("OP_INSTANCE_STARTUP", "canceled", instance_name="snf-1")
    one["end_timestamp"] = one["start_timestamp"] = one["exec_timestamp"] = None
    assert said(one)["event_time"] == [RECEIVED + 4, 3]


@pytest.mark.parametrize(
    "one",
    [
        op("OP_INSTANCE_STARTUP", "done", instance_name="snf-1"),
        op("OP_INSTANCE_STARTUP"),
        op("OP_INSTANCE_QUERY_DATA", instances=["snf-1", "snf-2"]),
        op("OP_INSTANCE_STARTUP", instance_name=5),
        op("OP_INSTANCE_STARTUP", instance_name="x" * 300),
        op("OP_NETWORK_ADD"),
        op("OP_CLUSTER_VERIFY"),
        op("OP_NODE_ADD", node_name="n2"),
        op("OP_TAGS_SET", "running", kind="instance", name="snf-1"),
        op("OP_TAGS_SET", "success", kind="node", name="n1"),
        op("OP_TAGS_SET", "waiting", kind="cluster", tags=["x"], dry_run=True),
        op("OP_TAGS_DEL", "waiting", kind="cluster", tags=["snf:eventd:heartbeat"], dry_run=True),
        op("OP_TAGS_SET", "waiting", kind="cluster", tags=["snf:eventd:heartbeat"], dry_run=False),
        op("OP_TAGS_SET", "queued", kind="cluster", tags=["snf:eventd:heartbeat"], dry_run=True),
        op("OP_TAGS_SET", "waiting", kind="cluster", tags=[["snf"]], dry_run=True),
        op("NONSENSE"),
    ],
)
def test_what_concerns_nobody_is_not_told(one: dict[str, Any]) -> None:
    """No message, and no error."""
    assert drafted(one) is None


def test_an_opcode_with_one_instance_in_a_list_is_about_that_one() -> None:
    """As questions about instances have it."""
    assert said(op("OP_INSTANCE_QUERY_DATA", instances=["snf-3"]))["instance"] == "snf-3"


@pytest.mark.parametrize("kind", ["OP_INSTANCE_CREATE", "OP_INSTANCE_SET_PARAMS"])
def test_what_was_asked_for_goes_along(kind: str) -> None:
    """For a creation and a change, null where it says nothing."""
    message = said(
        op(kind, "running", instance_name="snf-1", nics=[["add", "-1", CARD]], hvparams={}, os="x")
    )
    assert message["job_fields"] == {
        "nics": [["add", "-1", CARD]],
        "disks": None,
        "hvparams": {},
        "beparams": None,
    }


def test_a_failed_creation_carries_everything_but_secrets() -> None:
    """Old consumers retry with it; passwords are in osparams, in clear."""
    message = said(
        op(
            "OP_INSTANCE_CREATE",
            "error",
            instance_name="snf-1",
            mode="create",
            pnode="n3",
            tags=["cyclades:user:web"],
            osparams={"img_passwd": "hush1"},
            osparams_private={"a": "hush2"},
            osparams_secret={"a": "hush3"},
            source_handshake=["hush4"],
            hvparams={"boot_order": "disk", "vnc_password_file": "hush5"},
            disks=[{"size": 1, "provider_secret": "hush6"}],
            _result=["OpPrereqError", ["no node", "temp_insufficient_resources"]],
        )
    )
    assert message["job_fields"] == {
        "OP_ID": "OP_INSTANCE_CREATE",
        "instance_name": "snf-1",
        "mode": "create",
        "pnode": "n3",
        "tags": ["cyclades:user:web"],
        "hvparams": {"boot_order": "disk"},
        "disks": [{"size": 1}],
    }
    assert message["tags"] == ["cyclades:user:web"]
    assert message["result"] == ["OpPrereqError", ["no node", "temp_insufficient_resources"]]
    assert "hush" not in json.dumps(message)


@pytest.mark.parametrize("kind", ["CREATE", "SET_PARAMS", "REINSTALL", "STARTUP", "SNAPSHOT"])
@pytest.mark.parametrize("status", STATUSES)
def test_no_message_ever_has_an_os_parameter(kind: str, status: str) -> None:
    """Whatever the opcode and its state."""
    one = op(f"OP_INSTANCE_{kind}", status, instance_name="snf-1", osparams={"img_passwd": "hush"})
    assert "hush" not in json.dumps(said(one))


def test_a_snapshot_carries_what_the_person_said() -> None:
    """In the first disk's parameters."""
    disks = [["snf-vol-11", {"snapshot_name": "s"}], ["snf-vol-12", {}]]
    reason = [["gnt:user", '{"snapshot_id": "6d0c"}', 1], ["gnt:opcode", "", 2]]
    message = said(
        op("OP_INSTANCE_SNAPSHOT", "success", instance_name="snf-1", disks=disks, reason=reason)
    )
    assert message["job_fields"]["disks"] == [
        ["snf-vol-11", {"snapshot_name": "s", "snapshot_info": '{"snapshot_id": "6d0c"}'}],
        ["snf-vol-12", {}],
    ]


@pytest.mark.parametrize("reason", [None, [], [["gnt:other", "x", 1]], "x", [[]]])
def test_a_snapshot_without_a_persons_reason_is_told_as_it_is(reason: Any) -> None:
    """A malformed reason changes nothing."""
    disks = [["snf-vol-11", {"snapshot_name": "s"}]]
    one = op("OP_INSTANCE_SNAPSHOT", "success", instance_name="snf-1", disks=disks, reason=reason)
    assert said(one)["job_fields"] == {"disks": disks}


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        ("CREATE", {"success"}),
        ("STARTUP", {"success"}),
        ("SET_PARAMS", {"success", "error", "canceled"}),
        ("GROW_DISK", {"success", "error", "canceled"}),
        ("SHUTDOWN", set()),
        ("REMOVE", set()),
    ],
)
def test_the_configuration_goes_along_where_it_may_have_changed(
    kind: str, statuses: set[str]
) -> None:
    """Canceled jobs included, which the original spelled wrongly."""
    asked = {
        status: drafted(op(f"OP_INSTANCE_{kind}", status, instance_name="snf-1"))
        for status in STATUSES
    }
    assert {status for status, each in asked.items() if each and each.instance} == statuses


def test_the_configuration_has_cards_disks_and_firewalls() -> None:
    """Out of the lists of Ganeti's query; a malformed tag counts for nothing."""
    row = dict.fromkeys(QUERY_FIELDS)
    row |= {
        "nic.names": ["snf-nic-6", "snf-nic-7"],
        "nic.networks.names": ["snf-net-1", None],
        "nic.ips": ["192.0.2.10", None],
        "nic.macs": ["aa:00:00:11:22:33", "aa:00:01:44:55:66"],
        "nic.modes": ["bridged", "bridged"],
        "nic.links": ["br0", "prv0"],
        "nic.uuids": ["f6", "c1"],
        "tags": ["synnefo:network:snf-nic-6:limited", "synnefo:network:snf-nic-7", 5, "x"],
        "disk.names": ["snf-vol-11"],
        "disk.sizes": [20480],
        "disk.uuids": ["0d"],
        "hv/boot_order": "disk",
    }
    message = said(
        op("OP_INSTANCE_SET_PARAMS", "success", instance_name="snf-1"), configuration(row)
    )
    assert message["instance_nics"] == [
        {
            "name": "snf-nic-6",
            "network": "snf-net-1",
            "ip": "192.0.2.10",
            "mac": "aa:00:00:11:22:33",
            "mode": "bridged",
            "link": "br0",
            "uuid": "f6",
            "firewall": "limited",
        },
        {
            "name": "snf-nic-7",
            "network": None,
            "ip": None,
            "mac": "aa:00:01:44:55:66",
            "mode": "bridged",
            "link": "prv0",
            "uuid": "c1",
        },
    ]
    assert message["instance_disks"] == [{"name": "snf-vol-11", "size": 20480, "uuid": "0d"}]
    assert message["instance_hvparams"] == {"boot_order": "disk", "cdrom_image_path": None}


def test_without_a_configuration_its_fields_are_missing() -> None:
    """They are never empty by mistake: an empty list would mean no cards."""
    message = said(op("OP_INSTANCE_STARTUP", "success", instance_name="snf-1"))
    assert not {"instance_nics", "instance_disks", "instance_hvparams"} & message.keys()


@pytest.mark.parametrize("kind", ["ADD", "CONNECT", "DISCONNECT", "REMOVE", "SET_PARAMS"])
def test_a_networks_job_is_told_under_the_networks_prefix(kind: str) -> None:
    """With the five fields of its input."""
    found = drafted(
        op(
            f"OP_NETWORK_{kind}",
            "success",
            network_name="snf-net-3",
            network="10.0.0.0/24",
            group_name="default",
        )
    )
    assert found is not None
    assert found.routing_key == "ganeti.snf.event.network"
    message = found.message()
    assert message["type"] == "ganeti-network-status"
    assert message["network"] == "snf-net-3"
    assert message["job_fields"] == {
        "subnet": "10.0.0.0/24",
        "gateway": None,
        "add_reserved_ips": None,
        "remove_reserved_ips": None,
        "group_name": "default",
    }


@pytest.mark.parametrize("status", STATUSES)
def test_a_changed_cluster_is_told_in_every_state(status: str) -> None:
    """Under a key without a prefix."""
    found = drafted(op("OP_CLUSTER_SET_PARAMS", status))
    assert found is not None
    assert found.routing_key == "ganeti.event.cluster"
    assert found.message()["type"] == "ganeti-cluster-status"
    assert "job_fields" not in found.message()


@pytest.mark.parametrize("status", ["success", "error", "canceled"])
def test_ended_tags_of_an_instance_are_told(status: str) -> None:
    """``canceled`` with one l, as Ganeti spells it."""
    message = said(
        op("OP_TAGS_DEL", status, kind="instance", name="snf-1", tags=["a"], dry_run=False)
    )
    assert message["type"] == "ganeti-op-status"
    assert (message["instance"], message["tags"]) == ("snf-1", ["a"])
    assert message["job_fields"] == {"dry_run": False}


def test_a_heartbeat_is_answered_once_however_late_it_is_seen() -> None:
    """``waiting`` may be over by the time the file is read."""
    marks = set()
    for status in ("waiting", "running", "success"):
        found = drafted(
            op("OP_TAGS_SET", status, kind="cluster", tags=["snf:eventd:heartbeat:1"], dry_run=True)
        )
        assert found is not None
        assert found.routing_key == "eventd.heartbeat"
        assert found.message()["type"] == "eventd-heartbeat"
        marks.add(found.mark)
    assert len(marks) == 1


def test_the_mark_changes_with_the_state_and_with_each_log_line() -> None:
    """And with nothing else."""
    marks = [
        each.mark
        for status, log in (("queued", 0), ("running", 0), ("running", 1), ("success", 1))
        if (each := drafted(op("OP_INSTANCE_STARTUP", status, log, instance_name="snf-1")))
    ]
    assert len(set(marks)) == 4


@pytest.mark.parametrize("place", ["result", "tags", "nics"])
def test_a_huge_message_is_cut_to_what_matters(place: str) -> None:
    """Who, what and the state always get through."""
    huge = ["x" * MAX_BYTES]
    given = {"_result" if place == "result" else place: huge}
    body = encode(
        said(op("OP_INSTANCE_CREATE", "success", instance_name="snf-1", **given), Configuration())
    )
    message = json.loads(body)
    assert len(body) <= MAX_BYTES
    assert message["truncated"] is True
    assert (message["instance"], message["jobId"], message["status"]) == ("snf-1", 9, "success")


FAMILY = st.sampled_from(
    [
        "OP_INSTANCE_CREATE",
        "OP_INSTANCE_SNAPSHOT",
        "OP_INSTANCE_SET_PARAMS",
        "OP_NETWORK_ADD",
        "OP_CLUSTER_SET_PARAMS",
        "OP_TAGS_SET",
        "OP_",
        "INSTANCE",
        "OP_INSTANCE",
    ]
)
FIELDS = st.sampled_from(
    [
        "instance_name",
        "instances",
        "network_name",
        "kind",
        "name",
        "tags",
        "dry_run",
        "disks",
        "nics",
        "reason",
        "osparams",
    ]
)


@PATIENT
@given(FAMILY, st.sampled_from(STATUSES), st.dictionaries(FIELDS, VALUES), VALUES)
def test_any_input_gives_a_message_or_nothing(
    kind: str, status: str, fields: dict[str, Any], result: Any
) -> None:
    """And every message is within bounds and is JSON."""
    found = drafted(op(kind, status, _result=result, **fields))
    if found is not None:
        body = encode(found.message(Configuration()))
        assert len(body) <= MAX_BYTES
        assert msgspec.json.decode(body)["operation"] == kind
        assert len(found.routing_key.encode()) <= 255


@PATIENT
@given(st.dictionaries(st.sampled_from(QUERY_FIELDS), VALUES))
def test_any_answer_of_a_query_is_a_configuration(row: dict[str, Any]) -> None:
    """Lists of different lengths and other types included."""
    found = configuration(row)
    assert all("name" in nic and "mac" in nic for nic in found.nics)
