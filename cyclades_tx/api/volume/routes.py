"""The paths of Volume, with and without a project's id in them."""

from __future__ import annotations

import re
from typing import Any

from cyclades_tx.api.call import Call, Handler, Reply, Service
from cyclades_tx.api.errors import nova_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.volume.microversions import negotiate
from cyclades_tx.errors import BadRequest, NotFound

SERVICE = Service("volume", nova_fault, negotiate)
ROOT = "/volume/v3"
_PROJECT_ID = re.compile("[0-9a-f]{32}")


class Routes:
    """Adds endpoints below the version, with and without a project's id in the path."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def add(self, method: str, path: str, handler: Handler, first: int = 0, **options: Any) -> None:
        """Add one endpoint.

        :param path: what follows ``/volume/v3``.
        :param first: the first microversion that has it.
        :param options: those of :meth:`Frame.endpoint`.
        """
        if first:
            handler = _since(first, handler)
        add = self._frame.endpoint
        add(SERVICE, method, ROOT + path, handler, slash=False, **options)
        old = f"{ROOT}/<string(length=32):url_project_id>{path}"
        add(SERVICE, method, old, _in_project(handler), slash=False, **options)


def _since(first: int, handler: Handler) -> Handler:
    """The same endpoint, which older microversions do not have."""

    async def handle(call: Call, **arguments: str) -> Reply | bytes:
        if call.minor < first:
            raise NotFound("The resource could not be found.")
        return await handler(call, **arguments)

    return handle


def _in_project(handler: Handler) -> Handler:
    """The same endpoint with a project's id in the path, as older catalogs have it."""

    async def handle(call: Call, url_project_id: str, **arguments: str) -> Reply | bytes:
        if _PROJECT_ID.fullmatch(url_project_id) is None:
            raise NotFound("The resource could not be found.")
        if url_project_id != call.who.project_id and not call.who.admin:
            # What the reference answers, too.
            raise BadRequest("Malformed request url: the project is not the one of the token.")
        call.project_id = url_project_id
        return await handler(call, **arguments)

    return handle
