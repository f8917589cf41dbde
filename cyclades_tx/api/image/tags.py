"""Tags of images."""

from __future__ import annotations

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.flows.images import Images


class Tags:
    """The endpoints of tags; an image shows them itself.

    :param images: the flows.
    """

    def __init__(self, images: Images) -> None:
        self._images = images

    async def add(self, call: Call, ref: str, tag: str) -> Reply:
        """Give an image a tag; 204, also when it has it."""
        await self._images.add_tag(call.who, ref, tag)
        return Reply(204)

    async def remove(self, call: Call, ref: str, tag: str) -> Reply:
        """Take a tag from an image; 204."""
        await self._images.remove_tag(call.who, ref, tag)
        return Reply(204)
