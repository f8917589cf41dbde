"""The body of a request that is handed on while it comes, for what is too large to be kept."""

from __future__ import annotations

from collections.abc import Callable

from cyclades_tx.image_store.pieces import Pieces


class Incoming(Pieces):
    """Stands where twisted.web keeps a body, and keeps only what was not read yet.

    :ivar length: what ``Content-Length`` says; None: the body comes in chunks.
    :param begin: called when the body is wanted, once: lets the sender go on.
    """

    def __init__(
        self,
        length: int | None,
        begin: Callable[[], None],
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        super().__init__(pause, resume)
        self.length = length
        self._begin: Callable[[], None] | None = begin

    async def read(self, least: int = 262_144) -> bytes:
        """The next bytes; nothing at the end.

        :raise CutOff: when the client has gone away.
        """
        begin, self._begin = self._begin, None
        if begin is not None:
            begin()
        return await super().read(least)

    # -- what twisted.web does with a body -------------------------------------------------

    def write(self, data: bytes) -> None:
        """Take a piece."""
        self.feed(data)

    def tell(self) -> int:
        """Nothing of it is kept."""
        return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Nothing of it is kept."""
        return 0

    def close(self) -> None:
        """Nothing of it is kept."""
