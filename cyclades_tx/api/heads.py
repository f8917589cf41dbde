"""Heads of requests: what RFC 9112 tells a server to refuse, beyond what Twisted does.

Two programs that read one request differently let a client hide a second request in the first
from one of them; so whatever may be read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from twisted.web.http_headers import Headers

#: What an absolute URL begins with.
_ABSOLUTE = re.compile(rb"https?://[^/?]*", re.IGNORECASE)
#: ``uri-host [ ":" port ]`` (RFC 9110, 7.2; RFC 3986, 3.2.2); an empty one is allowed.
_HOST = re.compile(
    rb"(?:\[[0-9A-Za-z:._~!$&'()*+,;=%-]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)"
    rb"(?::[0-9]*)?"
)
#: What no header's value holds, and what would be a header's end elsewhere (RFC 9110, 5.5).
_CONTROLS = re.compile(rb"[\r\n\0]")


def path_of(target: bytes) -> bytes:
    """The path of a request that may be written for a proxy, which is for us all the same.

    :param target: what stands in the request line (RFC 9112, 3.2.2).
    """
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        return target
    path = target[absolute.end() :]
    return path if path.startswith(b"/") else b"/" + path


def fault_of(version: bytes, headers: Headers) -> str:
    """Why a request must be refused with 400; empty when it need not.

    :param version: ``HTTP/1.0`` or ``HTTP/1.1``.
    """
    hosts = headers.getRawHeaders(b"host")
    if hosts is None:
        # Programs that ask whether a service is well often speak HTTP/1.0 (RFC 9112, 3.2).
        if version != b"HTTP/1.0":
            return "The request has no Host header."
    elif len(hosts) != 1:
        return "The request has more than one Host header."
    elif _HOST.fullmatch(hosts[0]) is None:
        return "The host's name is not valid."
    codings = headers.getRawHeaders(b"transfer-encoding")
    if codings is not None and (
        version == b"HTTP/1.0" or [each.lower() for each in codings] != [b"chunked"]
    ):
        return "The Transfer-Encoding of the request is not one that is taken."
    return ""


def are_headers(lines: Iterable[bytes]) -> bool:
    """Whether lines behind a chunked body are headers, which nobody reads, and nothing else."""
    return all(b":" in line and _CONTROLS.search(line) is None for line in lines)
