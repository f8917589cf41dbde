"""URLs from which Ganeti's nodes fetch the bytes of one image, for some hours.

A signature is a message authentication code over the image's UUID and the time at which it
ends, so it is good for nothing else: not another image, not a later time, no other file. Keys
come from the key ring, the same in every process; the newest signs, each is believed.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Sequence
from math import ceil

from cyclades_tx.model.ids import parse_uuid

#: The location of an image whose bytes are in our own store; its UUID follows.
OURS = "cyclades-image:"
#: Makes of an image's location that from which a cluster gets it.
Locate = Callable[[str | None], str | None]

_DIGITS = re.compile(r"[1-9][0-9]{0,11}")
_KIND = b"cyclades_tx image\0"


class Signer:
    """Makes and checks signed URLs.

    :param keys: newest first.
    :param base_url: what stands before the path, without a slash at its end.
    :param lifetime_seconds: how long a URL is good.
    :param now: the time in seconds of POSIX.
    """

    #: Below the base; UUID, end in seconds of POSIX, signature.
    PATH = "/v1.0/images/{}/{}/{}"

    def __init__(
        self,
        keys: Sequence[bytes],
        base_url: str,
        lifetime_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self._keys = tuple(keys)
        self._base_url = base_url
        self._lifetime_seconds = lifetime_seconds
        self._now = now

    def __repr__(self) -> str:
        return f"<Signer for {self._base_url}>"

    def url(self, uuid: str) -> str:
        """A URL for an image, good from now on."""
        expires = str(ceil(self._now() + self._lifetime_seconds))
        signature = _signature(self._keys[0], uuid, expires)
        return self._base_url + self.PATH.format(uuid, expires, signature)

    def holds(self, uuid: str, expires: str, signature: str) -> bool:
        """Whether a signature is ours, for this image, and still good.

        The time that this takes tells nothing about the right signature.
        """
        if parse_uuid(uuid) != uuid or not _DIGITS.fullmatch(expires):
            return False
        given = signature.encode("utf-8", "surrogatepass")
        found = False
        for key in self._keys:
            found |= hmac.compare_digest(given, _signature(key, uuid, expires).encode())
        return found and self._now() < int(expires)

    def locate(self, location: str | None) -> str | None:
        """From where a cluster gets an image; for bytes of ours that is a signed URL."""
        if location is None or not location.startswith(OURS):
            return location
        return self.url(location.removeprefix(OURS))


def as_it_is(location: str | None) -> str | None:
    """Where nothing is signed, an image is where its location says."""
    return location


def _signature(key: bytes, uuid: str, expires: str) -> str:
    code = hmac.digest(key, _KIND + uuid.encode() + b"\0" + expires.encode(), "sha256")
    return base64.urlsafe_b64encode(code).decode().rstrip("=")
