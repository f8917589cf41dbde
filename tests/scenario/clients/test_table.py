"""The table of clients: nothing that is answered is missing, no row is believed blindly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cyclades_tx.api.compute.refused_actions import REFUSED
from cyclades_tx.api.compute.shapes import ACTIONS
from cyclades_tx.api.reference import endpoints
from tests.scenario.clients.page import CHAPTERS, every_row, render
from tests.scenario.clients.table import SERVICES, Row, Sent, Ticks, refused, supported

PAGE = Path(__file__).parents[3] / "docs" / "clients.md"

SHOW = supported("server show S", "GET compute/servers/S")
PAUSE = refused("server pause S", "POST compute/servers/S/action pause", 501, "Not here.")
ACTED = "/compute/v2.1/servers/x/action"
SHOWN = Sent("GET", "/compute/v2.1/servers/one", "", 200)


def test_page_of_the_documentation_is_the_table() -> None:
    """Made anew with ``python -m tests.scenario.clients.page > docs/clients.md``."""
    assert PAGE.read_text() == render()


def test_every_module_with_tests_is_a_chapter() -> None:
    """Or its rows would be missing on the page."""
    there = {each.stem for each in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).stem}
    assert there == set(CHAPTERS)


def test_no_call_stands_there_twice() -> None:
    """One row says it, and one test makes it."""
    calls = [each.call for each in every_row()]
    assert sorted(calls) == sorted(set(calls))


def places(path: str) -> tuple[str, ...]:
    """A path as its parts, with nothing where anything may stand."""
    path = re.sub(r"<[^>]+>", "", path)
    return tuple("" if part[:1].isupper() else part for part in path.split("/")[1:] if path != "/")


def answers(
    method: str, parts: tuple[str, ...], served: set[tuple[str, tuple[str, ...]]]
) -> object:
    """The endpoint that a request of the table goes to."""
    exact = (method, parts)
    if exact in served:
        return exact
    for each in served:
        same = len(each[1]) == len(parts) and all(
            one in ("", other) for one, other in zip(each[1], parts, strict=True)
        )
        if each[0] == method and same:
            return each
    return None


def test_every_request_that_is_answered_is_made_by_a_client() -> None:
    """All of Identity, Compute, Network and Image; HEAD goes where GET goes."""
    served = {
        (each.method, places(each.path.removesuffix(".json")))
        for each in endpoints().endpoints
        if each.path.startswith(tuple(SERVICES.values())) and "url_project_id" not in each.path
    }
    asked = {
        (each.method.replace("HEAD", "GET"), places(each.path.removesuffix(".json")))
        for row in every_row()
        for each in row.wanted
    }
    assert len(served) > 200
    assert served - {answers(*each, served) for each in asked} == set()


def test_every_action_is_asked_for_by_a_client() -> None:
    """Those that are done, and those that are refused."""
    asked = {each.action for row in every_row() for each in row.wanted}
    assert {*ACTIONS, *REFUSED} - asked == set()


@pytest.mark.parametrize(
    ("row", "sent", "failed", "said", "fault"),
    [
        (SHOW, [SHOWN], False, "", ""),
        (SHOW, [], False, "", "not sent"),
        (SHOW, [Sent("GET", "/compute/v2.1/servers", "", 200)], False, "", "not sent"),
        (SHOW, [Sent("GET", "/compute/v2.1/servers/one", "", 404)], False, "", "failed with [404]"),
        (SHOW, [SHOWN], True, "oops", "oops"),
        (PAUSE, [Sent("POST", ACTED, "pause", 501)], True, "Not here.", ""),
        (PAUSE, [Sent("POST", ACTED, "pause", 202)], True, "", "[202]"),
        (PAUSE, [Sent("POST", ACTED, "lock", 501)], True, "", "not sent"),
        (PAUSE, [Sent("POST", ACTED, "pause", 501)], True, "No.", "not in"),
    ],
)
def test_row_is_held_against_what_was_sent(
    row: Row, sent: list[Sent], failed: bool, said: str, fault: str
) -> None:
    """Another request, another status or other words are a fault."""
    found = row.fault(sent, failed, said)
    assert fault in found
    assert bool(fault) == bool(found)


def test_call_without_a_row_and_row_without_a_call_are_found() -> None:
    """A test makes the calls that it has declared, and no others."""
    ticks = Ticks((SHOW, PAUSE), (SHOW, PAUSE))
    with pytest.raises(AssertionError, match="no row of the table is about server fly"):
        ticks.about("server fly", lambda row: row.match_command(["server", "fly"]))
    ticks.tick("x", lambda row: row.match_command(["server", "show", "x"]), [SHOWN], False, "")
    assert ticks.missing() == ["server pause S"]


def test_row_with_most_options_is_the_one() -> None:
    """What is refused with an option may be done without it."""
    plain = supported("server create S", "POST compute/servers")
    swap = refused("server create --swap N S", "POST compute/servers", 400, "No swap.")
    small = supported("server create --swap 0 S", "POST compute/servers")
    ticks = Ticks((plain, swap), (plain, swap, small))
    assert ticks.about("", lambda row: row.match_command(["server", "create", "x"])) is plain
    words = ["server", "create", "--swap", "5", "x"]
    assert ticks.about("", lambda row: row.match_command(words)) is swap
    assert small.match_command(words) == 0
