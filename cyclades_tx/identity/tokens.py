"""The text of a token, and the hash by which the database knows it."""

from __future__ import annotations

import re
import secrets
from hashlib import sha256

TOKEN_BYTES = 32
AUDIT_BYTES = 16

#: 32 bytes in URL-safe base64 without padding.
_SHAPE = re.compile(r"[A-Za-z0-9_-]{43}")
_HEX_ID = re.compile(r"[0-9a-f]{32}")


def new_secret(size_bytes: int) -> str:
    """Make a secret of so many random bytes, in letters, digits, ``-`` and ``_``.

    It does not begin with ``-``: a command line would take it for an option.
    """
    while (text := secrets.token_urlsafe(size_bytes)).startswith("-"):
        pass
    return text


def new_token() -> str:
    """Make the text of a new token: nearly 256 random bits that fit into a header."""
    return new_secret(TOKEN_BYTES)


def new_audit_id() -> str:
    """Make the name under which a token may be written to a log; it opens nothing."""
    return secrets.token_urlsafe(AUDIT_BYTES)


def new_id() -> str:
    """Make the id of a project, user, role or application credential: 32 hex digits."""
    return secrets.token_hex(16)


def is_token(text: str) -> bool:
    """Whether a text could be a token of ours at all."""
    return _SHAPE.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Whether a text could be the id of a project, user, role or application credential."""
    return _HEX_ID.fullmatch(text) is not None


def hash_of(token: str) -> bytes:
    """The SHA-256 of a token's text: 32 bytes."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
