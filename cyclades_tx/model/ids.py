"""Ids as strangers write them."""

from __future__ import annotations

import re

_UUID = re.compile(
    r"^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$", re.IGNORECASE | re.ASCII
)


def parse_uuid(text: str) -> str | None:
    """The UUID that a text is, in small letters with dashes; None when it is none.

    Anything can stand where a client puts an id: names, other scripts, nothing.
    """
    if not _UUID.match(text) or text.endswith("\n"):
        return None
    digits = text.replace("-", "").lower()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
