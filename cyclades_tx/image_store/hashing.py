"""Checksums on the way: MD5, by which clients compare, and SHA-512, which nobody can forge."""

from __future__ import annotations

import hashlib

from cyclades_tx.image_store.interfaces import Sums

#: What Glance calls the algorithm of ``os_hash_value``.
ALGORITHM = "sha512"


class Hashing:
    """Takes bytes as they come; called in a thread, since both take their time.

    hashlib lets go of the interpreter's lock while it works.
    """

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha512 = hashlib.sha512()
        self._size_bytes = 0

    def update(self, data: bytes) -> None:
        """Take more bytes."""
        self._md5.update(data)
        self._sha512.update(data)
        self._size_bytes += len(data)

    def sums(self) -> Sums:
        """What came out of all bytes until now."""
        return Sums(self._size_bytes, self._md5.hexdigest(), self._sha512.hexdigest())
