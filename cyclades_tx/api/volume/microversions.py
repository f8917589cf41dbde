"""Volume's microversions: which one a request means, and what replies say about it."""

from __future__ import annotations

import re

from cyclades_tx.api.call import Call
from cyclades_tx.api.errors import HttpError
from cyclades_tx.errors import BadRequest

MINIMUM = 0
MAXIMUM = 71

_HEADER = "openstack-api-version"
_VERSION = re.compile(r"([1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})", re.ASCII)


def negotiate(call: Call) -> None:
    """Find the microversion of a request and set what its reply says.

    :raise BadRequest: for a version that is none.
    :raise HttpError: 406 for one that is not offered.
    """
    headers = call.headers
    headers["x-compute-request-id"] = call.request_id
    headers["vary"] = "OpenStack-API-Version"
    call.minor = minor_of(call.header(_HEADER))
    headers[_HEADER] = f"volume 3.{call.minor}"


def mark(call: Call) -> None:
    """Give a reply the request id alone, for documents without microversions."""
    call.headers["x-compute-request-id"] = call.request_id


def minor_of(text: str | None) -> int:
    """The minor number that the header asks for.

    :param text: ``OpenStack-API-Version``, which may name several services; None: not sent.
    :raise BadRequest: for a version that is none.
    :raise HttpError: 406 for one that is not offered.
    """
    asked = None
    for part in (text or "").split(","):
        words = part.split()
        if words and words[0].lower() == "volume":
            asked = " ".join(words[1:])
    if asked is None:
        return MINIMUM
    if asked.lower() == "latest":
        return MAXIMUM
    found = _VERSION.fullmatch(asked)
    if found is None:
        raise BadRequest(
            f"API Version String {asked[:80]} is of invalid format. Must be of format"
            " MajorNum.MinorNum."
        )
    major, minor = int(found[1]), int(found[2])
    if major != 3 or minor > MAXIMUM:
        raise HttpError(
            406,
            f"Version {asked[:80]} is not supported by the API. "
            f"Minimum is 3.{MINIMUM} and maximum is 3.{MAXIMUM}.",
        )
    return minor
