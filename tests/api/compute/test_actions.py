"""Actions: which flow each calls, and the refusals."""

from __future__ import annotations

import pytest

REF = "some server"
IMAGE = "5e7b6a4e-3a5c-4bd8-a0a5-6b3dbd8a2a2f"


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
    ("document", "status", "call"),
    [
        ({"resize": {"flavorRef": "f"}}, 202, ("resize", REF, "f")),
        ({"resize": {"flavorRef": "http://x/flavors/f"}}, 202, ("resize", REF, "f")),
        ({"resize": {"flavorRef": 3, "OS-DCF:diskConfig": "AUTO"}}, 202, ("resize", REF, "3")),
        ({"revertResize": None}, 202, ("revert_resize", REF)),
        ({"unrescue": {}}, 202, ("unrescue", REF)),
        ({"forceDelete": ""}, 202, ("delete", REF)),
    ],
)
async def test_procedure_calls_its_flow_with_the_request_id(wire, document, status, call):
    """In every form that clients send."""
    answer = await act(wire, document)
    assert (answer.status, answer.body) == (status, b"")
    assert wire.servers.calls == [(*call, answer.header("x-compute-request-id"))]


async def test_confirming_a_resize_is_204(wire):
    """It is done at once."""
    answer = await act(wire, {"confirmResize": None})
    assert (answer.status, answer.body) == (204, b"")
    assert wire.servers.calls == [("confirm_resize", REF)]


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        (None, (None, None)),
        ({}, (None, None)),
        ({"adminPass": "p"}, (None, "p")),
        ({"rescue_image_ref": IMAGE}, (IMAGE, None)),
        ({"rescue_image_ref": f"http://x/images/{IMAGE}"}, (IMAGE, None)),
    ],
)
async def test_a_rescue_is_200_with_the_password(wire, argument, call):
    """And nothing else."""
    answer = await act(wire, {"rescue": argument})
    assert (answer.status, list(answer.json)) == (200, ["adminPass"])
    ((name, ref, *rest),) = wire.servers.calls
    assert (name, ref, tuple(rest[:2])) == ("rescue", REF, call)


#: What a Ganeti cloud cannot do: the fault of the reference, and whether only administrators ask.
REFUSED = {
    "pause": (501, "notImplemented"),
    "unpause": (501, "notImplemented"),
    "shelve": (409, "conflictingRequest"),
    "unshelve": (409, "conflictingRequest"),
    "restore": (409, "conflictingRequest"),
    "createBackup": (400, "badRequest"),
    "os-getConsoleOutput": (501, "notImplemented"),
    "trigger_crash_dump": (400, "badRequest"),
}
FOR_ADMINS = {
    "shelveOffload": (409, "conflictingRequest"),
    "migrate": (400, "badRequest"),
    "os-migrateLive": (400, "badRequest"),
    "evacuate": (400, "badRequest"),
    "resetNetwork": (410, "computeFault"),
    "injectNetworkInfo": (410, "computeFault"),
}


@pytest.mark.parametrize("name", [*REFUSED, *FOR_ADMINS])
async def test_what_cannot_be_done_has_its_fault_at_once(wire, admin, name):
    """With a sentence, after a look whether the server is the caller's at all."""
    status, kind = {**REFUSED, **FOR_ADMINS}[name]
    answer = await wire.post("/servers/some%20server/action", {name: {}}, version="2.96", who=admin)
    assert answer.fault(status, kind).endswith(".")
    assert [call[:2] for call in wire.servers.calls] == [("check_action", REF)]


@pytest.mark.parametrize("name", [*FOR_ADMINS, "suspend", "resume", "os-resetState"])
async def test_what_only_administrators_may_ask_is_403(wire, name):
    """Before anything else is looked at."""
    argument = {"state": "active"} if name == "os-resetState" else None
    (await act(wire, {name: argument})).fault(403, "forbidden")
    assert wire.servers.calls == []


@pytest.mark.parametrize(
    ("document", "call"),
    [
        ({"suspend": None}, ("suspend", REF)),
        ({"resume": None}, ("resume", REF)),
        ({"os-resetState": {"state": "active"}}, ("reset_state", REF)),
    ],
)
async def test_administrators_suspend_and_reset(wire, admin, document, call):
    """202."""
    answer = await wire.post("/servers/some%20server/action", document, who=admin)
    assert (answer.status, answer.body) == (202, b"")
    assert wire.servers.calls == [call]


async def test_a_password_cannot_be_changed_from_outside(wire):
    """501, after the body was checked."""
    (await act(wire, {"changePassword": {"adminPass": "p"}})).fault(501, "notImplemented")
    for wrong in (None, {}, {"adminPass": 1}, {"adminPass": "p", "x": 1}):
        (await act(wire, {"changePassword": wrong})).fault(400, "badRequest")


async def test_output_of_a_console_is_not_kept(wire):
    """501, for as many lines as anybody may ask for; the body was checked before."""
    for length in ({}, {"length": None}, {"length": 5}, {"length": "5"}, {"length": -1}):
        (await act(wire, {"os-getConsoleOutput": length})).fault(501, "notImplemented")
    calls = list(wire.servers.calls)
    wrong = (
        *(None, [], "5", {"length": -2}, {"length": "x"}, {"length": "٥"}),
        *({"length": True}, {"length": 1.5}, {"length": [1]}, {"length": "9" * 5000}),
        {"length": 5, "x": 1},
    )
    for argument in wrong:
        (await act(wire, {"os-getConsoleOutput": argument})).fault(400, "badRequest")
    assert wire.servers.calls == calls


async def test_action_of_other_versions_is_unknown(wire):
    """Known in its own."""
    (await act(wire, {"os-getRDPConsole": {"type": "rdp"}}, "2.5")).fault(501, "notImplemented")
    (await act(wire, {"os-getRDPConsole": {"type": "rdp"}}, "2.6")).fault(400, "badRequest")
    message = (await act(wire, {"trigger_crash_dump": None}, "2.16")).fault(400, "badRequest")
    assert message == "There is no such action: trigger_crash_dump"


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
     {"lock": {"locked_reason": "x" * 256}}, {"lock": {"why": "x"}}, {"lock": 1},
     {"resize": None}, {"resize": {"flavorRef": ""}}, {"resize": {"flavorRef": None}},
     {"resize": {"flavorRef": "f", "x": 1}}, {"resize": {"flavorRef": [1]}},
     {"resize": {"flavorRef": "f", "OS-DCF:diskConfig": "X"}}, {"resize": "f"},
     {"rescue": {"rescue_image_ref": "x"}}, {"rescue": {"adminPass": 1}}, {"rescue": []},
     {"rebuild": None}, {"rebuild": {}}, {"rebuild": {"imageRef": "x"}},
     {"rebuild": {"imageRef": 1}}, {"rebuild": {"imageRef": IMAGE, "x": 1}},
     {"rebuild": {"imageRef": IMAGE, "name": ""}}, {"rebuild": {"imageRef": IMAGE, "name": None}},
     {"rebuild": {"imageRef": IMAGE, "metadata": {"": "x"}}},
     {"rebuild": {"imageRef": IMAGE, "accessIPv4": "::1"}},
     {"rebuild": {"imageRef": IMAGE, "user_data": "%"}},
     {"rebuild": {"imageRef": IMAGE, "personality": []}},
     {"rebuild": {"imageRef": IMAGE, "OS-DCF:diskConfig": "X"}},
     {"rebuild": {"imageRef": IMAGE, "trusted_image_certificates": ["x"]}},
     {"os-resetState": {"state": "happy"}}, {"os-resetState": None}],
)  # fmt: skip
async def test_malformed_action_is_400(wire, document):
    """And no flow is called."""
    (await act(wire, document)).fault(400, "badRequest")
    assert wire.servers.calls == []
