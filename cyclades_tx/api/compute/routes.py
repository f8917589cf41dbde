"""The paths of Compute, with and without a project's id in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cyclades_tx.api.call import Call, Handler, Reply, Service
from cyclades_tx.api.compute.microversions import negotiate
from cyclades_tx.api.errors import nova_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.errors import Forbidden, NotFound

SERVICE = Service("compute", nova_fault, negotiate)
ROOT = "/compute/v2.1"
_PROJECT_ID = re.compile("[0-9a-f]{32}")


class Routes:
    """Adds endpoints below the version, with and without a project's id in the path.

    :param around: what wraps a request's handler, by its method and path.
    """

    def __init__(
        self, frame: Frame, around: Callable[[str, Handler], Handler] = lambda _, handler: handler
    ) -> None:
        self._frame = frame
        self._around = around

    def add(self, method: str, path: str, handler: Handler, **options: Any) -> None:
        """Add one endpoint.

        :param path: what follows ``/compute/v2.1``.
        :param options: those of :meth:`Frame.endpoint`.
        """
        add = self._frame.endpoint
        handler = self._around(f"{method} {path}", handler)
        add(SERVICE, method, ROOT + path, handler, slash=False, **options)
        old = f"{ROOT}/<string(length=32):url_project_id>{path}"
        add(SERVICE, method, old, _in_project(handler), slash=False, **options)


def _in_project(handler: Handler) -> Handler:
    """The same endpoint with a project's id in the path, as old catalogs have it."""

    async def handle(call: Call, url_project_id: str, **arguments: str) -> Reply | bytes:
        if _PROJECT_ID.fullmatch(url_project_id) is None:
            raise NotFound("The resource could not be found.")
        if url_project_id != call.who.project_id and not call.who.admin:
            raise Forbidden("The project in the URL is not the project of the token.")
        call.project_id = url_project_id
        return await handler(call, **arguments)

    return handle
