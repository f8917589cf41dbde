"""What is told of a job, and to whom."""

from __future__ import annotations

import pytest

from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.job_end import failure_of

SAID = "Not enough memory on node n1.example: 512 MiB are needed, 7 MiB are free"


@pytest.mark.parametrize("code", ["insufficient_resources", "temp_insufficient_resources"])
def test_a_shortage_is_told_without_nodes_and_figures(code: str) -> None:
    """To the owner; the job itself keeps what the cluster said."""
    job = Job(7, JobStatus.ERROR, message=SAID, error_code=code)
    assert failure_of(job) == "No valid host was found (not enough resources are free)."
    assert (job.short, job.message) == (True, SAID)


def test_any_other_failure_is_told_as_it_is() -> None:
    """Its owner may be able to do something about it."""
    job = Job(7, JobStatus.ERROR, message="No such image", error_code="wrong_input")
    assert (failure_of(job), job.short) == ("No such image", False)
    assert failure_of(Job(7, JobStatus.ERROR)) == "Job 7 ended with error."
    assert failure_of(Job(7, JobStatus.CANCELED)) == "Job 7 was canceled at the cluster."
