"""Consoles: who gets a ticket, what becomes of it, and what ends it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted
from zope.interface import implementer
from zope.interface.verify import verifyObject

from cyclades_tx.console.interfaces import ISessions, ITickets, OpenSession, Reason, Refused
from cyclades_tx.errors import Conflict, Forbidden, NotFound, TooManyRequests, Unavailable
from cyclades_tx.flows import consoles as flow
from cyclades_tx.flows.consoles import NOVNC, VIEWER, Consoles
from cyclades_tx.flows.suspension import suspend
from cyclades_tx.identity.tokens import new_token
from cyclades_tx.loops.consoles import ConsoleWatch
from cyclades_tx.model.who import ADMIN, MEMBER, Who
from cyclades_tx.sections import ConsoleSection
from cyclades_tx.store import consoles
from tests.loops.cloud import Cloud

CLIENT = "192.0.2.7"


@implementer(ISessions)
class MemorySessions:
    """Remembers what was cut."""

    def __init__(self) -> None:
        self.open: list[Any] = []
        self.cuts: list[tuple[int, Reason]] = []

    def cut(self, session_id: int, reason: Reason) -> bool:
        self.cuts.append((session_id, reason))
        self.open = [each for each in self.open if each.id != session_id]
        return True

    def cut_server(self, server_id: int, reason: Reason) -> int:
        raise NotImplementedError

    def open_sessions(self) -> Any:
        return [OpenSession(each, CLIENT, "vnc", each.expires_at, 0, 0) for each in self.open]


async def enrol(cloud: Cloud, who: Who) -> None:
    """Write down the roles that somebody has."""
    for role in who.roles:
        await cloud.database.run(
            "insert into role_assignment (user_id, project_id, role_id)"
            " select %s, %s, id from role where name = %s",
            (who.user_id, who.project_id, role),
        )


@pytest_twisted.async_fixture
async def server(driven: Cloud) -> str:
    """A server that runs; its owner may do everything."""
    await enrol(driven, driven.who)
    return await driven.active()


async def taken(cloud: Cloud, server: str, successor: str = "") -> Any:
    """A session of a browser."""
    ticket = await cloud.world.consoles.ask(cloud.who, server, NOVNC, "req-console")
    text = f"{ticket.text}.{successor}" if successor else ticket.text
    return await cloud.world.consoles.take_by_text(text, CLIENT)


async def refusal(awaitable: Any) -> Reason:
    """Why a ticket is refused."""
    with pytest.raises(Refused) as refused:
        await awaitable
    return refused.value.reason


async def events(cloud: Cloud) -> list[tuple[str, str]]:
    """What was told about consoles: the kind, and the reason."""
    rows = await cloud.database.all(
        "select kind, body->'console'->>'reason' as reason from event"
        " where kind like 'console.%%' order by id"
    )
    return [(row.kind, row.reason) for row in rows]


async def test_ticket_becomes_a_session_at_the_node_once(driven: Any, server: str) -> None:
    """Where the cluster says that the screen is; whoever comes second is told why not."""
    tickets = driven.world.consoles
    verifyObject(ITickets, tickets)
    ticket = await tickets.ask(driven.who, server, NOVNC, "req-console")
    session = await tickets.take_by_text(ticket.text, CLIENT)
    row = await driven.row(server)
    instance = driven.ganeti.instances[driven.instance(row)]
    assert (session.host, session.port) == ("127.0.0.1", instance.network_port)
    assert (session.server_id, session.user_id) == (row.id, driven.who.user_id)
    assert await refusal(tickets.take_by_text(ticket.text, CLIENT)) is Reason.USED
    await tickets.ended(session.id, Reason.VIEWER_LEFT, 3, 4)
    await tickets.ended(session.id, Reason.FAULT, 0, 0)
    assert await events(driven) == [("console.opened", ""), ("console.ended", "viewer_left")]
    kept = await driven.database.first("select * from console_session")
    assert (kept.client, kept.bytes_in, kept.bytes_out, kept.reason) == (
        *(CLIENT, 3, 4),
        "viewer_left",
    )


async def test_no_ticket_for_others_nor_for_what_has_no_screen(driven: Any, server: str) -> None:
    """Another project's server is not there; a suspended one is its administrators'."""
    ask = driven.world.consoles.ask
    stranger = await driven.somebody()
    for ref in (server, "x", "", "%00", "0" * 5000):
        with pytest.raises(NotFound):
            await ask(stranger, ref, NOVNC, "req-1")
    row = await driven.row(server)
    await suspend(driven.database, row.id, True)
    with pytest.raises(Forbidden):
        await ask(driven.who, server, NOVNC, "req-1")
    assert await ask(await driven.somebody(ADMIN), server, NOVNC, "req-1")
    await suspend(driven.database, row.id, False)
    await driven.world.servers.stop(driven.who, server, "req-stop")
    await driven.settled()
    with pytest.raises(Conflict):
        await ask(driven.who, server, NOVNC, "req-1")


async def test_cluster_knows_better_whether_it_runs(driven: Any, server: str) -> None:
    """Our records said that it runs: they are mended."""
    driven.ganeti.stop_by_hand(driven.instance(await driven.row(server)))
    with pytest.raises(Conflict):
        await driven.world.consoles.ask(driven.who, server, NOVNC, "req-1")

    async def seen() -> bool:
        state: tuple[str, str] = await driven.state(server)
        return state == ("stopped", "off")

    await driven.until(seen, "the records are mended")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("update console_session set expires_at = now()", Reason.TICKET_EXPIRED),
        ("update user_account set enabled = false", Reason.RIGHT_LOST),
        ("update project set enabled = false", Reason.RIGHT_LOST),
        ("delete from role_assignment", Reason.RIGHT_LOST),
        ("update server set suspended = true", Reason.SUSPENDED),
        (
            "update server set deleted_at = now(), state = 'deleted', charge = 'none'",
            Reason.DELETED,
        ),
    ],
    ids=["expired", "user", "project", "role", "suspended", "deleted"],
)
async def test_ticket_is_worth_nothing_when_the_right_is_lost(
    driven: Any, server: str, change: str, reason: Reason
) -> None:
    """Nothing is opened, and the sentence fits."""
    tickets = driven.world.consoles
    ticket = await tickets.ask(driven.who, server, NOVNC, "req-1")
    await driven.stop()
    await driven.database.run(change)
    assert await refusal(tickets.take_by_text(ticket.text, CLIENT)) is reason
    assert await events(driven) == []


async def test_ticket_of_a_machine_that_moved_is_refused(driven: Any, server: str) -> None:
    """It is bound to the node and port that it was given for."""
    tickets = driven.world.consoles
    ticket = await tickets.ask(driven.who, server, NOVNC, "req-1")
    move(driven, await driven.row(server))
    assert await refusal(tickets.take_by_text(ticket.text, CLIENT)) is Reason.MOVED


async def test_silent_cluster_gives_no_console_and_spends_no_ticket(
    driven: Any, server: str
) -> None:
    """A word that it is for now."""
    tickets = driven.world.consoles
    ticket = await tickets.ask(driven.who, server, NOVNC, "req-1")
    await driven.stop()
    await driven.database.run("update cluster set offline = true")
    assert await refusal(tickets.take_by_text(ticket.text, CLIENT)) is Reason.UNAVAILABLE
    with pytest.raises(Unavailable):
        await tickets.ask(driven.who, server, NOVNC, "req-1")
    await driven.database.run("update cluster set offline = false")
    assert await tickets.take_by_text(ticket.text, CLIENT)


async def test_same_browser_opens_it_again_within_a_minute(driven: Any, server: str) -> None:
    """Once with each secret, also when the machine has moved; and not what was closed."""
    tickets = driven.world.consoles
    first, second, third = new_token(), new_token(), new_token()
    session = await taken(driven, server, first)
    await tickets.ended(session.id, Reason.SCREEN_LEFT, 0, 0)
    move(driven, await driven.row(server))
    again = await tickets.take_by_text(f"{first}.{second}", CLIENT)
    assert again.id != session.id and again.port != session.port
    assert await refusal(tickets.take_by_text(first, CLIENT)) is Reason.USED
    # A page that is loaded again may be faster than the end of what it had.
    last = await tickets.take_by_text(f"{second}.{third}", CLIENT)
    assert await consoles.verdicts(driven.database, [again.id, last.id]) == {
        again.id: "viewer_left"
    }
    await tickets.close(last.id)
    await tickets.ended(last.id, Reason.VIEWER_LEFT, 0, 0)
    assert await tickets.take_by_text(third, CLIENT) is None


async def test_minute_for_opening_again_ends(driven: Any, server: str) -> None:
    """Then a new ticket is needed."""
    secret = new_token()
    session = await taken(driven, server, secret)
    await driven.world.consoles.ended(session.id, Reason.VIEWER_LEFT, 0, 0)
    await driven.database.run("update console_session set ended_at = now() - interval '2 minutes'")
    reason = await refusal(driven.world.consoles.take_by_text(secret, CLIENT))
    assert reason is Reason.TICKET_EXPIRED


async def test_viewer_is_known_by_its_password(driven: Any, server: str) -> None:
    """Eight characters, once; whoever has an old one is told so."""
    tickets = driven.world.consoles
    ticket = await tickets.ask(driven.who, server, VIEWER, "req-1")
    (waiting,) = await tickets.waiting()
    assert waiting.password == ticket.text and len(ticket.text) == 8
    assert ticket.text not in repr(waiting) + repr(ticket)
    assert await tickets.take_by_text(ticket.text, CLIENT) is None
    session = await tickets.take(waiting.ticket_id, CLIENT)
    assert session.server_uuid == server
    assert await refusal(tickets.take(waiting.ticket_id, CLIENT)) is Reason.USED
    assert await tickets.waiting() == [waiting]
    await driven.database.run("update console_session set created_at = now() - interval '1 hour'")
    assert await tickets.waiting() == []
    await tickets.sweep()
    assert await driven.database.value("select password from console_session") is None


async def test_nothing_that_opens_a_console_is_in_the_database(driven: Any, server: str) -> None:
    """Neither tickets, nor what a browser opens again with, nor passwords; nor in an event."""
    tickets = driven.world.consoles
    texts = [
        (await tickets.ask(driven.who, server, kind, "req-1")).text for kind in (NOVNC, VIEWER)
    ]
    texts.append(new_token())
    assert await tickets.take_by_text(f"{texts[0]}.{texts[2]}", CLIENT)
    rows = await driven.database.all(
        "select c::text as text from console_session c union all select e::text from event e"
    )
    for row in rows:
        assert not any(text in row.text or text.encode().hex() in row.text for text in texts)


@pytest.mark.parametrize(
    "text",
    ["", ".", "x", "a" * 43, "." + "a" * 43, "a" * 43 + ".x", f"{'a' * 43}.{'a' * 43}", "\0" * 43,
     "é" * 43, "\ud800" * 43, "a" * 1024],
    ids=range(11),
)  # fmt: skip
async def test_what_is_no_ticket_is_none(cloud: Any, text: str) -> None:
    """Whatever a stranger sends."""
    assert await cloud.world.consoles.take_by_text(text, CLIENT) is None


async def test_one_user_has_only_so_many(driven: Any, server: str) -> None:
    """Of tickets that wait, and of sessions."""
    tickets = driven.world.consoles
    for _ in range(consoles.MOST_WAITING):
        last = await tickets.ask(driven.who, server, NOVNC, "req-1")
    with pytest.raises(TooManyRequests):
        await tickets.ask(driven.who, server, NOVNC, "req-1")
    few = Consoles(
        driven.database,
        driven.world.keyring,
        driven.world.clusters.questions,
        driven.world.names,
        ConsoleSection(sessions_per_user=1),
        "test",
        random.Random(1),
    )
    session = await few.take_by_text(last.text, CLIENT)
    other = await few.ask(driven.who, server, NOVNC, "req-1")
    assert await refusal(few.take_by_text(other.text, CLIENT)) is Reason.TOO_MANY_YOURS
    await few.ended(session.id, Reason.VIEWER_LEFT, 0, 0)
    assert await few.take_by_text(other.text, CLIENT)


async def test_administrators_see_where_a_ticket_leads(driven: Any, server: str) -> None:
    """As long as it can be opened."""
    tickets = driven.world.consoles
    ticket = await tickets.ask(driven.who, server, NOVNC, "req-1")
    found = await tickets.connection(ticket.text)
    assert (found.server_uuid, found.host) == (server, "127.0.0.1")
    await tickets.take_by_text(ticket.text, CLIENT)
    for text in (ticket.text, new_token(), "x"):
        with pytest.raises(NotFound):
            await tickets.connection(text)


async def test_sessions_of_a_dead_process_end(driven: Any, server: str) -> None:
    """Nobody says any more that they are relayed."""
    session = await taken(driven, server)
    await driven.world.consoles.sweep()
    assert await consoles.verdicts(driven.database, [session.id]) == {}
    await driven.database.run("update console_session set seen_at = now() - interval '1 hour'")
    await driven.world.consoles.sweep()
    assert (await events(driven))[-1] == ("console.ended", "fault")


async def test_sessions_that_ended_long_ago_go_some_at_a_time(driven: Any, server: str) -> None:
    """What is open, or has ended a short while ago, stays."""
    database = driven.database
    for _ in range(5):
        await driven.world.consoles.ask(driven.who, server, NOVNC, "req-1")
    await database.run(
        "update console_session set created_at = now() - interval '40 days', ended_at = case"
        " when id = (select max(id) from console_session) then now()"
        " else now() - interval '31 days' end, reason = 'closed'"
    )
    left = []
    for _ in range(3):
        await database.transaction(lambda tx: consoles.sweep(tx, 1.0, 1.0, 30 * 86_400.0, 3))
        left.append(await database.value("select count(*) from console_session"))
    assert left == [2, 1, 1]


@pytest.mark.parametrize(
    ("address", "host", "may"),
    [
        ("10.0.0.5", "10.0.0.1", True),
        ("fd00::5", "cluster.example.org", True),
        ("127.0.0.1", "10.0.0.1", False),
        ("127.9.8.7", "127.0.0.1", True),
        ("::1", "cluster.example.org", False),
        ("127.0.0.1", "localhost", True),
        ("0.0.0.0", "127.0.0.1", False),
        ("169.254.169.254", "10.0.0.1", False),
        ("224.0.0.1", "10.0.0.1", False),
    ],
)
def test_cluster_cannot_send_us_to_ourselves(address: str, host: str, may: bool) -> None:
    """Only a cluster that is here has nodes that are here."""
    assert flow._may_be_node(address, host) is may


async def _suspended(cloud: Any, server: str) -> None:
    await suspend(cloud.database, (await cloud.row(server)).id, True)


async def _deleted(cloud: Any, server: str) -> None:
    await cloud.world.servers.delete(cloud.who, server, "req-delete")


async def _stopped(cloud: Any, server: str) -> None:
    await cloud.world.servers.stop(cloud.who, server, "req-stop")


async def _moved(cloud: Any, server: str) -> None:
    move(cloud, await cloud.row(server))


async def _disabled(cloud: Any, server: str) -> None:
    await cloud.world.people.update_user(cloud.who.user_id, {"enabled": False})


async def _project_disabled(cloud: Any, server: str) -> None:
    await cloud.world.people.update_project(cloud.who.project_id, {"enabled": False})


async def _role_removed(cloud: Any, server: str) -> None:
    for role in cloud.who.roles:
        await cloud.world.people.remove_role(cloud.who.user_id, cloud.who.project_id, role)


async def _closed(cloud: Any, server: str) -> None:
    number = await cloud.database.value("select id from console_session where ended_at is null")
    assert await cloud.world.consoles.close(number) == "open"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_suspended, Reason.SUSPENDED),
        (_deleted, Reason.DELETED),
        (_stopped, Reason.STOPPED),
        (_moved, Reason.MOVED),
        (_disabled, Reason.RIGHT_LOST),
        (_project_disabled, Reason.RIGHT_LOST),
        (_role_removed, Reason.RIGHT_LOST),
        (_closed, Reason.CLOSED),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)),
)
async def test_open_session_is_cut(
    driven: Any, server: str, change: Any, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is told, not by the look every few seconds."""
    monkeypatch.setattr("cyclades_tx.loops.consoles.PERIOD_SECONDS", 3600.0)
    sessions = MemorySessions()
    verifyObject(ISessions, sessions)
    sessions.open.append(await taken(driven, server))
    number = sessions.open[0].id
    watch = ConsoleWatch(driven.reactor, driven.database, sessions, driven.world.consoles.sweep)
    watch.start()
    await driven.database.when_listening()
    try:
        assert sessions.cuts == []
        await change(driven, server)

        async def cut() -> bool:
            return bool(sessions.cuts)

        await driven.until(cut, "the session is cut")
        assert sessions.cuts[0] == (number, reason)
    finally:
        await watch.stop()
    await driven.settled()


def move(cloud: Any, row: Any) -> None:
    """Let an operator migrate a machine: its screen is at another place then."""
    has = cloud.ganeti.inventory
    before = has.instances[cloud.instance(row)]
    has.put(replace(before, network_port=before.network_port + 100, serial_no=before.serial_no + 1))


def test_the_roles_that_may_open_consoles_are_those_that_may_write() -> None:
    """The statement names them."""
    assert Who("u", "u", "p", "p", frozenset({MEMBER})).may_write
    assert "('admin', 'member')" in consoles._WITH_RIGHTS
