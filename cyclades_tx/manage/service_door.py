"""Speaks to the running service, with a token that is written into the database."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import treq
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from cyclades_tx.config import Config, ListenSection
from cyclades_tx.errors import BadRequest, Conflict, CycladesError, Forbidden, NotFound, Unavailable
from cyclades_tx.ganeti.tls import PinnedCertificate
from cyclades_tx.identity.tokens import hash_of, new_audit_id, new_token
from cyclades_tx.model.operator_door import METHOD, SERVERS_PATH
from cyclades_tx.store import operator_tokens
from cyclades_tx.world import World

TOKEN_SECONDS = 60.0
CONNECT_SECONDS = 5.0
#: Shorter than the token's life, so that a request never meets a token that has ended.
REPLY_SECONDS = 45.0
_MOST_REASON = 2000


@implementer(IPolicyForHTTPS)
class _Pinned:
    """TLS to the service's own address: it must show the certificate of the configuration."""

    def __init__(self, pem: str) -> None:
        self._creator = PinnedCertificate(pem)

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """The creator, whatever the name."""
        return self._creator


async def create_server(
    world: World,
    user_id: str,
    project_id: str,
    wanted: Mapping[str, Any],
    api_url: str | None = None,
) -> dict[str, Any]:
    """Let the service create a server; return its ``uuid``, ``admin_password``, ``request_id``.

    :param wanted: the body, as :class:`cyclades_tx.api.operator.Wanted` has it.
    :param api_url: where the service is; None: at the first address of the configuration.
    :raise Unavailable: when it does not answer.
    :raise CycladesError: what it answers otherwise.
    """
    token = new_token()
    stored = await operator_tokens.issue(
        world.database,
        hash_of(token),
        user_id,
        project_id,
        METHOD,
        new_audit_id(),
        TOKEN_SECONDS,
    )
    if not stored:
        raise Forbidden("The user or the project is disabled.")
    try:
        return await _post(world, token, wanted, api_url)
    finally:
        await operator_tokens.revoke(world.database, hash_of(token))


async def _post(
    world: World, token: str, wanted: Mapping[str, Any], api_url: str | None
) -> dict[str, Any]:
    base, agent_options = _place(world.config, api_url)
    pool = HTTPConnectionPool(world.reactor, persistent=False)
    agent = Agent(world.reactor, connectTimeout=CONNECT_SECONDS, pool=pool, **agent_options)
    sent = Deferred.fromCoroutine(_exchange(agent, base + SERVERS_PATH, token, wanted))
    sent.addTimeout(REPLY_SECONDS, world.reactor)
    try:
        status, body = await sent
    except (TimeoutError, CancelledError):
        raise Unavailable(
            f"The service at {base} did not answer in {REPLY_SECONDS:g} s; see server-list for"
            " whether it made the server."
        ) from None
    except Exception as error:
        raise Unavailable(
            f"The service at {base} cannot be reached ({_reason(error)}). The secrets of a first"
            " boot live in the running service, so it must run to create a server; --api-url says"
            " where it is."
        ) from None
    return _answer(status, body, base)


async def _exchange(
    agent: Agent, url: str, token: str, wanted: Mapping[str, Any]
) -> tuple[int, bytes]:
    response = await treq.post(
        url,
        data=orjson.dumps(wanted),
        headers=Headers(
            {b"content-type": [b"application/json"], b"x-auth-token": [token.encode()]}
        ),
        agent=agent,
        allow_redirects=False,
        unbuffered=True,
    )
    return response.code, await treq.content(response)


def _answer(status: int, body: bytes, base: str) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except ValueError:
        document = None
    if status == 202 and isinstance(document, dict) and "uuid" in document:
        return document
    message = ""
    if isinstance(document, dict):
        for member in document.values():
            if isinstance(member, dict) and isinstance(member.get("message"), str):
                message = member["message"][:_MOST_REASON]
    kinds: dict[int, type[CycladesError]] = {400: BadRequest, 403: Forbidden, 409: Conflict}
    if status == 404 or not message:
        raise NotFound(
            f"What answers at {base} ({status}) is not this service, or another release of it."
        )
    raise kinds.get(status, Unavailable)(message)


def _place(config: Config, api_url: str | None) -> tuple[str, dict[str, Any]]:
    """Where the service is, and how its certificate is known."""
    if api_url is not None:
        if urlsplit(api_url).scheme not in ("http", "https") or not urlsplit(api_url).hostname:
            raise BadRequest(f"{api_url[:80]!r} is not an http or https URL.")
        return api_url.rstrip("/"), {}
    listen = config.listen[0]
    if listen.scheme == "http":
        return _url(listen), {}
    pem = Path(listen.tls_certificate_file).read_text(encoding="ascii")
    return _url(listen), {"contextFactory": _Pinned(pem)}


def _url(listen: ListenSection) -> str:
    address = ipaddress.ip_address(listen.address)
    if address.is_unspecified:
        # All addresses are the service's; this one is certainly here.
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{listen.scheme}://{host}:{listen.port}"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__
