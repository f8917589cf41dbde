"""Secrets at rest: AES-GCM under a key ring, each secret bound to the row that holds it.

A sealed secret is one byte of format, four of key id, twelve of nonce, then the ciphertext
with its tag. The first key of the ring seals, every key opens; so a new key is put in front
and rows are sealed anew when :meth:`Keyring.needs_rotation` says so.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
import stat
from collections.abc import Sequence
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cyclades_tx.errors import ConfigError, CycladesError

_FORMAT = b"\x01"
_KEY_BYTES = 32
_ID_BYTES = 4
_NONCE_BYTES = 12
_HEAD_BYTES = len(_FORMAT) + _ID_BYTES + _NONCE_BYTES


class SealBroken(CycladesError):
    """A secret cannot be opened: altered, from another row, or under a key that is gone."""

    code = "seal_broken"


class Keyring:
    """The keys, newest first; a ``repr`` tells only their ids.

    :param keys: each of 32 bytes.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != _KEY_BYTES for key in keys):
            raise ConfigError("A key ring holds one or more keys of 32 bytes.")
        self._keys = tuple(keys)
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._newest = _key_id(keys[0])

    def __repr__(self) -> str:
        return f"<Keyring {' '.join(number.hex() for number in self._ciphers)}>"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Keyring:
        """Read the keys from a file that only its owner may read; one key a line.

        :raise ConfigError: names the file and what is wrong, never a key.
        """
        try:
            with open(path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                lines = file.read(1 << 20).split()
        except OSError as error:
            raise ConfigError(f"The key file {path} cannot be read: {error.strerror}.") from None
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise ConfigError(f"The key file {path} must be a file with mode 0600.")
        keys = []
        for number, line in enumerate(lines, 1):
            try:
                key = base64.b64decode(line, altchars=b"-_", validate=True)
            except binascii.Error:
                key = b""
            if len(key) != _KEY_BYTES:
                raise ConfigError(f"The key file {path} has no usable key in line {number}.")
            keys.append(key)
        if not keys:
            raise ConfigError(f"The key file {path} is empty.")
        return cls(keys)

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Keyring:
        """Make a file with one fresh key, mode 0600, and load it.

        :raise FileExistsError: when there is such a file already.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(generate_key() + "\n")
            file.flush()
            os.fsync(file.fileno())
        return cls.load(path)

    def encrypt(self, kind: str, row_id: int | str, text: str) -> bytes:
        """Seal a text for one row.

        :param kind: what the secret is (``rapi_password``); with ``row_id`` it must be given
            again to open it.
        """
        head = _FORMAT + self._newest
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = self._ciphers[self._newest]
        return head + nonce + cipher.encrypt(nonce, text.encode(), _bound(head, kind, row_id))

    def decrypt(self, kind: str, row_id: int | str, sealed: bytes) -> str:
        """Open a secret.

        :raise SealBroken: without a word of the secret.
        """
        sealed = bytes(sealed)
        head = sealed[: len(_FORMAT) + _ID_BYTES]
        cipher = self._ciphers.get(head[len(_FORMAT) :])
        if len(sealed) < _HEAD_BYTES or not head.startswith(_FORMAT):
            raise SealBroken(f"The {kind} of {row_id} is not a sealed secret.")
        if cipher is None:
            raise SealBroken(f"The key that sealed the {kind} of {row_id} is not on the ring.")
        nonce = sealed[len(head) : _HEAD_BYTES]
        try:
            text = cipher.decrypt(nonce, sealed[_HEAD_BYTES:], _bound(head, kind, row_id))
        except InvalidTag:
            raise SealBroken(
                f"The {kind} of {row_id} was altered or belongs to another row."
            ) from None
        return text.decode()

    def derived(self, purpose: str) -> tuple[bytes, ...]:
        """A key for another use out of each key of the ring, newest first.

        :param purpose: what it is for; keys for one use tell nothing about those for another.
        """
        said = b"cyclades_tx derived\0" + purpose.encode()
        return tuple(hmac.digest(key, said, "sha256") for key in self._keys)

    def needs_rotation(self, sealed: bytes) -> bool:
        """Whether a secret is sealed by another key than the newest."""
        return bytes(sealed)[: len(_FORMAT) + _ID_BYTES] != _FORMAT + self._newest


def generate_key() -> str:
    """Return a fresh key as it stands in a key file."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode("ascii")


def _key_id(key: bytes) -> bytes:
    return sha256(b"cyclades_tx key id\0" + key).digest()[:_ID_BYTES]


def _bound(head: bytes, kind: str, row_id: int | str) -> bytes:
    return b"\0".join((head, kind.encode(), str(row_id).encode()))
