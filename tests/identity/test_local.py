"""Logins and tokens on the real database, past the wire."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import DeferredList, ensureDeferred

from cyclades_tx.errors import TooManyRequests, Unauthorized
from cyclades_tx.flows.application_credentials import NewCredential
from cyclades_tx.identity import local
from cyclades_tx.identity.local import LocalIdentity
from cyclades_tx.identity.logins import (
    UNSCOPED,
    CredentialLogin,
    PasswordLogin,
    Person,
    Scope,
    TokenLogin,
)
from cyclades_tx.identity.tokens import hash_of, is_token
from cyclades_tx.store.database import Database


async def count(world: Any, sql: str) -> int:
    """The number that a query gives."""
    return int(await world.database.value(sql))


async def test_the_text_of_a_token_is_nowhere_in_the_database(world: Any) -> None:
    """Only its SHA-256 is stored."""
    await world.person("demo")
    issued = await world.log_in("demo")
    assert is_token(issued.token)
    rows = await world.database.all("select t::text as text from token t")
    assert len(rows) == 1
    assert issued.token not in rows[0].text
    assert await count(world, "select count(*) from token where octet_length(hash) = 32") == 1


async def test_what_is_secret_is_not_in_the_text_of_values(world: Any) -> None:
    """A value that lands in a log tells nothing."""
    await world.person("demo")
    issued = await world.log_in("demo")
    said = repr(issued) + repr(PasswordLogin(Person("name", "demo"), "secret"))
    said += repr(TokenLogin(issued.token)) + repr(CredentialLogin("x", None, "secret"))
    assert issued.token not in said
    assert "secret" not in said


async def test_a_login_needs_two_statements(world: Any, database: Any) -> None:
    """Every command of a client logs in, so this is counted."""
    await world.person("demo")

    class Counting:
        """Counts what goes to the database."""

        statements = 0

        async def first(self, sql: str, args: Any = ()) -> Any:
            """Count and hand on."""
            self.statements += 1
            return await database.first(sql, args)

    counting = Counting()
    identity = LocalIdentity(counting, world.clock, world.passwords)
    await identity.log_in(PasswordLogin(Person("name", "demo"), "secret"), UNSCOPED, "192.0.2.1")
    assert counting.statements == 2


async def test_a_fresh_token_is_known_without_asking(world: Any) -> None:
    """The client's next request follows at once."""
    await world.person("demo")
    issued = await world.log_in("demo")
    assert world.identity.cached(issued.token) == issued.who


async def test_a_remembered_answer_is_read_again_after_a_minute(world: Any) -> None:
    """Even if no news came."""
    user_id = await world.person("demo")
    token = (await world.log_in("demo")).token
    await world.database.run("update user_account set enabled = false where id = %s", (user_id,))
    world.clock.advance(59)
    assert world.identity.cached(token) is not None
    world.clock.advance(2)
    assert world.identity.cached(token) is None
    with pytest.raises(Unauthorized):
        await world.identity.authenticate(token)


async def test_a_remembered_answer_ends_with_its_token(world: Any) -> None:
    """Though the minute is not over."""
    await world.person("demo")
    token = (await world.log_in("demo")).token
    await world.database.run("update token set expires_at = now() + interval '20 seconds'")
    world.identity.forget("all")
    await world.identity.authenticate(token)
    world.clock.advance(21)
    assert world.identity.cached(token) is None


async def test_another_process_hears_of_a_revoked_token(world: Any, dsn: str, until: Any) -> None:
    """By NOTIFY."""
    from twisted.internet import reactor

    await world.person("demo")
    token = (await world.log_in("demo")).token
    elsewhere = Database(reactor, dsn)
    elsewhere.start()
    other = LocalIdentity(elsewhere, world.clock, world.passwords)
    try:
        other.start()
        await elsewhere.when_listening()
        await other.authenticate(token)
        await world.identity.revoke(hash_of(token))
        await until(lambda: other.cached(token) is None, "the news")
    finally:
        other.stop()
        await elsewhere.close()


async def test_everything_is_forgotten_when_news_may_have_been_missed(
    world: Any, until: Any
) -> None:
    """The connection that listens was cut."""
    await world.person("demo")
    token = (await world.log_in("demo")).token
    await world.database.all(
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
        " and datname = current_database() and query ilike '%%listen%%'",
        (),
    )
    await until(lambda: world.identity.cached(token) is None, "the loss")
    await world.identity.authenticate(token)


async def test_nothing_is_remembered_after_the_stop(world: Any) -> None:
    """Who does not listen must not trust."""
    await world.person("demo")
    token = (await world.log_in("demo")).token
    world.identity.stop()
    assert world.identity.cached(token) is None


async def test_roles_are_those_of_this_moment(world: Any) -> None:
    """A role that was given or taken counts for tokens that exist already."""
    user_id = await world.person("demo", "reader")
    issued = await world.log_in("demo")
    await world.people.assign_role(user_id, issued.who.project_id, "member")
    who = await world.identity.authenticate(issued.token)
    assert who.roles == {"reader", "member"}
    await world.people.remove_role(user_id, issued.who.project_id, "member")
    assert (await world.identity.authenticate(issued.token)).roles == {"reader"}


async def test_a_token_without_any_role_left_is_refused(world: Any) -> None:
    """The last role was taken."""
    user_id = await world.person("demo")
    issued = await world.log_in("demo")
    await world.people.remove_role(user_id, issued.who.project_id, "member")
    with pytest.raises(Unauthorized):
        await world.identity.authenticate(issued.token)


async def test_disabling_a_user_ends_the_tokens_for_good(world: Any) -> None:
    """They do not come back when the user does."""
    user_id = await world.person("demo")
    token = (await world.log_in("demo")).token
    await world.people.update_user(user_id, {"enabled": False})
    with pytest.raises(Unauthorized):
        await world.identity.authenticate(token)
    await world.people.update_user(user_id, {"enabled": True})
    with pytest.raises(Unauthorized):
        await world.identity.authenticate(token)
    assert (await world.log_in("demo")).who.user_id == user_id


async def test_a_disabled_user_cannot_log_in(world: Any) -> None:
    """With the right password."""
    user_id = await world.person("demo")
    await world.people.update_user(user_id, {"enabled": False})
    with pytest.raises(Unauthorized):
        await world.log_in("demo")


async def test_a_disabled_project_takes_nobody_in(world: Any) -> None:
    """Neither old tokens nor new ones; without a scope one is still let in."""
    await world.person("demo")
    issued = await world.log_in("demo")
    await world.people.update_project(issued.who.project_id, {"enabled": False})
    with pytest.raises(Unauthorized):
        await world.identity.authenticate(issued.token)
    with pytest.raises(Unauthorized):
        await world.log_in("demo", scope=Scope("name", "home"))
    assert (await world.log_in("demo")).who.project_id is None


async def test_a_user_without_a_password_cannot_log_in(world: Any) -> None:
    """Neither with nothing nor with anything."""
    await world.people.create_user("robot", None)
    for password in ("", "None", "secret"):
        with pytest.raises(Unauthorized):
            await world.log_in("robot", password, address=f"192.0.2.{len(password)}")


async def test_too_many_failures_close_the_name(world: Any) -> None:
    """For the right password and from other addresses too, until the window ends."""
    await world.person("demo")
    for number in range(3):
        with pytest.raises(Unauthorized):
            await world.log_in("demo", "wrong", address=f"192.0.2.{number}")
    with pytest.raises(TooManyRequests) as caught:
        await world.log_in("demo", address="198.51.100.1")
    assert 1 <= caught.value.retry_after_seconds <= 300
    await world.database.run("update login_attempt set window_at = window_at - interval '300 s'")
    assert (await world.log_in("demo")).token


async def test_unknown_names_are_closed_in_the_same_way(world: Any) -> None:
    """Nobody can find out who exists by it."""
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await world.log_in("nobody", "wrong")
    with pytest.raises(TooManyRequests):
        await world.log_in("nobody", "wrong")


async def test_failures_by_id_count_for_the_name(world: Any) -> None:
    """There are not two tries for each."""
    user_id = await world.person("demo")
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await world.identity.log_in(
                PasswordLogin(Person("id", user_id), "wrong"), UNSCOPED, "192.0.2.1"
            )
    with pytest.raises(TooManyRequests):
        await world.log_in("demo")


async def test_too_many_failures_close_the_address(world: Any) -> None:
    """For every name, though each failed only once."""
    await world.person("demo")
    for number in range(6):
        with pytest.raises(Unauthorized):
            await world.log_in(f"name{number}", "wrong")
    with pytest.raises(TooManyRequests):
        await world.log_in("demo")
    assert (await world.log_in("demo", address="198.51.100.1")).token


async def test_a_success_resets_the_name_and_not_the_address(world: Any) -> None:
    """One good account must not hide attacks on others."""
    await world.person("demo")
    for _ in range(2):
        for _ in range(2):
            with pytest.raises(Unauthorized):
                await world.log_in("demo", "wrong")
        await world.log_in("demo")
    rows = await world.database.all("select subject, failures from login_attempt")
    assert [tuple(row) for row in rows] == [("address:192.0.2.1", 4)]


async def test_failures_at_the_same_moment_are_all_counted(world: Any) -> None:
    """And once the limit is passed the right password does not help either."""
    await world.person("demo")
    tries = [
        ensureDeferred(world.log_in("demo", "wrong", address=f"192.0.2.{number}"))
        for number in range(30)
    ]
    results = await DeferredList(tries, consumeErrors=True)
    refused = [result.check(Unauthorized) for ok, result in results if not ok]
    assert len(refused) == 30
    counted = await count(world, "select failures from login_attempt where subject = 'name:demo'")
    assert counted == sum(each is not None for each in refused)
    with pytest.raises(TooManyRequests):
        await world.log_in("demo", address="198.51.100.1")


async def test_a_guess_that_was_under_way_is_refused_when_the_limit_is_passed(world: Any) -> None:
    """The count is looked at again when the token is stored."""
    await world.person("demo")
    guess = PasswordLogin(Person("name", "demo"), "secret")
    ticket = await world.identity._by_password(guess, UNSCOPED, "address:192.0.2.1")
    for number in range(3):
        with pytest.raises(Unauthorized):
            await world.log_in("demo", "wrong", address=f"192.0.2.{number}")
    with pytest.raises(Unauthorized):
        await world.identity._issue(ticket, "address:192.0.2.1")


async def test_a_login_with_the_old_password_loses_against_a_change(world: Any) -> None:
    """The old one was right when it was checked, the token would come after the change."""
    user_id = await world.person("demo")
    guess = PasswordLogin(Person("name", "demo"), "secret")
    ticket = await world.identity._by_password(guess, UNSCOPED, "address:192.0.2.1")
    await world.people.update_user(user_id, {"password": "new"})
    with pytest.raises(Unauthorized):
        await world.identity._issue(ticket, "address:192.0.2.1")
    assert await count(world, "select count(*) from token") == 0


async def test_a_login_waits_for_a_change_that_is_under_way(world: Any) -> None:
    """The change is not committed yet when the token is to be stored."""
    user_id = await world.person("demo")
    guess = PasswordLogin(Person("name", "demo"), "secret")
    ticket = await world.identity._by_password(guess, UNSCOPED, "address:192.0.2.1")
    late: list[Any] = []

    async def change(tx: Any) -> None:
        await tx.run("update user_account set password_hash = 'x' where id = %s", (user_id,))
        late.append(ensureDeferred(world.identity._issue(ticket, "address:192.0.2.1")))
        await tx.value("select pg_sleep(0.1)")
        assert not late[0].called

    await world.database.transaction(change, "test.change")
    with pytest.raises(Unauthorized):
        await late[0]


@pytest.mark.parametrize("gone", ["user_account", "project"])
async def test_a_login_whose_user_or_project_was_deleted_meanwhile_is_refused(
    world: Any, gone: str
) -> None:
    """An ordinary refusal, though the database complains."""
    await world.person("demo")
    guess = PasswordLogin(Person("name", "demo"), "secret")
    scope = Scope("name", "home")
    ticket = await world.identity._by_password(guess, scope, "address:192.0.2.1")
    late: list[Any] = []

    async def change(tx: Any) -> None:
        await tx.run(f"delete from {gone}")
        late.append(ensureDeferred(world.identity._issue(ticket, "address:192.0.2.1")))
        await tx.value("select pg_sleep(0.1)")

    await world.database.transaction(change, "test.delete")
    with pytest.raises(Unauthorized):
        await late[0]


async def test_a_token_of_a_credential_ends_with_it(world: Any) -> None:
    """Whichever end comes first."""
    await world.person("demo")
    who = (await world.log_in("demo")).who
    wish = NewCredential("robot", expires_at=who.issued_at.replace(year=who.issued_at.year + 1))
    credential_id, secret = await world.credentials.create(who, wish)
    await world.database.run(
        "update application_credential set expires_at = now() + interval '10 s'"
    )
    login = CredentialLogin(credential_id, None, secret)
    issued = await world.identity.log_in(login, UNSCOPED, "192.0.2.1")
    assert (issued.who.expires_at - issued.who.issued_at).total_seconds() <= 10
    await world.database.run("update application_credential set expires_at = now()")
    world.identity.forget("all")
    with pytest.raises(Unauthorized):
        await world.identity.authenticate(issued.token)
    with pytest.raises(Unauthorized):
        await world.identity.log_in(login, UNSCOPED, "192.0.2.1")


async def test_a_token_for_another_project_ends_with_the_first(world: Any) -> None:
    """Nobody can renew a token with itself for ever."""
    await world.person("demo")
    first = await world.log_in("demo", scope=UNSCOPED)
    await world.database.run("update token set expires_at = now() + interval '10 s'")
    second = await world.identity.log_in(
        TokenLogin(first.token), Scope("name", "home"), "192.0.2.1"
    )
    assert (second.who.expires_at - second.who.issued_at).total_seconds() <= 10
    assert second.who.methods == ("token", "password")
    assert second.who.audit_ids[1:] == first.who.audit_ids


async def test_sweeping_removes_what_is_over_and_nothing_else(world: Any) -> None:
    """Expired tokens and the counts of past windows."""
    await world.person("demo")
    kept = await world.log_in("demo")
    gone = await world.log_in("demo")
    await world.database.run(
        "update token set expires_at = now() where hash = %s", (hash_of(gone.token),)
    )
    for name in ("old", "new"):
        with pytest.raises(Unauthorized):
            await world.log_in(name, "wrong", address="192.0.2.7")
    await world.database.run(
        "update login_attempt set window_at = window_at - interval '1 hour'"
        " where subject = 'name:old'"
    )
    assert await world.identity.sweep() == (1, 1)
    assert await world.identity.sweep() == (0, 0)
    assert (await world.identity.authenticate(kept.token)).user_name == "demo"


async def test_sweeping_does_not_stop_after_the_first_rows(world: Any, monkeypatch: Any) -> None:
    """However many have expired since the last time, none is left."""
    monkeypatch.setattr(local, "SWEEP_ROWS", 2)
    await world.person("demo")
    for _ in range(5):
        await world.log_in("demo")
    await world.database.run("update token set expires_at = now()")
    assert await world.identity.sweep() == (5, 0)
