"""Consoles over the wire: which words open one, from which microversion on, and for whom."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.api.compute import app, consoles
from cyclades_tx.api.frame import Frame
from cyclades_tx.errors import BadRequest, Conflict, NotFound, NotSupported
from cyclades_tx.flows.consoles import Connection, Ticket
from cyclades_tx.flows.keypairs import KeyPairs
from cyclades_tx.identity.memory import MemoryIdentity
from cyclades_tx.model.who import ADMIN, READER, Who
from cyclades_tx.testing import builders
from tests.api.compute.conftest import MemoryServers, Wire
from tests.api.wire import PUBLIC, listening

BODY = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
SERVER = "00000000-0000-4000-8000-000000000001"
PATH = f"/servers/{SERVER}/remote-consoles"


class MemoryConsoles:
    """Flows that know one server, of one project."""

    def __init__(self) -> None:
        self.project_id: str | None = None
        self.asked: list[tuple[str, str]] = []
        self.runs = True

    async def ask(self, who: Who, ref: str, kind: str, request_id: str) -> Ticket:
        if ref != SERVER or not (who.admin or who.project_id == self.project_id):
            raise NotFound(f"Instance {ref} could not be found.", "server")
        if not self.runs:
            raise Conflict(f"Instance {ref} is not running, so it has no console.", "state")
        self.asked.append((ref, kind))
        return Ticket("ticket" if kind == "novnc" else "aB3dE6gH", ref, 60.0)

    async def connection(self, text: str) -> Connection:
        if text != "ticket":
            raise NotFound("The token was not found.", "token")
        return Connection(SERVER, "10.0.0.7", 11042)


@pytest_twisted.async_yield_fixture
async def opened(database: Any) -> Any:
    """The service with consoles, for browsers and viewers."""
    from twisted.internet import reactor

    identity: Any = MemoryIdentity(reactor)
    who = await builders.somebody(database)
    flow: Any = MemoryConsoles()
    flow.project_id = who.project_id
    frame = Frame(reactor, identity, PUBLIC)
    servers: Any = MemoryServers()
    app.mount(
        frame,
        database,
        servers,
        KeyPairs(database),
        more_actions=consoles.actions(flow, ("vnc.example.org", 5900)),
        consoles_flow=flow,
    )
    async with listening(reactor, frame) as (port, pool):
        yield Wire(database, identity, port, who, pool, flow, identity.add(who))


async def test_remote_console_is_a_url_with_its_ticket_behind_the_hash(opened: Any) -> None:
    """No browser sends that part anywhere; nobody may keep the answer."""
    answer = await opened.post(PATH, BODY, version="2.96")
    assert answer.status == 200
    assert answer.json == {
        "remote_console": {**BODY["remote_console"], "url": f"{PUBLIC}/console/#ticket"}
    }
    assert answer.header("cache-control") == "no-store"
    (await opened.post(PATH, BODY, version="2.5")).fault(404, "itemNotFound")


async def test_consoles_of_old_programs_are_actions(opened: Any) -> None:
    """With a URL up to 2.5; a word of Cyclades' own for viewers in any."""
    act = f"/servers/{SERVER}/action"
    for kind, url in (("novnc", f"{PUBLIC}/console/#ticket"),
                      ("xvpvnc", "vnc.example.org:5900?password=aB3dE6gH")):  # fmt: skip
        answer = await opened.post(act, {"os-getVNCConsole": {"type": kind}}, version="2.5")
        assert (answer.status, answer.json) == (200, {"console": {"type": kind, "url": url}})
    (await opened.post(act, {"os-getVNCConsole": {"type": "novnc"}}, version="2.6")).fault(
        400, "badRequest"
    )
    for version in ("2.1", "2.96"):
        answer = await opened.post(act, {"console": {"type": "vnc"}}, version=version)
        assert answer.json == {
            "console": {
                "type": "vnc",
                "host": "vnc.example.org",
                "port": 5900,
                "password": "aB3dE6gH",
            }
        }


async def test_without_a_port_for_viewers_there_are_browsers_only(opened: Any) -> None:
    """Each word with its own fault."""
    only: Any = consoles.actions(opened.servers, None)
    call: Any = SimpleNamespace(minor=1, who=opened.who, request_id="req-1", base_url=PUBLIC)
    with pytest.raises(BadRequest):
        await only["os-getVNCConsole"](call, SERVER, {"type": "xvpvnc"})
    with pytest.raises(NotSupported):
        await only["console"](call, SERVER, {"type": "vnc"})
    assert opened.servers.asked == []
    assert (await only["os-getVNCConsole"](call, SERVER, {"type": "novnc"})).status == 200


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [("vnc", "xvpvnc"), ("spice", "spice-html5"), ("rdp", "rdp-html5"), ("serial", "serial"),
     ("mks", "webmks"), ("vnc", "spice-html5")],
)  # fmt: skip
async def test_other_kinds_of_consoles_are_not_to_be_had(
    opened: Any, protocol: str, kind: str
) -> None:
    """With the reference's fault for a type that is not configured."""
    body = {"remote_console": {"protocol": protocol, "type": kind}}
    (await opened.post(PATH, body, version="2.96")).fault(400, "badRequest")
    assert opened.servers.asked == []


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"remote_console": None}, {"remote_console": {}},
     {"remote_console": {"protocol": "vnc"}}, {**BODY, "x": 1},
     {"remote_console": {"protocol": "vnc", "type": "novnc", "x": 1}},
     {"remote_console": {"protocol": ["vnc"], "type": {"novnc": 1}}},
     {"remote_console": {"protocol": "VNC", "type": "x" * 70_000}}],
    ids=range(10),
)  # fmt: skip
async def test_hostile_bodies_are_refused(opened: Any, body: Any) -> None:
    """Strictly, and nothing is opened."""
    (await opened.post(PATH, body, version="2.96")).fault(400, "badRequest")
    assert opened.servers.asked == []


@pytest.mark.parametrize("argument", [None, {}, [], "vnc", {"type": 1}, {"type": "vnc-ws"}])
async def test_hostile_arguments_are_refused(opened: Any, argument: Any) -> None:
    """Null is an empty argument, which lacks the type."""
    for name in ("console", "os-getVNCConsole"):
        answer = await opened.post(f"/servers/{SERVER}/action", {name: argument}, version="2.5")
        answer.fault(400, "badRequest")


async def test_stranger_and_reader_get_none(opened: Any, stranger: Any) -> None:
    """Another project's server is not there; who may only read may not type."""
    (await opened.post(PATH, BODY, version="2.96", who=stranger)).fault(404, "itemNotFound")
    reader = Who("u" * 32, "u", opened.who.project_id, None, frozenset({READER}))
    (await opened.post(PATH, BODY, version="2.96", who=reader)).fault(403, "forbidden")
    assert (await opened.post(PATH, BODY, version="2.96", token=None)).status == 401
    opened.servers.runs = False
    (await opened.post(PATH, BODY, version="2.96")).fault(409, "conflictingRequest")


async def test_where_a_token_leads_is_for_administrators(opened: Any, admin: Any) -> None:
    """With the member names of the reference."""
    path = "/os-console-auth-tokens"
    answer = await opened.get(f"{path}/ticket", version="2.96", who=admin)
    assert answer.json == {
        "console": {
            "instance_uuid": SERVER,
            "host": "10.0.0.7",
            "port": 11042,
            "internal_access_path": None,
        }
    }
    (await opened.get(f"{path}/other", version="2.96", who=admin)).fault(404, "itemNotFound")
    (await opened.get(f"{path}/ticket", version="2.30", who=admin)).fault(404, "itemNotFound")
    (await opened.get(f"{path}/ticket", version="2.96")).fault(403, "forbidden")
    assert ADMIN in admin.roles
