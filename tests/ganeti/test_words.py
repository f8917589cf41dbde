"""RAPI's words: odd replies are understood, hostile ones end in a GanetiError."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.ganeti import replies, words
from cyclades_tx.ganeti.interfaces import GanetiError, GanetiRefused
from cyclades_tx.model.instance import Power
from cyclades_tx.model.job import JobStatus

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


def a_job_row(**parts: Any) -> dict[str, Any]:
    """Return a row of a job that ended well."""
    row = {
        "id": 4,
        "status": "success",
        "summary": ["INSTANCE_CREATE(snf-1)"],
        "opresult": [["node"]],
        "oplog": [[[1, [5, 6], "message", "one"], [2, [5, 7], "message", " - two "]]],
        "end_ts": [1795252556, 960975],
    }
    return {**row, **parts}


def an_instance_row(**parts: Any) -> dict[str, Any]:
    """Return a row of a stopped instance without anything."""
    lists = ("nic.names", "nic.macs", "nic.ips", "nic.networks.names", "nic.uuids", "nic.modes")
    row: dict[str, Any] = dict.fromkeys(replies.INSTANCE_FIELDS)
    row.update({field: [] for field in (*lists, "nic.links", "tags")})
    row.update({"name": "snf-1", "status": "ADMIN_down"})
    return {**row, **parts}


def test_job_has_result_time_and_newest_log() -> None:
    """A finished job is read as it is."""
    job = replies.job(a_job_row())
    assert (job.id, job.status, job.summary) == (4, JobStatus.SUCCESS, "INSTANCE_CREATE(snf-1)")
    assert job.ended_at == datetime(2026, 11, 21, 9, 15, 56, 960975, UTC)
    assert job.log == "- two"
    assert job.message == "" and job.error_code == ""


@pytest.mark.parametrize(
    ("results", "message", "code"),
    [
        ([["OpPrereqError", ["Not &#x27;known&#x27;", "unknown_entity"]]], "Not 'known'",
         "unknown_entity"),
        ([["OpExecError", ["no code"]]], "no code", ""),
        ([None, ["HypervisorError", ["second", None]]], "second", ""),
        ([["OpExecError", []]], "OpExecError", ""),
        ([], "", ""),
    ],
)  # fmt: skip
def test_job_error_is_read_when_it_has_any_known_shape(results, message, code) -> None:
    """Class, text and code come in several shapes."""
    job = replies.job(a_job_row(status="error", opresult=results))
    assert (job.message, job.error_code) == (message, code)


def test_job_message_is_a_bare_text_when_canceled_while_waiting() -> None:
    """A canceled job has a plain string for a result."""
    job = replies.job(a_job_row(status="canceled", opresult=["Job canceled by request"]))
    assert job.message == "Job canceled by request" and job.status.final


def test_job_is_unknown_when_the_status_is_null() -> None:
    """RAPI answers 200 with nulls for a job that it does not have."""
    row = dict.fromkeys(replies.JOB_FIELDS) | {"id": 9}
    assert replies.job(row).status is JobStatus.UNKNOWN


def test_job_reasons_are_those_of_users_only() -> None:
    """Ganeti's own entries in the trail are left out, repetitions too."""
    trail = [["gnt:user", "cyclades:op:1", 1], ["gnt:opcode:x", "job=1", 2]]
    row = a_job_row(ops=[{"reason": trail}, {"reason": trail}])
    assert replies.job(row).reasons == ("cyclades:op:1",)


@pytest.mark.parametrize(
    ("status", "power"),
    [
        ("running", Power.RUNNING),
        ("ERROR_up", Power.RUNNING),
        ("ADMIN_down", Power.STOPPED),
        ("USER_down", Power.STOPPED),
        ("ERROR_down", Power.STOPPED),
        ("ERROR_nodeoffline", Power.UNKNOWN),
        ("something new", Power.UNKNOWN),
    ],
)
def test_power_follows_the_status_word(status, power) -> None:
    """Each of Ganeti's words has its power; an unheard-of one is unknown."""
    assert replies.instance(an_instance_row(status=status)).power is power


def test_capacity_leaves_out_nodes_that_cannot_be_used() -> None:
    """Offline nodes have nulls; drained ones and those without CPUs do not count."""
    good = {
        "name": "n",
        "mfree": 1,
        "mtotal": 2,
        "dfree": 3,
        "dtotal": 4,
        "ctotal": 5,
        "pinst_cnt": 6,
    }
    offline = dict.fromkeys(good) | {"name": "n", "offline": True}
    nodes = [good, offline, {**good, "drained": True}, {**good, "ctotal": 0}, good]
    seen = replies.capacity(nodes)
    assert (seen.nodes, seen.memory_free_mib, seen.cpus, seen.instances) == (2, 2, 10, 12)


def test_rows_are_refused_when_a_field_is_unknown() -> None:
    """A field that the cluster does not know is not taken for a missing value."""
    with pytest.raises(replies.OddReply):
        replies.rows({"data": [[[1, None]]]}, ("name",))


def test_begins_with_takes_the_prefix_literally() -> None:
    """The prefix's own signs have no meaning in the expression."""
    assert words.begins_with("a.b") == ["=~", "name", r"^a\.b"]
    assert words.begins_with("") is None


@pytest.mark.parametrize("body", [{"a": ["\u00e9"]}, {"\u00e9": 1}, {"a": {"b": "x\0"}}])
def test_check_ascii_refuses_other_characters(body) -> None:
    """Every text at every depth is looked at, and the message can be shown."""
    with pytest.raises(GanetiRefused) as caught:
        words.check_ascii(body, "the request")
    assert caught.value.message.isascii()


@given(JUNK)
def test_readers_raise_only_ganeti_errors_when_the_reply_is_junk(reply) -> None:
    """Whatever JSON a cluster sends, a reader returns or raises a GanetiError."""
    for read in (replies.info, replies.capacity, replies.groups, replies.job_id, replies.cancelled):
        try:
            read(reply)
        except GanetiError as error:
            assert error.message
    assert isinstance(replies.error_text(reply), str)
    for fields in (replies.JOB_FIELDS_WITH_REASON, replies.INSTANCE_FIELDS, replies.NETWORK_FIELDS):
        try:
            replies.rows(reply, fields)
        except GanetiError as error:
            assert error.message


@given(st.data())
def test_rows_of_junk_raise_only_ganeti_errors(data) -> None:
    """A row with any value in any field is read or refused."""
    field = data.draw(st.sampled_from(replies.JOB_FIELDS_WITH_REASON))
    row = {**a_job_row(ops=[]), field: data.draw(JUNK)}
    instance_field = data.draw(st.sampled_from(replies.INSTANCE_FIELDS))
    instance_row = {**an_instance_row(), instance_field: data.draw(JUNK)}
    network_row: dict[str, Any] = {**dict.fromkeys(replies.NETWORK_FIELDS), "name": "n"}
    network_row[data.draw(st.sampled_from(replies.NETWORK_FIELDS))] = data.draw(JUNK)
    for read, given_row in (
        (replies.job, row),
        (replies.instance, instance_row),
        (replies.glance, instance_row),
        (replies.network, network_row),
        (lambda each: replies.concerns(each, "snf-1"), row),
    ):
        try:
            read(given_row)
        except GanetiError as error:
            assert error.message


@pytest.mark.parametrize(
    ("results", "pending"),
    [
        ([[["nic.1", "add:mac=aa"], ["nic.1", "hotplug:done"]]], False),
        ([[["NIC/1", "hotplug:failed"], ["NIC/1", "remove"]]], True),
        ([[["be/vcpus", 2]]], False),
        ([None], False),
        (["text"], False),
        (None, False),
    ],
)
def test_change_that_a_running_machine_missed_is_seen_in_the_result(
    results: object, pending: bool
) -> None:
    """Ganeti itself counts it as a success."""
    assert replies.job(a_job_row(opresult=results)).pending_restart is pending
