"""SSH keys: which are taken, their fingerprints, and new ones."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from cyclades_tx.errors import BadRequest

LONGEST_KEY = 30_000
LEAST_RSA_BITS = 1024
MOST_RSA_BITS = 16_384

_TYPES = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        # Keys in hardware (FIDO): the library does not read them, OpenSSH does.
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)


@dataclass(frozen=True)
class PublicKey:
    """A public key as it is stored.

    :ivar text: one line of ``authorized_keys`` without options, as it was given.
    :ivar fingerprint: MD5 of the key's blob, ``aa:bb:…``, as Compute shows it.
    """

    text: str
    fingerprint: str


@dataclass(frozen=True)
class GeneratedKey:
    """A new pair; the private half is handed out once and kept nowhere."""

    public: PublicKey
    private_key: str = field(repr=False)


def fingerprint(blob: bytes) -> str:
    """MD5 of a key's blob in pairs of digits: a name for people, not a proof."""
    digits = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digits[at : at + 2] for at in range(0, 32, 2))


def read(text: str) -> PublicKey:
    """Read a public key as OpenSSH writes it.

    :param text: type, base64 and perhaps a comment; white space around it is kept.
    :raise BadRequest: when it is no key of a type that we know, or a broken one.
    """
    if len(text) > LONGEST_KEY:
        raise BadRequest(f"Keypair data is invalid: at most {LONGEST_KEY} characters.")
    line = text.strip()
    words = line.split(None, 2)
    if len(words) < 2 or not line.isprintable():
        raise BadRequest(
            "Keypair data is invalid: one line is expected, with type, key and perhaps a comment."
        )
    kind, encoded = words[0], words[1]
    if kind not in _TYPES:
        raise BadRequest(f"Keypair data is invalid: unknown key type {kind[:40]!r}.")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("Keypair data is invalid: the key is not base64.") from None
    if blob[:4] != len(kind).to_bytes(4, "big") or blob[4 : 4 + len(kind)] != kind.encode():
        raise BadRequest("Keypair data is invalid: the key is of another type than it says.")
    if kind.startswith("sk-"):
        _check_fields(blob, 4 if "ecdsa" in kind else 3)
    else:
        _check(kind, encoded)
    return PublicKey(text, fingerprint(blob))


def _check(kind: str, encoded: str) -> None:
    """Let the library read the key: it knows whether its numbers make sense."""
    try:
        key = serialization.load_ssh_public_key(f"{kind} {encoded}".encode())
    except (ValueError, UnsupportedAlgorithm):
        raise BadRequest("Keypair data is invalid: the key is broken.") from None
    if isinstance(key, rsa.RSAPublicKey) and not (LEAST_RSA_BITS <= key.key_size <= MOST_RSA_BITS):
        raise BadRequest(
            f"Keypair data is invalid: an RSA key has {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits."
        )


def _check_fields(blob: bytes, count: int) -> None:
    """Check that a blob is exactly so many fields with their lengths before them."""
    at = 0
    for _ in range(count):
        length = int.from_bytes(blob[at : at + 4], "big")
        at += 4 + length
        if length == 0 or at > len(blob):
            raise BadRequest("Keypair data is invalid: the key is broken.")
    if at != len(blob):
        raise BadRequest("Keypair data is invalid: the key is broken.")


def generate() -> GeneratedKey:
    """Make a new ed25519 pair; takes about a millisecond."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return GeneratedKey(read(public.decode() + " Generated-by-cyclades"), private.decode())
