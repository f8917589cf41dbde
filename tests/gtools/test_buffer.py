"""The buffer and its journal: bounded, in order, and agreeing whatever ends the process."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclades_tx.gtools.buffer import Buffer, BufferUnusable
from cyclades_tx.gtools.journal import Journal, Mark

LIMIT = 1_048_576


def opened(folder: Path, limit: int = LIMIT) -> Buffer:
    found = Buffer(folder, limit)
    found.open()
    return found


def killed(buffer: Buffer) -> None:
    """Let go of the folder as a kill does: nothing is written any more."""
    os.close(buffer._file)
    os.close(buffer._lock)
    buffer._file = buffer._lock = -1


def put(buffer: Buffer, number: int, text: str = "running:0", padding: int = 0) -> None:
    """Append the message ``{"n": number}`` of the job of that number."""
    body = json.dumps({"n": number, "p": "x" * padding}).encode()
    buffer.append("ganeti.snf.event.op", body, Mark(number, 5, 0, text))


def numbers(buffer: Buffer, most: int = 100_000) -> list[int]:
    """Take messages; return what ``put`` was told."""
    return [json.loads(entry.body)["n"] for entry in buffer.take(most)]


def test_messages_come_back_in_order_and_once(tmp_path: Path) -> None:
    """Until somebody says that they were lost on the way."""
    buffer = opened(tmp_path)
    for number in range(5):
        put(buffer, number)
    assert numbers(buffer, 3) == [0, 1, 2]
    assert numbers(buffer) == [3, 4]
    assert numbers(buffer) == []
    buffer.rewind()
    assert numbers(buffer) == [0, 1, 2, 3, 4]
    assert buffer.waiting == 5
    buffer.close()


def test_what_was_confirmed_does_not_come_back(tmp_path: Path) -> None:
    """Also when a later one was confirmed first."""
    buffer = opened(tmp_path)
    for number in range(4):
        put(buffer, number)
    taken = buffer.take(4)
    buffer.acknowledge(taken[2].number)
    buffer.acknowledge(taken[0].number)
    assert buffer.waiting == 3
    buffer.rewind()
    # The one in between may have been lost, and order matters more than a repeat.
    assert numbers(buffer) == [1, 2, 3]
    buffer.close()


def test_after_a_kill_what_was_not_written_as_confirmed_comes_again(tmp_path: Path) -> None:
    """And nothing that was."""
    buffer = opened(tmp_path)
    for number in range(4):
        put(buffer, number)
    taken = buffer.take(4)
    buffer.acknowledge(taken[0].number)
    buffer.write_acknowledged()
    buffer.acknowledge(taken[1].number)
    killed(buffer)
    again = opened(tmp_path)
    assert numbers(again) == [1, 2, 3]
    assert again.journal.said(3, 5, 0) == "running:0"
    again.close()
    last = opened(tmp_path)
    assert numbers(last) == [1, 2, 3]
    last.close()


def test_half_a_line_at_the_end_is_passed_over(tmp_path: Path) -> None:
    """Then neither the message nor its mark is there, so that it is said again."""
    buffer = opened(tmp_path)
    put(buffer, 1)
    put(buffer, 2)
    killed(buffer)
    (segment,) = tmp_path.glob("*.seg")
    os.truncate(segment, segment.stat().st_size - 10)
    again = opened(tmp_path)
    assert numbers(again) == [1]
    assert again.journal.said(2, 5, 0) == ""
    put(again, 2)
    assert numbers(again) == [2]
    again.close()


@pytest.mark.parametrize("name", ["journal.json", "00000000000000000001.seg"])
def test_garbage_in_a_file_costs_only_repeats(tmp_path: Path, name: str) -> None:
    """The daemon starts all the same."""
    buffer = opened(tmp_path)
    for number in range(3000):
        put(buffer, number, padding=300)
        for entry in buffer.take(1):
            buffer.acknowledge(entry.number)
    killed(buffer)
    (tmp_path / name).write_bytes(b'\x00\xff{"n":[]}\n{"a":\n[[[\n')
    again = opened(tmp_path)
    put(again, 5000)
    assert numbers(again)[-1] == 5000
    again.close()


def test_confirmed_segments_are_removed_and_their_marks_kept(tmp_path: Path) -> None:
    """At rest the folder is small, and a restart still knows what was said."""
    buffer = opened(tmp_path)
    for number in range(3000):
        put(buffer, number, padding=300)
        for entry in buffer.take(1):
            buffer.acknowledge(entry.number)
    assert len(list(tmp_path.glob("*.seg"))) == 1
    buffer.close()
    again = opened(tmp_path)
    assert numbers(again) == []
    assert again.journal.said(0, 5, 0) == again.journal.said(2999, 5, 0) == "running:0"
    again.close()


def test_a_full_buffer_gives_up_the_oldest(tmp_path: Path) -> None:
    """Counted; what is left is in order, and the disk is not filled."""
    buffer = opened(tmp_path)
    for number in range(5000):
        put(buffer, number, padding=1000)
    left = numbers(buffer)
    assert left == list(range(5000 - len(left), 5000))
    assert buffer.dropped == 5000 - len(left) > 0
    assert buffer.waiting == len(left)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.seg")) <= LIMIT
    buffer.close()
    again = opened(tmp_path)
    assert numbers(again) == left
    again.close()


def test_what_is_on_its_way_may_be_given_up_meanwhile(tmp_path: Path) -> None:
    """A late confirmation of it is nothing."""
    buffer = opened(tmp_path)
    put(buffer, 0, padding=1000)
    (first,) = buffer.take(1)
    for number in range(1, 5000):
        put(buffer, number, padding=1000)
    waiting = buffer.waiting
    buffer.acknowledge(first.number)
    assert buffer.waiting == waiting
    buffer.rewind()
    assert numbers(buffer)[-1] == 4999
    buffer.close()


def test_a_full_disk_loses_the_message_and_its_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the job is read again later; what was written of it is taken back."""
    buffer = opened(tmp_path)
    put(buffer, 1)
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        real(descriptor, data[:7])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        put(buffer, 2)
    monkeypatch.setattr(os, "write", real)
    assert buffer.journal.said(2, 5, 0) == ""
    put(buffer, 3)
    assert numbers(buffer) == [1, 3]
    buffer.close()


def test_discarded_messages_never_come_back(tmp_path: Path) -> None:
    """What comes after them does; they count as not said."""
    buffer = opened(tmp_path)
    put(buffer, 1)
    buffer.take(1)
    put(buffer, 2)
    assert buffer.discard() == 2
    put(buffer, 3)
    assert numbers(buffer) == [3]
    killed(buffer)
    assert buffer.journal.said(1, 5, 0) == ""
    again = opened(tmp_path)
    assert numbers(again) == [3]
    again.close()


def test_messages_that_died_with_the_machine_are_said_again(tmp_path: Path) -> None:
    """The journal is newer than the messages: it is not believed."""
    buffer = opened(tmp_path)
    for number in range(3000):
        put(buffer, number, padding=300)
        for entry in buffer.take(1):
            buffer.acknowledge(entry.number)
    killed(buffer)
    for segment in tmp_path.glob("*.seg"):
        segment.unlink()
    again = opened(tmp_path)
    assert again.journal.said(0, 5, 0) == ""
    put(again, 1)
    assert numbers(again) == [1]
    again.close()


def test_two_processes_never_share_a_folder(tmp_path: Path) -> None:
    """The second is told so."""
    first = opened(tmp_path)
    with pytest.raises(BufferUnusable, match="another process"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """Here a file stands in the way."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BufferUnusable, match="Not a directory"):
        opened(tmp_path / "file" / "state")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 30_000)),
        st.tuples(st.just("take"), st.integers(1, 20)),
        st.tuples(st.just("confirm"), st.integers(0, 10)),
        st.tuples(st.just("write"), st.just(0)),
        st.tuples(st.just("rewind"), st.just(0)),
        st.tuples(st.just("kill"), st.just(0)),
        st.tuples(st.just("close"), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_nothing_is_lost_or_turned_around_by_any_history(steps: list[tuple[str, int]]) -> None:
    """Every message is confirmed or still there, in order, through kills and starts."""
    folder = Path(tempfile.mkdtemp())
    try:
        buffer = opened(folder, 64 * LIMIT)
        written: list[int] = []
        confirmed: set[int] = set()
        sent: dict[int, int] = {}
        for what, amount in steps:
            if what == "put":
                written.append(len(written))
                put(buffer, written[-1], padding=amount)
            elif what == "take":
                for entry in buffer.take(amount):
                    sent[entry.number] = json.loads(entry.body)["n"]
            elif what == "confirm":
                for number in list(sent)[amount : amount + 3]:
                    buffer.acknowledge(number)
                    confirmed.add(sent.pop(number))
            elif what == "write":
                buffer.write_acknowledged()
            elif what == "rewind":
                buffer.rewind()
                sent.clear()
            else:
                (killed if what == "kill" else Buffer.close)(buffer)
                buffer = opened(folder, 64 * LIMIT)
                sent.clear()
            for number in written:
                assert buffer.journal.said(number, 5, 0) == "running:0"
        buffer.rewind()
        left = numbers(buffer)
        assert left == sorted(left)
        assert set(written) - confirmed <= set(left)
        buffer.close()
    finally:
        shutil.rmtree(folder)


def test_the_journal_knows_a_job_of_the_same_number_from_another_life() -> None:
    """A cluster that was made anew counts from 1 again."""
    journal = Journal()
    journal.record(Mark(4, 100, 1, "success:3"))
    assert journal.said(4, 100, 1) == "success:3"
    assert journal.said(4, 100, 0) == journal.said(4, 100, 2) == journal.said(4, 200, 1) == ""
    journal.record(Mark(4, 200, 0, "queued:0"))
    assert journal.said(4, 100, 1) == ""


def test_the_journal_forgets_the_oldest_jobs_first() -> None:
    """And stays small."""
    journal = Journal(most=100)
    for job in range(1000):
        journal.record(Mark(job, 1, 0, "success:0"))
    assert len(journal) <= 100
    assert journal.said(999, 1, 0) and not journal.said(0, 1, 0)


def test_a_job_is_open_until_it_is_ended_and_again_when_more_comes() -> None:
    """Open ones are looked for after a start."""
    journal = Journal()
    journal.record(Mark(1, 1, 0, "running:0"))
    journal.record(Mark(2, 1, 0, "success:0"))
    journal.end(2)
    journal.end(3)
    assert journal.open() == [1]
    assert journal.ended(2) and not journal.ended(1) and not journal.ended(3)


@pytest.mark.parametrize(
    "document", [None, [], {"x": [1, True, []]}, {"1": [1]}, {"1": [1, False, [2]]}, {"1": None}]
)
def test_what_is_no_journal_is_refused(document: object) -> None:
    """With one kind of error."""
    with pytest.raises(ValueError):
        Journal().load(document)
