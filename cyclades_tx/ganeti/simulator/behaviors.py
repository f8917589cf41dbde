"""Misbehavior that a test or an operator switches on at a simulated cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Misbehavior(StrEnum):
    """What can go wrong."""

    #: A change is refused with ``status`` (503 unless given): no job is made.
    REFUSE = "refuse"
    #: The job of a change fails when it runs.
    FAIL_JOB = "fail-job"
    #: The OS script of a create fails: job error, but the instance stays, stopped.
    FAIL_OS = "fail-os"
    #: The job of a change succeeds, but the running machine takes no notice of it.
    FAIL_HOTPLUG = "fail-hotplug"
    #: Every reply comes ``seconds`` late; what is asked for is done at once.
    SLOW = "slow"
    #: The request is carried out, then the connection is closed without a reply.
    DROP_REPLY = "drop-reply"
    #: The connection is closed before anything is done.
    GO_AWAY = "go-away"
    #: 504 after ``seconds``; nothing is done.
    GATEWAY_TIMEOUT = "gateway-timeout"
    #: The request is carried out, and 504 is the answer.
    GATEWAY_TIMEOUT_AFTER = "gateway-timeout-after"
    #: The request is carried out, and 200 with ``message`` as the body is the answer.
    GARBAGE = "garbage"


@dataclass(frozen=True)
class Behavior:
    """One misbehavior.

    :ivar name: a regular expression; only requests about an instance or network with a name
        that it matches from the beginning. None: every request.
    :ivar path: a regular expression; only requests with a path of which it matches a part.
    :ivar methods: only requests with these HTTP methods; empty: all that the kind makes sense for.
    :ivar times: how often it still happens; None: until it is cleared.
    """

    id: int
    kind: Misbehavior
    name: str | None = None
    methods: tuple[str, ...] = ()
    times: int | None = None
    seconds: float = 0.0
    status: int = 503
    message: str = "told to misbehave"
    path: str | None = None

    def applies(self, method: str, names: tuple[str, ...], changing: bool, path: str = "") -> bool:
        """Whether a request is one that this concerns."""
        if self.methods and method not in self.methods:
            return False
        changes = (Misbehavior.REFUSE, Misbehavior.FAIL_JOB, Misbehavior.FAIL_HOTPLUG)
        if self.kind in changes and not changing:
            return False
        if self.kind is Misbehavior.FAIL_OS and not (changing and method == "POST"):
            return False
        if self.path is not None and re.search(self.path, path) is None:
            return False
        return self.name is None or any(re.match(self.name, name) for name in names)


class Behaviors:
    """The misbehaviors of one cluster that are switched on, in the order of arrival."""

    def __init__(self) -> None:
        self._all: list[Behavior] = []
        self._next = 1

    def add(self, kind: Misbehavior | str, **parts: Any) -> Behavior:
        """Switch one on.

        :raise ValueError: for an unknown kind or part, or a bad regular expression.
        """
        try:
            behavior = Behavior(self._next, Misbehavior(kind), **parts)
            if behavior.name is not None:
                re.compile(behavior.name)
            if behavior.path is not None:
                re.compile(behavior.path)
            if behavior.times is not None and not isinstance(behavior.times, int):
                raise TypeError("times is a whole number")
            behavior = replace(
                behavior,
                seconds=float(behavior.seconds),
                status=int(behavior.status),
                methods=tuple(str(method) for method in behavior.methods),
                message=str(behavior.message),
            )
        except (TypeError, re.error) as wrong:
            raise ValueError(str(wrong)) from None
        self._next += 1
        self._all.append(behavior)
        return behavior

    def all(self) -> tuple[Behavior, ...]:
        """Return those that are on."""
        return tuple(self._all)

    def clear(self, number: int | None = None) -> int:
        """Switch one or all off; return how many there were."""
        before = len(self._all)
        self._all = [kept for kept in self._all if number is not None and kept.id != number]
        return before - len(self._all)

    def take(
        self, method: str, names: tuple[str, ...], changing: bool, path: str = ""
    ) -> dict[Misbehavior, Behavior]:
        """Return what happens to this request, and count it as having happened."""
        taken: dict[Misbehavior, Behavior] = {}
        kept: list[Behavior] = []
        for behavior in self._all:
            if behavior.kind in taken or not behavior.applies(method, names, changing, path):
                kept.append(behavior)
                continue
            taken[behavior.kind] = behavior
            if behavior.times is None:
                kept.append(behavior)
            elif behavior.times > 1:
                kept.append(replace(behavior, times=behavior.times - 1))
        self._all = kept
        return taken
