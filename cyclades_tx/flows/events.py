"""Events as readers get them: by position, read once for all readers of a process.

The latest events stay in memory, bounded by number and size; whoever is further behind reads
its own from the database, a page at a time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.errors import CycladesError
from cyclades_tx.store import outbox
from cyclades_tx.trouble import Trouble

#: Most events in one question.
PAGE = 500
#: What is kept in memory: whichever is reached first.
MOST_EVENTS = 5000
MOST_BYTES = 4_194_304
#: How often it looks without being woken.
PERIOD_SECONDS = 2.0
#: Most questions of readers that are behind, at once.
QUESTIONS = 4

#: Written by PostgreSQL, in the form of server-sent events: a body holds no line end.
_TEXT = (
    "'id: ' || position || E'\\nevent: ' || kind || E'\\ndata: ' || json_build_object("
    "'position', position, 'at', to_char(at at time zone 'utc',"
    " 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), 'kind', kind, 'project_id', project_id,"
    " 'subject', subject, 'body', body)::text || E'\\n\\n'"
)


def _question(condition: str) -> str:
    """The SQL of a page after a position; how far the outbox got is of the same moment."""
    return (
        "select outbox.last_position as last, outbox.pruned_position as pruned, page.position,"
        " page.project_id, page.text from outbox left join lateral (select position, project_id,"
        f" {_TEXT} as text from event where position > %s{condition} order by position limit %s)"
        " as page on true order by page.position"
    )


_ALL = _question("")
_OF_PROJECT = _question(" and project_id = %s")


class TooOld(Exception):
    """Events after the position are kept no more, or it never was; the state must be read again.

    :ivar last: the position to go on from.
    """

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.last = last


@dataclass
class Batch:
    """Events that were read together.

    :ivar after: the position before the first; ``last``: that of the last.
    """

    after: int
    last: int
    events: list[tuple[int, str | None, bytes]]
    size: int
    _texts: dict[str | None, bytes] = field(default_factory=dict)
    _whole: bytes | None = None

    def text(self, project_id: str | None, after: int) -> bytes:
        """What somebody may read of it.

        :param project_id: None: everything.
        :param after: only what has a higher position.
        """
        if after > self.after:
            return b"".join(
                text
                for position, owner, text in self.events
                if position > after and project_id in (None, owner)
            )
        if project_id is None:
            if self._whole is None:
                self._whole = b"".join(text for _, _, text in self.events)
            return self._whole
        found = self._texts.get(project_id)
        if found is None:
            found = self._texts[project_id] = b"".join(
                text for _, owner, text in self.events if owner == project_id
            )
        return found


class EventFeed:
    """Reads what is published, while anybody wants it.

    :param news: called with the number of new bytes for each project; None stands for events
        of no project.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        database: Any,
        news: Callable[[Mapping[str | None, int]], None],
    ) -> None:
        self._clock = clock
        self._database = database
        self._news = news
        self._batches: deque[Batch] = deque()
        self._count = 0
        self._size = 0
        self._stops: list[Callable[[], None]] = []
        self._timer: IDelayedCall | None = None
        self._reading: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._again = False
        self._questions: DeferredSemaphore = DeferredSemaphore(QUESTIONS)
        self._trouble = Trouble(self.log, "events.not_read")
        self.running = False
        #: The position of the latest event that was read.
        self.last = 0

    @property
    def floor(self) -> int:
        """The position after which everything is in memory."""
        return self._batches[0].after if self._batches else self.last

    async def latest(self) -> int:
        """The present position; begins to read if nobody did before.

        :raise Unavailable: when the database does not answer.
        """
        if not self.running:
            last = (await outbox.place(self._database)).last
            if not self.running:
                self.last = last
                self._start()
        else:
            refreshed: Deferred[None] = Deferred()
            self._waiting.append(refreshed)
            self.wake()
            await refreshed
        return self.last

    def _start(self) -> None:
        self.running = True
        self._stops = [
            self._database.listen(outbox.PUBLISHED, self._published),
            self._database.on_listen_lost(self.wake),
        ]
        self._plan()

    def stop(self) -> None:
        """Read no more, and keep nothing."""
        self.running = False
        stops, self._stops = self._stops, []
        for stop in stops:
            stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._batches.clear()
        self._count = self._size = 0
        self._tell_waiting()

    def after(self, position: int, project_id: str | None, most_bytes: int) -> Any:
        """What somebody may read after a position, from memory.

        :param project_id: None: everything.
        :param most_bytes: no more is added when there is so much.
        :return: the text and the position that it leads to; None when memory does not reach
            back so far.
        """
        if position < self.floor:
            return None
        batches = self._batches
        pieces: list[bytes] = []
        size = 0
        # Nearly always the position is that of the last batch but one.
        start = len(batches)
        while start and batches[start - 1].last > position:
            start -= 1
            if len(batches) - start > 8:
                start = bisect_right(batches, position, key=lambda batch: batch.last)
                break
        for index in range(start, len(batches)):
            batch = batches[index]
            text = batch.text(project_id, position)
            position = batch.last
            if text:
                pieces.append(text)
                size += len(text)
                if size >= most_bytes:
                    break
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), position

    async def page(self, position: int, project_id: str | None) -> tuple[bytes, int]:
        """What somebody may read after a position, from the database.

        :raise TooOld: when some of it may be gone.
        :raise Unavailable: when the database does not answer.
        """
        sql, args = _ALL, (position, PAGE)
        if project_id is not None:
            sql, args = _OF_PROJECT, (position, project_id, PAGE)  # type: ignore[assignment]
        rows: list[Any] = await self._questions.run(
            lambda: ensureDeferred(self._database.all(sql, args))
        )
        last, pruned = rows[0].last, rows[0].pruned
        if position < pruned or position > last:
            raise TooOld(last)
        if rows[0].position is None:
            return b"", last
        text = b"".join(row.text.encode() for row in rows)
        return text, rows[-1].position if len(rows) == PAGE else last

    def wake(self) -> None:
        """See to it that it is read after now."""
        if self._reading is not None:
            self._again = True
        elif self.running:
            self._reading = Deferred.fromCoroutine(self._read())
            self._reading.addCallbacks(lambda _: self._trouble.over(None), self._failed)
            self._reading.addCallback(self._over)

    def _published(self, payload: str) -> None:
        if not payload.isdigit() or int(payload) > self.last:
            self.wake()

    def _plan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.callLater(PERIOD_SECONDS, self._due)

    def _due(self) -> None:
        self._timer = None
        self.wake()

    async def _read(self) -> None:
        while True:
            begun = self.last
            rows: list[Any] = await self._database.all(_ALL, (begun, PAGE))
            if not self.running:
                return
            last, pruned = rows[0].last, rows[0].pruned
            if not pruned <= begun <= last:
                # Far behind, or the database is another one: everybody looks for themselves.
                self._batches.clear()
                self._count = self._size = 0
                self.last = last
                self._news({None: 0})
                return
            if rows[0].position is None:
                return
            self._add(begun, [(row.position, row.project_id, row.text.encode()) for row in rows])
            if len(rows) < PAGE:
                return

    def _add(self, after: int, events: list[tuple[int, str | None, bytes]]) -> None:
        sizes: dict[str | None, int] = {}
        for _, owner, text in events:
            sizes[owner] = sizes.get(owner, 0) + len(text)
        size = sum(sizes.values())
        self._batches.append(Batch(after, events[-1][0], events, size))
        self._count += len(events)
        self._size += size
        self.last = events[-1][0]
        while len(self._batches) > 1 and (self._count > MOST_EVENTS or self._size > MOST_BYTES):
            gone = self._batches.popleft()
            self._count -= len(gone.events)
            self._size -= gone.size
        self._news(sizes)

    def _failed(self, failure: Failure) -> None:
        self._again = False
        if failure.check(CycladesError):
            self._trouble.tell(None, str(failure.value))
        else:
            self.log.failure("events.not_read", failure)

    def _over(self, _result: Any) -> None:
        self._reading = None
        again, self._again = self._again, False
        if self.running and again:
            self.wake()
            return
        self._tell_waiting()
        if self.running:
            self._plan()

    def _tell_waiting(self) -> None:
        waiting: Iterable[Deferred[None]]
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)
