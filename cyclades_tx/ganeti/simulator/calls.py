"""One request to a simulated RAPI: who asks, what for, and what is to go wrong with it."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest

from cyclades_tx.ganeti.simulator.behaviors import Behavior, Misbehavior
from cyclades_tx.ganeti.simulator.bodies import RapiFault

_LONGEST_BODY = 16 * 1024 * 1024


class Call:
    """One request, read: what it wants and what is to go wrong with it."""

    def __init__(self, request: IRequest, body: dict[str, Any]) -> None:
        self.request = request
        self.body = body
        self.taken: dict[Misbehavior, Behavior] = {}

    def words(self, key: str) -> list[str]:
        """Return the values of a query parameter."""
        return [
            value.decode("ascii", "replace") for value in self.request.args.get(key.encode(), ())
        ]

    def flag(self, key: str) -> bool:
        """Whether a query parameter is switched on."""
        return any(word not in ("", "0") for word in self.words(key))


def basic(request: IRequest) -> tuple[str, str]:
    """The name and the password that a request shows."""
    scheme, _, value = (request.getHeader(b"authorization") or b"").partition(b" ")
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    name, _, password = text.partition(":")
    return (name, password) if scheme.lower() == b"basic" else ("", "")


def read_body(request: IRequest) -> dict[str, Any]:
    """The body of a request.

    :raise RapiFault: when RAPI would not take it.
    """
    text = request.content.read(_LONGEST_BODY + 1)
    if not text:
        return {}
    if len(text) > _LONGEST_BODY:
        raise RapiFault(400, "Body too large")
    kind = request.getHeader(b"content-type")
    if kind is not None and kind.split(b";")[0].strip().lower() != b"application/json":
        raise RapiFault(415, "")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise RapiFault(400, "Unable to parse JSON data") from None
    if body is None:
        return {}
    if not isinstance(body, dict):
        kind_name = type(body).__name__
        raise RapiFault(400, f"Body contents: Type is '{kind_name}', but 'dict' is expected")
    return body


def names_in(body: dict[str, Any]) -> list[str]:
    """What a body is about."""
    keys = ("name", "instance_name", "network_name")
    return [body[key] for key in keys if isinstance(body.get(key), str)]


def must_be_ascii(value: Any) -> None:
    """Look through a value for a character that stops a job queue.

    :raise UnicodeEncodeError: when there is one.
    """
    if isinstance(value, str):
        value.encode("ascii")
    elif isinstance(value, dict):
        for key, entry in value.items():
            must_be_ascii(key)
            must_be_ascii(entry)
    elif isinstance(value, list):
        for entry in value:
            must_be_ascii(entry)


async def hang_up(request: Any) -> None:
    """Close the connection and never answer."""
    request.channel.transport.abortConnection()
    await Deferred()
