"""The planner against a small cluster in which everything that can go wrong does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.moves import ABSENT, UNSEEN
from cyclades_tx.model.network_plan import AskNetwork, NetworkFacts, plan_network
from cyclades_tx.model.operation import FAILED, SUCCEEDED, Operation
from cyclades_tx.model.ownership import Owner, owner_tag
from cyclades_tx.model.plan import GRACE, plan_server
from cyclades_tx.model.step import (
    CLEAN,
    Adopt,
    AskInstance,
    AskOwner,
    AskSecret,
    AskSiblings,
    Confirm,
    Facts,
    Finish,
    Submit,
    Wait,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEADLINE = timedelta(minutes=30)
RUNNING = Instance("snf-1", "running", Power.RUNNING)
OWNER = Owner("u", launched=True)


def an_operation(kind: str, **changes: object) -> Operation:
    """An operation that has just been opened."""
    fresh = Operation(
        id=7, kind=kind, state="pending", cluster_id=1, deadline_at=NOW + DEADLINE, created_at=NOW
    )
    return replace(fresh, **changes)  # type: ignore[arg-type]


class World:
    """One cluster with one instance name, its queue, and the operation's row in the database."""

    def __init__(self, operation: Operation, there: bool, chance: st.DataObject) -> None:
        self.operation = operation
        self.instances = 1 if there else 0
        self.jobs: list[tuple[Job, str, str]] = []
        self.chance = chance
        self.now = NOW
        self.made = 0
        self.finished: Finish | None = None

    def pick(self, *choices: str) -> str:
        """Let Hypothesis choose what happens."""
        return self.chance.draw(st.sampled_from(choices))

    def run_jobs(self) -> None:
        """Each waiting job ends, one way or another, as Ganeti would end it."""
        for index, (job, step, trail) in enumerate(self.jobs):
            if job.status.final or self.pick("runs on", "ends") == "runs on":
                continue
            self.jobs[index] = (self.ended(job, step), step, trail)

    def ended(self, job: Job, step: str) -> Job:
        """How a job of a step ends."""
        if step == "create":
            if self.instances:
                return replace(job, status=JobStatus.ERROR, error_code="already_exists")
            end = self.pick("success", "no disk", "os script", "canceled")
            if end == "success":
                self.instances += 1
                self.made += 1
                return replace(job, status=JobStatus.SUCCESS)
            if end == "os script":
                self.instances += 1
                self.made += 1
                return replace(job, status=JobStatus.ERROR, message="OS create script failed")
            status = JobStatus.CANCELED if end == "canceled" else JobStatus.ERROR
            return replace(job, status=status, message="no disk")
        if not self.instances:
            return replace(job, status=JobStatus.ERROR, error_code="unknown_entity")
        if self.pick("success", "error") == "error":
            return replace(job, status=JobStatus.ERROR, message="the node did not answer")
        if step in ("delete", CLEAN):
            self.instances -= 1
        return replace(job, status=JobStatus.SUCCESS)

    def trail(self) -> str:
        return self.operation.trail()

    def look(self, facts: Facts) -> Facts:
        """What a look at the instance gives."""
        return replace(facts, seen=RUNNING if self.instances else ABSENT)

    def turn(self) -> None:
        """One turn of the loop; the process may die after each step of it."""
        facts = Facts()
        for _ in range(20):
            job = next((j for j, _, _ in self.jobs if j.id == self.operation.job_id), None)
            if self.operation.job_id is not None and job is not None and job.status.final:
                facts = replace(facts, job=job)
            step = plan_server(self.operation, facts, self.now)
            if isinstance(step, AskSecret):
                facts = replace(facts, secret_there=True)
            elif isinstance(step, AskSiblings):
                found = tuple(j for j, _, t in self.jobs if t == self.trail())
                facts = replace(facts, siblings=tuple(reversed(found)))
            elif isinstance(step, AskInstance):
                facts = self.look(facts)
            elif isinstance(step, AskOwner):
                facts = replace(facts, owner=OWNER)
            elif isinstance(step, Wait):
                return
            elif isinstance(step, Adopt):
                self.operation = replace(self.operation, state="submitted", job_id=step.job_id)
                return
            elif isinstance(step, Finish):
                self.finished = step
                return
            else:
                assert isinstance(step, Submit)
                self.submit(step)
                return
            if self.pick("go on", "the process dies") == "the process dies":
                return
        raise AssertionError("a turn that does not end")

    def submit(self, step: Submit) -> None:
        """Mark, send, and mark again; with every way of going wrong in between."""
        self.operation = replace(
            self.operation,
            state="submitting",
            step=step.step,
            attempt=step.attempt,
            job_id=None,
            submitted_at=self.now,
        )
        happens = self.pick("accepted", "answer lost", "not reached", "dies before", "dies after")
        if happens == "dies before":
            return
        if happens == "not reached":
            if step.step != CLEAN:
                self.operation = replace(self.operation, state="pending")
            return
        job = Job(len(self.jobs) + 1, JobStatus.QUEUED)
        self.jobs.append((job, step.step, self.trail()))
        if happens == "accepted":
            self.operation = replace(self.operation, state="submitted", job_id=job.id)


@settings(max_examples=400, deadline=None)
@given(chance=st.data())
def test_a_create_ends_with_one_instance_or_none_whatever_happens(chance: st.DataObject) -> None:
    """Success means exactly one instance; a failure that saw nothing leaves nothing."""
    world = World(an_operation("create"), False, chance)
    for _ in range(60):
        world.turn()
        assert world.instances <= 1
        if world.finished is not None:
            break
        world.run_jobs()
        world.now += timedelta(seconds=7)
    else:
        return  # only luck kept it from ending; deadlines are tested apart
    if world.finished.end == SUCCEEDED:
        assert world.instances == 1
        assert world.made == 1
    elif world.finished.seen is ABSENT:
        assert world.instances == 0
        late = [job for job, step, _ in world.jobs if step == "create" and not job.status.final]
        assert not late


@settings(max_examples=300, deadline=None)
@given(chance=st.data())
def test_a_delete_ends_with_no_instance_whatever_happens(chance: st.DataObject) -> None:
    """A deletion that succeeded has left nothing at the cluster."""
    world = World(an_operation("delete"), True, chance)
    for _ in range(60):
        world.turn()
        if world.finished is not None:
            break
        world.run_jobs()
        world.now += timedelta(seconds=7)
    if world.finished is not None and world.finished.end == SUCCEEDED:
        assert world.instances == 0


@pytest.mark.parametrize("kind", ["create", "delete", "start", "stop", "reboot"])
@pytest.mark.parametrize("state", ["pending", "submitting", "submitted"])
def test_an_operation_past_its_deadline_ends_without_an_answer(kind: str, state: str) -> None:
    """However it stands, nothing is open after the deadline because a cluster is silent."""
    job_id = 3 if state == "submitted" else None
    operation = an_operation(kind, state=state, step=kind, job_id=job_id)
    step = plan_server(operation, Facts(), NOW + DEADLINE)
    assert isinstance(step, Finish)
    assert step.end == FAILED
    assert step.reason


def test_a_reboot_of_which_nobody_knows_is_not_sent_again_at_once() -> None:
    """The queue may show a job a moment after its answer was lost; a reboot twice is a harm."""
    operation = an_operation("reboot", state="submitting", step="reboot", submitted_at=NOW)
    early = plan_server(operation, Facts(siblings=()), NOW + GRACE / 2)
    late = plan_server(operation, Facts(siblings=()), NOW + GRACE)
    assert isinstance(early, Wait)
    assert late == Submit("reboot", 0)


def test_a_create_without_its_secrets_fails_and_gives_everything_back() -> None:
    """No machine is made that nobody could log in to."""
    step = plan_server(an_operation("create"), Facts(secret_there=False), NOW)
    assert isinstance(step, Finish)
    assert (step.end, step.seen) == (FAILED, ABSENT)
    assert "create it again" in step.reason


def test_a_create_waits_for_its_networks_and_fails_with_a_broken_one() -> None:
    """The person is told which network, and why."""
    waiting = plan_server(
        an_operation("create"), Facts(secret_there=True, missing=("blue", "red")), NOW
    )
    broken = plan_server(
        an_operation("create"), Facts(secret_there=True, missing=("blue",), broken="no bridge"), NOW
    )
    assert waiting == Wait("Waits for networks blue, red to be made on its cluster.", 2.0)
    assert broken == Finish(FAILED, "no bridge", ABSENT)


def test_an_instance_of_another_is_not_cleaned_away() -> None:
    """A create that failed because the name is taken must not remove what has the name."""
    job = Job(3, JobStatus.ERROR, "already in the cluster", "already_exists")
    operation = an_operation("create", state="submitted", step="create", job_id=3)
    step = plan_server(operation, Facts(job=job, siblings=(job,), seen=RUNNING), NOW)
    assert isinstance(step, Finish)
    assert step.end == FAILED


@pytest.mark.parametrize("tags", [(), (owner_tag("other"),)])
@pytest.mark.parametrize(
    ("kind", "step"), [("create", "create"), ("create", CLEAN), ("delete", "delete")]
)
def test_what_is_not_known_to_be_the_server_s_own_is_not_removed(
    kind: str, step: str, tags: tuple[str, ...]
) -> None:
    """Numbers coincide: with a second installation, or after a restored backup."""
    job = Job(3, JobStatus.CANCELED if step == "create" else JobStatus.ERROR, "busy")
    operation = an_operation(kind, state="submitted", step=step, job_id=3)
    facts = Facts(job=job, siblings=(job,), seen=replace(RUNNING, tags=tags))
    assert plan_server(operation, facts, NOW) == AskOwner()
    end = plan_server(operation, replace(facts, owner=Owner("u", launched=False)), NOW)
    assert isinstance(end, Finish)
    assert end.end == FAILED
    assert "not known to be its own" in end.reason
    own = replace(facts, seen=replace(RUNNING, tags=(owner_tag("u"),)))
    go_on = plan_server(operation, replace(own, owner=Owner("u", launched=False)), NOW)
    assert isinstance(go_on, Submit)


def test_a_delete_begins_with_the_proof_that_it_may_remove() -> None:
    """A tag, or that the creation was seen to succeed."""
    operation = an_operation("delete")
    named = Facts(seen=RUNNING, owner=Owner("u", launched=True))
    assert isinstance(plan_server(operation, named, NOW), Submit)
    tagged = replace(named, seen=replace(RUNNING, tags=(owner_tag("other"),)))
    refused = plan_server(operation, tagged, NOW)
    assert isinstance(refused, Finish) and refused.end == FAILED
    assert plan_server(operation, Facts(seen=RUNNING), NOW) == AskOwner()


def test_a_server_that_holds_nothing_goes_and_leaves_what_has_its_name() -> None:
    """Its creation failed: its owner must not be stuck with it."""
    facts = Facts(seen=RUNNING, owner=Owner("u", launched=False, charged=False))
    assert plan_server(an_operation("delete"), facts, NOW) == Finish(SUCCEEDED, seen=ABSENT)


def test_a_create_whose_job_is_forgotten_takes_only_its_own_instance() -> None:
    """Its name alone may be another's."""
    job = Job(3, JobStatus.UNKNOWN)
    operation = an_operation("create", state="submitted", step="create", job_id=3)
    facts = Facts(job=job, seen=RUNNING, owner=Owner("u", launched=False))
    refused = plan_server(operation, facts, NOW)
    assert isinstance(refused, Finish) and (refused.end, refused.seen) == (FAILED, ABSENT)
    own = replace(facts, seen=replace(RUNNING, tags=(owner_tag("u"),)))
    taken = plan_server(operation, own, NOW)
    assert isinstance(taken, Finish) and taken.end == SUCCEEDED


def test_a_delete_waits_for_the_job_beside_it() -> None:
    """It follows what runs."""
    step = plan_server(an_operation("delete"), Facts(running_job=12), NOW)
    assert isinstance(step, Wait)
    assert "12" in step.reason


def test_a_finished_operation_has_no_next_step() -> None:
    """Asking for one is a mistake of the caller."""
    with pytest.raises(ValueError, match="is over"):
        plan_server(an_operation("stop", state="succeeded"), Facts(), NOW)


def test_a_network_is_made_then_connected_to_each_group() -> None:
    """Group by group, and done when none is left."""
    operation = an_operation("make_network", network_id=5)
    ask = plan_network(operation, NetworkFacts(), NOW)
    make = plan_network(operation, NetworkFacts(groups=("a", "b")), NOW)
    connect = plan_network(operation, NetworkFacts(groups=("a", "b"), present=True), NOW)
    second = plan_network(
        operation, NetworkFacts(groups=("a", "b"), present=True, connected=("a",)), NOW
    )
    done = plan_network(
        operation, NetworkFacts(groups=("a", "b"), present=True, connected=("a", "b")), NOW
    )
    assert isinstance(ask, AskNetwork)
    assert [make, connect, second] == [
        Submit("make", 0),
        Submit("connect-a", 0),
        Submit("connect-b", 0),
    ]
    assert done == Finish(SUCCEEDED)


def test_a_network_that_cannot_be_connected_is_given_up_after_three_tries() -> None:
    """With the cluster's own words."""
    job = Job(9, JobStatus.ERROR, "Missing bridges br9")
    facts = NetworkFacts(job=job, groups=("a",), present=True)
    operation = an_operation(
        "make_network", network_id=5, state="submitted", step="connect-a", job_id=9
    )
    again = plan_network(operation, facts, NOW)
    ended = plan_network(replace(operation, attempt=2), facts, NOW)
    assert again == Submit("connect-a", 1)
    assert ended == Finish(FAILED, "Missing bridges br9")


def test_a_network_is_disconnected_before_it_is_removed() -> None:
    """And a network that is gone is done."""
    operation = an_operation("remove_network", network_id=5)
    first = plan_network(
        operation, NetworkFacts(groups=("a",), present=True, connected=("a",)), NOW
    )
    then = plan_network(operation, NetworkFacts(groups=("a",), present=True), NOW)
    gone = plan_network(operation, NetworkFacts(groups=("a",)), NOW)
    assert [first, then, gone] == [
        Submit("disconnect-a", 0),
        Submit("remove", 0),
        Finish(SUCCEEDED),
    ]
    assert UNSEEN is not ABSENT


TOLD = Job(12, JobStatus.SUCCESS, told=True)


@pytest.mark.parametrize(
    ("kind", "step", "facts"),
    [
        ("delete", "delete", Facts(job=TOLD)),
        ("create", CLEAN, Facts(job=TOLD)),
        ("create", "create", Facts(job=TOLD, seen=ABSENT)),
        ("stop", "stop", Facts(job=TOLD, seen=ABSENT)),
    ],
)
def test_a_message_alone_makes_no_instance_gone(kind: str, step: str, facts: Facts) -> None:
    """The cluster itself says how the job ended; then as always."""
    operation = an_operation(kind, state="submitted", step=step, job_id=12, submitted_at=NOW)
    assert plan_server(operation, facts, NOW) == Confirm()
    confirmed = facts.confirmed(replace(TOLD, told=False))
    assert confirmed.seen is UNSEEN
    assert plan_server(operation, confirmed, NOW) != Confirm()
    assert isinstance(plan_server(operation, facts.confirmed(None), NOW), Wait)


@pytest.mark.parametrize("kind", ["create", "start", "stop", "reboot", "delete"])
def test_a_message_alone_closes_no_operation(kind: str) -> None:
    """Whatever was seen of the instance; a job that runs is waited for."""
    operation = an_operation(kind, state="submitted", step=kind, job_id=12, submitted_at=NOW)
    for seen in (UNSEEN, ABSENT, RUNNING):
        assert plan_server(operation, Facts(job=TOLD, seen=seen), NOW) == Confirm()
    running = Job(12, JobStatus.RUNNING)
    assert isinstance(plan_server(operation, Facts(job=running), NOW), Wait)


@pytest.mark.parametrize("kind", ["make_network", "remove_network"])
def test_a_message_alone_ends_no_job_on_a_network(kind: str) -> None:
    """It would be sent a second time while the first one runs."""
    operation = an_operation(
        kind, network_id=5, state="submitted", step="make", job_id=12, submitted_at=NOW
    )
    facts = NetworkFacts(job=TOLD, groups=("a",), present=kind == "remove_network")
    assert plan_network(operation, facts, NOW) == Confirm()
    assert isinstance(plan_network(operation, NetworkFacts(), NOW), Wait)
