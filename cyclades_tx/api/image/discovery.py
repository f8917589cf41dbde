"""What the service says of itself: schemas, ways to import, stores."""

from __future__ import annotations

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.image.documents import SCHEMAS
from cyclades_tx.errors import NotFound

#: The header of a new image's reply that names the ways to import its data.
IMPORT_HEADER = "OpenStack-image-import-methods"


class Discovery:
    """The endpoints of schemas, ways to import and stores.

    :param methods: the names of the ways to import that this cloud offers.
    """

    def __init__(self, methods: tuple[str, ...] = ()) -> None:
        self._methods = methods

    async def show_schema(self, _call: Call, name: str) -> Reply:
        """What a document looks like, for clients that make their forms from it."""
        if name not in SCHEMAS:
            raise NotFound(f"There is no schema {name}.", "schema")
        return Reply(200, SCHEMAS[name])

    async def show_import(self, _call: Call) -> Reply:
        """The ways to import an image."""
        return Reply(
            200,
            {
                "import-methods": {
                    "description": "Import methods available.",
                    "type": "array",
                    "value": list(self._methods),
                }
            },
        )

    async def show_stores(self, _call: Call) -> Reply:
        """Say that there is one store only, as Glance says it."""
        raise NotFound("Multi backend is not supported at this site.", "stores")
