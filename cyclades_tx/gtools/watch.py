"""What happens in the job queue's folder, told at once; what cannot be told is said to be missing.

Three things beyond :class:`twisted.internet.inotify.INotify`: the kernel's word that events were
lost reaches us, a folder that goes away and comes back is watched again, and a slow look at
everything makes up for what no event ever tells (a file system without them, for one).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet import inotify
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.filepath import FilePath

from cyclades_tx.gtools.jobfile import job_id

#: How often a folder that is not there is looked for.
RETRY_SECONDS = 1.0

_OVERFLOW_WATCH = 0xFFFFFFFF
_GONE = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF | inotify.IN_UNMOUNT | inotify.IN_IGNORED
_MASK = inotify.IN_MOVED_TO | inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF | inotify.IN_ONLYDIR


class _Overflow:
    """Stands where INotify looks up a watch, for the one number that it knows nothing of."""

    autoAdd = False

    def __init__(self, told: Callable[[], None]) -> None:
        self.path = FilePath(b"/")
        self._told = told

    def _notify(self, path: FilePath[bytes], events: int) -> None:
        if events & inotify.IN_Q_OVERFLOW:
            self._told()


class ToldOverflow(inotify.INotify):
    """INotify that also tells when the kernel had to drop events; Twisted's passes over that."""

    def __init__(self, reactor: Any, overflowed: Callable[[], None]) -> None:
        super().__init__(reactor)
        # The kernel reports it for the watch -1, which can be nobody's.
        self._watchpoints[_OVERFLOW_WATCH] = _Overflow(overflowed)


class QueueWatch:
    """Tells which jobs' files were replaced, and when everything has to be looked at."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        folder: str,
        changed: Callable[[int], None],
        look: Callable[[str], None],
        scan_seconds: float,
    ) -> None:
        """Prepare.

        :param changed: called with a job's id when its file was renamed into place.
        :param look: called with the reason when events may have been missed.
        :param scan_seconds: how often ``look`` is called without any other reason.
        """
        self._reactor = reactor
        self._folder = folder
        self._changed = changed
        self._look = look
        self._scan_seconds = scan_seconds
        self._notifier: ToldOverflow | None = None
        self._retry: IDelayedCall | None = None
        self._belt: IDelayedCall | None = None
        self._told_missing = False

    @property
    def watching(self) -> bool:
        """Whether the folder is there and watched."""
        return self._notifier is not None

    def start(self) -> None:
        """Begin; the first look follows as soon as the folder is there."""
        self._belt = self._reactor.callLater(self._scan_seconds, self._scan)
        self._watch()

    def stop(self) -> None:
        """End."""
        for call in (self._retry, self._belt):
            if call is not None and call.active():
                call.cancel()
        self._drop()

    def _scan(self) -> None:
        self._belt = self._reactor.callLater(self._scan_seconds, self._scan)
        if self.watching:
            self._look("it is time")

    def _watch(self) -> None:
        self._retry = None
        notifier = None
        try:
            notifier = ToldOverflow(self._reactor, self._overflowed)
            notifier.watch(FilePath(self._folder), mask=_MASK, callbacks=[self._event])
        except inotify.INotifyError as error:
            if notifier is not None:
                notifier.loseConnection()
            self._again(f"{error}" if os.path.isdir(self._folder) else "it is not there")
            return
        self._notifier = notifier
        notifier.startReading()
        self._told_missing = False
        self._look("the queue's folder was found")

    def _again(self, why: str) -> None:
        if not self._told_missing:
            self._told_missing = True
            self.log.warn("{folder} is not watched: {why}", folder=self._folder, why=why)
        if self._retry is None:
            self._retry = self._reactor.callLater(RETRY_SECONDS, self._watch)

    def _event(self, _: Any, path: FilePath[bytes], events: int) -> None:
        if events & _GONE:
            if self._notifier is not None:
                self._drop()
                self._again("it was removed")
            return
        number = job_id(os.fsdecode(path.basename()))
        if number is not None and events & inotify.IN_MOVED_TO and self._notifier is not None:
            self._changed(number)

    def _overflowed(self) -> None:
        if self._notifier is not None:
            self.log.warn("too much happened at once: looking through the whole queue")
            self._look("events were lost")

    def _drop(self) -> None:
        notifier, self._notifier = self._notifier, None
        if notifier is not None:
            notifier.loseConnection()
