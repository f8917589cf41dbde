"""The table of what clients ask: each row is a command or a call, declared by the test of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

SUPPORTED = "supported"
APPROXIMATED = "approximated"
REFUSED = "refused"

#: What stands before a path in a row's requests, and what it is short for.
SERVICES = {
    "identity": "/identity/v3",
    "compute": "/compute/v2.1",
    "network": "/network/v2.0",
    "image": "/image/v2",
    "volume": "/volume/v3",
}
_PLACE = re.compile("[A-Z]")
Test = TypeVar("Test", bound=Callable[..., Any])


@dataclass(frozen=True)
class Sent:
    """A request that a client has sent, and the status of its reply.

    :ivar action: the action on a server that it asks for, if it is one.
    """

    method: str
    url: str
    action: str
    status: int


@dataclass(frozen=True)
class Wanted:
    """A request of a row: a segment of its path with a capital letter stands for anything."""

    method: str
    path: str
    query: dict[str, list[str]]
    action: str

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """Read ``GET compute/servers/S?name=NAME`` or ``POST compute/servers/S/action NAME``."""
        method, address, *action = text.split()
        url = urlsplit(address)
        service, slash, rest = url.path.partition("/")
        path = url.path if not service else SERVICES[service] + slash + rest
        return cls(method, path, parse_qs(url.query), action[0] if action else "")

    def fits(self, sent: Sent) -> bool:
        """Whether a request is this one."""
        url = urlsplit(sent.url)
        query = parse_qs(url.query, keep_blank_values=True)
        return (
            (self.method, self.action) == (sent.method, sent.action)
            and same_path(self.path, url.path)
            and all(
                any(_is(one, each) for one in query.get(key, ()) for each in values)
                for key, values in self.query.items()
            )
        )


def same_path(pattern: str, path: str) -> bool:
    """Whether a path is what a pattern with places stands for."""
    wanted = [part for part in pattern.split("/") if part]
    found = [unquote(part) for part in path.split("/") if part]
    return len(wanted) == len(found) and all(map(_is, found, wanted))


def _is(found: str, wanted: str) -> bool:
    return bool(_PLACE.match(wanted)) or found == wanted


@dataclass(frozen=True)
class Row:
    """A command or a call, the request that makes it what it is, and what comes of it.

    :ivar call: ``server add port S P`` of ``openstack``, or ``conn.compute.get_server(S)``,
        ``nova.servers.get(S)``, ``neutron.show_port(P)``. What begins with a capital letter stands
        for anything; of a function's arguments the first, the named ones and the members of the
        body count.
    :ivar requests: those that must be sent, in this order; the last one is judged.
    :ivar status: how a refused one is answered.
    :ivar note: what is different from the reference; the words of a refusal.
    """

    call: str
    requests: str
    support: str = SUPPORTED
    note: str = ""
    status: int = 0

    @cached_property
    def wanted(self) -> list[Wanted]:
        """The requests one by one."""
        return [Wanted.parse(each) for each in self.requests.split(" → ")]

    @cached_property
    def _words(self) -> tuple[list[str], list[tuple[str, str]]]:
        """The words of a command, and its options with their values."""
        words: list[str] = []
        options: list[tuple[str, str]] = []
        for part in shlex.split(self.call.partition("(")[0]):
            if part.startswith("--"):
                options.append((part, ""))
            elif options:
                options[-1] = (options[-1][0], options[-1][1] or part)
            elif not _PLACE.match(part):
                words.append(part)
        return words, options

    @property
    def library(self) -> bool:
        """Whether it is a function of a library."""
        return re.match(r"(conn|old|nova|neutron)\.", self.call) is not None

    def match_command(self, argv: list[str]) -> int:
        """How many words and options a command has in common with the row; 0 if it is not it."""
        words, options = self._words
        if self.library or argv[: len(words)] != words:
            return 0
        for name, value in options:
            if name not in argv:
                return 0
            if value and not _PLACE.search(value):
                given = [argv[at + 1] for at, word in enumerate(argv[:-1]) if word == name]
                if value not in given:
                    return 0
        return len(words) + 100 * len(options)

    def match_call(self, name: str, args: Iterable[Any], named: Mapping[str, Any]) -> int:
        """The same for a function."""
        function, _, rest = self.call.partition("(")
        arguments = [each.strip() for each in rest.rstrip(")").split(",") if each.strip()]
        first = str(next(iter(args), ""))
        known = {*named, *(named.get("json") or ()), first}
        if function != name:
            return 0
        for each in arguments:
            if each.startswith("/"):
                if not same_path(each, first.partition("?")[0]):
                    return 0
            elif not _PLACE.match(each) and each not in known:
                return 0
        return 1 + sum(not _PLACE.match(each) for each in arguments)

    def fault(self, sent: list[Sent], failed: bool, said: str) -> str:
        """What is not as the row says, in a sentence; empty when all is."""
        rest = list(sent)
        found = None
        for wanted in self.wanted:
            found = next((each for each in rest if wanted.fits(each)), None)
            if found is None:
                return f"{self.call}: not sent: {wanted}; sent: {sent}"
            del rest[: rest.index(found) + 1]
        statuses = [each.status for each in sent if self.wanted[-1].fits(each)]
        if self.support == REFUSED:
            if self.status not in statuses:
                return f"{self.call}: {statuses} instead of {self.status}: {said}"
            return "" if self.note in said else f"{self.call}: {self.note!r} is not in {said!r}"
        # A client may have tried another way before.
        if failed or min(statuses) >= 400:
            return f"{self.call}: failed with {statuses}: {said}"
        return ""


def supported(call: str, requests: str, note: str = "") -> Row:
    """A row of something that does what the reference says."""
    return Row(call, requests, note=note)


def approximated(call: str, requests: str, note: str) -> Row:
    """A row of something that does nearly what the reference says."""
    return Row(call, requests, APPROXIMATED, note)


def refused(call: str, requests: str, status: int, note: str) -> Row:
    """A row of something that is answered with a fault.

    :param note: words that the user sees.
    """
    return Row(call, requests, REFUSED, note, status)


def for_administrators(call: str, requests: str) -> Row:
    """A row of something that only administrators may do."""
    return Row(call, requests, note="Administrators only.")


def rows(*declared: Row) -> Callable[[Test], Test]:
    """Declare the rows that a test is the test of: it must make all of these calls."""

    def declare(test: Test) -> Test:
        test.rows = declared  # type: ignore[attr-defined]
        return test

    return declare


@dataclass
class Ticks:
    """Which rows a test has made so far.

    :ivar declared: its own.
    :ivar all: those of all tests, one of which every call must be.
    """

    declared: tuple[Row, ...]
    all: tuple[Row, ...]
    done: set[Row] = field(default_factory=set)

    def tick(
        self, what: str, match: Callable[[Row], int], sent: list[Sent], failed: bool, said: str
    ) -> None:
        """Judge a call.

        :param what: the call, for people.
        :raise AssertionError: when no row is about it, or something is not as the row says.
        """
        row = self.about(what, match)
        fault = row.fault(sent, failed, said)
        assert not fault, fault
        self.done.add(row)
        if row.support != REFUSED:
            # It may be the test of less special rows too.
            self.done |= {
                each
                for each in self.declared
                if each.support != REFUSED and match(each) and not each.fault(sent, failed, said)
            }

    def about(self, what: str, match: Callable[[Row], int]) -> Row:
        """The row that says most about a call, the test's own first.

        :raise AssertionError: when there is none.
        """
        for table in (self.declared, self.all):
            best = max(filter(match, table), key=match, default=None)
            if best is not None:
                return best
        raise AssertionError(f"no row of the table is about {what}")

    def missing(self) -> list[str]:
        """What the test has declared and not done."""
        return [row.call for row in self.declared if row not in self.done]
