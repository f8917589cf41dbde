"""Compute's microversions: which one a request means, and what replies say about it."""

from __future__ import annotations

import re

from cyclades_tx.api.call import Call
from cyclades_tx.api.errors import HttpError
from cyclades_tx.errors import BadRequest

MINIMUM = 1
MAXIMUM = 96

_HEADER = "openstack-api-version"
_OLD_HEADER = "x-openstack-nova-api-version"
_HEADER_BYTES = _HEADER.encode()
_OLD_HEADER_BYTES = _OLD_HEADER.encode()
_VERSION = re.compile(r"([1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})", re.ASCII)
_VARY = "OpenStack-API-Version, X-OpenStack-Nova-API-Version"

#: What stood in the two headers -> minor number; bounded, since clients write the headers.
_known: dict[tuple[bytes | None, bytes | None], int] = {}
_KNOWN_LIMIT = 500


def negotiate(call: Call) -> None:
    """Find the microversion of a request and set what its reply says.

    :raise BadRequest: for a version that is none.
    :raise HttpError: 406 for one that is not offered.
    """
    request = call.request
    headers = call.headers
    headers["x-compute-request-id"] = call.request_id
    headers["vary"] = _VARY
    asked = (request.getHeader(_HEADER_BYTES), request.getHeader(_OLD_HEADER_BYTES))
    minor = _known.get(asked)
    if minor is None:
        minor = minor_of(call.header(_HEADER), call.header(_OLD_HEADER))
        if len(_known) < _KNOWN_LIMIT:
            _known[asked] = minor
    call.minor = minor
    used = f"2.{minor}"
    headers[_HEADER] = f"compute {used}"
    headers[_OLD_HEADER] = used


def mark(call: Call) -> None:
    """Give a reply the request id alone, for documents without microversions."""
    call.headers["x-compute-request-id"] = call.request_id


def minor_of(new: str | None, old: str | None) -> int:
    """The minor number that the two headers ask for.

    :param new: ``OpenStack-API-Version``, which may name several services.
    :param old: ``X-OpenStack-Nova-API-Version``, which counts when the new one is silent.
    :raise BadRequest: for a version that is none.
    :raise HttpError: 406 for one that is not offered.
    """
    text = None
    for part in (new or "").split(","):
        words = part.split()
        if words and words[0].lower() == "compute":
            text = words[1] if len(words) == 2 else " ".join(words[1:])
    if text is None and old is not None:
        text = old.strip()
    if text is None:
        return MINIMUM
    if text.lower() == "latest":
        return MAXIMUM
    found = _VERSION.fullmatch(text)
    if found is None:
        raise BadRequest(
            f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum."
        )
    major, minor = int(found[1]), int(found[2])
    if major != 2 or not MINIMUM <= minor <= MAXIMUM:
        raise HttpError(
            406,
            f"Version {text} is not supported by the API. "
            f"Minimum is 2.{MINIMUM} and maximum is 2.{MAXIMUM}.",
        )
    return minor
