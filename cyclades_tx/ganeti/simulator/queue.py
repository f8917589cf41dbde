"""The job queue of a simulated cluster: queued, waiting, running, ended, as the clock goes.

Jobs that ended long ago are archived, as Ganeti's watcher does it: no list has them any more, and
who knows their ids can still read them, until the archive forgets them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cyclades_tx.ganeti.simulator.journal import Journal, Key
from cyclades_tx.ganeti.simulator.opcodes import Op, Opcodes
from cyclades_tx.ganeti.simulator.values import OpcodeError, SimJob

#: A job goes on to waiting and then may start after these parts of its time.
_QUEUED_PART = 0.1
_WAITING_PART = 0.1

#: The watcher archives what ended so long ago (``ganeti-watcher``'s ``--job-age``).
ARCHIVE_AFTER_SECONDS = 6 * 3600.0
#: So many of the archive are remembered; Ganeti's cleaner removes them after three weeks.
_MOST_ARCHIVED = 1_000

Locks = frozenset[str]


class JobQueue:
    """Jobs and what becomes of them.

    :param seconds: how long a job takes: one number, or by opcode with ``"default"``.
    :param most_running: as in ``max_running_jobs``; the others wait.
    :param one_create_at_once: whether creates wait for each other, as they do on one node.
    :param keep: so many jobs are listed; then the oldest is archived before its time.
    """

    def __init__(
        self,
        clock: IReactorTime,
        opcodes: Opcodes,
        seconds: float | Mapping[str, float],
        most_running: int = 20,
        one_create_at_once: bool = False,
        keep: int = 20_000,
    ) -> None:
        self._clock = clock
        self._opcodes = opcodes
        self._seconds = {"default": seconds} if isinstance(seconds, (int, float)) else seconds
        self._most_running = most_running
        self._one_create = one_create_at_once
        self._keep = keep
        self.drained = False
        self.jobs: dict[int, SimJob] = {}
        self.journal: Journal | None = None
        self._by_summary: dict[str, list[int]] = {}
        self._archive: dict[int, SimJob] = {}
        self._ended: deque[tuple[float, int]] = deque()  # when each ended, the oldest first
        self._last = 0
        self._unended: dict[int, None] = {}  # in the order of their ids
        self._waiting: dict[int, None] = {}
        self._running: dict[int, Locks] = {}
        self._calls: dict[int, IDelayedCall] = {}

    # Asking

    def job(self, number: int) -> SimJob | None:
        """Return a job, also an archived one, or None."""
        return self.jobs.get(number) or self._archive.get(number)

    def with_summary(self, summaries: Iterable[str]) -> list[SimJob]:
        """Return the jobs with an opcode of one of these summaries, by id."""
        self.archive_old()
        found = {number for text in summaries for number in self._by_summary.get(text, ())}
        return [self.jobs[number] for number in sorted(found) if number in self.jobs]

    @property
    def idle(self) -> bool:
        """Whether every job has ended."""
        return not self._unended

    # Changing

    def archive_old(self) -> None:
        """Archive what ended long ago; called before the jobs are listed and when one comes."""
        limit = self._clock.seconds() - ARCHIVE_AFTER_SECONDS
        while self._ended and self._ended[0][0] <= limit:
            _, number = self._ended.popleft()
            if number in self.jobs:
                self._archived(number)

    def submit(self, ops: list[Op], fault: str | None = None, fault_text: str = "") -> int:
        """Take a job; return its id."""
        self._last += 1
        number = self._last
        for index, op in enumerate(ops):
            trail = [f"gnt:opcode:{op['OP_ID'][3:].lower()}", f"job={number};index={index}"]
            op["reason"] = [*op["reason"], [*trail, self._nanoseconds()]]
        job = SimJob(
            id=number,
            ops=tuple(ops),
            summary=tuple(map(summary_of, ops)),
            status="queued",
            received_at=self._clock.seconds(),
            opstatus=("queued",) * len(ops),
            results=(None,) * len(ops),
            fault=fault,
            fault_text=fault_text,
        )
        self._put(job)
        self._note_serial()
        self._schedule(number)
        self.archive_old()
        self._archive_surplus()
        return number

    def cancel(self, number: int) -> tuple[bool, str]:
        """Cancel a job if it has not begun; return Ganeti's answer."""
        job = self.jobs.get(number)
        if job is None or job.ended:
            return False, f"Job {number} not found in queue"
        if job.status == "running":
            return False, "Job no longer waiting, can't cancel (informed it anyway)"
        queued = job.status == "queued"
        call = self._calls.pop(number, None)
        if call is not None:
            call.cancel()
        results = (None if queued else "Job canceled by request",) * len(job.ops)
        self._end(job, "canceled", ("canceled",) * len(job.ops), results)
        self._start_what_can()
        if queued:
            return True, f"Dequeued job {number}"
        return True, "Job successfully cancelled"

    def stop(self) -> None:
        """Forget the timers; jobs go on when the state is loaded again."""
        for call in self._calls.values():
            call.cancel()
        self._calls.clear()

    def snapshot(self) -> Iterator[tuple[Key, Any]]:
        """Return everything that the file must hold."""
        yield ("serial", "jobs"), self._last
        for number, job in self.jobs.items():
            yield ("job", str(number)), job
        for number, job in self._archive.items():
            yield ("archived", str(number)), job

    def load(self, state: Mapping[Key, Any]) -> None:
        """Take over what the file held; jobs that had not ended go on."""
        self._last = int(state.get(("serial", "jobs"), 0))

        def jobs(wanted: str) -> list[SimJob]:
            values = (value for (kind, _), value in state.items() if kind == wanted)
            found = (msgspec.convert(value, SimJob) for value in values)
            return sorted(found, key=lambda job: job.id)

        for job in jobs("archived"):
            self._last = max(self._last, job.id)
            self._archive[job.id] = job
        for job in jobs("job"):
            self._last = max(self._last, job.id)
            self._remember(job)
            if job.ended:
                continue
            if job.status == "running":
                self._running[job.id] = self._locks(job)
                self._later(self._time_of(job), self._finish, job.id)
            else:
                self._schedule(job.id)
        self._ended = deque(sorted(self._ended))

    # What the clock does

    def _schedule(self, number: int) -> None:
        self._later(_QUEUED_PART * self._time_of(self.jobs[number]), self._wait, number)

    def _wait(self, number: int) -> None:
        job = replace(self.jobs[number], status="waiting", started_at=self._clock.seconds())
        self._put(replace(job, opstatus=("waiting",) * len(job.ops)))
        self._later(_WAITING_PART * self._time_of(job), self._ready, number)

    def _ready(self, number: int) -> None:
        self._waiting[number] = None
        self._start_what_can()

    def _start_what_can(self) -> None:
        """Start the waiting jobs whose locks are free, in the order of their ids."""
        again = True
        while again:  # a job that fails at once may let an earlier one start
            again = False
            held = {lock for locks in self._running.values() for lock in locks}
            for number in sorted(self._waiting):
                if len(self._running) >= self._most_running:
                    return
                job = self.jobs[number]
                locks = self._locks(job)
                state = self._dependencies(job)
                if isinstance(state, OpcodeError):
                    self._fail(job, 0, state.result)
                    again = True
                elif state and not locks & held:
                    del self._waiting[number]
                    self._start(job, locks)
                    again = again or self.jobs[number].ended
                if state is True:
                    held |= locks

    def _dependencies(self, job: SimJob) -> bool | OpcodeError:
        """Say whether a job may start, or why it never will."""
        for number, statuses in job.ops[0].get("depends") or ():
            other = self.job(number)
            if other is None:
                return OpcodeError("OpExecError", f"Dependency error: Job {number} not found")
            if not other.ended:
                return False
            if other.status not in statuses:
                return OpcodeError(
                    "OpExecError",
                    f"Dependency job {number} finished with status '{other.status}', not one of "
                    f"'{', '.join(statuses)}' as required",
                )
        return True

    def _start(self, job: SimJob, locks: Locks) -> None:
        now = self._clock.seconds()
        self._running[job.id] = locks
        job = replace(job, status="running", opstatus=("running", *job.opstatus[1:]))
        try:
            if job.fault == "job":
                raise OpcodeError("OpExecError", job.fault_text)
            lines = self._opcodes.begin(job.ops[0])
        except OpcodeError as failure:
            self._fail(job, 0, failure.result)
            return
        self._put(replace(job, log=tuple((now, line) for line in lines)))
        rest = 1 - _QUEUED_PART - _WAITING_PART
        self._later(rest * self._time_of(job), self._finish, job.id)

    def _finish(self, number: int) -> None:
        job = self.jobs[number]
        results: list[Any] = []
        for index, op in enumerate(job.ops):
            try:
                os_fault = job.fault_text if job.fault == "os" else None
                results.append(self._opcodes.finish(op, os_fault, job.fault != "hotplug"))
            except OpcodeError as failure:
                self._fail(job, index, failure.result, results)
                break
        else:
            self._end(job, "success", ("success",) * len(job.ops), tuple(results))
        self._start_what_can()

    def _fail(self, job: SimJob, at: int, result: Any, before: Iterable[Any] = ()) -> None:
        rest = len(job.ops) - at - 1
        results = (*before, result, *([["OpExecError", ["Preceding opcode failed"]]] * rest))
        self._end(job, "error", ("success",) * at + ("error",) * (rest + 1), results)

    def _end(
        self, job: SimJob, status: str, opstatus: tuple[str, ...], results: tuple[Any, ...]
    ) -> None:
        self._running.pop(job.id, None)
        self._waiting.pop(job.id, None)
        now = self._clock.seconds()
        self._put(replace(job, status=status, opstatus=opstatus, results=results, ended_at=now))

    # Bookkeeping

    def _later(self, seconds: float, work: Callable[[int], None], number: int) -> None:
        def run() -> None:
            self._calls.pop(number, None)
            work(number)
            if self.journal is not None:
                self.journal.flush()

        self._calls[number] = self._clock.callLater(seconds, run)

    def _time_of(self, job: SimJob) -> float:
        default = self._seconds.get("default", 0.5)
        return sum(float(self._seconds.get(op["OP_ID"], default)) for op in job.ops)

    def _locks(self, job: SimJob) -> Locks:
        locks = {text for op in job.ops if (text := _subject(op))}
        if self._one_create and job.ops[0]["OP_ID"] == "OP_INSTANCE_CREATE":
            locks.add("node")
        return frozenset(locks)

    def _put(self, job: SimJob) -> None:
        self._remember(job)
        self._note("job", job.id, job)

    def _remember(self, job: SimJob) -> None:
        if job.id not in self.jobs:
            for text in set(job.summary):
                self._by_summary.setdefault(text, []).append(job.id)
        self.jobs[job.id] = job
        if job.ended:
            self._unended.pop(job.id, None)
            self._ended.append((job.ended_at or 0.0, job.id))
        else:
            self._unended[job.id] = None

    def _archive_surplus(self) -> None:
        """Archive the oldest job, if it has ended, when there are too many."""
        if len(self.jobs) > self._keep:
            oldest = next(iter(self.jobs.values()))
            if oldest.ended:
                self._archived(oldest.id)

    def _archived(self, number: int) -> None:
        job = self.jobs.pop(number)
        for text in set(job.summary):
            numbers = self._by_summary[text]
            numbers.remove(number)
            if not numbers:
                del self._by_summary[text]
        self._archive[number] = job
        self._note("job", number, None)
        self._note("archived", number, job)
        if len(self._archive) > min(self._keep, _MOST_ARCHIVED):
            forgotten = next(iter(self._archive))
            del self._archive[forgotten]
            self._note("archived", forgotten, None)

    def _note(self, kind: str, number: int, job: SimJob | None) -> None:
        if self.journal is not None:
            self.journal.note(kind, str(number), job)

    def _note_serial(self) -> None:
        if self.journal is not None:
            self.journal.note("serial", "jobs", self._last)

    def _nanoseconds(self) -> int:
        return int(self._clock.seconds() * 1_000_000_000)


def _subject(op: Op) -> str:
    """Return what an opcode is about, as the name of a lock, or ""."""
    if op["OP_ID"].startswith("OP_NETWORK_"):
        return f"network/{op['network_name']}"
    name = op.get("instance_name") or op.get("name")
    return f"instance/{name.lower()}" if name else ""


def summary_of(op: Op) -> str:
    """Return Ganeti's summary of an opcode."""
    kind: str = op["OP_ID"][3:]
    if kind.startswith("NETWORK_"):
        return f"{kind}({op['network_name']})"
    return f"{kind}({op['instance_name'].lower()})" if "instance_name" in op else kind
