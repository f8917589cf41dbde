"""Requests that may be repeated: ``Idempotency-Key`` makes a second POST answer as the first did.

The key belongs to a user in a project and is good for a day. Only successes are kept: what was
refused has made nothing and may be tried again. The reply is sealed, since some hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import orjson

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.errors import HttpError
from cyclades_tx.errors import BadRequest, Conflict, CycladesError, Unavailable
from cyclades_tx.ganeti.credentials import Keyring, SealBroken
from cyclades_tx.store import replies

HEADER = "idempotency-key"
KEEP_SECONDS = 86_400.0
#: A request without a reply for so long was cut off: its process has died.
CUT_OFF_SECONDS = 300.0
_SWEPT_AT_ONCE = 1000
_TRIES = 5
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_SEAL = "reply"
#: Where a request that was cut off may be done again, since an operation would tell of its success
#: or a name can be had only once.
_AGAIN = re.compile(r".*/(servers|os-keypairs|action)/?")


class Replays:
    """Keeps replies and gives them again.

    :param keyring: seals the replies.
    """

    def __init__(self, database: Any, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def once(self, call: Call, run: Callable[[], Awaitable[Reply | bytes]]) -> Reply | bytes:
        """Do what a request asks for, or give the reply of the one that had its key before.

        :raise Conflict: when that one is still under way, or was cut off.
        :raise HttpError: 422 when it asked for something else.
        """
        key = call.header(HEADER) or ""
        if _KEY.fullmatch(key) is None:
            raise BadRequest("Idempotency-Key must have 1 to 255 visible ASCII characters.")
        assert call.who.project_id is not None
        owner = replies.Owner(call.who.project_id, call.who.user_id, key)
        found = await self._take(call, owner, _fingerprint(call))
        if found is not None:
            return found
        try:
            result = await run()
        except Unavailable:
            raise  # Whether it was done is not known.
        except CycladesError:
            await replies.forget(self._database, owner, call.request_id)
            raise
        await self._keep(call, owner, result)
        return result

    async def sweep(self) -> None:
        """Throw away what is older than a day."""
        while (await replies.sweep(self._database, KEEP_SECONDS, _SWEPT_AT_ONCE)) == _SWEPT_AT_ONCE:
            pass

    async def _take(self, call: Call, owner: replies.Owner, request: bytes) -> Reply | None:
        for _ in range(_TRIES):
            if await replies.begin(self._database, owner, request, call.request_id):
                return None
            kept = await replies.find(self._database, owner, CUT_OFF_SECONDS)
            if kept is not None:
                return await self._again(call, owner, request, kept)
            # It was given back in between.
        raise Conflict("This Idempotency-Key is in use.", "repeated", retry_after_seconds=1)

    async def _again(
        self, call: Call, owner: replies.Owner, request: bytes, kept: Any
    ) -> Reply | None:
        """The kept reply; None when the request has the key now."""
        if bytes(kept.request) != request:
            raise HttpError(422, "This Idempotency-Key was used for another request.")
        if kept.status is not None:
            try:
                text = self._keyring.decrypt(_SEAL, _row(owner), bytes(kept.body))
            except SealBroken:
                raise Conflict(
                    "The request was done, but its reply cannot be read any more.", "repeated"
                ) from None
            return Reply(kept.status, text.encode() if text else None, dict(kept.headers))
        if not kept.cut_off:
            raise Conflict(
                "The first request with this Idempotency-Key is still under way.",
                "repeated",
                retry_after_seconds=1,
            )
        path = call.request.path.decode("latin-1")
        if kept.began or _AGAIN.fullmatch(path) is None:
            raise Conflict(
                "The first request with this Idempotency-Key was cut off; see what it has made"
                f" ({kept.request_id}) before you use another key.",
                "repeated",
            )
        if not await replies.take_over(self._database, owner, kept.request_id, call.request_id):
            raise Conflict(
                "The first request with this Idempotency-Key is still under way.", "repeated"
            )
        return None

    async def _keep(self, call: Call, owner: replies.Owner, result: Reply | bytes) -> None:
        reply = Reply(200, result) if isinstance(result, bytes) else result
        body = reply.body
        if body is None:
            body = b""
        elif not isinstance(body, bytes):
            body = orjson.dumps(body)
        sealed = self._keyring.encrypt(_SEAL, _row(owner), body.decode())
        await replies.keep(
            self._database, owner, call.request_id, reply.status, sealed, reply.headers or {}
        )


def _row(owner: replies.Owner) -> str:
    return ":".join(owner)


def _fingerprint(call: Call) -> bytes:
    """What makes two requests the same: everything that the endpoint is told."""
    content = call.request.content
    data = b""
    if content is not None and not content.closed:
        data = content.read()
        content.seek(0)
    parts = (call.request.method, call.request.uri, b"%d" % call.minor, data)
    whole = sha256()
    for part in parts:
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return whole.digest()
