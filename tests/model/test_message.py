"""Messages of the Ganeti side: every kind of the catalogue, and whatever else may come."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.gtools import messages as sent
from cyclades_tx.gtools.jobfile import Job as FiledJob
from cyclades_tx.gtools.jobfile import Op
from cyclades_tx.model.diagnostic import Diagnostic
from cyclades_tx.model.fact import Ignored, JobFact, ProgressFact, Unreadable
from cyclades_tx.model.job import JobStatus
from cyclades_tx.model.message import MOST_BYTES, MessageReader
from cyclades_tx.model.names import Names

JOB = {
    "operation": "OP_INSTANCE_STARTUP",
    "status": "success",
    "jobId": 9001,
    "event_time": [1_700_000_000, 250_000],
    "cluster": "ganeti1.example.org",
    "logmsg": None,
    "result": None,
}
INSTANCE = {**JOB, "type": "ganeti-op-status", "instance": "snf-42", "tags": [], "job_fields": {}}
NETWORK = {
    **JOB,
    "type": "ganeti-network-status",
    "operation": "OP_NETWORK_CONNECT",
    "network": "snf-net-3",
    "job_fields": {"subnet": None, "group_name": "default"},
}
CLUSTER = {**JOB, "type": "ganeti-cluster-status", "operation": "OP_CLUSTER_SET_PARAMS"}
COPY = {
    "type": "image-copy-progress",
    "progress": 37.25,
    "position": 400_000_000,
    "total": 1_073_741_824,
    "timestamp": 1_700_000_020.5,
    "event_time": [1_700_000_020, 510_000],
    "instance": "snf-43",
}
HELPER = {
    "type": "image-helper",
    "subtype": "task-start",
    "task": "FixPartitionTable",
    "timestamp": 1_700_000_040.1,
    "event_time": [1_700_000_040, 130_000],
    "instance": "snf-43",
}


@pytest.fixture
def reader() -> MessageReader:
    """A reader for the usual prefix."""
    return MessageReader(Names("snf-"))


def read(reader: MessageReader, message: dict[str, Any], **changes: Any) -> Any:
    """What the reader makes of a message; a change to ... takes the member away."""
    changed = {**message, **changes}
    left = {name: value for name, value in changed.items() if value is not ...}
    return reader.read(json.dumps(left).encode())


def test_a_job_on_an_instance(reader: MessageReader) -> None:
    """Of a sender of old times, which does not say the place of the opcode."""
    assert read(reader, INSTANCE) == JobFact(
        cluster="ganeti1.example.org",
        job_id=9001,
        opcode="OP_INSTANCE_STARTUP",
        subject="o42",
        subject_id=42,
        status=JobStatus.SUCCESS,
        op_index=-1,
        job_ops=0,
        event_seconds=1_700_000_000.25,
    )


def test_a_sender_of_today_says_which_opcode_it_is(reader: MessageReader) -> None:
    """And how many there are."""
    fact = read(reader, INSTANCE, op_index=1, job_ops=3)
    assert (fact.op_index, fact.job_ops) == (1, 3)


def test_what_an_instance_looks_like_is_not_read(reader: MessageReader) -> None:
    """It may be anything."""
    assert read(reader, INSTANCE, instance_nics=[{"ip": 5}], instance_disks="x") == read(
        reader, INSTANCE
    )


@pytest.mark.parametrize(
    "status", ["queued", "waiting", "canceling", "running", "canceled", "success", "error"]
)
def test_every_status_is_known(reader: MessageReader, status: str) -> None:
    """By Ganeti's words."""
    assert read(reader, INSTANCE, status=status).status == JobStatus(status)


@pytest.mark.parametrize("status", ["cancelled", "unknown", "", "SUCCESS", None, 4])
def test_no_other_status_is(reader: MessageReader, status: Any) -> None:
    """A word of ours is none either."""
    assert isinstance(read(reader, INSTANCE, status=status), Unreadable)


@pytest.mark.parametrize("operation", ["OP_TAGS_SET", "OP_INSTANCE_SNAPSHOT", "OP_INSTANCE_RENAME"])
def test_every_job_on_an_instance_is_a_fact(reader: MessageReader, operation: str) -> None:
    """Tags and snapshots included."""
    fact = read(reader, INSTANCE, operation=operation, job_fields={"disks": [["d", {}]]})
    assert (fact.opcode, fact.subject) == (operation, "o42")


def test_a_job_on_a_network(reader: MessageReader) -> None:
    """By the network's number."""
    fact = read(reader, NETWORK)
    assert (fact.subject, fact.subject_id, fact.opcode) == ("n3", 3, "OP_NETWORK_CONNECT")


def test_a_change_of_the_cluster(reader: MessageReader) -> None:
    """Its own numbers are to be read again."""
    assert (read(reader, CLUSTER).subject, read(reader, CLUSTER).subject_id) == ("refresh", 0)


@pytest.mark.parametrize(
    ("said", "percent"), [(0, 0), (37.25, 37), (99.99, 99), (100, 100), (104.2, 100), (1e300, 100)]
)
def test_progress_is_a_whole_percentage(reader: MessageReader, said: float, percent: int) -> None:
    """Of at most 100."""
    assert read(reader, COPY, progress=said) == ProgressFact(43, percent, 1_700_000_020.51)


@pytest.mark.parametrize("said", [-1, -0.01, "12", None, [], True])
def test_progress_is_a_number_from_0(reader: MessageReader, said: Any) -> None:
    """Anything else is no progress."""
    assert isinstance(read(reader, COPY, progress=said), Unreadable)


@pytest.mark.parametrize(
    ("message", "level", "source", "text", "details"),
    [
        (HELPER, "DEBUG", "image-helper-task-start", "FixPartitionTable", None),
        (
            {**HELPER, "subtype": "task-end", "task": ""},
            "DEBUG",
            "image-helper-task-end",
            "Image helper task end",
            None,
        ),
        ({**HELPER, "subtype": "warning", "messages": ["a", "b"]}, "WARNING", "image-helper", "a b",
         None),
        ({**HELPER, "subtype": "error", "msg": "old"}, "ERROR", "image-helper", "old", None),
        ({**HELPER, "subtype": "error", "stderr": "boom"}, "ERROR", "image-helper", "Image helper",
         "boom"),
        ({**HELPER, "subtype": "info", "messages": ["x"]}, "INFO", "image-helper", "x", None),
        ({**HELPER, "subtype": "new-word", "messages": ["x"]}, "DEBUG", "image-helper", "x", None),
        ({**HELPER, "type": "image-info", "messages": ["x"]}, "DEBUG", "image-info", "x", None),
        ({**HELPER, "type": "image-error", "stderr": "e"}, "ERROR", "image-error", "Image error",
         "e"),
        ({**HELPER, "type": "image-warning", "messages": ["w"]}, "WARNING", "image-warning", "w",
         None),
    ],
)  # fmt: skip
def test_diagnostics(
    reader: MessageReader, message: Any, level: str, source: str, text: str, details: str | None
) -> None:
    """By the table of old, each with the time of the node."""
    at = datetime(2023, 11, 14, 22, 14, 0, 130_000, tzinfo=UTC)
    assert read(reader, message) == Diagnostic(43, level, source, text, details, at)  # type: ignore[arg-type]


def test_text_that_postgresql_cannot_keep_is_cleaned(reader: MessageReader) -> None:
    """NUL is left out, and long text is cut."""
    said = read(reader, HELPER, task="a\x00b" + "c" * 100_000)
    assert said.message.startswith("abc")
    assert len(said.message) <= 4000


@pytest.mark.parametrize(
    "name", ["other-42", "snf42", "snf-", "snf-x", "snf-042", "snf-4 2", "snf-42é", "SNF-42",
             "snf--1", "snf-99999999999999999999", "snf-net-3"],
)  # fmt: skip
def test_what_is_not_ours_is_ignored(reader: MessageReader, name: str) -> None:
    """Other deployments share the cluster, and operators name their instances as they like."""
    assert isinstance(read(reader, INSTANCE, instance=name), Ignored)
    assert isinstance(read(reader, COPY, instance=name), Ignored)


@pytest.mark.parametrize("name", ["snf-42", "snf-net-", "snf-net-x", "other-net-3"])
def test_foreign_networks_are_ignored(reader: MessageReader, name: str) -> None:
    """The same for networks."""
    assert isinstance(read(reader, NETWORK, network=name), Ignored)


@pytest.mark.parametrize(
    "message",
    [
        {**JOB, "type": "eventd-heartbeat"},
        {"type": "ganeti-net-status", "instance": "snf-42", "event_time": [1, 2], "nics": [
            {"mac": "aa:00:00:11:22:33", "ip": None, "link": "br0", "network": None}]},
    ],
)  # fmt: skip
def test_what_needs_no_consumer_is_ignored(reader: MessageReader, message: Any) -> None:
    """Answers to status checks, and the hook of old times."""
    assert isinstance(read(reader, message), Ignored)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "somebody-else"},
        {"type": ...},
        {"type": None},
        {"instance": ...},
        {"instance": None},
        {"instance": ""},
        {"instance": "x" * 5000},
        {"cluster": ...},
        {"cluster": "a\x00b"},
        {"cluster": "a\nb"},
        {"cluster": "a b"},
        {"jobId": ...},
        {"jobId": "9001"},
        {"jobId": 0},
        {"jobId": -5},
        {"jobId": 2**63},
        {"jobId": True},
        {"jobId": 1.5},
        {"operation": ...},
        {"operation": "INSTANCE_STARTUP"},
        {"operation": "OP_X'; drop table server"},
        {"operation": "OP_" + "X" * 500},
        {"operation": "OP_X\n"},
        {"event_time": ...},
        {"event_time": 1_700_000_000},
        {"event_time": [1]},
        {"event_time": [1, 2, 3]},
        {"event_time": [-1, 0]},
        {"event_time": [2**60, 0]},
        {"event_time": [1, 1_000_000]},
        {"event_time": ["1", "2"]},
        {"op_index": -1},
        {"op_index": 2**31},
        {"job_ops": "two"},
    ],
)
def test_a_broken_message_is_unreadable(reader: MessageReader, changes: dict[str, Any]) -> None:
    """And says why."""
    found = read(reader, INSTANCE, **changes)
    assert isinstance(found, Unreadable)
    assert found.reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"5",
        b"\xff\xfe\x00",
        b'{"type": "ganeti-op-status"',
        json.dumps(INSTANCE).encode() + b" x",
        json.dumps(INSTANCE).encode("utf-16"),
        b'{"type":"ganeti-op-status","instance":"\\ud800"}',
        b"[" * 200_000,
        b'{"type":"ganeti-op-status","z":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b" " * (MOST_BYTES + 1),
    ],
    ids=range(14),
)
def test_what_is_no_message_is_unreadable(reader: MessageReader, body: bytes) -> None:
    """Of whatever size and depth."""
    found = reader.read(body)
    assert isinstance(found, Unreadable)
    assert 0 < len(found.reason) < 300


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ({"OP_ID": "OP_INSTANCE_CREATE", "instance_name": "snf-42", "disks": []}, "o42"),
        ({"OP_ID": "OP_INSTANCE_SHUTDOWN", "instance_name": "snf-42"}, "o42"),
        ({"OP_ID": "OP_TAGS_SET", "kind": "instance", "name": "snf-42", "tags": ["a"]}, "o42"),
        ({"OP_ID": "OP_NETWORK_ADD", "network_name": "snf-net-3"}, "n3"),
        ({"OP_ID": "OP_CLUSTER_SET_PARAMS"}, "refresh"),
    ],
)
@pytest.mark.parametrize("status", ["success", "error", "canceled"])
def test_our_own_sender_is_understood(
    reader: MessageReader, given: dict[str, Any], subject: str, status: str
) -> None:
    """What the event daemon says of a job's second opcode."""
    result = ["OpPrereqError", ["no", "wrong_state"]] if status == "error" else None
    op = Op(1, given["OP_ID"], status, given, result, "line", 1, (1, 2), (2, 3), (3, 4))
    draft = sent.draft(FiledJob(12, (op, op), (1, 1), (1, 2), (3, 4)), op, "c1.example.org")
    assert draft is not None
    fact = reader.read(sent.encode(draft.message()))
    assert isinstance(fact, JobFact)
    assert (fact.subject, fact.status, fact.job_id) == (subject, JobStatus(status), 12)
    assert (fact.op_index, fact.job_ops, fact.event_seconds) == (1, 2, 3.000004)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_harm(body: bytes) -> None:
    """Nothing is raised."""
    assert isinstance(
        MessageReader(Names("snf-")).read(body),
        Unreadable | Ignored | JobFact | ProgressFact | Diagnostic,
    )


@given(
    st.sampled_from([INSTANCE, NETWORK, CLUSTER, COPY, HELPER]),
    st.data(),
)
def test_any_member_may_be_anything(message: dict[str, Any], data: st.DataObject) -> None:
    """A fact that comes out of it can be stored: numbers are in range, texts have no NUL."""
    name = data.draw(st.sampled_from(sorted(message)))
    changed = {**message, name: data.draw(JSON)}
    found = MessageReader(Names("snf-")).read(json.dumps(changed).encode())
    if isinstance(found, JobFact):
        assert 0 < found.job_id < 2**63
        assert -1 <= found.op_index < 2**15
        assert 0 <= found.subject_id < 2**63
        for text in (found.cluster, found.opcode, found.subject):
            assert text.isascii() and text.isprintable()
    elif isinstance(found, Diagnostic):
        assert "\0" not in found.message + (found.details or "")
        assert found.message
    elif isinstance(found, ProgressFact):
        assert 0 <= found.percent <= 100
    else:
        assert isinstance(found, Unreadable | Ignored)
