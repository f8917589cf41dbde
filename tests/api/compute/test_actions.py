"""Actions: which flow each calls, and the refusals."""

from __future__ import annotations

import pytest

REF = "some server"


async def act(wire, document, version="2.96"):
    """Ask for an action."""
    return await wire.post("/servers/some%20server/action", document, version=version)


@pytest.mark.parametrize(
    ("document", "call"),
    [
        ({"os-start": None}, ("start", REF)),
        ({"os-start": {}}, ("start", REF)),
        ({"os-stop": None}, ("stop", REF)),
        ({"reboot": {"type": "SOFT"}}, ("reboot", REF, False)),
        ({"reboot": {"type": "hard"}}, ("reboot", REF, True)),
    ],
)
async def test_action_calls_its_flow_with_the_request_id(wire, document, call):
    """202 and nothing in the body; the id is the one of the reply."""
    answer = await act(wire, document)
    assert (answer.status, answer.body) == (202, b"")
    assert answer.header("content-type") is None
    assert answer.length == 0
    assert wire.servers.calls == [(*call, answer.header("x-compute-request-id"))]


@pytest.mark.parametrize(
    ("version", "document", "call"),
    [
        ("2.1", {"lock": None}, ("lock", REF, None)),
        ("2.73", {"lock": None}, ("lock", REF, None)),
        ("2.73", {"lock": {"locked_reason": "mine"}}, ("lock", REF, "mine")),
        ("2.1", {"unlock": None}, ("unlock", REF)),
    ],
)
async def test_lock_has_a_reason_from_2_73(wire, version, document, call):
    """Before, nothing is read behind the name."""
    assert (await act(wire, document, version)).status == 202
    assert wire.servers.calls == [call]


@pytest.mark.parametrize(
    "name",
    ["resize", "confirmResize", "revertResize", "rebuild", "rescue", "unrescue", "pause",
     "unpause", "suspend", "resume", "shelve", "unshelve", "createImage", "createBackup",
     "changePassword", "os-getConsoleOutput", "migrate", "os-resetState"],
)  # fmt: skip
async def test_what_is_not_offered_says_so_at_once(wire, name):
    """501 with a sentence, and nothing happens."""
    assert (await act(wire, {name: {}})).fault(501, "notImplemented").endswith(".")
    assert wire.servers.calls == []


async def test_action_of_old_versions_is_unknown_later(wire):
    """Known and refused before."""
    (await act(wire, {"os-getVNCConsole": {"type": "novnc"}}, "2.5")).fault(501, "notImplemented")
    (await act(wire, {"os-getVNCConsole": {"type": "novnc"}}, "2.6")).fault(400, "badRequest")


@pytest.mark.parametrize("name", ["explode", "", "ü", "__class__"])
async def test_unknown_action_is_400(wire, name):
    """In Compute's words."""
    message = (await act(wire, {name: None})).fault(400, "badRequest")
    assert message == f"There is no such action: {name}"


@pytest.mark.parametrize(
    "document",
    [{}, {"os-start": None, "os-stop": None}, [], "os-start", {"reboot": None}, {"reboot": {}},
     {"reboot": {"type": "WARM"}}, {"reboot": {"type": 1}}, {"reboot": "HARD"},
     {"reboot": {"type": "HARD", "now": True}}, {"lock": {"locked_reason": ""}},
     {"lock": {"locked_reason": "x" * 256}}, {"lock": {"why": "x"}}, {"lock": 1}],
)  # fmt: skip
async def test_malformed_action_is_400(wire, document):
    """And no flow is called."""
    (await act(wire, document)).fault(400, "badRequest")
    assert wire.servers.calls == []
