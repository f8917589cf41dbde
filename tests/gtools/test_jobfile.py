"""Job files: what Ganeti writes is understood, anything else is refused and nothing more."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.gtools.jobfile import BadJobFile, archived, decode, job_id
from tests.gtools.jobs import RECEIVED, job, op
from tests.gtools.values import PATIENT, VALUES


def raw(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_a_job_of_two_opcodes_is_read_whole() -> None:
    """With each one's own status, times and last log line."""
    found = decode(
        7,
        raw(
            job(
                7,
                op("OP_INSTANCE_SHUTDOWN", "success", 2, instance_name="snf-1"),
                op("OP_INSTANCE_STARTUP", "running", instance_name="snf-1"),
            )
        ),
    )
    first, second = found.ops
    assert (first.kind, first.status, first.log_length) == ("OP_INSTANCE_SHUTDOWN", "success", 2)
    assert first.log_message == "line 2"
    assert first.end == (RECEIVED + 3, 30)
    assert (second.index, second.end, second.log_message) == (1, None, None)
    assert found.received == (RECEIVED, 1)
    assert not found.ended


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("job-4", 4),
        ("job-4-7323-1.tmp", None),
        ("job-4a81ckwr4.new", None),
        ("job-", None),
        ("serial", None),
        ("job-4\n", None),
        ("job-٤", None),
        ("job-" + "9" * 40, None),
    ],
)
def test_only_a_jobs_own_file_counts(name: str, number: int | None) -> None:
    """Temporary names begin with the same letters."""
    assert job_id(name) == number


def test_the_archive_has_ten_thousand_jobs_a_folder() -> None:
    """As Ganeti divides it."""
    assert archived(9_999) == "archive/0/job-9999"
    assert archived(10_000) == "archive/1/job-10000"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe\x00",
        pytest.param(b"[" * 200_000, id="deep"),
        pytest.param(b'{"id":7,"ops":' + b"[" * 200_000, id="deep inside"),
        raw(job(8, op("OP_INSTANCE_STARTUP"))),
        raw({"id": 7}),
        raw({"id": 7, "ops": {}}),
        raw({"id": 7, "ops": [1]}),
        raw({"id": 7, "ops": [{"input": 1, "status": "queued"}]}),
        raw({"id": 7, "ops": [{"input": {}, "status": "queued"}]}),
        raw({"id": 7, "ops": [{"input": {"OP_ID": "OP_X"}, "status": []}]}),
        b'{"id":7,"ops":[],"received_timestamp":NaN}',
        b'{"id":7,"ops":[],"x":1e999}',
    ],
)
def test_what_is_no_job_is_refused(content: bytes) -> None:
    """With one kind of error, whatever is wrong."""
    with pytest.raises(BadJobFile):
        decode(7, content)


@PATIENT
@given(st.binary())
def test_any_bytes_are_a_job_or_refused(content: bytes) -> None:
    """Nothing else ever comes out."""
    with suppress(BadJobFile):
        assert decode(1, content).id == 1


@PATIENT
@given(VALUES, VALUES, VALUES, VALUES)
def test_any_values_in_a_job_are_a_job_or_refused(
    result: Any, log: Any, time: Any, given_input: Any
) -> None:
    """Types that nobody expects included."""
    document = job(1, op("OP_INSTANCE_STARTUP"))
    document["received_timestamp"] = time
    document["ops"][0].update(result=result, log=log, start_timestamp=time)
    if isinstance(given_input, dict):
        document["ops"][0]["input"].update(given_input)
    try:
        found = decode(1, raw(document))
    except BadJobFile:
        return
    assert found.ops[0].status == "queued"
    assert found.received is None or found.received == tuple(time)


def test_text_that_is_not_utf_8_does_not_hide_the_job() -> None:
    """Ganeti lets such bytes in."""
    document = job(1, op("OP_TAGS_SET", "success", kind="instance", name="snf-1", tags=["X"]))
    found = decode(1, raw(document).replace(b'"X"', b'"caf\xe9"'))
    assert found.ops[0].input["tags"] == ["caf\ufffd"]


def test_half_a_surrogate_pair_does_not_hide_the_job() -> None:
    """Python's own json writes such a thing for the same bytes."""
    document = job(1, op("OP_TAGS_SET", "success", kind="instance", name="snf-1", tags=["X"]))
    found = decode(1, raw(document).replace(b'"X"', b'"caf\\udce9 au lait"'))
    assert found.ops[0].input["tags"] == ["caf? au lait"]


@pytest.mark.parametrize("time", [None, [], [1], [1, 2, 3], ["1", 2], [-1, 0], [1, 1_000_000], 5])
def test_a_time_that_is_none_is_missing(time: Any) -> None:
    """It does not make the job unreadable."""
    document = job(1, op("OP_INSTANCE_STARTUP"))
    document["received_timestamp"] = time
    assert decode(1, raw(document)).received is None
