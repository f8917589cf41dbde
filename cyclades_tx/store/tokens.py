"""Tokens and what a login reads and writes; the SQL of the hottest requests."""

from __future__ import annotations

from typing import Any

#: Who keeps a cache of tokens listens here. Payloads: the hash of a token in hex,
#: ``user:ID``, ``project:ID``, or ``all``.
CHANNEL = "cyclades_identity"

_WINDOW = "date_bin(make_interval(secs => %(window_seconds)s), now(), 'epoch'::timestamptz)"

_HELD = """
    left join lateral (
        select array_agg(r.id::text order by r.name) as role_ids,
               array_agg(r.name order by r.name) as role_names
        from role_assignment a join role r on r.id = a.role_id
        where a.user_id = {user} and a.project_id = {project} {condition}
    ) held on true"""

_READ = (
    """
    select t.user_id::text, u.name as user_name, t.project_id::text, p.name as project_name,
        t.application_credential_id::text, t.methods, t.audit_ids, t.issued_at, t.expires_at,
        extract(epoch from t.expires_at - now())::float8 as remaining_seconds,
        coalesce(held.role_ids, '{}') as role_ids, coalesce(held.role_names, '{}') as role_names
    from token t
    join user_account u on u.id = t.user_id
    left join project p on p.id = t.project_id
    left join application_credential c on c.id = t.application_credential_id"""
    + _HELD.format(
        user="t.user_id",
        project="t.project_id",
        condition="and (c.id is null or a.role_id::text = any (c.role_ids))",
    )
    + """
    where t.hash = %s and t.expires_at > now() and u.enabled
        and (t.project_id is null or (p.enabled and held.role_ids is not null))
        and (c.expires_at is null or c.expires_at > now())"""
)


async def read(querier: Any, token_hash: bytes) -> Any:
    """Return a valid token's row with its user, project and present roles, or None.

    A token for a project in which the user has lost every role is not valid.
    """
    return await querier.first(_READ, (token_hash,))


# How a login finds the project that it asks for. ``none``: an unscoped token.
_PLACES = {
    "id": "p.id = %(place)s::text",
    "name": "p.name = %(place)s::text",
    "default": "p.id = u.default_project_id",
    "unscoped": "false",
}

_LOOKED_UP = """
    select u.id::text as user_id, u.name as user_name, u.enabled as user_enabled, {secret},
        p.id::text as project_id, p.name as project_name, p.enabled as project_enabled,
        coalesce(held.role_ids, '{{}}') as role_ids,
        coalesce(held.role_names, '{{}}') as role_names,
        s.subject,
        coalesce((select failures from login_attempt
            where subject = s.subject and window_at = w.window_at), 0) as name_failures,
        coalesce((select failures from login_attempt
            where subject = %(address_subject)s and window_at = w.window_at), 0)
            as address_failures,
        greatest(1, ceil(extract(epoch from w.window_at
            + make_interval(secs => %(window_seconds)s) - now())))::integer as retry_after_seconds
    from (select {window} as window_at) w
    {found}
    cross join lateral (select {subject} as subject) s
    left join project p on {place}
    {held}"""


async def look_up_password(
    querier: Any,
    by: str,
    value: str,
    place: tuple[str, str],
    address_subject: str,
    window_seconds: float,
) -> Any:
    """Read all that a password login needs, in one row; there is one for unknown users too.

    :param by: ``id`` or ``name``: what ``value`` is.
    :param place: kind and value of the scope.
    """
    sql = _LOOKED_UP.format(
        window=_WINDOW,
        secret="u.password_hash as secret_hash, null::text as credential_id",
        found=f"left join user_account u on u.{_column(by)} = %(value)s::text",
        subject="'name:' || coalesce(u.name, %(value)s::text)",
        place=_PLACES[place[0]],
        held=_HELD.format(user="u.id", project="p.id", condition=""),
    )
    return await querier.first(
        sql,
        {
            "value": value,
            "place": place[1],
            "address_subject": address_subject,
            "window_seconds": window_seconds,
        },
    )


async def look_up_credential(
    querier: Any,
    value: str,
    person: tuple[str, str] | None,
    address_subject: str,
    window_seconds: float,
) -> Any:
    """Read all that a login with an application credential needs, in one row.

    :param value: its id, or its name when ``person`` (``id`` or ``name``, value) is given.
    """
    if person is None:
        found = """
            left join application_credential c on c.id = %(value)s::text
                and (c.expires_at is null or c.expires_at > now())
            left join user_account u on u.id = c.user_id"""
        subject = "'credential:' || %(value)s::text"
    else:
        found = f"""
            left join user_account u on u.{_column(person[0])} = %(person)s::text
            left join application_credential c on c.user_id = u.id and c.name = %(value)s::text
                and (c.expires_at is null or c.expires_at > now())"""
        subject = "'credential:' || coalesce(u.name, %(person)s::text) || '/' || %(value)s::text"
    sql = _LOOKED_UP.format(
        window=_WINDOW,
        secret="c.secret_hash, c.id::text as credential_id",
        found=found,
        subject=subject,
        place="p.id = c.project_id",
        held=_HELD.format(
            user="u.id", project="p.id", condition="and a.role_id::text = any (c.role_ids)"
        ),
    )
    return await querier.first(
        sql,
        {
            "value": value,
            "person": person[1] if person else None,
            "address_subject": address_subject,
            "window_seconds": window_seconds,
        },
    )


async def look_up_place(querier: Any, user_id: str, place: tuple[str, str]) -> Any:
    """Read a project and the user's roles in it, for a login with a token; None: no such one."""
    sql = (
        """
        select p.id::text as project_id, p.name as project_name, p.enabled as project_enabled,
            coalesce(held.role_ids, '{}') as role_ids,
            coalesce(held.role_names, '{}') as role_names
        from project p"""
        + _HELD.format(user="%(user_id)s", project="p.id", condition="")
        + f" where {_PLACES[place[0]]}"
    )
    return await querier.first(sql, {"user_id": user_id, "place": place[1]})


# The share lock waits for a change of the password that is on its way; the conditions are then
# looked at again. The count of failures is reset only when the token has been given.
_ISSUE = f"""
    with issued as (
        insert into token (hash, user_id, project_id, application_credential_id,
            methods, audit_ids, expires_at)
        select %(hash)s, u.id, p.id, c.id, %(methods)s, %(audit_ids)s,
            least(now() + make_interval(secs => %(lifetime_seconds)s), c.expires_at,
                %(not_after)s::timestamptz)
        from user_account u
        left join project p on p.id = %(project_id)s::text
        left join application_credential c on c.id = %(credential_id)s::text
        where u.id = %(user_id)s::text and u.enabled
            and (%(project_id)s::text is null or p.enabled)
            and (%(credential_id)s::text is null or c.id is not null)
            and (%(password_hash)s::text is null or u.password_hash = %(password_hash)s::text)
            and not exists (
                select from login_attempt l where l.window_at = {_WINDOW}
                    and ((l.subject = %(subject)s and l.failures >= %(name_limit)s)
                        or (l.subject = %(address_subject)s and l.failures >= %(address_limit)s)))
        for share of u
        returning issued_at, expires_at,
            extract(epoch from expires_at - now())::float8 as remaining_seconds
    ), cleared as (
        delete from login_attempt where %(had_failures)s and subject = %(subject)s
            and exists (select from issued)
    )
    select * from issued"""


async def issue(querier: Any, values: dict[str, Any]) -> Any:
    """Store a token if all that was read before still holds; return its times, or None."""
    return await querier.first(_ISSUE, values)


async def count_failure(
    querier: Any, subject: str, address_subject: str, window_seconds: float
) -> None:
    """Count one failed login of a name and of an address."""
    # Addresses come first everywhere, so that two statements never wait for each other.
    await querier.run(
        f"insert into login_attempt as l (subject, window_at, failures)"
        f" values (%(address_subject)s, {_WINDOW}, 1), (%(subject)s, {_WINDOW}, 1)"
        f" on conflict (subject, window_at) do update"
        f" set failures = least(l.failures, 1000000) + 1",
        {
            "subject": subject,
            "address_subject": address_subject,
            "window_seconds": window_seconds,
        },
    )


async def reset_failures(querier: Any, subject: str) -> None:
    """Forget the failed logins of a name."""
    await querier.run("delete from login_attempt where subject = %s", (subject,))


async def revoke(transaction: Any, token_hash: bytes) -> bool:
    """End one token; return whether there was one."""
    gone: int = await transaction.run("delete from token where hash = %s", (token_hash,))
    await transaction.notify(CHANNEL, token_hash.hex())
    return gone > 0


async def revoke_of_user(transaction: Any, user_id: str) -> None:
    """End every token of a user."""
    await transaction.run("delete from token where user_id = %s", (user_id,))
    await user_changed(transaction, user_id)


async def revoke_of_project(transaction: Any, project_id: str) -> None:
    """End every token that is for a project."""
    await transaction.run("delete from token where project_id = %s", (project_id,))
    await project_changed(transaction, project_id)


async def user_changed(transaction: Any, user_id: str) -> None:
    """Make every process read the tokens of a user anew."""
    await transaction.notify(CHANNEL, f"user:{user_id}")


async def project_changed(transaction: Any, project_id: str) -> None:
    """Make every process read the tokens of a project anew."""
    await transaction.notify(CHANNEL, f"project:{project_id}")


async def all_changed(transaction: Any) -> None:
    """Make every process read every token anew."""
    await transaction.notify(CHANNEL, "all")


async def sweep(querier: Any, window_seconds: float, most: int) -> tuple[int, int]:
    """Remove expired tokens and the counts of past windows, some at a time.

    :param most: the largest number of rows of each to remove in one go.
    :return: how many tokens and how many counts went.
    """
    tokens: int = await querier.run(
        "delete from token where hash in (select hash from token where expires_at <= now()"
        " limit %s for update skip locked)",
        (most,),
    )
    attempts: int = await querier.run(
        "delete from login_attempt where (subject, window_at) in (select subject, window_at"
        " from login_attempt where window_at < now() - make_interval(secs => %s)"
        " limit %s for update skip locked)",
        (2 * window_seconds, most),
    )
    return tokens, attempts


def _column(by: str) -> str:
    if by not in ("id", "name"):
        raise ValueError(by)
    return by
