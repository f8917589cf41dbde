"""Whose things are being made: the caller's, or, for administrators, another project's."""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import Forbidden, NotFound
from cyclades_tx.model.who import Who


async def charged_project(tx: Any, who: Who, wanted: str | None) -> str:
    """The project that a new thing will belong to.

    :param wanted: what the request names; None: the caller's own.
    :raise Forbidden: when somebody else than an administrator names another one.
    :raise NotFound: when there is no such project.
    """
    project_id = wanted or who.project_id
    if project_id is None or (project_id != who.project_id and not who.admin):
        raise Forbidden("Only an administrator can make things of another project.")
    if project_id != who.project_id and not await tx.value(
        "select exists (select from project where id = %s)", (project_id,)
    ):
        raise NotFound(f"Project {project_id[:80]} could not be found.", "project")
    return project_id
